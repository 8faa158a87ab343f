"""The state of all providers when a request came, in few words: only what differs from "has a key, healthy, nothing known".

A name with a slash is one model at its provider.

Recorded with every request beside its facts, so that an old decision can be made once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.policy.case import ProviderState


def availability_json(states: Mapping[str, ProviderState]) -> dict[str, Any]:
    """`states` by the event's schema: `noKey`, `cooling`, `limited`, `state`, `latencyMs`, `errorRate`; empty parts are left out."""
    parts: dict[str, Any] = {
        "noKey": [name for name, state in states.items() if not state.key],
        "cooling": [name for name, state in states.items() if not state.healthy],
        "limited": [name for name, state in states.items() if state.limited],
        "state": {name: state.state for name, state in states.items() if state.state != "closed"},
        "latencyMs": {name: state.latency_p50_ms for name, state in states.items() if state.latency_p50_ms},
        "errorRate": {name: state.error_rate for name, state in states.items() if state.error_rate},
    }
    return {key: part for key, part in parts.items() if part}


def availability_of(data: Mapping[str, Any]) -> dict[str, ProviderState]:
    """The states that `availability_json` gave; a provider that is absent was ready. Raises TypeError for other data."""
    keyless, cooling = frozenset(data.get("noKey", ())), frozenset(data.get("cooling", ()))
    limited, breakers = frozenset(data.get("limited", ())), dict(data.get("state", {}))
    latency, errors = dict(data.get("latencyMs", {})), dict(data.get("errorRate", {}))
    return {
        name: ProviderState(
            key=name not in keyless,
            healthy=name not in cooling,
            state=str(breakers.get(name, "closed")),
            limited=name in limited,
            latency_p50_ms=float(latency.get(name, 0.0)),
            error_rate=float(errors.get(name, 0.0)),
        )
        for name in sorted(keyless | cooling | limited | breakers.keys() | latency.keys() | errors.keys())
    }
