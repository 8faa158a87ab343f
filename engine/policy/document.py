"""Reads a YAML file into a tree of nodes with positions; collects everything that is wrong with it.

Rules kept here:

- One mapping per file, UTF-8, at most 256 KiB and 20 levels deep, text keys, no key twice.
- No tags, anchors, aliases or merge keys: what a reader sees is what the gateway reads, and nothing can be multiplied.
- Plain scalars have the types of YAML 1.2 and no others: `yes`, `12:30` and `2026-01-01` are text.

PyYAML is used for its events alone; it constructs nothing, so no text of a file can make an object.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from engine.policy.mangled import QUOTE_IT, explain_syntax, mangled_expressions, reads_expression
from engine.policy.nodes import BROKEN, Node, Source
from engine.policy.problems import Problem
from engine.policy.resume import MOST_ERRORS, without_section
from engine.policy.scalars import resolve

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""Control characters, and those that change the direction of text: an editor would show something else than is read."""


@dataclass(slots=True)
class Loaded:
    """What reading a file gave. `root` is None when nothing of it can be used; problems may exist beside a root."""

    source: Source
    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)
    partial: bool = False
    """Whole sections could not be read and are missing in `root`."""


def load_document(data: bytes, file: str, *, max_bytes: int = MAX_BYTES) -> Loaded:
    """Read the YAML in `data`; `file` is the name that positions show."""
    if len(data) > max_bytes:
        return _refused(Source(file, ""), 0, "yaml-size", f"the file is larger than {max_bytes // 1024} KiB")
    try:
        source = Source(file, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        before = Source(file, data[: error.start].decode("utf-8-sig", "replace"))
        return _refused(before, len(before.text), "yaml-encoding", "the file is not UTF-8")
    bad = list(_FORBIDDEN.finditer(source.text))
    if bad:
        problems = [
            source.problem(
                m.start(), m.end(), "yaml-control", f"control character U+{ord(m.group()):04X}", hint="take it out"
            )
            for m in bad[:20]
        ]
        return Loaded(source, None, problems)
    return _read_on(source)


def _read_on(source: Source) -> Loaded:
    """The tree of what can be read, past errors that stop YAML."""
    problems: list[Problem] = []
    text: str | None = source.text
    for errors in range(MOST_ERRORS):
        assert text is not None
        reader = _Reader(source)
        try:
            root = reader.read(yaml.parse(text, Loader=_LOADER))
        except yaml.YAMLError as error:
            problems += [*reader.problems, explain_syntax(source, error)]
            text = without_section(text, error)
            if text is None:
                break
            continue
        if root is not None:
            reader.problems += mangled_expressions(root)
        if not errors:
            return Loaded(source, root, reader.problems)
        found = list(dict.fromkeys([*problems, *reader.problems]))
        whole = root is not None and isinstance(root.value, dict)
        return Loaded(source, replace(root, flawed=True) if root is not None and whole else None, found, partial=True)
    return Loaded(source, None, list(dict.fromkeys(problems)))


def _refused(source: Source, at: int, rule: str, message: str) -> Loaded:
    return Loaded(source, None, [source.problem(at, at + 1, rule, message)])


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet."""

    start: int
    style: str
    key: tuple[int, int] | None
    map: dict[str, Node] | None
    items: list[Node] = field(default_factory=list)
    pending: tuple[str, int, int] | None = None
    """The key whose value comes next."""
    skipping: bool = False
    """The pending key is refused: its value is read and dropped."""


class _Reader:
    def __init__(self, source: Source) -> None:
        self.problems: list[Problem] = []
        self._source = source
        self._open: list[_Open] = []
        self._root: Node | None = None

    def read(self, events: Iterable[Any]) -> Node | None:
        """The tree; None for an empty file or one that is too deep."""
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._problem(event, "yaml-documents", "a file holds one document; a second one starts here")
                    break
            elif isinstance(event, yaml.CollectionStartEvent):
                if not self._begin(event):
                    return None
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end(event)
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
        if self._root is None and not self.problems:
            self.problems.append(self._source.problem(0, 1, "yaml-empty", "the file is empty"))
        return self._root

    def _begin(self, event: Any) -> bool:
        self._check_properties(event)
        if len(self._open) >= MAX_DEPTH:
            self._problem(event, "yaml-depth", f"nested more than {MAX_DEPTH} levels deep")
            return False
        top = self._open[-1] if self._open else None
        if top is not None and top.map is not None and top.pending is None:
            self._problem(event, "yaml-key", "a key must be text", hint=self._hint(""))
            top.pending, top.skipping = ("", event.start_mark.index, event.start_mark.index), True
            # The collection that stands for a key is read as if it were a value; the real value follows.
            self._open.append(_Open(event.start_mark.index, "key", None, self._new_map(event)))
            return True
        mapping = self._new_map(event)
        style = ("{" if mapping is not None else "[") if event.flow_style else ""
        self._open.append(_Open(event.start_mark.index, style, self._key_of(top), mapping))
        return True

    @staticmethod
    def _new_map(event: Any) -> dict[str, Node] | None:
        return {} if isinstance(event, yaml.MappingStartEvent) else None

    def _end(self, event: Any) -> None:
        done = self._open.pop()
        if done.style == "key":
            return
        end = event.end_mark.index
        text = self._source.text
        while end > done.start and text[end - 1] in " \t\r\n":
            end -= 1
        value = done.map if done.map is not None else tuple(done.items)
        self._add(Node(self._source, done.start, end, value, done.style, "", done.key))

    def _scalar(self, event: Any) -> None:
        self._check_properties(event)
        start, end = event.start_mark.index, event.end_mark.index
        plain = event.style in {"", None}
        top = self._open[-1] if self._open else None
        if top is not None and top.map is not None and top.pending is None:
            self._key(top, event, plain=plain)
            return
        if event.tag is not None:
            self._add_broken(event)
            return
        value = resolve(event.value) if plain else event.value
        self._add(Node(self._source, start, end, value, event.style or "", event.value, self._key_of(top)))

    def _key(self, top: _Open, event: Any, *, plain: bool) -> None:
        start, end, name = event.start_mark.index, event.end_mark.index, event.value
        assert top.map is not None
        top.pending, top.skipping = (name, start, end), False
        if plain and name == "<<":
            self._problem(
                event, "yaml-merge", "merge keys are not read", hint="write the entries out, or use `extends`"
            )
            top.skipping = True
        elif plain and not isinstance(resolve(name), str):
            written = name or "an empty key"
            self._problem(
                event, "yaml-key", f"a key must be text, not {written}", hint=f"quote it: '{name}'" if name else ""
            )
            top.skipping = True
        elif name in top.map:
            first = top.map[name].key_span
            message = f"key '{name}' is given twice; the first is at line {first.line}, column {first.column}"
            self._problem(event, "yaml-duplicate", message, hint="keep one of them")
            top.skipping = True

    def _alias(self, event: Any) -> None:
        top = self._open[-1] if self._open else None
        name = top.pending[0] if top is not None and top.pending else ""
        self._problem(event, "yaml-alias", "aliases are not read", hint=self._hint(name) or "write the value out")
        if top is not None and top.map is not None and top.pending is None:
            top.pending, top.skipping = ("", event.start_mark.index, event.end_mark.index), True
        else:
            self._add_broken(event)

    def _add_broken(self, event: Any) -> None:
        """Keep the place of a value that was refused, so that nothing else complains of its absence."""
        start, end = event.start_mark.index, event.end_mark.index
        raw = self._source.text[start:end]
        self._add(
            Node(self._source, start, end, raw, BROKEN, raw, self._key_of(self._open[-1] if self._open else None))
        )

    @staticmethod
    def _key_of(top: _Open | None) -> tuple[int, int] | None:
        return top.pending[1:] if top is not None and top.pending is not None else None

    def _check_properties(self, event: Any) -> None:
        top = self._open[-1] if self._open else None
        name = top.pending[0] if top is not None and top.pending else ""
        if event.anchor is not None:
            self._problem(event, "yaml-alias", "anchors are not read", hint=self._hint(name) or "take it out")
        if event.tag is not None:
            self._problem(
                event, "yaml-tag", f"YAML reads {_shown(event.tag)} as a tag", hint=self._hint(name) or "quote the text"
            )

    def _add(self, node: Node) -> None:
        if not self._open:
            self._root = node
            return
        top = self._open[-1]
        if top.map is None:
            top.items.append(node)
            return
        assert top.pending is not None
        if not top.skipping:
            top.map[top.pending[0]] = node
        top.pending, top.skipping = None, False

    def _hint(self, key: str) -> str:
        keys = [o.pending[0] for o in self._open if o.pending]
        return QUOTE_IT if reads_expression(keys[0] if keys else "", key) else ""

    def _problem(self, event: Any, rule: str, message: str, *, hint: str = "") -> None:
        start, end = event.start_mark.index, event.end_mark.index
        self.problems.append(self._source.problem(start, end, rule, message, hint=hint))


def _shown(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")[:40]
