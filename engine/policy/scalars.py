"""YAML scalars: what type a plain one has, and where each of its characters stands in the file.

Types are those of the YAML 1.2 core schema. PyYAML's own resolver follows YAML 1.1, where `no` is false, `012` is ten and
`12:30` is 750; nothing of that happens here.
"""

from __future__ import annotations

import re

_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]{1,30}")
_OCTAL = re.compile(r"0o[0-7]{1,30}")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,30}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")

_ESCAPES = {"x": 2, "u": 4, "U": 8}
_FOLD = re.compile(r"[ \t]*(?:\r\n|\n|\r)[ \t\r\n]*")


def resolve(text: str) -> bool | int | float | str | None:
    """The value of a plain scalar; text that is no null, boolean or finite number stays text."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        value = float(text)
        return value if abs(value) != float("inf") else text
    return text


def positions(raw: str, style: str, text: str) -> list[int]:
    """For each character of a scalar's `text`, the index in `raw` (the scalar as written) where it stands.

    `text` must be what YAML makes of `raw`. A space or line break that YAML put in by folding stands where the fold begins.
    """
    if style == '"':
        return _double_quoted(raw, text)
    if style in {"|", ">"}:
        return _aligned(raw, text, raw.find("\n") + 1)
    return _aligned(raw, text, 1 if style == "'" else 0, quote=style == "'")


def _aligned(raw: str, text: str, at: int, *, quote: bool = False) -> list[int]:
    """Walk both in step: what `raw` has more is indentation, line ends and the second of two quotes."""
    found: list[int] = []
    for char in text:
        while at < len(raw) and raw[at] != char:
            if char in " \n" and raw[at] in "\r\n":
                break
            at += 1
        found.append(min(at, len(raw) - 1))
        at += 2 if quote and char == "'" else 1
    return found


def _double_quoted(raw: str, text: str) -> list[int]:
    found: list[int] = []
    at = 1
    while at < len(raw) - 1 and len(found) < len(text):
        fold = _FOLD.match(raw, at) if raw[at] in " \t\r\n" else None
        if fold:
            breaks = len(re.findall(r"\r\n|\n|\r", fold.group()))
            found += [at] * max(1, breaks - 1)
            at = fold.end()
        elif raw[at] != "\\":
            found.append(at)
            at += 1
        elif raw[at + 1] in "\r\n":
            at = next((m.end() for m in [_FOLD.match(raw, at + 1)] if m), at + 2)
        else:
            found.append(at)
            at += 2 + _ESCAPES.get(raw[at + 1], 0)
    return found + [max(0, len(raw) - 2)] * (len(text) - len(found))
