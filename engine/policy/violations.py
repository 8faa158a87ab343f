"""What governance wants to know of a decision: which rules refused, or would have, and which tags took part.

Pure, from the decision alone, so that a recorded decision says the same again. Rules kept here:

- A refusal is a violation, whoever refused; so is what a shadow rule would have refused or dropped.
- A candidate that a `require` or `deny` rule dropped is one only when that rule has tags: most of them say what fits where,
  and that is no matter of conduct.
- Nothing here holds text of a request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from engine.llm.frozen import dataclass
from engine.policy.decision import Decision
from engine.policy.model import Policy

Kind = Literal["denied", "would_deny", "dropped", "would_drop"]


@dataclass(slots=True, frozen=True)
class Violation:
    """One rule that was broken. `detail` names models, where the rule is about them."""

    kind: Kind
    section: str
    rule: str
    """Empty when no candidate was left and no single rule is to blame."""
    reason: str
    tags: tuple[str, ...] = ()
    detail: str = ""


def violations(policy: Policy, decision: Decision) -> tuple[Violation, ...]:
    """Everything that broke a rule, refusals first."""
    if decision.denial is None and not policy.tags and not any(hit.shadow for hit in decision.hits):
        return ()
    return (*_refused(policy, decision), *_shadows(policy, decision), *_dropped(policy, decision))


def tags(policy: Policy, decision: Decision) -> tuple[str, ...]:
    """Tags of every rule that took part: that held, refused, dropped a candidate, or would have as a shadow. Sorted."""
    if not policy.tags:
        return ()
    found = {("deny", decision.denial.rule)} if decision.denial is not None else set()
    for hit in decision.hits:
        # A `require` rule is heard of when it is not fulfilled, all others when they hold.
        if hit.outcome != ("true" if hit.section == "require" else "false"):
            found.add((hit.section, hit.id))
    for candidate in decision.candidates:
        if candidate.dropped is not None:
            found |= {("require", candidate.rule), ("deny", candidate.rule)}
    return tuple(sorted({tag for key in found for tag in policy.tags.get(key, ())}))


def _refused(policy: Policy, decision: Decision) -> Iterator[Violation]:
    denial = decision.denial
    if denial is not None:
        section = next((s for s in ("deny", "classify", "override") if (s, denial.rule) in policy.rule_ids), "")
        yield Violation("denied", section, denial.rule, denial.reason, policy.tags.get((section, denial.rule), ()))


def _shadows(policy: Policy, decision: Decision) -> Iterator[Violation]:
    kinds: Mapping[str, Kind] = {"deny": "would_deny", "require": "would_drop"}
    for hit in decision.hits:
        if (
            not hit.shadow
            or hit.section not in kinds
            or hit.outcome == ("true" if hit.section == "require" else "false")
        ):
            continue
        reason = "RULE_ERROR" if hit.outcome == "error" else "SHADOW_DENY"
        own = policy.tags.get((hit.section, hit.id), ())
        yield Violation(kinds[hit.section], hit.section, hit.id, reason, own, hit.detail)


def _dropped(policy: Policy, decision: Decision) -> Iterator[Violation]:
    for section in ("require", "deny"):
        models: dict[str, list[str]] = {}
        reasons: dict[str, str] = {}
        for candidate in decision.candidates:
            if candidate.dropped is not None and (section, candidate.rule) in policy.tags:
                models.setdefault(candidate.rule, []).append(candidate.ref)
                reasons[candidate.rule] = candidate.dropped
        for rule, refs in models.items():
            yield Violation("dropped", section, rule, reasons[rule], policy.tags[section, rule], ", ".join(refs))
