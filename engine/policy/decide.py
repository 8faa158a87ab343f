"""What a policy says about one request. Pure: the same policy, facts and availability always give the same decision.

The order is one and the same for everybody:

1. variables, in the order written;
2. override rules, the first that holds; then class rules, the first that holds, else the class is `fallback_safe`;
3. deny rules about the request, the first that holds refuses;
4. the route of the class: which models, in which protocol, with which losses;
5. for each candidate the floor, then the policy's `require` rules: the first that fails drops it;
6. order: by the route's own `order`, then the healthy ones before those that are cooling down;
7. deny rules about candidates: one that holds for the first candidate refuses, for a later one drops that one.

A shadow rule is evaluated and recorded, never obeyed. A dropped candidate keeps its place in the list, with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.llm.losses import severity
from engine.policy.candidates import Option, losses_of
from engine.policy.cel import ExprError
from engine.policy.decision import Candidate, Decision, Denial, Facts, Reason, RuleHit
from engine.policy.expression import evaluate
from engine.policy.floor import DISABLED
from engine.policy.model import DEFAULT_CLASS, ClassRule, DenyRule, GateRules, OverrideRule, Policy, RequireRule, Route
from engine.policy.refusal import refuse_all

Outcome = Literal["true", "false", "error"]

_OUTCOMES: Mapping[bool | None, Outcome] = {True: "true", False: "false", None: "error"}


@dataclass(slots=True, frozen=True)
class ProviderState:
    """What is known of a provider when a request comes; recorded with it."""

    key: bool = True
    """A credential is there, or none is needed."""
    missing: tuple[str, ...] = ()
    """Environment variables to set before it can be used."""
    healthy: bool = True
    latency_ms: float = 0.0
    error_rate: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return {
            "key": self.key,
            "missing": list(self.missing),
            "healthy": self.healthy,
            "latency_ms": self.latency_ms,
            "error_rate": self.error_rate,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ProviderState:
        """The state that `to_json` gave; unknown keys are ignored, missing ones have their defaults."""
        return cls(
            key=bool(data.get("key", True)),
            missing=tuple(data.get("missing", ())),
            healthy=bool(data.get("healthy", True)),
            latency_ms=float(data.get("latency_ms", 0.0)),
            error_rate=float(data.get("error_rate", 0.0)),
        )


_READY = ProviderState()


@dataclass(slots=True, eq=False)
class _Try:
    """A candidate on its way through the gate."""

    option: Option
    losses: tuple[str, ...]
    facts: dict[str, Any]
    """The candidate's facts, to be laid over the request's."""
    healthy: bool
    dropped: Reason | None = None
    rule: str = ""
    detail: str = ""

    def drop(self, reason: Reason, rule: str, detail: str = "") -> None:
        self.dropped, self.rule, self.detail = reason, rule, detail

    def candidate(self) -> Candidate:
        option = self.option
        return Candidate(
            ref=option.model.ref,
            provider=option.provider.name,
            model=option.model.name,
            protocol=option.protocol,
            preserve=option.preserve,
            losses=self.losses,
            dropped=self.dropped,
            rule=self.rule or option.entry,
            detail=self.detail,
        )


@dataclass(slots=True, eq=False)
class Case:
    """One request being decided. `facts` is the caller's document with the policy's variables and switches filled in."""

    policy: Policy
    facts: Facts
    availability: Mapping[str, ProviderState]
    route_class: str = DEFAULT_CLASS
    class_rule: str = ""
    class_reason: Reason = "DEFAULT"
    route: Route | None = None
    """The candidates that an override chose."""
    override: str = ""
    classified: bool = False
    denial: Denial | None = None
    hits: list[RuleHit] = field(default_factory=list)
    tries: list[_Try] | None = None


def select_gate_rules(policy: Policy, settings: Mapping[str, Any]) -> GateRules:
    """The rules of a gate with these settings: `require` and `deny` list ids; without either, all rules of the policy.

    Raises ValueError for a setting or a rule that does not exist.
    """
    unknown = settings.keys() - {"require", "deny"}
    if unknown:
        raise ValueError(f"takes `require` and `deny`, not '{min(unknown)}'")
    require = policy.require if not settings else _named(policy.require, settings.get("require", ()), "require")
    deny = policy.deny if not settings else _named(policy.deny, settings.get("deny", ()), "deny")
    return GateRules.of(require, deny)


def _named(rules: tuple[Any, ...], ids: Any, section: str) -> tuple[Any, ...]:
    if not isinstance(ids, list | tuple):
        raise ValueError(f"`{section}` must be a list of rule ids")  # noqa: TRY004 - a setting of a file, not a type
    by_id = {rule.id: rule for rule in rules}
    for name in ids:
        if name not in by_id:
            raise ValueError(f"there is no {section} rule '{name}'")
    return tuple(rule for rule in rules if rule.id in ids)


def begin(policy: Policy, facts: Facts, availability: Mapping[str, ProviderState]) -> Case:
    """A case for these facts. They are not changed; a provider without an entry in `availability` counts as ready."""
    own = dict(facts)
    own["settings"] = {"experimental": policy.settings.experimental}
    request = facts["request"]
    known = policy.knows(request["model"])
    if request["model_known"] is not known:
        own["request"] = {**request, "model_known": known}
    case = Case(policy, own, availability)
    values: dict[str, Any] = {}
    own["vars"] = values
    for name, expression in policy.vars:
        try:
            values[name] = expression.program.eval(own)
        except ExprError as error:
            case.hits.append(RuleHit("var", name, "error", detail=error.detail))
    return case


def decide(policy: Policy, facts: Facts, availability: Mapping[str, ProviderState]) -> Decision:
    """The whole decision, with every rule of the policy asked once."""
    case = begin(policy, facts, availability)
    classify(case)
    gate(case)
    return finish(case)


def classify(case: Case) -> None:
    """Choose the class, and the route where an override does."""
    case.classified = True
    _override(case)
    if case.denial is None and case.class_reason != "OVERRIDE":
        _class_rules(case)


def _override(case: Case) -> None:
    taken = False
    for rule in case.policy.overrides:
        if (taken and not rule.shadow) or not _matches(case, rule, "override", late=taken):
            continue
        if case.denial is not None:
            return
        name = rule.route_class
        if name == "pinned":
            pinned = case.facts["request"]["pinned_class"]
            name = pinned if pinned in case.policy.routes else ""
        if not name and rule.route is None:
            continue
        taken = True
        case.override, case.route = rule.id, rule.route
        if name:
            case.route_class, case.class_rule, case.class_reason = name, rule.id, "OVERRIDE"


def _class_rules(case: Case) -> None:
    taken = False
    for rule in case.policy.classify:
        if (taken and not rule.shadow) or not _matches(case, rule, "classify", late=taken):
            continue
        if case.denial is not None:
            return
        taken = True
        case.route_class, case.class_rule, case.class_reason = rule.route_class, rule.id, "RULE_MATCH"


def _matches(
    case: Case, rule: ClassRule | OverrideRule, section: Literal["override", "classify"], *, late: bool
) -> bool:
    """Whether the rule holds and is to be obeyed; `late` when an earlier one has decided already."""
    value, detail = (True, "") if rule.when is None else evaluate(rule.when, case.facts)
    if rule.shadow:
        detail = detail or ("an earlier rule decides" if late and value else "")
        case.hits.append(RuleHit(section, rule.id, _OUTCOMES[value], shadow=True, detail=detail))
        return False
    if value is False:
        return False
    case.hits.append(RuleHit(section, rule.id, _OUTCOMES[value], detail=detail))
    if value is None and rule.on_error == "deny":
        case.denial = _failed(rule.id)
    return bool(value) or (value is None and rule.on_error in {"class", "deny"})


def gate(case: Case, rules: GateRules | None = None) -> Literal["deny"] | None:
    """Find the candidates and ask `rules` (all of the policy's if None); "deny" when the request is refused.

    A second gate asks its rules of the candidates that the first one left.
    """
    if not case.classified:
        classify(case)
    rules = rules or case.policy.gate_rules
    if case.denial is None:
        _early_denies(case, rules.early)
    if case.denial is None:
        first = case.tries is None
        if case.tries is None:
            case.tries = _find(case)
        scope = dict(case.facts)
        for found in case.tries:
            if found.dropped is None:
                scope.update(found.facts)
                if first:
                    _floor(case.policy, found, scope)
                if found.dropped is None:
                    _require(case, found, rules.require, scope)
        _shadow_requires(case, rules.require, scope)
        if first:
            _order(case, scope)
        _late_denies(case, rules.late, scope)
        if case.denial is None and all(found.dropped for found in case.tries):
            case.denial = refuse_all(
                case.route_class, [t.candidate() for t in case.tries], case.policy, case.availability
            )
    return "deny" if case.denial is not None else None


def finish(case: Case) -> Decision:
    """What has been decided so far. Changes nothing, so it may be asked again."""
    return Decision(
        route_class=case.route_class,
        class_rule=case.class_rule,
        class_reason=case.class_reason,
        candidates=tuple(found.candidate() for found in case.tries or ()),
        denial=case.denial,
        hits=tuple(case.hits),
        vars=case.facts["vars"],
        policy=case.policy.label,
    )


def _failed(rule: str) -> Denial:
    return Denial(rule, 403, f"the policy's rule '{rule}' could not be evaluated, and refuses then", "RULE_ERROR")


def _early_denies(case: Case, rules: Iterable[DenyRule]) -> None:
    for rule in rules:
        value, detail = (True, "") if rule.when is None else evaluate(rule.when, case.facts)
        if rule.shadow or value is not False:
            case.hits.append(RuleHit("deny", rule.id, _OUTCOMES[value], shadow=rule.shadow, detail=detail))
        if not rule.shadow and _denies(value, rule):
            case.denial = _denied(rule, value, case.facts)
            return


def _denies(value: bool | None, rule: DenyRule) -> bool:
    return value is True or (value is None and rule.on_error == "deny")


def _denied(rule: DenyRule, value: bool | None, facts: Facts) -> Denial:
    if value is None:
        return _failed(rule.id)
    message = rule.message.text(facts) if rule.message is not None else f"refused by the policy's rule '{rule.id}'"
    return Denial(rule.id, rule.status, message)


def _find(case: Case) -> list[_Try]:
    """The candidates of the request's route, with their facts."""
    policy, facts = case.policy, case.facts
    route = case.route or policy.route(case.route_class)
    skipped = _skipped(case, route)
    request, estimate = facts["request"], facts["estimate"]
    requires = frozenset(request["requires"])
    found: list[_Try] = []
    for option in policy.resolver.options(route, case.route_class, request, skipped):
        state = case.availability.get(option.provider.name, _READY)
        lost = losses_of(option, requires) if requires else frozenset()
        losses = sorted(lost)
        rate = policy.resolver.rate(option.model.ref)
        cost = -1.0
        if rate is not None:
            cost = (estimate["input_tokens"] * rate[0] + estimate["output_tokens"] * rate[1]) / 1e6
        found.append(
            _Try(
                option,
                tuple(losses),
                {
                    "model": option.facts,
                    "provider": {
                        "name": option.provider.name,
                        "key": state.key,
                        "healthy": state.healthy,
                        "local": option.provider.local,
                        "latency_ms": state.latency_ms,
                        "error_rate": state.error_rate,
                    },
                    "candidate": {
                        "protocol": option.protocol,
                        "preserve": option.preserve,
                        "position": option.position,
                    },
                    "losses": losses,
                    "hard_losses": [code for code in losses if severity(code) == "hard"],
                    "estimate": {**estimate, "cost_usd": cost},
                },
                state.healthy,
                rule=case.override if case.route is not None else "",
            )
        )
    return found


def _skipped(case: Case, route: Route) -> frozenset[int]:
    """Entries of the route whose condition does not hold."""
    skipped: set[int] = set()
    for number in route.conditional:
        entry = route.entries[number]
        assert entry.when is not None
        value, detail = evaluate(entry.when, case.facts)
        if value is not True:
            skipped.add(number)
        if value is not False:
            case.hits.append(RuleHit("route", entry.id or entry.use, _OUTCOMES[value], detail=detail))
    return frozenset(skipped)


def _floor(policy: Policy, found: _Try, scope: Facts) -> None:
    if not found.option.provider.enabled:
        found.drop("DISABLED", DISABLED)
        return
    for rule in policy.floor:
        value, detail = evaluate(rule.holds, scope)
        if value is not True:
            reason: Reason = rule.reason if value is False else "RULE_ERROR"
            found.drop(reason, rule.id, detail or ", ".join(scope["hard_losses"] if rule.id == "floor.losses" else ()))
            return


def _require(case: Case, found: _Try, rules: Iterable[RequireRule], scope: Facts) -> None:
    for rule in rules:
        if rule.shadow:
            continue
        value, detail = _required(rule, scope)
        if value is None:
            case.hits.append(RuleHit("require", rule.id, "error", detail=f"{found.option.model.ref}: {detail}"))
        if value is False or (value is None and rule.on_error == "deny"):
            found.drop("INCOMPATIBLE" if value is False else "RULE_ERROR", rule.id, detail)
            return


def _required(rule: RequireRule, scope: Facts) -> tuple[bool | None, str]:
    if rule.when is not None:
        value, detail = evaluate(rule.when, scope)
        if value is not True:
            return (True, "") if value is False else (None, detail)
    assert rule.require is not None
    return evaluate(rule.require, scope)


def _shadow_requires(case: Case, rules: Iterable[RequireRule], scope: Facts) -> None:
    """What each shadow rule would have done to the candidates that are left."""
    for rule in rules:
        if not rule.shadow:
            continue
        outcome: Outcome = "true"
        would: list[str] = []
        for found in case.tries or ():
            if found.dropped is None:
                scope.update(found.facts)
                value, _ = _required(rule, scope)
                if value is not True:
                    would.append(found.option.model.ref)
                    outcome = "error" if value is None or outcome == "error" else "false"
        case.hits.append(RuleHit("require", rule.id, outcome, shadow=True, detail=", ".join(would)))


def _order(case: Case, scope: Facts) -> None:
    """Put the candidates that are left into the order in which they are tried; dropped ones keep their places."""
    tries = case.tries or []
    left = [found for found in tries if found.dropped is None]
    route = case.route or case.policy.route(case.route_class)
    if route.order is not None:
        ranks: dict[int, float] = {}
        for found in left:
            scope.update(found.facts)
            try:
                ranks[id(found)] = route.order.value(scope)
            except ExprError as error:
                ranks[id(found)] = float("inf")
                case.hits.append(RuleHit("route", route.name, "error", detail=f"order: {error.detail}"))
        left.sort(key=lambda found: ranks[id(found)])
    for found in left:
        if not found.healthy:
            found.detail = "cooling down; tried last"
    left.sort(key=lambda found: not found.healthy)
    places = iter(left)
    case.tries = [found if found.dropped else next(places) for found in tries]


def _late_denies(case: Case, rules: Iterable[DenyRule], scope: Facts) -> None:
    tries = case.tries or []
    for rule in rules:
        first = True
        outcome: bool | None = False
        detail = ""
        for found in tries:
            if found.dropped is not None:
                continue
            scope.update(found.facts)
            value, said = (True, "") if rule.when is None else evaluate(rule.when, scope)
            if value is not False:
                outcome, detail = value, said or found.option.model.ref
            if not rule.shadow and _denies(value, rule):
                if first:
                    case.denial = _denied(rule, value, scope)
                    break
                found.drop("GATE_DENY" if value else "RULE_ERROR", rule.id, said)
            first = False
        if rule.shadow or outcome is not False:
            case.hits.append(RuleHit("deny", rule.id, _OUTCOMES[outcome], shadow=rule.shadow, detail=detail))
        if case.denial is not None:
            return
