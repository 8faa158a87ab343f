"""Which class a request belongs to: override rules first, then class rules, the first that holds decides.

Shadow rules behind the one that decides are still asked, since people want to know what they would have done.
"""

from __future__ import annotations

from typing import Literal

from engine.policy.case import OUTCOMES, Case, failed
from engine.policy.cel import ExprError
from engine.policy.decision import RuleHit
from engine.policy.model import ClassRule, OverrideRule


def classify(case: Case) -> None:
    """Choose the class, and the route where an override does."""
    case.classified = True
    _override(case)
    if case.denial is None and case.class_reason == "DEFAULT":
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
            case.route_class, case.class_rule, case.class_reason = name, rule.id, rule.reason


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
    value: bool | None = True
    detail = ""
    if rule.when is not None:
        try:
            value = rule.when.eval(case.facts)
        except ExprError as error:
            value, detail = None, error.detail
    if value is False and not rule.shadow:
        return False
    if rule.shadow:
        detail = detail or ("an earlier rule decides" if late and value else "")
    case.hits.append(RuleHit(section, rule.id, OUTCOMES[value], shadow=rule.shadow, detail=detail))
    if rule.shadow or value is False:
        return False
    if value is None and rule.on_error == "deny":
        case.denial = failed(rule.id)
    return value is True or rule.on_error in {"class", "deny"}
