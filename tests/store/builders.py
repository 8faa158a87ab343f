"""Events for the tests of the store and of telemetry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from engine.store.event import AttemptEvent, Event, timestamp_of

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def event(number: int = 0, **fields: Any) -> Event:
    """A successful request, `number` seconds after START; any field may be given."""
    given = {
        "id": f"{0x19A000000000 + number * 1000:012x}{number:012x}",
        "timestamp": timestamp_of(START + timedelta(seconds=number)),
        "client": "claude-code",
        "protocol": "anthropic-messages",
        "status": "success",
    }
    return Event(**(given | fields))


def full(number: int = 0) -> Event:
    """An event with every field set."""
    attempt = AttemptEvent(
        provider="groq", model="llama", protocol="openai-chat", preserve=True, started_ms=1.5, latency_ms=20.25,
        first_event_ms=12.5, status=429, meaning="rate_limit", message="the provider asks to wait", waited_ms=3.0,
        wasted_usd=0.125, unhedged="budget",
    )  # fmt: skip
    candidate = {
        "ref": "groq/llama",
        "provider": "groq",
        "model": "llama",
        "protocol": "openai-chat",
        "preserve": False,
    }
    decision = {"routeClass": "tool_heavy", "classReason": "RULE_MATCH", "candidates": [candidate], "policy": "mine@12"}
    return event(
        number,
        session_id="s-1", repo_path="/repo", route_class="tool_heavy", requested_model="claude-x",
        selected_provider="groq", selected_model="llama", fallback_chain=("a/b", "groq/llama"), input_tokens=100,
        output_tokens=20, cached_input_tokens=0, cost_estimate_usd=0.25, latency_ms=31.5, cache_hit=True,
        status="fallback_success", error_class="none", client_version="2.1", agent="a-1", parent_agent="a-0", project="p", stream=True,
        http_status=200, class_rule="r-1", facts={"request": {"tools": 3}}, decision=decision,
        availability={"noKey": ["openai"], "cooling": ["groq"], "latencyMs": {"groq": 812.5}, "errorRate": {"groq": 0.1}},
        path=("decode", "classify", "gate", "cache", "dispatch", "encode"), losses=("top_k",),
        attempts=(attempt, AttemptEvent("groq", "llama", "openai-chat", answered=True, hedge=True)), policy="mine@12", cache_write_tokens=7,
        reasoning_tokens=8, cost_reported_usd=0.5, cost_provenance="provider", price_table="prices 1",
        cost_basis="usage", wasted_usd=0.125, estimated_usd=0.0625, key_name="shop", budgets=("day", "team"), budget_thresholds=("day:0.8",), requested_usd=0.75,
        repaired_calls=1, invalid_calls=2,
        shadow={"policy": "other@34", "routeClass": "fast_code", "model": "a/b", "change": "model", "costEstimateUsd": 0.5},
        workflow={"turn": 3, "results": [{"tool": "Bash", "ok": True}, {"tool": "Edit", "ok": False}, {"tool": "Read"}]},
        tags=("pii",),
        violations=({"kind": "denied", "rule": "no", "reason": "GATE_DENY", "section": "deny", "tags": ["pii"], "detail": "a/b"},),
        stop_reason="end_turn", first_event_ms=14.0, request_digest="ab" * 32, gateway_version="1.0",
        trace_parent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )  # fmt: skip
