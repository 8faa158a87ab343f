"""Lays policy files over each other: what `extends` means.

Rules kept here:

- Files are merged one after the other, each once: a file's parents from left to right, then the file. So two parents with
  a common ancestor do not undo each other's changes.
- Maps merge by key, anything else is replaced, null deletes. A route is replaced whole, and so is the pipeline.
- Lists of rules (`classify`, `overrides`, `gate.require`, `gate.deny`, `trace`, `cache.rules`) merge by id: the same id replaces the whole rule in
  its place, new ids go to the end or where `before` and `after` say, `remove` takes rules out.
- Two parents that say different things under one id need a child that settles it.

Every value of the merged tree is a node of the file it came from, so each knows its origin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import orjson

from engine.policy.nodes import Node, Source
from engine.policy.problems import Problem, Span
from engine.policy.suggest import did_you_mean

Path = tuple[str | int, ...]

_RULES: frozenset[Path] = frozenset(
    {("classify",), ("overrides",), ("gate", "require"), ("gate", "deny"), ("trace",), ("cache", "rules")}
)
_OWN = frozenset({"version", "name", "description", "extends"})
"""Keys that a file says of itself; nobody inherits them."""

_ORDERED = frozenset({"providers", "models", "vars", "protocols"})
"""Maps whose order means something, so that it counts in the digest."""


@dataclass(slots=True, frozen=True)
class Layer:
    """One file's part. `ancestors` are the files it extends, near and far: those it may overrule in silence."""

    root: Node
    ancestors: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Resolved:
    """A policy with everything it extends merged in."""

    name: str
    root: Node
    sources: tuple[Source, ...]
    """Files in the order in which they were laid over each other."""

    @cached_property
    def value(self) -> dict[str, Any]:
        """The merged policy in plain dicts and lists, rows of providers and models included."""
        plain: dict[str, Any] = self.root.plain()
        return plain

    @cached_property
    def origins(self) -> Mapping[Path, Span]:
        """Path in `value` → where that value stands."""
        return dict(_origins(self.root, ()))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the policy says, in hex; the same for the same policy wherever its parts are kept."""
        return hashlib.sha256(orjson.dumps(_canonical(self.value, ""), option=orjson.OPT_SORT_KEYS)).hexdigest()


def compose(layers: list[Layer]) -> tuple[Node, list[Problem]]:
    """Merge `layers`, the first one lowest. The list is not empty."""
    merger = _Merger()
    first = layers[0].root
    merged = replace(first, value={}, style="", text="")
    for layer in layers:
        own = replace(layer.root, value={k: v for k, v in layer.root.map.items() if k not in _OWN})
        merged = merger.lay(merged, own, (), layer)
    return merged, merger.problems + list(merger.conflicts.values())


def _origins(node: Node, path: Path) -> Iterator[tuple[Path, Span]]:
    yield path, node.key_span
    for key, below in node.map.items():
        yield from _origins(below, (*path, key))
    for index, below in enumerate(node.items):
        yield from _origins(below, (*path, index))


def _canonical(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        parts = {k: _canonical(v, k) for k, v in value.items()}
        return list(parts.items()) if key in _ORDERED else parts
    return [_canonical(v, "") for v in value] if isinstance(value, list) else value


class _Merger:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.conflicts: dict[tuple[Path, str], Problem] = {}

    def lay(self, under: Node | None, over: Node, path: Path, layer: Layer) -> Node:
        """`over` laid on `under`."""
        if path in _RULES:
            return self._lay_rules(under, over, path, layer)
        if not isinstance(over.value, dict) or (len(path) == 2 and path[0] == "routes"):
            return over
        if len(path) == 2 and path[0] == "providers":
            over = self._provider(under, over)
        merged = dict(under.map) if under is not None else {}
        for key, below in over.map.items():
            if below.value is None:
                merged.pop(key, None)
            else:
                merged[key] = self.lay(merged.get(key), below, (*path, key), layer)
        return replace(over, value=merged)

    def _provider(self, under: Node | None, over: Node) -> Node:
        """A row with its addresses in the long form: `protocols` says all, `protocol` and `base_url` are gone."""
        fields = dict(over.map)
        have = under.get("protocols") if under is not None else None
        known = have.map if have is not None else {}
        protocol, url = fields.get("protocol"), fields.get("base_url")
        endpoints: dict[str, Node] | None = None
        if protocol is not None and url is not None:
            endpoints = {str(protocol.value): url}
        elif url is not None and known:
            if len({node.value for node in known.values()}) > 1:
                hint = "write `protocols:` with the address of each, or add `protocol:`"
                self.problems.append(url.problem("provider-address", "this provider has several addresses", hint=hint))
            endpoints = dict.fromkeys(known, url)
        elif protocol is not None and str(protocol.value) in known:
            endpoints = {str(protocol.value): known[str(protocol.value)]}
        if endpoints is None:
            return over
        fields.pop("protocol", None)
        fields.pop("base_url", None)
        said = fields.get("protocols")
        # What the short form does not name is gone; null takes it out of the row below.
        gone = {name: replace(node, value=None) for name, node in known.items() if name not in endpoints}
        fields["protocols"] = replace(said or over, value={**gone, **endpoints, **(said.map if said else {})})
        return replace(over, value=fields)

    def _lay_rules(self, under: Node | None, over: Node, path: Path, layer: Layer) -> Node:
        rules = {_id(rule, n): rule for n, rule in enumerate(under.items if under is not None else ())}
        mine: dict[str, Node] = {}
        for number, rule in enumerate(over.items):
            if (names := rule.get("remove")) is not None:
                self._remove(rules, names, path)
                continue
            name = _id(rule, number + len(rules) if rule.get("id") is None else number)
            if name in mine:
                first = (mine[name].get("id") or mine[name]).span
                at = rule.get("id") or rule
                self.problems.append(
                    at.problem("rule-id", f"id '{name}' is given twice; the first is at line {first.line}")
                )
                continue
            mine[name] = rule
            self._settle(rules.get(name), rule, (path, name), layer)
            rules = self._put(rules, name, rule)
        return replace(over, value=tuple(rules.values()))

    def _remove(self, rules: dict[str, Node], names: Node, path: Path) -> None:
        for node in names.items:
            name = str(node.value)
            self.conflicts.pop((path, name), None)
            if rules.pop(name, None) is None:
                self.problems.append(
                    node.problem("rule-id", f"there is no rule '{name}' to remove{did_you_mean(name, rules)}")
                )

    def _settle(self, before: Node | None, rule: Node, place: tuple[Path, str], layer: Layer) -> None:
        """Note, or clear, a disagreement of two parents about one id."""
        if before is None:
            return
        file = before.source.file
        if file == rule.source.file or file in layer.ancestors:
            self.conflicts.pop(place, None)
        elif before.plain() != rule.plain():
            at = rule.get("id") or rule
            line = (before.get("id") or before).span.line
            message = f"'{place[1]}' is another rule in {file}:{line}, and this policy extends both"
            self.conflicts[place] = at.problem(
                "extends-conflict", message, hint="say in your own file which rule holds"
            )

    def _put(self, rules: dict[str, Node], name: str, rule: Node) -> dict[str, Node]:
        """`rules` with `rule` under `name`: in its old place, at the end, or where it asks to be.

        Where it asked to be is no part of the merged rule: it stands there.
        """
        asked, place = rule, rule.get("before") or rule.get("after")
        if place is None:
            return {**rules, name: rule}
        rule = replace(rule, value={key: node for key, node in rule.map.items() if key not in {"before", "after"}})
        target = str(place.value)
        others = {key: node for key, node in rules.items() if key != name}
        if target not in others:
            word = "before" if asked.get("before") is not None else "after"
            message = f"there is no rule '{target}' to go {word}{did_you_mean(target, others)}"
            self.problems.append(place.problem("rule-id", message))
            return {**rules, name: rule}
        placed: dict[str, Node] = {}
        for key, node in others.items():
            if key == target and asked.get("before") is not None:
                placed[name] = rule
            placed[key] = node
            if key == target and asked.get("before") is None:
                placed[name] = rule
        return placed


def _id(rule: Node, number: int) -> str:
    """The rule's id; one whose id is missing or wrong gets a name that no file can say."""
    node = rule.get("id")
    return str(node.value) if node is not None else f"\0{number}"
