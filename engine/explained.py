"""An event with the reasons for what was done, found by asking the policy of its time once more.

Nothing is asked of a provider, and no text of the request is needed: facts and the providers' states were recorded.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.llm.messages import JsonObject
from engine.pipeline import compile_pipeline
from engine.policy.availability import availability_of
from engine.policy.case import Case, ProviderState
from engine.policy.decision import Facts
from engine.policy.explain import explain
from engine.policy.explanation import Explanation
from engine.policy.model import Policy
from engine.policy.problems import PolicyInvalid
from engine.policy.recall import FactsBroken, recall
from engine.policy.stored import StoredPolicyInvalid
from engine.store.event import Event
from engine.store.policies import PolicyStore


class NotExplained(Exception):
    """There is no explanation; the text says why, for people."""


def walk(policy: Policy, facts: Facts, availability: Mapping[str, ProviderState]) -> tuple[Case, tuple[str, ...]]:
    """The decided case and the path through the policy's own pipeline."""
    return compile_pipeline(policy).walk(facts, availability)


def deciding_policy(event: Event, kept: PolicyStore | None, current: Policy | None = None) -> Policy:
    """The policy that decided `event`. Reading an old one blocks for a tenth of a second. Raises NotExplained."""
    if current is not None and event.policy.rpartition("@")[2] == current.digest[:12]:
        return current
    try:
        found = kept.load(event.policy) if kept is not None else None
    except (StoredPolicyInvalid, OSError) as error:
        raise NotExplained(f"the policy that decided it, {event.policy}, can't be read: {error}") from None
    if found is None:
        raise NotExplained(f"the policy that decided it, {event.policy or 'unknown'}, is not kept any more")
    return found


def explain_event(event: Event, policy: Policy) -> Explanation:
    """What `policy` says about a recorded request, and why. Raises NotExplained."""
    try:
        facts, _ = recall(event.facts, policy.signals)
        return explain(policy, facts, availability_of(event.availability), walk)
    except FactsBroken as error:
        raise NotExplained(f"what was recorded is not enough: {error}") from None
    except PolicyInvalid as error:
        raise NotExplained(f"the policy's pipeline can't be built: {error.message}") from None


def with_explanation(event: Event, kept: PolicyStore | None, current: Policy) -> JsonObject:
    """The event's JSON with its `explanation`, or with `explanationMissing`, which says why there is none."""
    try:
        explained = explain_event(event, deciding_policy(event, kept, current))
    except NotExplained as missing:
        return {**event.to_json(), "explanationMissing": str(missing)}
    return {**event.to_json(), "explanation": explained.to_json()}
