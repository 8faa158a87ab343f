"""A YAML file as a tree of nodes that know where they stand, and the trees that composition makes of several.

Positions are exact: `Node.at` finds the file position of any character of a scalar, whatever its style.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from engine.policy.problems import Level, Problem, Span
from engine.policy.scalars import positions

Value = None | bool | int | float | str | tuple["Node", ...] | dict[str, "Node"]

BROKEN = "!"
"""The `style` of a value that the reader refused: its place is known, its value means nothing."""

_KEY = re.compile(r"\b(?:[a-z]{0,2}sk[-_]|xai-|nvapi-)[\w-]{5,}")
"""Text with the beginning of an API key; people paste them where they do not belong."""

_LONGEST_EXCERPT = 4000

_LINE_END = re.compile(r"\r\n|\n|\r")


def masked(text: str) -> str:
    """`text` with what looks like an API key made unreadable, at the same length."""
    return _KEY.sub(lambda m: "•" * len(m.group()), text)


class Source:
    """A file's text, with lines counted as editors do."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self._starts = [0, *(m.end() for m in _LINE_END.finditer(text))]
        self._hidden: list[tuple[int, int]] = []

    def place(self, index: int) -> tuple[int, int]:
        """(line, column) of a character, both from 1."""
        line = bisect_right(self._starts, index)
        return line, index - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of line `number`, without its end."""
        if not 1 <= number <= len(self._starts):
            return ""
        end = self._starts[number] if number < len(self._starts) else len(self.text)
        return self.text[self._starts[number - 1] : end].rstrip("\r\n")

    def span(self, start: int, end: int) -> Span:
        """The stretch from `start` to before `end`, at least one character long."""
        line, column = self.place(start)
        end_line, end_column = self.place(max(end, start + 1) - 1)
        return Span(self.file, line, column, end_line, end_column + 1)

    def hide(self, start: int, end: int) -> None:
        """Never show these characters in an excerpt: they may be a key."""
        self._hidden.append((start, end))

    def problem(
        self, start: int, end: int, rule: str, message: str, *, hint: str = "", level: Level = "error"
    ) -> Problem:
        span = self.span(start, end)
        return Problem(span, rule, message, level, hint, self.excerpt(span.line))

    def excerpt(self, number: int) -> str:
        """The text of line `number` as it may be shown, keys made unreadable; empty for a line without end."""
        line = masked(self.line(number))
        if not line or len(line) > _LONGEST_EXCERPT:
            return ""
        first = self._starts[number - 1]
        return "".join(self._printed(first + at, char) for at, char in enumerate(line))

    def _printed(self, index: int, char: str) -> str:
        if any(start <= index < end for start, end in self._hidden):
            return "•"
        return char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}"


@dataclass(slots=True, frozen=True, eq=False)
class Node:
    """A value of a file. Composition makes trees whose nodes come from several files; each keeps its own source."""

    source: Source
    start: int
    end: int
    """Half-open stretch of characters of the value in its file."""
    value: Value
    style: str = ""
    """`'` `"` `|` `>` for a quoted or block scalar, `{` or `[` for a flow collection, else empty."""
    text: str = ""
    """A scalar's text before it got a type."""
    key: tuple[int, int] | None = None
    """Where its key stands, when it is a value of a mapping."""
    flawed: bool = False
    """Something that stood in it was refused and taken out; what is missing now need not be told of."""

    @property
    def broken(self) -> bool:
        return self.style == BROKEN

    @property
    def map(self) -> dict[str, Node]:
        """Its entries; empty when it is no mapping."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> tuple[Node, ...]:
        """Its items; empty when it is no list."""
        return self.value if isinstance(self.value, tuple) else ()

    def get(self, *keys: str) -> Node | None:
        """The node below, None when a key is missing on the way."""
        node: Node | None = self
        for key in keys:
            node = None if node is None else node.map.get(key)
        return node

    def follow(self, path: Iterable[str | int]) -> Node:
        """The node at `path`, or the last one on the way that exists."""
        node = self
        for step in path:
            below = node.map.get(step) if isinstance(step, str) else dict(enumerate(node.items)).get(step)
            if below is None:
                break
            node = below
        return node

    def plain(self) -> Any:
        """Its value in plain dicts and lists."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, tuple):
            return [node.plain() for node in self.value]
        return self.value

    @property
    def span(self) -> Span:
        """The value's place; of a collection, its first line."""
        return self.source.span(self.start, self._first_line_end())

    @property
    def key_span(self) -> Span:
        """The key's place, or the value's when it has no key."""
        return self.source.span(*self.key) if self.key else self.span

    def _first_line_end(self) -> int:
        if isinstance(self.value, dict | tuple) or self.style in {"|", ">"}:
            found = _LINE_END.search(self.source.text, self.start, self.end)
            return found.start() if found else self.end
        return self.end

    def problem(
        self, rule: str, message: str, *, hint: str = "", level: Level = "error", at_key: bool = False
    ) -> Problem:
        """A problem of this value, or with `at_key` of its key."""
        start, end = self.key if at_key and self.key else (self.start, self._first_line_end())
        return self.source.problem(start, end, rule, message, hint=hint, level=level)

    def at(self, start: int, end: int) -> tuple[int, int]:
        """The file's characters that hold characters `start` to before `end` of this scalar's text."""
        if not self.text:
            return self.start, self.end
        places = positions(self.source.text[self.start : self.end], self.style, self.text)
        first = self.start + places[min(start, len(places) - 1)]
        last = self.start + places[min(max(end, start + 1), len(places)) - 1]
        return first, max(first, last) + 1
