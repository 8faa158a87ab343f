"""How two decisions about one request differ, and which line of each policy made it so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from engine.policy.case import Case
from engine.policy.decision import Decision
from engine.policy.explanation import Explanation, Part, Ruling, Told, place

Kind = Literal[
    "denied", "unserved", "allowed", "model", "protocol", "losses", "refusal", "class", "fallback", "kept", "traced"
]

KINDS: Mapping[Kind, str] = {
    "denied": "refused by a rule now, served before",
    "unserved": "no candidate left now, served before",
    "allowed": "served now, refused before",
    "model": "another model is tried first",
    "protocol": "the same model, reached in another protocol",
    "losses": "the same model, with other losses in translation",
    "refusal": "refused as before, for another reason",
    "class": "another class",
    "fallback": "the same model first, another fallback behind it",
    "kept": "the response cache keeps its answer, or does not any more",
    "traced": "a trace is kept, or is not any more",
}
"""Kind → what it means, the weightiest first. A request counts under the first that fits."""


@dataclass(slots=True, frozen=True)
class Outcome:
    """What a decision means for the client."""

    route_class: str
    refused: str = ""
    """Empty when served; the rule that refuses; `no_candidate` when nobody is left."""
    chain: tuple[str, ...] = ()
    """`provider/name` of those that would be tried, in order; empty when refused."""
    protocol: str = ""
    """Of the first of them."""
    preserve: bool = False
    losses: tuple[str, ...] = ()
    kept: str | None = field(default=None, compare=False)
    """The rule by which its answer may be kept; None where that is not known, as in a record."""
    traced: str | None = field(default=None, compare=False)
    hedged: bool = field(default=False, compare=False)
    """The next of the chain is asked beside one that is slow."""

    @property
    def model(self) -> str:
        return self.chain[0] if self.chain else ""

    @classmethod
    def of(cls, decision: Decision) -> Outcome:
        """That of a decision just made."""
        denial = decision.denial
        if denial is not None:
            return cls(decision.route_class, denial.rule or "no_candidate")
        chain = decision.chain
        if not chain:
            return cls(decision.route_class, "no_candidate")
        first = chain[0]
        refs = tuple([candidate.ref for candidate in chain])
        hedged = decision.hedge_ms > 0
        return cls(decision.route_class, "", refs, first.protocol, first.preserve, first.losses, hedged=hedged)

    @classmethod
    def of_case(cls, case: Case) -> Outcome:
        """The same from a decided case, with what is kept of it: a dry run does not need the whole decision."""
        policy, facts = case.policy, case.facts
        kept = policy.cache.keeps(facts) if policy.cache.rules and case.denial is None else ""
        return replace(cls._decided(case), kept=kept, traced=policy.traces(facts) if policy.trace else "")

    @classmethod
    def _decided(cls, case: Case) -> Outcome:
        if case.denial is not None:
            return cls(case.route_class, case.denial.rule or "no_candidate")
        chain = [found.option.candidate for found in case.tries or () if found.dropped is None]
        if not chain:
            return cls(case.route_class, "no_candidate")
        first = chain[0]
        refs = tuple([candidate.ref for candidate in chain])
        hedged = case.hedge_ms > 0
        return cls(case.route_class, "", refs, first.protocol, first.preserve, first.losses, hedged=hedged)

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> Outcome | None:
        """That of a recorded decision; None when the record holds none."""
        try:
            denial = data.get("denial")
            if denial is not None:
                return cls(data["routeClass"], denial["rule"] or "no_candidate")
            chain = [candidate for candidate in data["candidates"] if "dropped" not in candidate]
            if not chain:
                return cls(data["routeClass"], "no_candidate")
            first = chain[0]
            refs = tuple([candidate["ref"] for candidate in chain])
            losses = tuple(first.get("losses", ()))
            hedged = "hedgeMs" in data
            return cls(data["routeClass"], "", refs, first["protocol"], first["preserve"], losses, hedged=hedged)
        except (KeyError, TypeError, AttributeError):
            return None


def differences(old: Outcome, new: Outcome) -> tuple[Kind, ...]:
    """Every kind in which they differ, the weightiest first; empty when nothing does."""
    found = [] if old == new else _decisions(old, new)
    kept: tuple[tuple[Kind, str | None, str | None], ...]
    kept = (("kept", old.kept, new.kept), ("traced", old.traced, new.traced))
    for kind, was, now in kept:
        if was is not None and now is not None and bool(was) != bool(now):
            found.append(kind)
    return tuple(found)


def _decisions(old: Outcome, new: Outcome) -> list[Kind]:
    found: list[Kind] = []
    if old.refused or new.refused:
        if not old.refused:
            found.append("unserved" if new.refused == "no_candidate" else "denied")
        elif not new.refused:
            found.append("allowed")
        elif old.refused != new.refused:
            found.append("refusal")
    elif old.model != new.model:
        found.append("model")
    else:
        if (old.protocol, old.preserve) != (new.protocol, new.preserve):
            found.append("protocol")
        if old.losses != new.losses:
            found.append("losses")
    if old.route_class != new.route_class:
        found.append("class")
    if not found:
        found.append("fallback")
    return found


@dataclass(slots=True, frozen=True)
class Line:
    """The line of a policy that decided: where it stands, what it is called, and why it did."""

    place: str
    """`file:line`, empty for what no file says."""
    name: str
    why: str
    """The deciding parts of its condition with their values."""

    def to_json(self) -> dict[str, str]:
        """Plain data; empty texts are left out."""
        return {k: v for k, v in (("place", self.place), ("name", self.name), ("why", self.why)) if v}


def deciding_line(explained: Explanation, other: Outcome) -> Line:
    """The line because of which the decision is not `other`'s."""
    mine = explained_outcome(explained)
    denial = explained.decision.denial
    if denial is not None and denial.rule:
        rules = (*explained.deny, *explained.overrides, *explained.classify)
        found = next((rule for rule in rules if rule.id == denial.rule and rule.reason), None)
        return _line(found) if found is not None else Line("", denial.rule, denial.reason)
    if mine.route_class != other.route_class:
        return _class_line(explained)
    override = next(
        (rule for rule in explained.overrides if rule.reason in ("OVERRIDE", "BUDGET") and not rule.shadow), None
    )
    if override is not None and mine.chain != other.chain:
        return _line(override)
    if mine.refused:
        return _dropped(explained, "") or _class_line(explained)
    if mine.model != other.model:
        return (
            _dropped(explained, other.model)
            or _ordered(explained, mine.model, other.model)
            or _entry(explained, mine.model)
            or _class_line(explained)
        )
    if mine == other:
        for rules, own, others in (
            (explained.cache, mine.kept, other.kept),
            (explained.trace, mine.traced, other.traced),
        ):
            if others is not None and bool(own) != bool(others):
                return next((_line(rule) for rule in rules if rule.reason), Line("", "nothing", "no rule keeps it"))
    lacking = next((ref for ref in other.chain if ref not in mine.chain), "")
    own = next((ref for ref in mine.chain if ref not in other.chain), mine.model)
    return (lacking and _dropped(explained, lacking)) or _entry(explained, own) or _class_line(explained)


def explained_outcome(explained: Explanation) -> Outcome:
    """What the explained decision means."""
    kept, traced = (next((r.id for r in rules if r.reason), "") for rules in (explained.cache, explained.trace))
    return replace(Outcome.of(explained.decision), kept=kept, traced=traced)


def _ordered(explained: Explanation, mine: str, other: str) -> Line | None:
    """The route's order, where it puts `mine` before `other`."""
    orders = {choice.ref: choice.order for choice in explained.candidates if choice.order}
    if mine not in orders or other not in orders:
        return None
    numbers = ", ".join(f"{ref} {told.outcome}" for ref in (mine, other) for told in orders[ref])
    return Line(place(explained.route_span), f"{explained.route} order", numbers)


def _class_line(explained: Explanation) -> Line:
    name = explained.decision.class_rule
    found = next((rule for rule in (*explained.overrides, *explained.classify) if name and rule.id == name), None)
    if found is None:
        return Line("", explained.decision.route_class, "no class rule holds")
    return _line(found)


def _dropped(explained: Explanation, ref: str) -> Line | None:
    """The rule that dropped `ref`, or for an empty `ref` the first candidate."""
    for choice in explained.candidates:
        if choice.reason is not None and choice.place == 0 and ref in ("", choice.ref):
            return Line(
                place(choice.span), choice.rule, f"drops {choice.ref}: {said(choice.conditions) or choice.reason}"
            )
    return None


def _entry(explained: Explanation, ref: str) -> Line | None:
    """The line of the route that brought `ref` in."""
    for entry in explained.entries:
        if ref in entry.does.split(", "):
            why = said(entry.conditions) or f"in the route for {explained.route}"
            return Line(place(entry.span), entry.id, why)
    return None


def _line(rule: Ruling) -> Line:
    return Line(place(rule.span), rule.id, said(rule.conditions) or rule.does)


def said(conditions: Iterable[Told], most: int = 3) -> str:
    """The deciding parts of conditions on one line: `request.tools > 0 (12), client.name = "codex"`."""
    parts = [part for told in conditions for part in told.parts]
    more = f" and {len(parts) - most} more" if len(parts) > most else ""
    return ", ".join(part_text(part) for part in parts[:most]) + more


def part_text(part: Part) -> str:
    """A deciding part with the values in it."""
    if part.reads == ((part.text, part.value),):
        return f"{part.text} = {part.value}"
    values = ", ".join(value for _, value in part.reads)
    return f"{part.text} ({values})" if values else f"{part.text} is {part.value}"
