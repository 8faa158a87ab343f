"""Plain data as YAML that the policy reader reads back as the same data, laid out as people write policies.

Strings are quoted wherever a reader could take them for something else, by any version of YAML. Short mappings and lists
stand on one line, text with line breaks in a block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from engine.policy.scalars import resolve

Path = tuple[str | int, ...]

WIDTH = 110
"""What is longer than this, its indentation included, goes on several lines."""

_COMMENTS = 90
"""Comments stand in a column, this far out at most."""

_PLAIN = re.compile(r"[A-Za-z_][\w.*/+-]*(?: (?:[\w.*/+()-]+|[=!<>]=|[<>]|&&|\|\|))*")
"""Words, paths and simple conditions: nothing that means something to YAML, in a line or between brackets."""

_AMBIGUOUS = re.compile(r"(?i)y|yes|n|no|on|off|true|false|null|~|[-+.]?[0-9].*|\.(inf|nan)")
"""What YAML 1.1 takes for a boolean, a number or a date."""

_BLOCK = re.compile(r"[^\s#][^\r\n]*(?:\n[^\r\n]*)+")


def scalar(value: Any) -> str:
    """A value without parts, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return repr(value)
    if _PLAIN.fullmatch(value) and not _AMBIGUOUS.fullmatch(value) and isinstance(resolve(value), str):
        return value
    if value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in orjson.dumps(value).decode())


def flow(value: Any) -> str:
    """Any value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {flow(below)}" for key, below in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def emit(value: Mapping[str, Any], comment: Callable[[Path], str] = lambda _: "") -> str:
    """A mapping as a YAML document; `comment` says what stands behind the line on which the value of a path begins."""
    lines = list(_mapping(value, (), 0, comment))
    widest = max((len(line) for line, said in lines if said and len(line) <= _COMMENTS), default=0)
    whole = "\n".join(f"{line:<{widest}}  # {said}" if said else line for line, said in lines)
    return whole.rstrip("\n") + "\n"


_Lines = Iterator[tuple[str, str]]
_Comment = Callable[[Path], str]


def _mapping(value: Mapping[str, Any], path: Path, indent: int, comment: _Comment) -> _Lines:
    for key, below in value.items():
        yield from _entry(" " * indent + scalar(key) + ":", below, (*path, key), indent, comment)
        if not path:
            yield "", ""


def _entry(head: str, value: Any, path: Path, indent: int, comment: _Comment) -> _Lines:
    """`head` (a key or a list's dash) and its value, on the same line if that is short enough."""
    said = comment(path)
    line = f"{head} {flow(value)}"
    if isinstance(value, str) and "\n" in value and _literal(value):
        yield f"{head} |{'' if value.endswith(chr(10)) else '-'}", said
        yield from ((" " * (indent + 2) + text if text else "", "") for text in value.removesuffix("\n").split("\n"))
    elif not _opens(value, path) and (len(line) <= WIDTH or not value or not isinstance(value, dict | list)):
        yield line, said
    elif isinstance(value, Mapping) and head.endswith("-"):
        yield from _item(head, value, path, indent, comment)
    elif isinstance(value, Mapping):
        yield head, said
        yield from _mapping(value, path, indent + 2, comment)
    else:
        yield head, said
        for number, below in enumerate(value):
            yield from _entry(" " * (indent + 2) + "-", below, (*path, number), indent + 2, comment)


def _item(head: str, value: Mapping[str, Any], path: Path, indent: int, comment: _Comment) -> _Lines:
    """A mapping in a list: its first key stands behind the dash."""
    for number, (line, said) in enumerate(_mapping(value, path, indent + 2, comment)):
        yield (head + line[len(head) :], comment(path)) if not number else (line, said)


def _opens(value: Any, path: Path) -> bool:
    """Sections of a policy that hold rules or rows stand open, however short, and so does what holds lines of text."""
    if not isinstance(value, Mapping | list) or not value:
        return False
    section = len(path) == 1 and (isinstance(value, Mapping) or any(isinstance(item, Mapping) for item in value))
    return section or any(_literal(text) for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping | list):
        for below in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(below)
    elif isinstance(value, str) and "\n" in value:
        yield value


def _literal(value: str) -> bool:
    """Whether a block says exactly this: no line has spaces that could get lost, and all of it can be printed."""
    lines = value.removesuffix("\n").split("\n")
    return (
        _BLOCK.fullmatch(value) is not None
        and not value.endswith("\n\n")
        and all(line.isprintable() and line == line.rstrip() for line in lines)
    )
