"""Why does a policy decide so? It decides once more, with an ear at every condition.

What is told is therefore what was asked, in the order in which it was asked: through several gates, past rules that were
not reached, for each candidate. Pure, like the decision itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from engine.llm.losses import LOSSES, severity
from engine.policy.case import Case, ProviderState, Try
from engine.policy.cel import Step, Trace
from engine.policy.conditions import Condition, rewrite
from engine.policy.decide import begin, classify, finish, gate
from engine.policy.decision import Candidate, Decision, Facts, Reason, RuleHit
from engine.policy.explanation import Asked, Choice, Explanation, Loss, Part, Ruling, Told
from engine.policy.expression import Expression
from engine.policy.hedging import bound
from engine.policy.model import DEFAULT_CLASS, DenyRule, Entry, KeepRule, Policy, Route, Rule
from engine.policy.problems import Span

Walk = Callable[[Policy, Facts, Mapping[str, ProviderState]], tuple[Case, tuple[str, ...]]]
"""Decides by a policy's own pipeline: the decided case, and the path."""

_DROPS: Mapping[bool, Asked] = {True: "true", False: "false"}
_LONGEST = 400


def explain(
    policy: Policy, facts: Facts, availability: Mapping[str, ProviderState], walk: Walk | None = None
) -> Explanation:
    """Everything that led to what `policy` says about `facts`. Without `walk` the rules are asked in their usual order."""
    witness = _Witness()
    heard_policy = rewrite(policy, witness.listen)
    case, path = (walk or _usual)(heard_policy, facts, availability)
    kept = "" if case.denial is not None else heard_policy.cache.keeps(case.facts)
    traced = heard_policy.traces(case.facts)
    return _Teller(policy, heard_policy, case, finish(case), witness.heard, kept, traced).explanation(path)


def _usual(policy: Policy, facts: Facts, availability: Mapping[str, ProviderState]) -> tuple[Case, tuple[str, ...]]:
    case = begin(policy, facts, availability)
    classify(case)
    gate(case)
    return case, ()


def tell(key: str, trace: Trace) -> Told:
    """One evaluated condition in words: its outcome, the parts that decided, and every step."""
    error = trace.error
    outcome = f"error: {error.detail}" if error is not None else trace.root.shown
    steps = tuple((depth, _line(step.text), step.shown) for depth, step in _nested(trace.root, 0))
    return Told(key, _line(trace.root.text), outcome, tuple(map(_part, trace.deciding)), steps)


def _part(step: Step) -> Part:
    text, reads = _line(step.text), step.facts()
    if step.role == "fact":
        return Part(text, step.shown, ((text, step.shown),))
    return Part(text, step.shown, reads, step.note)


def _nested(step: Step, depth: int) -> Iterable[tuple[int, Step]]:
    yield depth, step
    for child in step.children:
        if child.role != "literal":
            yield from _nested(child, depth + 1)


def _line(text: str) -> str:
    joined = " ".join(text.split())
    return joined if len(joined) <= _LONGEST else joined[: _LONGEST - 1] + "…"


@dataclass(slots=True)
class _Witness:
    """Hears every condition of one decision: (section, id, key, candidate) → its trace."""

    heard: dict[tuple[str, str, str, str], Trace] = field(default_factory=dict)

    def listen(self, condition: Condition, expression: Expression) -> Expression:
        def listening(facts: Mapping[str, Any]) -> Any:
            ref = facts["model"]["ref"] if "candidate" in facts else ""
            key = (condition.section, condition.id, condition.key, ref)
            if key not in self.heard:
                self.heard[key] = expression.checked.trace(facts)
            return expression.eval(facts)

        return replace(expression, eval=listening)


@dataclass(slots=True)
class _Teller:
    policy: Policy
    asked_policy: Policy
    """The copy that was listened to: its routes are the ones in the case."""
    case: Case
    decision: Decision
    heard: Mapping[tuple[str, str, str, str], Trace]
    kept: str
    """The rule by which the answer may be kept."""
    traced: str

    def explanation(self, path: tuple[str, ...]) -> Explanation:
        case, decision = self.case, self.decision
        route, name, span, detail = self._route()
        return Explanation(
            decision=decision,
            reason=decision.denial.reason if decision.denial is not None else self._reason(),
            path=path,
            vars=tuple(self._variable(name, expression) for name, expression in self.policy.vars),
            overrides=tuple(self._override(rule) for rule in self.policy.overrides),
            classify=tuple(
                self._rule(
                    "classify", rule, f"class {rule.route_class}", "RULE_MATCH", decides=self._classifies(rule.id)
                )
                for rule in self.policy.classify
            ),
            deny=tuple(self._deny(rule) for rule in self.policy.deny),
            require=tuple(
                self._shadow_require(hit) for hit in decision.hits if hit.section == "require" and hit.shadow
            ),
            route=name if case.tries is not None else "",
            route_span=span,
            route_detail=detail,
            entries=tuple(self._entry(route, n) for n in range(len(route.entries))) if case.tries is not None else (),
            candidates=tuple(self._choices()),
            cache=tuple(self._keeper("cache", rule, self.kept) for rule in self.policy.cache.rules),
            trace=tuple(self._keeper("trace", rule, self.traced) for rule in self.policy.trace),
        )

    def _reason(self) -> Reason:
        if self.case.override and self.decision.class_reason == "DEFAULT":
            return next((r.reason for r in self.policy.overrides if r.id == self.case.override), "OVERRIDE")
        return self.decision.class_reason

    def _classifies(self, rule: str) -> bool:
        return self.decision.class_reason == "RULE_MATCH" and self.decision.class_rule == rule

    def _told(self, section: str, name: str, ref: str = "", keys: Iterable[str] = ("when",)) -> tuple[Told, ...]:
        found = [(key, self.heard.get((section, name, key, ref))) for key in keys]
        return tuple(tell(key, trace) for key, trace in found if trace is not None)

    def _variable(self, name: str, expression: Expression) -> Ruling:
        told = self._told("var", name, keys=("value",))
        outcome: Asked = "error" if any(t.outcome.startswith("error") for t in told) else "true"
        return Ruling("var", name, outcome, does=told[0].outcome if told else "", span=expression.span, conditions=told)

    def _override(self, rule: Any) -> Ruling:
        decides = self.case.override == rule.id
        uses = ", ".join(entry.use for entry in rule.route.entries) if rule.route is not None else ""
        does = " and ".join(filter(None, (f"class {rule.route_class}" if rule.route_class else "", uses)))
        made = self._rule("override", rule, does, rule.reason, decides=decides)
        if made.outcome == "true" and not decides and not rule.shadow:
            return replace(made, detail="it holds, but names no class of this policy")
        return made

    def _rule(
        self, section: Literal["override", "classify"], rule: Any, does: str, reason: Reason, *, decides: bool
    ) -> Ruling:
        hit = self._hit(section, rule.id)
        told = self._told(section, rule.id)
        asked = bool(told) or (rule.when is None and (decides or hit is not None))
        outcome = self._outcome(told, hit) if asked else "not asked"
        matched = decides or (rule.shadow and outcome == "true")
        failed: Reason | None = "RULE_ERROR" if outcome == "error" else None
        detail = hit.detail if hit is not None and rule.shadow else ""
        return Ruling(
            section, rule.id, outcome, does, reason if matched else failed, rule.shadow, rule.span, told, detail
        )

    def _keeper(self, section: Literal["cache", "trace"], rule: KeepRule, deciding: str) -> Ruling:
        """A rule that says what is kept of a request."""
        told = self._told(section, rule.id)
        if rule.shadow:  # nothing comes of it, so nobody has asked it
            told = (tell("when", rule.when.checked.trace(self.case.facts)),)
        outcome: Asked = "not asked"
        if told:
            outcome = "error" if told[0].outcome.startswith("error") else _DROPS[told[0].outcome == "true"]
        does = "keeps the answer" if section == "cache" else "keeps a trace"
        detail = "the response cache is off" if section == "cache" and not self.policy.cache.response else ""
        reason: Reason | None = "RULE_MATCH" if deciding == rule.id else None
        return Ruling(section, rule.id, outcome, does, reason, rule.shadow, rule.span, told, detail)

    def _deny(self, rule: DenyRule) -> Ruling:
        hit, denial = self._hit("deny", rule.id), self.decision.denial
        refs = [t.option.model.ref for t in self.case.tries or ()] if rule.candidate else [""]
        traces = {ref: told for ref in refs if (told := self._told("deny", rule.id, ref))}
        asked = bool(traces) or hit is not None
        outcome: Asked = hit.outcome if hit is not None else ("false" if asked else "not asked")
        refused = denial is not None and denial.rule == rule.id
        reason: Reason | None = None
        if rule.shadow:
            reason = "SHADOW_DENY" if outcome == "true" else None
        elif refused and denial is not None:
            reason = denial.reason
        # Of a rule about candidates the one that it held for says most; else the first.
        telling = next((t for t in traces.values() if t[0].outcome != "false"), next(iter(traces.values()), ()))
        detail = hit.detail if hit is not None and rule.candidate else ""
        if rule.candidate and asked and not traces:
            detail = "nobody is left to ask about"
        return Ruling("deny", rule.id, outcome, str(rule.status), reason, rule.shadow, rule.span, telling, detail)

    def _shadow_require(self, hit: RuleHit) -> Ruling:
        rule = next((r for r in self.policy.require if r.id == hit.id), None)
        told = self._told("require", hit.id, hit.detail.partition(", ")[0], ("when", "require")) if hit.detail else ()
        reason: Reason | None = "INCOMPATIBLE" if hit.outcome == "false" else None
        span = rule.span if rule is not None else None
        does = f"drops {hit.detail or 'nobody'}"
        return Ruling("require", hit.id, hit.outcome, does, reason, True, span, told, "" if reason else does)

    def _hit(self, section: str, name: str) -> RuleHit | None:
        return next((hit for hit in self.decision.hits if hit.section == section and hit.id == name), None)

    @staticmethod
    def _outcome(told: tuple[Told, ...], hit: RuleHit | None) -> Asked:
        if hit is not None:
            return hit.outcome
        return "error" if any(t.outcome.startswith("error") for t in told) else "false" if told else "true"

    def _route(self) -> tuple[Route, str, Span | None, str]:
        case = self.case
        if case.route is not None:
            rule = next((r for r in self.policy.overrides if r.id == case.override), None)
            return case.route, case.route.name, rule.span if rule is not None else None, "by an override"
        route = self.asked_policy.route(case.route_class)
        node = self.policy.resolved.root.get("routes", route.name)
        own = route.name == case.route_class
        span = (node.key_span if node.key else node.span) if node is not None else None
        about = ("" if own else f"{case.route_class} has no route of its own", self._canary(route), self._hedge(route))
        return route, route.name, span, "; ".join(filter(None, about))

    def _canary(self, route: Route) -> str:
        """Whether the session was drawn for the route's canary, and by what."""
        canary = route.canary
        if canary is None:
            return ""
        word = "goes first" if self.case.canary else "passes this session by"
        bucket = self.case.facts["session"]["bucket"]
        return f"canary {canary.id} {word}: {canary.percent:g} %, {canary.condition} ({bucket})"

    def _hedge(self, route: Route) -> str:
        """Whether the next candidate would be asked beside a slow one, and what speaks against it."""
        if not route.hedge_ms:
            return ""
        tied = bound(self.case.facts["request"])
        return (
            f"not hedged, for one provider must have it all: {tied}" if tied else f"hedged after {route.hedge_ms:,} ms"
        )

    def _entry(self, route: Route, number: int) -> Ruling:
        """A line of the route, and the models that it stands for."""
        entry = route.entries[number]
        told = self._told("route", entry.id or entry.use) if entry.when is not None else ()
        outcome: Asked = "true"
        if route.canary is not None and number in route.canary.places and not self.case.canary:
            return Ruling("route", entry.id or entry.use, "false", span=entry.span, detail=f"canary {route.canary.id}")
        if told:
            outcome = "error" if told[0].outcome.startswith("error") else _DROPS[told[0].outcome == "true"]
        models = self._models(route, number) if outcome == "true" else ()
        detail = "" if models or outcome != "true" else _nobody(entry, self._wanted())
        return Ruling(
            "route", entry.id or entry.use, outcome, ", ".join(models), span=entry.span, conditions=told, detail=detail
        )

    def _models(self, route: Route, number: int) -> tuple[str, ...]:
        others = frozenset(range(len(route.entries))) - {number}
        options = self.asked_policy.resolver.options(route, self._wanted(), self.case.facts["request"], others)
        return tuple(option.model.ref for option in options)

    def _wanted(self) -> str:
        """The class whose models providers are asked for."""
        own = self.case.route is not None or self.case.route_class in self.policy.routes
        return self.case.route_class if own else DEFAULT_CLASS

    def _choices(self) -> Iterable[Choice]:
        place = 0
        for found, candidate in zip(self.case.tries or (), self.decision.candidates, strict=True):
            place += candidate.dropped is None
            yield self._choice(found, candidate, place if candidate.dropped is None else 0)

    def _choice(self, found: Try, candidate: Candidate, place: int) -> Choice:
        dropped = candidate.dropped
        rule = self._named(candidate.rule) if dropped is not None else None
        return Choice(
            ref=candidate.ref,
            protocol=candidate.protocol,
            preserve=candidate.preserve,
            place=place,
            reason=dropped or ("FALLBACK" if place > 1 else "CANARY" if found.option.canary else None),
            healthy=found.healthy,
            losses=tuple(Loss(c, severity(c), LOSSES[c][1] if c in LOSSES else "") for c in candidate.losses),
            rule=candidate.rule if dropped is not None else "",
            span=rule.span if rule is not None else None,
            detail=candidate.detail if dropped != "NO_KEY" else f"needs {self._variables(candidate.provider)}",
            conditions=self._dropping(found, candidate) if dropped is not None else (),
            asked=tuple(self._asked(candidate.ref)),
            order=self._told("order", self._ordered, candidate.ref, ("order",)) if dropped is None else (),
        )

    @property
    def _ordered(self) -> str:
        """The route whose order was asked for."""
        return (self.case.route or self.asked_policy.route(self.case.route_class)).name

    def _variables(self, provider: str) -> str:
        """What to set in the environment, so that the provider has a key."""
        state = self.case.availability.get(provider)
        names = (state.missing if state is not None else ()) or self.policy.providers[provider].api_key_env[:1]
        return " and ".join(names) or "a key"

    def _named(self, name: str) -> Rule | None:
        return next((rule for rule in (*self.policy.require, *self.policy.deny) if rule.id == name), None)

    def _dropping(self, found: Try, candidate: Candidate) -> tuple[Told, ...]:
        """The condition that a candidate failed; the gateway's own are asked again, the policy's have been heard."""
        for rule in self.policy.floor.rules:
            if rule.id == candidate.rule:
                return (tell("require", rule.holds.checked.trace({**self.case.facts, **found.facts})),)
        told = self._told("require", candidate.rule, candidate.ref, ("when", "require"))
        return told or self._told("deny", candidate.rule, candidate.ref)

    def _asked(self, ref: str) -> Iterable[Ruling]:
        for rule in self.policy.require:
            told = self._told("require", rule.id, ref, ("when", "require"))
            if told:
                last = told[-1]
                passes = last.outcome == "true" or (last.key == "when" and last.outcome == "false")
                outcome: Asked = "error" if last.outcome.startswith("error") else _DROPS[passes]
                yield Ruling("require", rule.id, outcome, shadow=rule.shadow, span=rule.span, conditions=told)


def _nobody(entry: Entry, route_class: str) -> str:
    if entry.use == "requested":
        return "no row and no provider's name prefix serves the model asked for"
    if entry.use == "pinned":
        return "no row serves the pinned model"
    return f"this provider does not serve the model asked for and has none for {route_class}"
