"""Why a test failed: the rules that decided, each with the values that made it true or false.

The request is decided once more with an ear at every condition. Facts hold no text of a request, so nothing here shows any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from engine.policy.cel import Trace
from engine.policy.cel.trace import Step
from engine.policy.decision import Candidate, Decision
from engine.policy.expression import Expression
from engine.policy.model import Policy
from engine.policy.testing.conditions import Condition, rewrite
from engine.policy.testing.expect import first
from engine.policy.testing.suite import Mismatch, Scenario

_MOST_LINES = 12
_MOST_PARTS = 6
_LONGEST = 80

_OF_CANDIDATES = frozenset({"model", "provider", "protocol", "preserve", "losses", "candidates", "dropped", "denied"})


@dataclass(slots=True, frozen=True)
class _Heard:
    """One evaluation of a condition, of the candidate `ref` if there was one."""

    condition: Condition
    trace: Trace
    ref: str


@dataclass(slots=True, eq=False)
class Witness:
    """Hears every condition of one decision of `policy`."""

    policy: Policy
    heard: list[_Heard] = field(default_factory=list)

    @classmethod
    def of(cls, policy: Policy) -> Witness:
        """A witness whose `policy` decides as the one given does."""
        witness = cls(policy)
        witness.policy = rewrite(policy, witness._listen)
        return witness

    def _listen(self, condition: Condition, expression: Expression) -> Expression:
        def listening(facts: Mapping[str, Any]) -> Any:
            ref = facts["model"]["ref"] if "candidate" in facts else ""
            self.heard.append(_Heard(condition, expression.checked.trace(facts), ref))
            return expression.eval(facts)

        return replace(expression, eval=listening)

    def why(self, scenario: Scenario, decision: Decision, mismatches: Iterable[Mismatch]) -> tuple[str, ...]:
        """Lines for people, at most a dozen, about the rules behind what differs."""
        lines = dict.fromkeys(self._lines(scenario, decision, {m.key.partition(".")[0] for m in mismatches}))
        return tuple(lines)[:_MOST_LINES]

    def _lines(self, scenario: Scenario, decision: Decision, keys: set[str]) -> Iterator[str]:
        expected = scenario.expect
        if decision.denial is not None and keys & _OF_CANDIDATES:
            yield f"refused: {decision.denial.message}"
            yield from self._rule(decision.denial.rule, {"deny", "classify", "override"})
        if keys & {"class", "rule", "override"} or (decision.denial is None and keys & _OF_CANDIDATES):
            yield from self._class(decision)
        for key in ("rule", "override"):
            if key in keys and expected[key]:
                yield from self._rule(expected[key], {"classify", "override"}, behind=decision.class_rule)
        for name in expected.get("shadow", ()) if "shadow" in keys else ():
            yield from self._rule(name, {"classify", "override", "require", "deny"})
        for name in expected.get("vars", ()) if "vars" in keys else ():
            yield from self._rule(name, {"var"})
        if keys & _OF_CANDIDATES:
            yield from self._candidates(decision, set(_named(expected)))

    def _class(self, decision: Decision) -> Iterator[str]:
        rule = decision.class_rule
        yield f"class {decision.route_class}" + (f" by {rule}" if rule else ": no rule holds")
        if rule:
            yield from self._rule(rule, {"classify", "override"})

    def _rule(self, name: str, sections: set[str], *, behind: str = "") -> Iterator[str]:
        """What a rule's conditions gave."""
        found = [h for h in self.heard if h.condition.id == name and h.condition.section in sections]
        for heard in found:
            yield from self._told(heard)
        if not found and behind and behind != name:
            yield f"{name} was not asked: {behind} decides before it"

    def _candidates(self, decision: Decision, named: set[str]) -> Iterator[str]:
        """Why lines of the route, and models, are not there."""
        for heard in self.heard:
            skipped = heard.condition.section == "route" and heard.trace.value is not True
            if skipped and any(heard.condition.id in {name, name.partition("/")[0]} for name in named):
                yield from self._told(heard)
        chosen = first(decision)
        dropped = [c for c in decision.candidates if c.dropped is not None]
        # Those that the test names come first, then those before the one that is tried.
        wanted = [c for c in dropped if {c.ref, c.provider} & named] or dropped
        for candidate in wanted:
            yield f"{candidate.ref} is dropped by {_cause(candidate)}"
            for heard in self.heard:
                if (
                    heard.ref == candidate.ref
                    and heard.condition.id == candidate.rule
                    and heard.trace.value is not True
                ):
                    yield from self._told(heard)
        if chosen is not None and chosen.detail:
            yield f"{chosen.ref}: {chosen.detail}"

    def _told(self, heard: _Heard) -> Iterator[str]:
        condition, trace = heard.condition, heard.trace
        value = "has no value" if trace.error is not None else f"is {trace.root.shown}"
        key = "" if condition.key in {"when", "value"} else f" {condition.key}"
        parts = [_part(step, trace.value) for step in trace.deciding[:_MOST_PARTS]]
        more = f" and {len(trace.deciding) - _MOST_PARTS} more" if len(trace.deciding) > _MOST_PARTS else ""
        said = f": {'; '.join(parts)}{more}" if parts else ""
        yield f"{condition.label}{key} ({condition.span.file}:{condition.span.line}) {value}{said}"
        for step in trace.deciding[:_MOST_PARTS]:
            for path, _ in step.facts():
                if path.startswith("vars."):
                    yield from self._rule(path.removeprefix("vars."), {"var"})


def _part(step: Step, outcome: Any) -> str:
    """A part with the facts it reads; what it gave only where that is not what the whole gave."""
    text = " ".join(step.text.split())
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    if step.role == "fact":
        return f"{text} = {step.shown}"
    gave = "" if step.value is outcome else f" is {step.shown}"
    facts = ", ".join(f"{path} = {shown}" for path, shown in step.facts())
    return f"{text}{gave}" + (f" ({facts})" if facts else "")


def _cause(candidate: Candidate) -> str:
    detail = f" ({candidate.detail})" if candidate.detail else ""
    return f"{candidate.rule or candidate.dropped}{detail}"


def _named(expected: Mapping[str, Any]) -> Iterator[str]:
    """Models and providers that the test expects to see."""
    for key in ("model", "provider"):
        if isinstance(expected.get(key), str):
            yield expected[key]
    yield from expected.get("candidates", ())
    yield from expected.get("dropped", ())
