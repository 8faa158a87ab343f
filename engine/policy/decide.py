"""What a policy says about one request. Pure: the same policy, facts and availability always give the same decision.

The order is one and the same for everybody:

1. variables, in the order written;
2. override rules, the first that holds; then class rules, the first that holds, else the class is `fallback_safe`;
3. deny rules about the request, the first that holds refuses;
4. the route of the class: which models, in which protocol, with which losses; a canary's first, if the session is drawn;
5. for each candidate the floor, then the policy's `require` rules: the first that fails drops it;
6. order: by the route's own `order` (a canary's before the others), then the healthy ones before those that are cooling down;
7. deny rules about candidates: one that holds for the first candidate refuses, for a later one drops that one.

A shadow rule is evaluated and recorded, never obeyed. A dropped candidate keeps its place in the list, with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.policy.budgets import complete
from engine.policy.case import Case, ProviderState
from engine.policy.cel import ExprError
from engine.policy.classify import classify
from engine.policy.decision import Decision, Facts, RuleHit
from engine.policy.gate import gate, select_gate_rules
from engine.policy.model import Policy

__all__ = ["Case", "ProviderState", "begin", "classify", "decide", "finish", "gate", "select_gate_rules"]


def begin(policy: Policy, facts: Facts, availability: Mapping[str, ProviderState]) -> Case:
    """A case for these facts. They are not changed; a provider without an entry in `availability` counts as ready."""
    own = dict(facts)
    own["settings"] = {"experimental": policy.settings.experimental}
    request = facts["request"]
    known = policy.knows(request["model"])
    if request["model_known"] is not known:
        own["request"] = {**request, "model_known": known}
    if policy.budgets:
        own["budget"] = complete(policy.budgets, facts["budget"])
    case = Case(policy, own, availability)
    values: dict[str, Any] = {}
    own["vars"] = values
    for name, expression in policy.vars:
        try:
            values[name] = expression.eval(own)
        except ExprError as error:
            case.hits.append(RuleHit("var", name, "error", detail=error.detail))
    return case


def decide(policy: Policy, facts: Facts, availability: Mapping[str, ProviderState]) -> Decision:
    """The whole decision, with every rule of the policy asked once."""
    case = begin(policy, facts, availability)
    classify(case)
    gate(case)
    return finish(case)


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
        canary=case.canary,
        hedge_ms=case.hedge_ms,
    )
