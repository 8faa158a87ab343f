"""Sums over events: a session as one line, and violations as events of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from engine.llm.messages import JsonObject
from engine.store.event import Event


@dataclass(slots=True)
class SessionSum:
    """All ended requests of one session. Costs are what is known; `unpriced` answers have none."""

    id: str
    started: str
    """Timestamp of its first request."""
    last: str
    """Timestamp of its newest."""
    client: str
    project: str
    model: str
    """That answered last."""
    requests: int = 0
    failed: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float = 0.0

    def to_json(self) -> JsonObject:
        """Keys in camelCase, as events have them."""
        return dict(zip(_KEYS, (getattr(self, name) for name in _NAMES), strict=True))


_NAMES = tuple(f.name for f in fields(SessionSum))
_KEYS = tuple("".join([first, *(w.capitalize() for w in rest)]) for first, *rest in (n.split("_") for n in _NAMES))

SESSION_COLUMNS = ", ".join(_NAMES)


def session_of(row: Sequence[Any]) -> SessionSum:
    """The sum in a row of `SESSION_COLUMNS`."""
    return SessionSum(*row)


def sum_sessions(events: Iterable[Event]) -> list[SessionSum]:
    """The sums over `events`, by session, newest first."""
    found: dict[str, SessionSum] = {}
    for event in sorted(events, key=lambda e: e.timestamp):
        if not event.session_id or event.status == "open":
            continue
        name, when = event.session_id, event.timestamp
        one = found.setdefault(name, SessionSum(name, when, when, event.client, event.project, event.selected_model))
        one.last, one.client = when, event.client
        one.project, one.model = event.project or one.project, event.selected_model or one.model
        one.requests += 1
        one.failed += event.status in ("error", "interrupted")
        answered = event.status in ("success", "fallback_success")
        one.unpriced += answered and event.cost_usd is None and not event.cache_hit
        one.input_tokens += event.input_tokens or 0
        one.output_tokens += event.output_tokens or 0
        one.cached_input_tokens += event.cached_input_tokens or 0
        one.cache_write_tokens += event.cache_write_tokens or 0
        one.cost_usd += event.total_usd or 0.0
    return sorted(found.values(), key=lambda one: one.last, reverse=True)


def workflow_step(event: Event) -> JsonObject:
    """One request of a session as its agents' workflow: who, which model, which turn, which tools ran before it and how."""
    return {
        "id": event.id, "timestamp": event.timestamp, "agent": event.agent, "parentAgent": event.parent_agent,
        "routeClass": event.route_class, "provider": event.selected_provider, "model": event.selected_model,
        "status": event.status, "stopReason": event.stop_reason, "latencyMs": event.latency_ms,
        "inputTokens": event.input_tokens, "outputTokens": event.output_tokens, "costUsd": event.cost_usd, **event.workflow,
    }  # fmt: skip


def violation_events(event: Event) -> list[JsonObject]:
    """Each violation of `event` as an event of its own: what happened, by whom, under which policy."""
    about = {
        "eventId": event.id, "timestamp": event.timestamp, "client": event.client, "clientVersion": event.client_version,
        "sessionId": event.session_id, "agent": event.agent, "parentAgent": event.parent_agent, "project": event.project,
        "repoPath": event.repo_path, "policy": event.policy, "routeClass": event.route_class,
        "requestedModel": event.requested_model, "status": event.status,
    }  # fmt: skip
    known = {key: value for key, value in about.items() if value != ""}
    return [{"id": f"{event.id}-{number}", **known, **said} for number, said in enumerate(event.violations, 1)]


def chosen_violations(events: Iterable[Event], kind: str | None, rule: str | None) -> list[JsonObject]:
    """The violations of `events` that are of that kind and rule, None asking nothing."""
    return [
        said
        for event in events
        for said in violation_events(event)
        if kind in (None, said["kind"]) and rule in (None, said["rule"])
    ]
