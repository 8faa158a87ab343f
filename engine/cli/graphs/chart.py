"""What a picture of a policy shows, whatever it is drawn with: steps and exits, then classes, their rules and their routes.

With an explained decision, the way that request took is marked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from engine.pipeline import Pipeline
from engine.policy.explanation import Explanation
from engine.policy.model import DEFAULT_CLASS, Entry, Policy, Route

_ASKED = {"requested": "the model asked for", "pinned": "the model named in a header"}


@dataclass(slots=True, frozen=True)
class Stop:
    """A step of the pipeline."""

    id: str
    stage: str
    when: str = ""
    taken: bool = False


@dataclass(slots=True, frozen=True)
class Way:
    """From one step to another, both by their place; `exit` is empty for the way straight on."""

    source: int
    target: int
    exit: str = ""
    taken: bool = False


@dataclass(slots=True, frozen=True)
class Choice:
    """A line of a route."""

    use: str
    stands_for: str
    when: str = ""
    mark: str = ""
    """`1`, `2` … for its place among those tried, `-` for what dropped out; empty without a decision."""
    why: str = ""
    """Why it dropped out."""


@dataclass(slots=True, frozen=True)
class Lane:
    """A class, or an override with candidates of its own, and its route."""

    name: str
    rules: tuple[str, ...]
    choices: tuple[Choice, ...]
    order: str = ""
    taken: bool = False
    rule: str = ""
    """The rule that chose it for the request that is marked."""


@dataclass(slots=True, frozen=True)
class Chart:
    policy: str
    stops: tuple[Stop, ...]
    ways: tuple[Way, ...]
    lanes: tuple[Lane, ...]
    marked: bool = False
    ending: str = ""
    """What became of the marked request, in a few words."""


def chart(pipeline: Pipeline, explained: Explanation | None = None, path: Sequence[str] = ()) -> Chart:
    """The picture of a policy. `path` is the way a recorded request really took; without it, the one it would take."""
    policy = pipeline.policy
    path = path or (explained.path if explained is not None else ())
    taken = {step.partition(".")[0]: step.partition(".")[2] for step in path}
    stops = tuple(
        Stop(s.id, s.step.use, _line(s.step.when.source) if s.step.when else "", s.id in taken) for s in pipeline.steps
    )
    return Chart(
        policy=policy.label,
        stops=stops,
        ways=tuple(_ways(pipeline, taken, [step.partition(".")[0] for step in path])),
        lanes=tuple(_lanes(policy, explained)),
        marked=explained is not None,
        ending=_ending(explained) if explained is not None else "",
    )


def _ways(pipeline: Pipeline, taken: dict[str, str], order: list[str]) -> Iterator[Way]:
    """Every way between steps. One straight on is taken when both ends were, one after the other."""
    follows = set(pairwise(order))
    names = [step.id for step in pipeline.steps]
    for at, step in enumerate(pipeline.steps):
        left_by = taken.get(step.id, "")
        for name, target in step.exits.items():
            yield Way(at, target, name, left_by == name and (step.id, names[target]) in follows)
        if at + 1 < len(names):
            straight = not left_by and (step.id, names[at + 1]) in follows
            yield Way(at, at + 1, "", straight)


def _lanes(policy: Policy, explained: Explanation | None) -> Iterator[Lane]:
    for rule in policy.overrides:
        if rule.route is not None:
            yield _lane(policy, rule.route, rule.id, (rule.id,), explained)
    named = dict.fromkeys([*policy.routes, *(rule.route_class for rule in policy.classify)])
    for name in named:
        rules = tuple(rule.id for rule in policy.classify if rule.route_class == name)
        rest = ("whatever no rule knows",) if name == DEFAULT_CLASS else ()
        yield _lane(policy, policy.route(name), name, (*rules, *rest), explained)


def _lane(policy: Policy, route: Route, name: str, rules: tuple[str, ...], explained: Explanation | None) -> Lane:
    override = explained is not None and explained.reason in ("OVERRIDE", "BUDGET") and explained.route == name
    taken = explained is not None and (
        override or (explained.decision.route_class == name and explained.route == route.name)
    )
    rule = explained.decision.class_rule if explained is not None and taken else ""
    choices = tuple(_choices(policy, route, name, explained if taken else None))
    return Lane(name, rules, choices, _line(route.order.source) if route.order else "", taken, rule)


def _choices(policy: Policy, route: Route, name: str, explained: Explanation | None) -> Iterator[Choice]:
    """Lines as written; with a decision, each model that a line brought in, with its place."""
    seen: set[str] = set()
    for number, entry in enumerate(route.entries):
        when = _line(entry.when.source) if entry.when is not None else ""
        if route.canary is not None and number in route.canary.places:
            when = " && ".join(filter(None, (route.canary.condition, when))) + f" (canary {route.canary.id})"
        if explained is None:
            # A class without a route of its own is served like fallback_safe.
            yield Choice(entry.use, _stands_for(policy, entry, name if name in policy.routes else DEFAULT_CLASS), when)
            continue
        ruling = explained.entries[number]
        models = [ref for ref in ruling.does.split(", ") if ref and ref not in seen]
        seen.update(models)
        if not models:
            why = ruling.detail or ("named before" if ruling.outcome == "true" else "its condition does not hold")
            yield Choice(entry.use, "", when, "-", why)
        for ref in models:
            found = next((c for c in explained.candidates if c.ref == ref), None)
            mark = str(found.place) if found is not None and found.place else "-"
            why = f"{found.reason} {found.rule}" if found is not None and not found.place else ""
            yield Choice(entry.use, ref, when, mark, why)


def _stands_for(policy: Policy, entry: Entry, route_class: str) -> str:
    """The model of a line before anybody asks."""
    if entry.use in _ASKED:
        return _ASKED[entry.use]
    if "/" in entry.use:
        return entry.use
    provider = policy.providers[entry.use]
    own = policy.catalogue.for_class(provider, route_class)
    return own.ref if own is not None else f"only models of {entry.use} that are asked for"


def _ending(explained: Explanation) -> str:
    decision = explained.decision
    if decision.denial is not None:
        return f"refused by {decision.denial.rule or 'nobody being left'}"
    return decision.chosen.ref if decision.chosen is not None else "nobody is left"


def _line(text: str) -> str:
    return " ".join(text.split())
