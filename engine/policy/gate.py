"""Which candidates may serve a request, in which order, or is it refused?

A dropped candidate keeps its place in the list, with the reason and the rule. A second gate asks its rules of the candidates
that the first one left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from engine.policy.case import OUTCOMES, READY, Case, Outcome, Try, failed
from engine.policy.cel import ExprError
from engine.policy.classify import classify
from engine.policy.decision import Denial, Facts, Reason, RuleHit
from engine.policy.estimates import estimated
from engine.policy.expression import evaluate
from engine.policy.floor import DISABLED
from engine.policy.hedging import bound
from engine.policy.model import DEFAULT_CLASS, Canary, DenyRule, GateRules, Policy, RequireRule, Route
from engine.policy.refusal import refuse_all

_NONE: frozenset[int] = frozenset()


def select_gate_rules(policy: Policy, settings: Mapping[str, Any]) -> GateRules:
    """The rules of a gate with these settings: `require` and `deny` list ids; without either, all rules of the policy.

    Raises ValueError for a setting or a rule that does not exist.
    """
    unknown = settings.keys() - {"require", "deny"}
    if unknown:
        raise ValueError(f"takes `require` and `deny`, not '{min(unknown)}'")
    require = policy.require if not settings else _named(policy.require, settings.get("require", ()), "require")
    deny = policy.deny if not settings else _named(policy.deny, settings.get("deny", ()), "deny")
    if settings:  # budgets hold at every gate
        deny = tuple(dict.fromkeys((*deny, *(rule for rule in policy.deny if rule.reason == "BUDGET"))))
    return GateRules.of(require, deny)


def _named(rules: tuple[Any, ...], ids: Any, section: str) -> tuple[Any, ...]:
    if not isinstance(ids, list | tuple):
        raise ValueError(f"`{section}` must be a list of rule ids")  # noqa: TRY004 - a setting of a file, not a type
    by_id = {rule.id: rule for rule in rules}
    for name in ids:
        if name not in by_id:
            raise ValueError(f"there is no {section} rule '{name}'")
    return tuple(rule for rule in rules if rule.id in ids)


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


def _early_denies(case: Case, rules: Iterable[DenyRule]) -> None:
    for rule in rules:
        value, detail = (True, "") if rule.when is None else evaluate(rule.when, case.facts)
        if rule.shadow or value is not False:
            case.hits.append(RuleHit("deny", rule.id, OUTCOMES[value], shadow=rule.shadow, detail=detail))
        if not rule.shadow and _denies(value, rule):
            case.denial = _denied(rule, value, case.facts)
            return


def _denies(value: bool | None, rule: DenyRule) -> bool:
    return value is True or (value is None and rule.on_error == "deny")


def _denied(rule: DenyRule, value: bool | None, facts: Facts) -> Denial:
    if value is None:
        return failed(rule.id)
    message = rule.message.text(facts) if rule.message is not None else f"refused by the policy's rule '{rule.id}'"
    return Denial(rule.id, rule.status, message, rule.reason)


def _find(case: Case) -> list[Try]:
    """The candidates of the request's route, with their facts."""
    policy, facts = case.policy, case.facts
    route = case.route or policy.route(case.route_class)
    # A class without a route of its own is served like fallback_safe, its providers' models included.
    wanted = case.route_class if case.route is not None or case.route_class in policy.routes else DEFAULT_CLASS
    if route.hedge_ms and not bound(facts["request"]):
        case.hedge_ms = route.hedge_ms
    resolver = policy.resolver
    tries: list[Try] = []
    for option in resolver.options(route, wanted, facts["request"], _skipped(case, route)):
        state = case.availability.get(option.model.ref) or case.availability.get(option.provider.name, READY)
        own = {**option.facts, "provider": resolver.provider_facts(option, state)}
        own["estimate"] = estimated(option, facts, marking=policy.cache.prefix)
        tries.append(Try(option, own, state.healthy and not state.limited))
    return tries


def _skipped(case: Case, route: Route) -> frozenset[int]:
    """Entries of the route whose condition does not hold, and a canary's when the session is not drawn."""
    canary = route.canary
    unused = _NONE if canary is None or _drawn(case, canary) else canary.places
    if not route.conditional:
        return unused
    skipped = set(unused)
    for number in route.conditional:
        if number in unused:
            continue
        entry = route.entries[number]
        assert entry.when is not None
        value, detail = evaluate(entry.when, case.facts)
        if value is not True:
            skipped.add(number)
        if value is not False:
            case.hits.append(RuleHit("route", entry.id or entry.use, OUTCOMES[value], detail=detail))
    return frozenset(skipped)


def _drawn(case: Case, canary: Canary) -> bool:
    """Whether the session is one of the canary's share; the same for all its requests."""
    bucket = case.facts["session"]["bucket"]
    if bucket >= canary.buckets:
        return False
    case.canary = canary.id
    drawn = f"CANARY {canary.percent:g} %: session.bucket {bucket} < {canary.buckets}"
    case.hits.append(RuleHit("route", canary.id, "true", detail=drawn))
    return True


def _floor(policy: Policy, found: Try, scope: Facts) -> None:
    if not found.option.provider.enabled:
        found.drop("DISABLED", DISABLED)
        return
    if policy.floor.all_hold.holds(scope):
        return
    for rule in policy.floor.rules:
        value, detail = evaluate(rule.holds, scope)
        if value is not True:
            reason: Reason = rule.reason if value is False else "RULE_ERROR"
            found.drop(reason, rule.id, detail or ", ".join(scope["hard_losses"] if rule.id == "floor.losses" else ()))
            return
    found.drop("RULE_ERROR", "floor.all")


def _require(case: Case, found: Try, rules: Iterable[RequireRule], scope: Facts) -> None:
    for rule in rules:
        if rule.shadow:
            continue
        try:
            value = (rule.when is not None and not rule.when.eval(scope)) or rule.require.eval(scope)
        except ExprError as error:
            case.hits.append(RuleHit("require", rule.id, "error", detail=f"{found.option.model.ref}: {error.detail}"))
            if rule.on_error == "deny":
                found.drop("RULE_ERROR", rule.id, error.detail)
                return
            continue
        if value is False:
            found.drop("INCOMPATIBLE", rule.id)
            return


def _required(rule: RequireRule, scope: Facts) -> bool | None:
    """What a rule says of the candidate in `scope`; None when it has no value."""
    try:
        return (rule.when is not None and not rule.when.eval(scope)) or bool(rule.require.eval(scope))
    except ExprError:
        return None


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
                value = _required(rule, scope)
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
                ranks[id(found)] = route.order.eval(scope)
            except ExprError as error:
                ranks[id(found)] = float("inf")
                case.hits.append(RuleHit("route", route.name, "error", detail=f"order: {error.detail}"))
        left.sort(key=lambda found: (not found.option.canary, ranks[id(found)]))
    for found in left:
        if not found.healthy:
            found.detail = f"{_stepping_back(found.facts['provider'])}; tried last"
    left.sort(key=lambda found: not found.healthy)
    places = iter(left)
    case.tries = [found if found.dropped else next(places) for found in tries]


def _stepping_back(provider: Facts) -> str:
    """Why a candidate goes behind the others, in words."""
    if provider["limited"]:
        return "at its limit"
    return {"open": "failing", "recovering": "recovering, with as many attempts as it may have"}.get(
        provider["state"], "cooling down"
    )


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
                found.drop(rule.reason if value else "RULE_ERROR", rule.id, said)
            first = False
        if rule.shadow or outcome is not False:
            case.hits.append(RuleHit("deny", rule.id, OUTCOMES[outcome], shadow=rule.shadow, detail=detail))
        if case.denial is not None:
            return
