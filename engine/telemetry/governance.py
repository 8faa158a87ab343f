"""The governance export: what was asked by whom under which policy, what came of it, and every rule that was broken.

One JSON object per request and one per violation, by `schemas/governance.schema.json`. Its version changes when a field changes
its meaning or goes; fields may be added under the same version. It holds no text of a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.llm.messages import JsonObject
from engine.store.event import Event
from engine.store.sums import violation_events

FORMAT = "sbgw.governance"
VERSION = 1


def governance_records(event: Event) -> list[JsonObject]:
    """The record of a request, and those of its violations."""
    about = _about(event)
    request: JsonObject = {
        "format": FORMAT, "version": VERSION, "kind": "request", "id": event.id, "time": event.timestamp, **about,
        "request": _known(
            protocol=event.protocol, requestedModel=event.requested_model, stream=event.stream,
            routeClass=event.route_class, classRule=event.class_rule,
        ),
        "outcome": _known(
            status=event.status, httpStatus=event.http_status, errorClass=event.error_class,
            provider=event.selected_provider, model=event.selected_model, fallbackChain=list(event.fallback_chain),
            losses=list(event.losses), latencyMs=event.latency_ms, cacheHit=event.cache_hit,
        ),
        "usage": _known(
            inputTokens=event.input_tokens, outputTokens=event.output_tokens, cachedInputTokens=event.cached_input_tokens,
            cacheWriteTokens=event.cache_write_tokens, reasoningTokens=event.reasoning_tokens,
        ),
        "cost": _known(
            estimateUsd=event.cost_estimate_usd, reportedUsd=event.cost_reported_usd, wastedUsd=event.wasted_usd,
            estimatedPartUsd=event.estimated_usd, provenance=event.cost_provenance,
        ),
        "workflow": dict(event.workflow),
        "tags": list(event.tags),
    }  # fmt: skip
    broken = [
        {
            "format": FORMAT, "version": VERSION, "kind": "violation", "id": said["id"], "requestId": event.id,
            "time": event.timestamp, **about, "violation": violation,
        }
        for said, violation in zip(violation_events(event), event.violations, strict=True)
    ]  # fmt: skip
    return [request, *broken]


def _about(event: Event) -> JsonObject:
    name, _, digest = event.policy.rpartition("@")
    return _known(
        gatewayVersion=event.gateway_version,
        actor=_known(
            client=event.client,
            clientVersion=event.client_version,
            agent=event.agent,
            parentAgent=event.parent_agent,
            key=event.key_name,
        ),
        session=event.session_id,
        project=event.project,
        repository=event.repo_path,
        policy=_known(name=name, digest=digest),
    )


def _known(**values: Any) -> JsonObject:
    """Without what is not known; False, 0 and a list of nothing are known."""
    empty: tuple[Mapping[str, Any] | str, ...] = ("", {})
    return {name: value for name, value in values.items() if value is not None and value not in empty}
