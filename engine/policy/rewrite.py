"""Changes the text of a YAML file so that it says something else, and leaves everything that stays the same alone.

Comments, order and quoting survive wherever the value beside them does. What is replaced is written on one line. The result
is read back; should it not say what it must, the whole document is written anew, without its comments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.policy.document import load_document
from engine.policy.emit import emit, flow, scalar
from engine.policy.nodes import Node

_Edit = tuple[int, int, str]
"""Characters from, to, and what takes their place."""


def rewrite(root: Node, value: Mapping[str, Any]) -> str:
    """The text of the file that `root` was read from, changed to mean `value`."""
    text = root.source.text
    for start, end, put in sorted(_edits(root, value), reverse=True):
        text = text[:start] + put + text[end:]
    made = load_document(text.encode(), root.source.file)
    if made.problems or made.root is None or not _same(made.root.plain(), value):
        return emit(value)
    return text


def _edits(node: Node, value: Any) -> Iterator[_Edit]:
    if _same(node.plain(), value):
        return
    if isinstance(value, Mapping) and node.map and not node.style:
        yield from _mapping(node, value)
    elif isinstance(value, list) and len(value) == len(node.items):
        for item, below in zip(node.items, value, strict=True):
            yield from _edits(item, below)
    else:
        yield node.start, max(node.start, node.end), (" " if node.start == node.end else "") + flow(value)


def _mapping(node: Node, value: Mapping[str, Any]) -> Iterator[_Edit]:
    """A mapping with a key on each line."""
    gone = [key for key in node.map if key not in value]
    new = [key for key in value if key not in node.map]
    if gone == list(node.map):
        yield node.start, node.end, flow(value)
        return
    for old, name in zip(gone, new, strict=False):
        if _same(node.map[old].plain(), value[name]):
            start, end = _key(node.map[old])
            yield start, end, scalar(name)
            gone, new = [k for k in gone if k != old], [k for k in new if k != name]
    for key in gone:
        yield _line_of(node.map[key])
    for key, below in node.map.items():
        if key in value:
            yield from _edits(below, value[key])
    last = list(node.map.values())[-1]
    column = node.source.place(_key(last)[0])[1] - 1
    for key in new:
        yield _behind(last), _behind(last), f"\n{' ' * column}{scalar(key)}: {flow(value[key])}"


def _same(one: Any, other: Any) -> bool:
    """Equal, types and all: 1 is neither true nor 1.0."""
    if isinstance(one, dict) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


def _key(node: Node) -> tuple[int, int]:
    return node.key or (node.start, node.end)


def _behind(node: Node) -> int:
    """The end of the line on which a value ends."""
    end = max(node.end, _key(node)[1])
    found = node.source.text.find("\n", end)
    return found if found >= 0 else len(node.source.text)


def _line_of(node: Node) -> _Edit:
    """The lines of a key and its value; behind a list's dash the next key moves up."""
    text = node.source.text
    start, end = _key(node)[0], min(_behind(node) + 1, len(text))
    before = text.rfind("\n", 0, start) + 1
    if not text[before:start].strip():
        return before, end, ""
    return start, end + (len(text[end:]) - len(text[end:].lstrip(" "))), ""
