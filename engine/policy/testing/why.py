"""Why a test failed: of everything that an explanation tells, the rules behind what differs, in lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from engine.policy.explanation import Choice, Explanation, Part, Ruling, Told, place
from engine.policy.testing.suite import Mismatch, Scenario

_MOST_LINES = 12
_MOST_PARTS = 6
_LONGEST = 80

_OF_CANDIDATES = frozenset({"model", "provider", "protocol", "preserve", "losses", "candidates", "dropped", "denied"})


def why(explanation: Explanation, scenario: Scenario, mismatches: Iterable[Mismatch]) -> tuple[str, ...]:
    """At most a dozen lines. Facts hold no text of a request, so none is in them."""
    keys = {mismatch.key.partition(".")[0] for mismatch in mismatches}
    return tuple(dict.fromkeys(_Teller(explanation, scenario.expect, keys).lines()))[:_MOST_LINES]


class _Teller:
    def __init__(self, explanation: Explanation, expected: Mapping[str, Any], keys: set[str]) -> None:
        self._told = explanation
        self._expected = expected
        self._keys = keys
        self._named = set(_named(expected))

    def lines(self) -> Iterator[str]:
        told, keys = self._told, self._keys
        denial = told.decision.denial
        of_candidates = bool(keys & _OF_CANDIDATES)
        if denial is not None and of_candidates:
            yield f"refused: {denial.message}"
            yield from self._ruled((*told.deny, *told.overrides, *told.classify), denial.rule)
        if keys & {"class", "rule", "override"} or (denial is None and of_candidates):
            yield from self._class()
        for key in ("rule", "override"):
            if key in keys and self._expected[key]:
                yield from self._ruled((*told.overrides, *told.classify), self._expected[key])
        if "denied" in keys:
            yield from self._ruled(told.deny, _rule(self._expected["denied"]))
        if "shadow" in keys:
            for name in self._expected["shadow"]:
                yield from self._ruled((*told.overrides, *told.classify, *told.require, *told.deny), name)
        for key, rulings in (("kept", told.cache), ("traced", told.trace)):
            if key in keys:
                for ruling in rulings:
                    yield from self._ruling(ruling)
        if "vars" in keys:
            for name in self._expected["vars"]:
                yield from self._ruled(told.vars, name)
        if of_candidates:
            yield from self._candidates()

    def _class(self) -> Iterator[str]:
        rule = self._told.decision.class_rule
        yield f"class {self._told.decision.route_class}" + (f" by {rule}" if rule else ": no rule holds")
        yield from self._ruled((*self._told.overrides, *self._told.classify), rule)

    def _ruled(self, rulings: Iterable[Ruling], name: str) -> Iterator[str]:
        """The rule of that name, if it is one of these, and the variables it reads."""
        for ruling in rulings:
            if ruling.id == name:
                yield from self._ruling(ruling)

    def _ruling(self, ruling: Ruling) -> Iterator[str]:
        name = f"vars.{ruling.id}" if ruling.section == "var" else ruling.id
        at = f"{name} ({place(ruling.span)})"
        if ruling.outcome == "not asked":
            yield f"{at} was not asked: {self._told.decision.class_rule or 'another rule'} decides before it"
        yield from self._conditions(at, ruling.conditions)
        if ruling.detail:
            yield f"{at}: {ruling.detail}"

    def _conditions(self, at: str, conditions: Iterable[Told]) -> Iterator[str]:
        all_of_it = tuple(conditions)
        for told in all_of_it:
            key = f" {told.key}" if told.key == "require" or len(all_of_it) > 1 else ""
            parts = [_part(part, told.outcome) for part in told.parts[:_MOST_PARTS]]
            more = f" and {len(told.parts) - _MOST_PARTS} more" if len(told.parts) > _MOST_PARTS else ""
            yield f"{at}{key} is {told.outcome}" + (f": {'; '.join(parts)}{more}" if parts else "")
            for part in told.parts[:_MOST_PARTS]:
                for path, _ in part.reads:
                    if path.startswith("vars."):
                        yield from self._ruled(self._told.vars, path.removeprefix("vars."))

    def _candidates(self) -> Iterator[str]:
        """Why lines of the route, and models, are not there."""
        for entry in self._told.entries:
            if (entry.outcome != "true" or entry.detail) and entry.id in self._named | _providers(self._named):
                yield from self._ruling(entry)
        dropped = [choice for choice in self._told.candidates if not choice.place]
        # Those that the test names; when it names none of them, all.
        for choice in [c for c in dropped if {c.ref, *_providers([c.ref])} & self._named] or dropped:
            yield from self._choice(choice)
        for choice in self._told.candidates:
            yield from self._kept(choice)
            if choice.place == 1 and choice.detail:
                yield f"{choice.ref}: {choice.detail}"

    def _kept(self, choice: Choice) -> Iterator[str]:
        """What the rule that should have dropped a candidate says of it."""
        causes = self._expected.get("dropped", {})
        named = {causes.get(choice.ref), causes.get(choice.ref.partition("/")[0])}
        if choice.place and "dropped" in self._keys:
            for ruling in choice.asked:
                if ruling.id in named:
                    yield f"{choice.ref} is asked {ruling.id}"
                    yield from self._ruling(ruling)

    def _choice(self, choice: Choice) -> Iterator[str]:
        said = f" ({choice.detail})" if choice.detail else ""
        yield f"{choice.ref} is dropped by {choice.rule or choice.reason}{said}"
        at = f"{choice.rule} ({place(choice.span)})" if choice.span is not None else choice.rule
        yield from self._conditions(at, (told for told in choice.conditions if told.key != "when"))


def _part(part: Part, outcome: str) -> str:
    """A part with the facts it reads; what it gave only where that is not what the whole gave."""
    text = part.text if len(part.text) <= _LONGEST else part.text[: _LONGEST - 1] + "…"
    if part.reads == ((part.text, part.value),):
        return f"{text} = {part.value}"
    gave = "" if part.value == outcome else f" is {part.value}"
    facts = ", ".join(f"{path} = {value}" for path, value in part.reads)
    return f"{text}{gave}" + (f" ({facts})" if facts else "")


def _providers(names: Iterable[str]) -> set[str]:
    return {name.partition("/")[0] for name in names}


def _rule(denied: Any) -> str:
    """The rule that a test expects to refuse, empty when it names none."""
    named = denied.get("rule") if isinstance(denied, Mapping) else denied
    return named if isinstance(named, str) else ""


def _named(expected: Mapping[str, Any]) -> Iterator[str]:
    """Models and providers that the test expects to see."""
    for key in ("model", "provider"):
        if isinstance(expected.get(key), str):
            yield expected[key]
    yield from expected.get("candidates", ())
    yield from expected.get("dropped", ())
