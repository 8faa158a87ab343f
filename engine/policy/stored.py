"""A policy as one self-contained document, so that an old decision can be made again after its files have changed.

The document holds what the policy says with everything it extends merged in, and where its rules stood in which file. It
compiles to a policy of the same digest whose rules show those places. There are no secrets in it: policies name environment
variables, never their values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from engine.llm.catalogue import Rate
from engine.policy import facts
from engine.policy.candidates import Rates
from engine.policy.compile import compile_policy
from engine.policy.compose import Path, Resolved
from engine.policy.model import Policy
from engine.policy.nodes import Node, Source
from engine.policy.problems import PolicyInvalid, Span

FORMAT = 1

_PLACED = ("vars", "pipeline", "classify", "overrides", "routes", "gate", "trace", "cache")
"""Sections whose places are kept; rows of providers and models decide nothing by themselves."""


class StoredPolicyInvalid(ValueError):
    """A stored document that this version can't read."""


def stored_json(policy: Policy) -> dict[str, Any]:
    """`policy` as plain data, ready for JSON."""
    root = policy.resolved.root
    places = [
        [list(path), span.file, span.line, span.column, span.end_line, span.end_column]
        for section in _PLACED
        if (node := root.get(section)) is not None
        for path, span in _places(node, (section,))
    ]
    return {
        "format_version": FORMAT,
        "name": policy.name,
        "digest": policy.digest,
        "sources": list(policy.sources),
        "rates": {ref: list(rate) for ref, rate in policy.rates.items()},
        "policy": policy.resolved.value,
        "places": places,
    }


def policy_of(data: Mapping[str, Any]) -> Policy:
    """The policy that `stored_json` gave. Raises StoredPolicyInvalid when it can't be compiled, or says something else."""
    if data.get("format_version") != FORMAT:
        raise StoredPolicyInvalid("it has a format that this version does not know")
    try:
        resolved = _resolved(data)
        rates: Rates = {ref: Rate.of(*map(float, rate)) for ref, rate in data["rates"].items()}
        policy, problems = compile_policy(resolved, facts.schema())
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise StoredPolicyInvalid(f"it is damaged ({type(error).__name__})") from None
    wrong = [problem for problem in problems if problem.level == "error"]
    if wrong:
        raise StoredPolicyInvalid(f"this version refuses it: {PolicyInvalid(wrong).message}")
    if policy.digest != data["digest"]:
        raise StoredPolicyInvalid("it has been changed since it was stored")
    return replace(policy, rates=rates)


def _places(node: Node, path: Path) -> Iterator[tuple[Path, Span]]:
    yield path, node.span
    for key, below in node.map.items():
        yield from _places(below, (*path, key))
    for index, below in enumerate(node.items):
        yield from _places(below, (*path, index))


@dataclass(slots=True, frozen=True)
class _Outline:
    """A file's blank text in which every place that is kept exists."""

    source: Source
    starts: tuple[int, ...]

    @classmethod
    def of(cls, file: str, spans: Iterable[Span]) -> _Outline:
        widths: dict[int, int] = {}
        for span in spans:
            for line, column in ((span.line, span.column), (span.end_line, span.end_column)):
                widths[line] = max(widths.get(line, 0), column)
        lines = [" " * widths.get(number, 0) for number in range(1, max(widths, default=0) + 1)]
        starts = accumulate((len(line) + 1 for line in lines), initial=0)
        return cls(Source(file, "\n".join(lines)), tuple(starts))

    def index(self, line: int, column: int) -> int:
        return self.starts[line - 1] + column - 1


def _resolved(data: Mapping[str, Any]) -> Resolved:
    places: dict[Path, Span] = {tuple(path): Span(*rest) for path, *rest in data["places"]}
    named = [*data["sources"], *(span.file for span in places.values())]
    files = {
        file: _Outline.of(file, (span for span in places.values() if span.file == file))
        for file in dict.fromkeys(named)
    }
    root = _node(data["policy"], (), files, places, files[data["sources"][-1]])
    return Resolved(data["name"], root, tuple(files[name].source for name in data["sources"]))


def _node(value: Any, path: Path, files: Mapping[str, _Outline], places: Mapping[Path, Span], home: _Outline) -> Node:
    """A tree like the one that reading the files made. What has no place of its own is at the beginning of `home`."""
    span = places.get(path)
    start = end = 0
    if span is not None:
        home = files[span.file]
        start, end = home.index(span.line, span.column), home.index(span.end_line, span.end_column)
    made: Any = value
    if isinstance(value, dict):
        made = {key: _node(below, (*path, key), files, places, home) for key, below in value.items()}
    elif isinstance(value, list):
        made = tuple(_node(below, (*path, n), files, places, home) for n, below in enumerate(value))
    text = repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""
    return Node(home.source, start, end, made, text=text)
