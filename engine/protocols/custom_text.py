"""The free text of a custom tool's call, as JSON arguments of the function that stands for it where a wire has only those.

`{"input": text}` one way. The way back reads as the arguments come, cut anywhere, so that an agent sees a long patch grow
instead of silence. A model's slips do not lose text: an escape that JSON does not know and a quote that it forgot to escape
stand for themselves, text that it did not wrap is the text, and what breaks off is given as far as it went.
"""

from __future__ import annotations

import string

import orjson
import re2

from engine.protocols.argument_repair import repaired

INPUT = "input"
"""The one argument of a function that stands for a custom tool."""

_HEAD = ("{", f'"{INPUT}"', ":", '"')
_LONGEST_HEAD = 256
"""Characters in which the text must have begun to be read as it comes."""
_SPECIAL = re2.compile(r'["\\]')
_END = re2.compile(r'"[ \t\r\n]*(?:[}\]][ \t\r\n]*)*')
"""What ends the text, if nothing follows it."""
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_HEX = frozenset(string.hexdigits)
_UNKNOWN = "\ufffd"
"""Stands for half of a surrogate pair, which no JSON of ours could carry on."""


def wrapped(text: str) -> str:
    """The arguments that say `text`."""
    return orjson.dumps({INPUT: text}).decode()


def unwrapped(arguments: str) -> str:
    """The text that `arguments` say: what a `TextReader` makes of them."""
    reader = TextReader()
    return reader.feed(arguments) + reader.close()


class TextReader:
    """Arguments in, text out, piece by piece. All pieces together are the text, however the arguments were cut."""

    __slots__ = ("_begun", "_held", "_pieces", "_read_to", "_stopped", "_told")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._held = ""
        """The end of what came, not read yet: the beginning of the arguments, half an escape, what may be the end."""
        self._begun = False
        self._stopped = False
        """What comes is held back to the end: only all of it tells what it is."""
        self._read_to = 0
        """Characters of the arguments that have been read."""
        self._told = 0
        """Characters of text that have been told."""

    def feed(self, piece: str) -> str:
        """The text that `piece` makes known."""
        self._pieces.append(piece)
        if self._stopped:
            return ""
        self._held += piece
        if not self._begun:
            start = _start(self._held)
            if start is None:
                return ""
            self._begun = start > 0
            self._stopped = not self._begun
            self._held, self._read_to = self._held[start:], start
        text = self._read() if self._begun else ""
        self._told += len(text)
        return text

    def close(self) -> str:
        """The text that was held back."""
        arguments = "".join(self._pieces)
        if (said := _said(arguments)) is not None:
            return said[self._told :]
        if not self._begun:
            meant = repaired(arguments) if INPUT in arguments else None
            text = meant.get(INPUT) if meant is not None and len(meant) == 1 else None
            return text if isinstance(text, str) else arguments
        self._held = arguments[self._read_to :]
        return self._read(final=True)

    def _read(self, *, final: bool = False) -> str:
        """The text in what is held, as far as it is decided; at the end all of it."""
        held, out, at = self._held, [], 0
        while at < len(held):
            found = _SPECIAL.search(held, at)
            if found is None:
                out.append(held[at:])
                at = len(held)
                break
            out.append(held[at : found.start()])
            at = found.start()
            if held[at] == '"':
                end = _END.match(held, at).end()
                if end == len(held):  # it may be the end
                    at = end if final else at
                    break
                if held[end] == "," and not final:  # other members may follow
                    self._stopped = True
                    break
                out.append('"')
                at += 1
                continue
            text, length = _unescaped(held, at, final=final)
            if not length:
                break
            out.append(text)
            at += length
        self._read_to += at
        self._held = held[at:]
        return "".join(out)


def _start(begun: str) -> int | None:
    """Where the text begins; None while that can't be known, 0 if these arguments are of another form."""
    at = 0
    for token in _HEAD:
        at += len(begun[at:]) - len(begun[at:].lstrip(" \t\r\n"))
        found = begun[at : at + len(token)]
        if found != token:
            return None if token.startswith(found) and len(begun) < _LONGEST_HEAD else 0
        at += len(token)
    return at


def _said(arguments: str) -> str | None:
    """The text, if the arguments are JSON that says one."""
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return None
    text = value.get(INPUT) if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _unescaped(held: str, at: int, *, final: bool) -> tuple[str, int]:
    """(text, length) of the escape that begins at `at`; length 0 while more must come."""
    kind = held[at + 1 : at + 2]
    if kind != "u":
        if not kind:
            return ("\\", 1) if final else ("", 0)
        return _ESCAPES.get(kind, "\\" + kind), 2
    code = _code(held, at)
    if code is None:
        return ("\\u", 2) if final or len(held) >= at + 6 else ("", 0)
    if 0xD800 <= code < 0xDC00:
        low = _code(held, at + 6)
        if low is None and not final and _may_be_code(held[at + 6 : at + 12]):
            return "", 0
        if low is not None and 0xDC00 <= low < 0xE000:
            return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)), 12
    return _UNKNOWN if 0xD800 <= code < 0xE000 else chr(code), 6


def _code(held: str, at: int) -> int | None:
    digits = held[at + 2 : at + 6]
    if held[at : at + 2] != "\\u" or len(digits) != 4 or not _HEX.issuperset(digits):
        return None
    return int(digits, 16)


def _may_be_code(piece: str) -> bool:
    return len(piece) < 6 and "\\u".startswith(piece[:2]) and _HEX.issuperset(piece[2:])
