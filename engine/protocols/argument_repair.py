"""Malformed tool arguments brought back to the one object they can mean; what could mean several is left alone.

Models slip in a few ways that leave no doubt: a code fence around the object, the object as JSON text inside a JSON string,
a raw line break in a string, a comma or a brace too many, a brace missing after the last whole value, the same object twice,
an empty one before the real one, Python's spelling of it. A string or a number that breaks off has lost something nobody can
guess, and so has an escape that JSON does not know: those stay broken.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any, NoReturn

import orjson

from engine.llm.messages import JsonObject

LONGEST = 64 * 1024
"""Characters of arguments that are looked at; a Python literal of that size takes a few milliseconds."""

_DEEPEST = 64
_ESCAPES = re.compile(r"\\(.)", re.DOTALL)
_KNOWN_ESCAPES = frozenset("\\'\"abfnrtvxuU01234567\n")
_TOKENS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\],]|[^"{}\[\],]++', re.DOTALL)
"""Strings whole, brackets and commas alone, what is between them together."""

_CLOSES = {"{": "}", "[": "]"}
_FENCE = "```"


def repaired(text: str) -> JsonObject | None:
    """The only object that `text` can mean, None when it means none or might mean another. Never raises."""
    if len(text) > LONGEST:
        return None
    value = _meant(text)
    try:
        orjson.dumps(value)
    except TypeError:  # half a surrogate pair, a number beyond 64 bits: it would not survive the way to the client
        return None
    return value


def _meant(text: str, *, inside: bool = False) -> JsonObject | None:
    bare = _unfenced(text.strip())
    if bare in ("", "null"):
        return {}
    for read in (_sequence, _balanced, _python):
        try:
            value = read(bare)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        if isinstance(value, str) and not inside:
            return _meant(value, inside=True)
        if isinstance(value, dict):
            return value
    return None


def _unfenced(text: str) -> str:
    if not (text.startswith(_FENCE) and text.endswith(_FENCE) and len(text) > 2 * len(_FENCE)):
        return text
    first, newline, rest = text[len(_FENCE) : -len(_FENCE)].partition("\n")
    return rest.strip() if newline and first.strip().isalnum() else text.strip("`").strip()


def _sequence(text: str) -> Any:
    """JSON values one after the other, of which all but one are empty or the same; closers behind it do not matter."""
    decoder = json.JSONDecoder(strict=False, parse_constant=_no_number)
    found, at = decoder.raw_decode(text)
    while (rest := text[at:].strip()) and rest.strip("}] \t\r\n"):
        at = len(text) - len(rest)
        value, at = decoder.raw_decode(text, at)
        if not isinstance(value, dict) or (found not in ({}, value) and value != {}):
            raise ValueError("two different values")
        found = value or found
    return found


def _balanced(text: str) -> Any:
    """JSON without its superfluous commas, and with the closers that are missing after its last whole value."""
    out: list[str] = []
    open_: list[str] = []
    comma = -1
    at = 0
    for found in _TOKENS.finditer(text):
        piece = found.group()
        if found.start() != at:
            break  # a string that does not end
        at = found.end()
        if piece in _CLOSES:
            open_.append(_CLOSES[piece])
        elif piece in ("}", "]"):
            if not open_ or open_.pop() != piece:
                raise ValueError("closed what was not open")
            if comma >= 0:
                out[comma] = ""
        if not piece.isspace():
            comma = len(out) if piece == "," else -1
        out.append(piece)
    if at != len(text) or (open_ and text[-1] not in '"}]'):
        raise ValueError("it breaks off inside a value")
    return json.loads("".join(out) + "".join(reversed(open_)), strict=False, parse_constant=_no_number)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _python(text: str) -> Any:
    """A dictionary as Python writes it, of what JSON has words for."""
    if not text.startswith("{") or not _KNOWN_ESCAPES.issuperset(_ESCAPES.findall(text)):
        raise ValueError("not what Python writes")
    value = ast.literal_eval(text)
    if not _sayable(value):
        raise ValueError("no JSON")
    return value


def _sayable(value: Any, depth: int = 0) -> bool:
    if depth > _DEEPEST:
        return False
    if isinstance(value, dict):
        return all(isinstance(key, str) and _sayable(inner, depth + 1) for key, inner in value.items())
    if isinstance(value, list):
        return all(_sayable(inner, depth + 1) for inner in value)
    return value is None or isinstance(value, str | bool | int | float)
