"""Numbers and strings as written in an expression, turned into values; refuses what would surprise."""

from __future__ import annotations

import math
import re

from engine.policy.cel.problems import CelProblem
from engine.policy.cel.values import INT_MAX, INT_MIN

_ESCAPE = re.compile(
    r"""\\(?:([abfnrtv"'`?\\])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(?s:(.))|$)"""
)
_SIMPLE = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "'": "'", "`": "`", "?": "?", "\\": "\\",
}  # fmt: skip


class BadLiteral(Exception):
    """A literal that is refused, with its problem."""

    def __init__(self, problem: CelProblem) -> None:
        self.problem = problem
        super().__init__(problem.message)


def whole(text: str, at: int) -> int:
    """An int literal, decimal or hexadecimal, with its sign."""
    digits = text.removeprefix("-")
    if not digits.startswith("0x") and len(digits) > 1 and digits[0] == "0":
        raise _bad(
            text, at, f"{text} starts with a zero", f"write {digits.lstrip('0') or '0'}; CEL has no octal numbers"
        )
    value = int(digits, 16 if digits.startswith("0x") else 10) * (-1 if text[0] == "-" else 1)
    if not INT_MIN <= value <= INT_MAX:
        raise _bad(text, at, "a whole number of more than 64 bits", "write it as a double, with .0")
    return value


def decimal(text: str, at: int) -> float:
    """A double literal."""
    if re.search(r"\.(?![0-9])", text):
        raise _bad(text, at, f"{text} has no digit after the point", f"write {text.replace('.', '.0', 1)}")
    value = float(text)
    if not math.isfinite(value):
        raise _bad(text, at, "a number too large for a double")
    return value


def string(text: str, at: int) -> str:
    """A string literal of any of the eight forms (single or double quotes, triple, raw)."""
    raw = text[0] in "rR"
    body_start = 1 if raw else 0
    quote = 3 if text[body_start : body_start + 3] in {'"""', "'''"} and len(text) >= body_start + 6 else 1
    body_start += quote
    body = text[body_start : len(text) - quote]
    if raw:
        return body
    return _ESCAPE.sub(lambda found: _unescape(found, at + body_start), body)


def _unescape(found: re.Match[str], body_at: int) -> str:
    simple, two, four, eight, octal, other = found.groups()
    at = body_at + found.start()
    if simple:
        return _SIMPLE[simple]
    if octal:
        return chr(int(octal, 8))
    if code := two or four or eight:
        point = int(code, 16)
        if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
            raise _bad(found[0], at, f"{found[0]} is no character")
        return chr(point)
    if other is None:
        raise _bad(found[0], at, "a string is not closed", 'a \\" is a quote inside the string')
    hint = f'in a regular expression write r"…{found[0]}…"; elsewhere \\\\ is one backslash'
    raise _bad(found[0], at, f"{found[0]} is no escape", hint)


def _bad(text: str, at: int, message: str, hint: str = "") -> BadLiteral:
    return BadLiteral(CelProblem("cel-syntax", at, at + len(text), message, hint))
