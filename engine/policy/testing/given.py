"""From what a test gives to what a decision needs: complete facts, states of providers, prices.

The clock stands still, nothing is looked up: what a test leaves out has the default that the schemas write down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from engine.llm.catalogue import Rate
from engine.policy import facts
from engine.policy.case import ProviderState
from engine.policy.decision import Facts
from engine.policy.model import Policy

SECTIONS = ("request", "session", "client", "estimate", "budget", "now")
"""Parts of `given` that are facts as they stand."""

DERIVED: Mapping[str, str] = {
    "request.model_known": "it follows from request.model and the policy's rows",
    **dict.fromkeys(
        ("estimate.cost_usd", "estimate.cold_cost_usd", "estimate.turn_cost_usd", "estimate.switch_cost_usd"),
        "it follows from the candidate's price; give `prices`",
    ),
    "estimate.cached_tokens": "it follows from session.warm, for each candidate",
    "model": "it follows from the policy's rows, for each candidate",
    "provider": "it follows from the policy's rows, for each candidate; their state is given in `providers`",
    "candidate": "it follows from the route, for each candidate",
    "losses": "they follow from request.requires, for each candidate",
    "hard_losses": "they follow from request.requires, for each candidate",
    "settings": "they are the policy's own",
    "vars": "they are the policy's own expressions; expect them instead",
}
"""Facts that no test can give → why not."""


@dataclass(slots=True, frozen=True, eq=False)
class World:
    """Everything that a decision depends on."""

    policy: Policy
    """With the test's prices."""
    facts: Facts
    availability: Mapping[str, ProviderState]


def world(policy: Policy, given: Mapping[str, Any]) -> World:
    """What `given` (checked by its schema) means for `policy`."""
    partial = {name: given[name] for name in SECTIONS if name in given}
    document = facts.complete(partial, request_schema())
    found = facts.search(policy.signals, given.get("text", ""))
    # A signal that could match the empty text is still false unless a test says otherwise.
    found = found if "text" in given else dict.fromkeys(found, False)
    document["signals"] = found | given.get("signals", {})
    return World(_priced(policy, given.get("prices", {})), document, _states(policy, given))


def _priced(policy: Policy, prices: Mapping[str, Mapping[str, float]]) -> Policy:
    if not prices:
        return policy
    rates = {
        ref: Rate.of(float(price["input"]), float(price["output"]), price.get("cached_input"), price.get("cache_write"))
        for ref, price in prices.items()
    }
    return replace(policy, rates={**policy.rates, **rates})


def _states(policy: Policy, given: Mapping[str, Any]) -> dict[str, ProviderState]:
    keys, said = given.get("keys"), given.get("providers", {})
    states: dict[str, ProviderState] = {}
    for name, row in policy.providers.items():
        ready = keys is None or name in keys or row.auth == "none"
        states[name] = ProviderState.from_json({"key": ready, **said.get(name, {})})
    for ref in said.keys() - policy.providers.keys():
        states[ref] = ProviderState.from_json({"key": states[ref.partition("/")[0]].key, **said[ref]})
    return states


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`: maps by key at every level, anything else is replaced."""
    out = dict(under)
    for key, value in over.items():
        below = out.get(key)
        out[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return out


def clock(moment: str) -> dict[str, Any]:
    """`now` of the facts at a local time like `2026-01-05T12:00:00+01:00`; without a zone it is taken for UTC.

    Raises ValueError for a time that no calendar has.
    """
    time = datetime.fromisoformat(moment)
    zoned = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return facts.clock_facts(zoned)


@lru_cache(maxsize=1)
def request_schema() -> Mapping[str, Any]:
    """The facts' schema without what belongs to a candidate."""
    schema = facts.schema()
    kept = {name: field for name, field in schema["properties"].items() if field.get("x-phase") != "candidate"}
    return {**schema, "properties": kept}
