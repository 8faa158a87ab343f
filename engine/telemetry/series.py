"""Counters and histograms with bounded labels, and their text in the Prometheus exposition format 0.0.4.

Own code rather than a client library: a request costs a few dictionary updates instead of a dozen locked objects, start-up
loads nothing, and the bound on labels, which no library has, is the point: model names come from clients.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

OTHER = "other"
"""The label value of everything beyond a bound."""

MAX_SERIES = 2_000
"""Label combinations of one family; later ones are counted together."""

Labels = tuple[str, ...]


class Bounded:
    """Lets the first `most` distinct values through and calls every later one `other`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        if value in self._known:
            return value
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(value)
        return value


@dataclass(slots=True)
class Counter:
    """A sum per combination of labels. `name` ends in `_total`."""

    name: str
    help: str
    labels: Labels
    values: dict[Labels, float] = field(default_factory=dict)

    def add(self, labels: Labels, amount: float = 1) -> None:
        """Count `amount` for `labels`, given in the family's order."""
        if labels not in self.values and len(self.values) >= MAX_SERIES:
            labels = (OTHER,) * len(self.labels)
        self.values[labels] = self.values.get(labels, 0) + amount

    def text(self) -> Iterator[str]:
        """Lines of the exposition format."""
        yield from _head(self.name, self.help, "counter")
        for labels, value in self.values.items():
            yield f"{self.name}{_labelled(self.labels, labels)} {number(value)}"

    def as_json(self) -> list[dict[str, Any]]:
        """One object per combination: its labels, and `value`."""
        return [
            {**dict(zip(self.labels, labels, strict=True)), "value": value} for labels, value in self.values.items()
        ]


@dataclass(slots=True)
class Histogram:
    """How often a value fell into each of the fixed buckets, per combination of labels."""

    name: str
    help: str
    labels: Labels
    bounds: tuple[float, ...]
    """Upper bounds, ascending, the value itself included; beyond the last is +Inf."""
    most: int = MAX_SERIES
    """Label combinations; later ones are counted together."""
    counts: dict[Labels, list[int]] = field(default_factory=dict)
    sums: dict[Labels, float] = field(default_factory=dict)

    def observe(self, labels: Labels, value: float) -> None:
        """Count `value` for `labels`, given in the family's order."""
        counts = self.counts.get(labels)
        if counts is None:
            if len(self.counts) >= self.most:
                labels = (OTHER,) * len(self.labels)
            counts = self.counts.setdefault(labels, [0] * (len(self.bounds) + 1))
        counts[bisect_left(self.bounds, value)] += 1
        self.sums[labels] = self.sums.get(labels, 0.0) + value

    def text(self) -> Iterator[str]:
        """Lines of the exposition format."""
        yield from _head(self.name, self.help, "histogram")
        names = (*self.labels, "le")
        for labels, counts in self.counts.items():
            so_far = 0
            for bound, count in zip((*map(number, self.bounds), "+Inf"), counts, strict=True):
                so_far += count
                yield f"{self.name}_bucket{_labelled(names, (*labels, bound))} {so_far}"
            own = _labelled(self.labels, labels)
            yield f"{self.name}_sum{own} {number(self.sums[labels])}"
            yield f"{self.name}_count{own} {so_far}"

    def as_json(self) -> list[dict[str, Any]]:
        """One object per combination: its labels, `count`, `sum`, and the estimated `p50`, `p95`, `p99`."""
        return [
            {
                **dict(zip(self.labels, labels, strict=True)),
                "count": sum(counts),
                "sum": self.sums[labels],
                **{f"p{percent}": self._quantile(counts, percent / 100) for percent in (50, 95, 99)},
            }
            for labels, counts in self.counts.items()
        ]

    def _quantile(self, counts: Sequence[int], share: float) -> float:
        """The value below which `share` of all lie, taken as evenly spread within its bucket; at most the last bound."""
        wanted = share * sum(counts)
        below, lower = 0, 0.0
        for bound, count in zip(self.bounds, counts, strict=False):
            if count and below + count >= wanted:
                return lower + (bound - lower) * (wanted - below) / count
            below, lower = below + count, bound
        return self.bounds[-1]


def gauge(name: str, help_text: str, value: float) -> Iterator[str]:
    """Lines of the exposition format for one value without labels."""
    yield from _head(name, help_text, "gauge")
    yield f"{name} {number(value)}"


def number(value: float) -> str:
    """A number as the format spells it: integers without a fraction."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _head(name: str, help_text: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} {kind}"


def _labelled(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
