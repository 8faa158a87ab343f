"""Why a request was decided as it was: data only, as `explain` makes it and programs read it.

An outcome is `true`, `false`, `error` (the condition has no value) or `not asked` (an earlier rule had decided). Of every
condition the smallest parts that decided are kept with the facts they read; values that are long are kept by their size. There
is no message text in it, because there is none in facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from engine.llm.losses import Severity
from engine.policy.decision import Decision, Reason
from engine.policy.problems import Span

FORMAT = 1
"""Of the JSON. It grows when a field changes its meaning or goes; new fields do not count."""

Asked = Literal["true", "false", "error", "not asked"]


@dataclass(slots=True, frozen=True)
class Part:
    """A piece of a condition that decided its outcome."""

    text: str
    """As written in the policy, on one line."""
    value: str
    """What it gave, in words for people."""
    reads: tuple[tuple[str, str], ...] = ()
    """Facts in it: (path, value in words)."""
    note: str = ""
    """In the body of a macro, which item it was asked of."""


@dataclass(slots=True, frozen=True)
class Told:
    """One condition that was asked."""

    key: str
    """`when`, `require`, `order` or `value`."""
    text: str
    outcome: str
    """Its value in words."""
    parts: tuple[Part, ...] = ()
    steps: tuple[tuple[int, str, str], ...] = ()
    """Every subexpression: (depth, text, value in words)."""


@dataclass(slots=True, frozen=True)
class Ruling:
    """A rule and what became of it."""

    section: str
    id: str
    outcome: Asked
    does: str = ""
    """What it does when it holds: a class, a status, the models of a line."""
    reason: Reason | None = None
    """Set on the rule that decided, or that would have in shadow."""
    shadow: bool = False
    span: Span | None = None
    conditions: tuple[Told, ...] = ()
    detail: str = ""


@dataclass(slots=True, frozen=True)
class Loss:
    code: str
    severity: Severity
    what: str
    """What is lost, in words."""


@dataclass(slots=True, frozen=True)
class Choice:
    """One candidate."""

    ref: str
    protocol: str
    preserve: bool
    place: int
    """1 for the one that is tried first; 0 when it dropped out."""
    reason: Reason | None
    """Why it dropped out; FALLBACK for the second and later ones, CANARY for a first one that a canary brought in."""
    healthy: bool = True
    losses: tuple[Loss, ...] = ()
    rule: str = ""
    span: Span | None = None
    """Where the rule stands that dropped it."""
    detail: str = ""
    conditions: tuple[Told, ...] = ()
    """Of the rule that dropped it."""
    asked: tuple[Ruling, ...] = ()
    """Every rule of the policy that was asked about it."""
    order: tuple[Told, ...] = ()
    """Its number in the route's own order, where it has one."""


@dataclass(slots=True, frozen=True)
class Explanation:
    decision: Decision
    reason: Reason
    """Of the refusal, or of how the class was chosen."""
    path: tuple[str, ...] = ()
    """Steps of the pipeline, with the exit where one is used; empty when no pipeline was asked."""
    vars: tuple[Ruling, ...] = ()
    overrides: tuple[Ruling, ...] = ()
    classify: tuple[Ruling, ...] = ()
    deny: tuple[Ruling, ...] = ()
    require: tuple[Ruling, ...] = ()
    """Shadow rules only; the others are told with each candidate."""
    route: str = ""
    """The class or override whose candidates these are; empty when it did not come to that."""
    route_span: Span | None = None
    route_detail: str = ""
    entries: tuple[Ruling, ...] = ()
    candidates: tuple[Choice, ...] = ()
    cache: tuple[Ruling, ...] = ()
    """Whether the answer may be kept by the response cache."""
    trace: tuple[Ruling, ...] = ()
    """Whether a trace is kept."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, with `format_version`; what is empty is left out."""
        decision = self.decision
        denial, chosen = decision.denial, decision.chosen
        refused = None
        if denial is not None:
            refused = {"rule": denial.rule, "status": denial.status, "message": denial.message, "reason": denial.reason}
        parts: dict[str, Any] = {
            "format_version": FORMAT,
            "policy": decision.policy,
            "reason": self.reason,
            "routeClass": decision.route_class,
            "classRule": decision.class_rule,
            "model": chosen.ref if chosen is not None and denial is None else None,
            "denial": refused,
            "path": list(self.path),
            "vars": [_variable(r) for r in self.vars],
            "overrides": [_ruling(r) for r in self.overrides],
            "classify": [_ruling(r) for r in self.classify],
            "deny": [_ruling(r) for r in self.deny],
            "require": [_ruling(r) for r in self.require],
            "route": self.route,
            "routePlace": place(self.route_span),
            "routeDetail": self.route_detail,
            "entries": [_ruling(r) for r in self.entries],
            "candidates": [_choice(c) for c in self.candidates],
            "cache": [_ruling(r) for r in self.cache],
            "trace": [_ruling(r) for r in self.trace],
        }
        return {key: part for key, part in parts.items() if key == "model" or part not in (None, "", [])}


def place(span: Span | None) -> str:
    """`file:line`, empty without a span."""
    return f"{span.file}:{span.line}" if span is not None else ""


def _filled(parts: dict[str, Any]) -> dict[str, Any]:
    return {key: part for key, part in parts.items() if part not in (None, "", [], {}, False)}


def _told(told: Told) -> dict[str, Any]:
    parts = [_filled({"text": p.text, "value": p.value, "facts": dict(p.reads), "note": p.note}) for p in told.parts]
    return _filled({"key": told.key, "text": told.text, "outcome": told.outcome, "deciding": parts})


def _variable(ruling: Ruling) -> dict[str, Any]:
    made = _ruling(ruling)
    return {"id": made["id"], "value": ruling.does} | {k: made[k] for k in ("place", "conditions") if k in made}


def _ruling(ruling: Ruling) -> dict[str, Any]:
    return _filled(
        {
            "id": ruling.id,
            "section": ruling.section,
            "outcome": ruling.outcome,
            "does": ruling.does,
            "reason": ruling.reason,
            "shadow": ruling.shadow,
            "place": place(ruling.span),
            "conditions": [_told(told) for told in ruling.conditions],
            "detail": ruling.detail,
        }
    )


def _choice(choice: Choice) -> dict[str, Any]:
    known = {"ref": choice.ref, "protocol": choice.protocol, "preserve": choice.preserve, "place": choice.place}
    return known | _filled(
        {
            "reason": choice.reason,
            "cooling": not choice.healthy,
            "losses": [{"code": loss.code, "severity": loss.severity, "what": loss.what} for loss in choice.losses],
            "rule": choice.rule,
            "rulePlace": place(choice.span),
            "detail": choice.detail,
            "conditions": [_told(told) for told in choice.conditions],
            "order": [_told(told) for told in choice.order],
            "asked": [_ruling(ruling) for ruling in choice.asked],
        }
    )
