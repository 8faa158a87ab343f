"""Holds a decision against what a test expects. Only what is expected is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from engine.policy.case import Case
from engine.policy.decision import Candidate, Decision
from engine.policy.testing.suite import Mismatch, Scenario

_Found = Iterator[tuple[str, str, str]]
"""(below which key, expected, actual) of what differs."""


def compare(scenario: Scenario, decision: Decision, case: Case) -> tuple[Mismatch, ...]:
    """What differs, in the order in which it is expected; empty when the test passes. `decision` is that of `case`."""
    return tuple(
        Mismatch(f"{key}{below}", wanted, actual, scenario.places[key])
        for key, expected in scenario.expect.items()
        for below, wanted, actual in _differences(key, expected, decision, case)
    )


def _differences(key: str, expected: Any, decision: Decision, case: Case) -> _Found:
    if key in _ONE:
        yield from _differ("", expected, _ONE[key](decision))
        return
    match key:
        case "kept":
            yield from _ruled(expected, "" if decision.denial is not None else case.policy.cache.keeps(case.facts))
        case "traced":
            yield from _ruled(expected, case.policy.traces(case.facts))
        case "override":
            yield from _differ("", expected, case.override or None)
        case "candidates":
            yield from _candidates(expected, tried(decision))
        case "dropped":
            yield from _dropped(expected, decision)
        case "denied":
            yield from _denied(expected, decision)
        case "losses":
            chosen = first(decision)
            actual = sorted(chosen.losses) if chosen else None
            yield from _differ("", sorted(expected), actual)
        case "vars":
            for name, value in expected.items():
                yield from _differ(f".{name}", value, decision.vars.get(name, _NO_VALUE))
        case "signals":
            for name, value in expected.items():
                yield from _differ(f".{name}", value, case.facts["signals"].get(name))
        case "shadow":
            hits = {hit.id: hit.outcome for hit in decision.hits if hit.shadow}
            for name, value in expected.items():
                yield from _differ(f".{name}", word(value), hits.get(name, "not asked"))


def _ruled(expected: bool | str, rule: str) -> _Found:
    """`expected` is a rule's id, or whether there is any."""
    yield from _differ("", expected, rule or False if isinstance(expected, str) or not rule else True)


def tried(decision: Decision) -> tuple[Candidate, ...]:
    """The candidates that a gateway would send to, in order: none of a request that is refused."""
    return () if decision.denial is not None else decision.chain


def first(decision: Decision) -> Candidate | None:
    """The one it would send to first."""
    return next(iter(tried(decision)), None)


def word(value: Any) -> str:
    """A value as a test's file writes it, on one line."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.10g}"
        case Mapping():
            return "{" + ", ".join(f"{key}: {word(below)}" for key, below in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(word, value)) + "]"
    return str(value)


class _NoValue:
    def __str__(self) -> str:
        return "without a value"


_NO_VALUE = _NoValue()


def _of_first(name: str) -> Callable[[Decision], Any]:
    return lambda decision: getattr(first(decision), name, None)


_ONE: Mapping[str, Callable[[Decision], Any]] = {
    "class": lambda decision: decision.route_class,
    "rule": lambda decision: decision.class_rule or None,
    "model": _of_first("ref"),
    "provider": _of_first("provider"),
    "protocol": _of_first("protocol"),
    "preserve": _of_first("preserve"),
    "hedged": lambda decision: decision.hedge_ms or False,
}
"""Expectations of one value → the decision's."""


def _same(expected: Any, actual: Any) -> bool:
    """Equal, with 1 and 1.0 the same and 1 and true not."""
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, list) and isinstance(actual, list | tuple):
        return len(expected) == len(actual) and all(map(_same, expected, actual))
    return bool(expected == actual)


def _differ(below: str, expected: Any, actual: Any) -> _Found:
    if not _same(expected, actual):
        yield below, word(expected), word(actual)


def _is(name: str, candidate: Candidate) -> bool:
    """Whether `name` (a provider's, or provider/name) means the candidate."""
    return name in {candidate.ref, candidate.provider}


def _candidates(expected: Sequence[str], actual: Sequence[Candidate]) -> _Found:
    if len(expected) != len(actual) or not all(map(_is, expected, actual)):
        # Where only the provider is expected, only the provider is shown, so that the eye finds what differs.
        plain = set(expected)
        yield "", word(expected), word([c.provider if c.provider in plain else c.ref for c in actual])


def _dropped(expected: Mapping[str, str], decision: Decision) -> _Found:
    gone = {c.ref: c for c in decision.candidates if c.dropped is not None}
    if not expected and gone:
        yield "", "none", word({ref: _cause(c) for ref, c in gone.items()})
    for name, cause in expected.items():
        found = [c for c in decision.candidates if _is(name, c)]
        wrong = [c for c in found if c.dropped is None or cause not in {c.rule, c.dropped}]
        if not found:
            yield f".{name}", cause, "not a candidate"
        elif wrong:
            yield f".{name}", cause, _cause(wrong[0])


def _cause(candidate: Candidate) -> str:
    if candidate.dropped is None:
        return "not dropped"
    return f"{candidate.rule} ({candidate.dropped})" if candidate.rule else candidate.dropped


def _denied(expected: Any, decision: Decision) -> _Found:
    denial = decision.denial
    if denial is None:
        if expected is not False:
            yield "", word(expected), "not refused"
        return
    said = f"{denial.rule or denial.reason} ({denial.status})"
    match expected:
        case bool():
            if not expected:
                yield "", "not refused", said
        case int():
            if expected != denial.status:
                yield "", word(expected), said
        case str():
            if expected not in {denial.rule, denial.reason}:
                yield "", expected, said
        case _:
            actual = {
                "rule": denial.rule or None,
                "status": denial.status,
                "reason": denial.reason,
                "message": denial.message,
            }
            for key, value in expected.items():
                yield from _differ(f".{key}", value, actual[key])
