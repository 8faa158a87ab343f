"""Makes a test of a recorded request, so that nobody types one: its facts as far as they are not the defaults, and its decision.

A record's facts hold no text. The session's id is left out as well: it names somebody's session and no rule should care.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from engine.llm.catalogue import Rate
from engine.policy.case import ProviderState
from engine.policy.testing.given import DERIVED, SECTIONS, request_schema

_LEFT_OUT = frozenset({*DERIVED, "session.id"})

_WIDTH = 118


@dataclass(slots=True, frozen=True)
class Recording:
    """What a record says of one request."""

    event: str
    """Its id."""
    policy: str
    """What the test's `policy:` shall say."""
    facts: Mapping[str, Any]
    decision: Mapping[str, Any]
    """By the event's schema."""
    availability: Mapping[str, ProviderState]
    """States of providers; one that is absent was ready."""
    decided_by: str = ""
    """`name@digest` of the policy that decided."""
    keyed: Collection[str] = ()
    """All providers that need a key, when the policy is at hand: then those with one are listed where that is shorter."""
    prices: Mapping[str, Rate] = field(default_factory=dict)
    """USD per million input and output tokens that the decision depended on."""


def write_test(recording: Recording) -> str:
    """A whole `*.test.yaml` with one test that holds the decision as it was recorded."""
    scenario = {"name": _name(recording), "given": _given(recording), "expect": _expected(recording.decision)}
    document = {"policy": recording.policy, "tests": [{key: part for key, part in scenario.items() if part}]}
    by = f", decided by {recording.decided_by}" if recording.decided_by else ""
    text: str = yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=_WIDTH)
    return f"# From the recorded request {recording.event}{by}.\n{text}"


def _name(recording: Recording) -> str:
    """Who asked for what and got what, which a person will want to say better."""
    decision, client = recording.decision, recording.facts.get("client", {}).get("name", "unknown")
    asked = recording.facts.get("request", {}).get("model", "") or "a model"
    served = next((c["ref"] for c in decision.get("candidates", ()) if "dropped" not in c), "")
    became = "is refused" if "denial" in decision else f"gets {served}" if served else "gets nothing"
    return f"{client} asks for {asked} ({decision.get('routeClass', '')}) and {became}"[:200]


def _given(recording: Recording) -> dict[str, Any]:
    schema = request_schema()["properties"]
    given: dict[str, Any] = {}
    for section in SECTIONS:
        changed = _changed(recording.facts.get(section, {}), schema[section]["properties"], section)
        if changed:
            given[section] = changed
    signals = {name: True for name, found in recording.facts.get("signals", {}).items() if found}
    names = {"input": "input", "output": "output", "read": "cached_input", "write": "cache_write"}
    prices = {ref: {name: getattr(rate, key) for key, name in names.items()} for ref, rate in recording.prices.items()}
    more = {"signals": signals, **_world(recording), "prices": prices}
    return given | {key: part for key, part in more.items() if part or key == "keys"}


def _changed(facts: Mapping[str, Any], schema: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Facts that differ from their defaults; those that this version does not know are gone."""
    return {
        name: value
        for name, value in facts.items()
        if name in schema and f"{section}.{name}" not in _LEFT_OUT and value != schema[name].get("default")
    }


def _world(recording: Recording) -> dict[str, Any]:
    """`keys` and `providers` of the test."""
    states = recording.availability
    keyless = [name for name, state in states.items() if not state.key]
    ready = [name for name in recording.keyed if name not in keyless]
    listed = bool(recording.keyed) and len(ready) < len(keyless)
    said: dict[str, dict[str, Any]] = {}
    for name, state in states.items():
        differs: dict[str, Any] = {}
        if not state.key and not listed:
            differs["key"] = False
        if not state.healthy:
            differs["healthy"] = False
        if state.state != "closed":
            differs["state"] = state.state
        if state.limited:
            differs["limited"] = True
        if state.latency_p50_ms:
            differs["latency_p50_ms"] = state.latency_p50_ms
        if state.error_rate:
            differs["error_rate"] = state.error_rate
        if differs:
            said[name] = differs
    return ({"keys": ready} if listed else {}) | {"providers": said}


def _expected(decision: Mapping[str, Any]) -> dict[str, Any]:
    candidates = decision.get("candidates", ())
    denial = decision.get("denial")
    tried = [c["ref"] for c in candidates if "dropped" not in c] if denial is None else []
    dropped = {c["ref"]: c.get("rule") or c["dropped"] for c in candidates if "dropped" in c}
    expected: dict[str, Any] = {"class": decision.get("routeClass", ""), "rule": decision.get("classRule")}
    if denial is None:
        expected |= {"model": tried[0] if tried else None, "candidates": tried}
    else:
        expected["denied"] = {
            "rule": denial.get("rule") or None,
            "status": denial["status"],
            "reason": denial["reason"],
        }
    return expected | ({"dropped": dropped} if dropped else {})
