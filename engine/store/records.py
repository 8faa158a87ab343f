"""Recorded requests as a dry run asks policies about them. Apart from the ledger's own modules: a gateway that serves replays nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from engine.llm.messages import JsonObject, Usage
from engine.policy.replay import Record
from engine.store.detail import Details
from engine.store.event import LOST, Event, attempt_json

RECORDED = (
    "id, timestamp, detail, input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, "
    "coalesce(cost_reported_usd, cost_estimate_usd), latency_ms, status"
)
"""Columns of a ledger's row that make a record."""

_WHOLE = ("success", "fallback_success")


def record_of_row(row: Sequence[Any], details: Details) -> Record:
    """The record in a row of `RECORDED`. Raises sqlite3.Error."""
    name, timestamp, packed, prompt, answer, cached, written, usd, took, status = row
    said = details.unpack(packed)
    served, failed, outrun = _tried(said.get("attempts", ()))
    return Record(
        id=name,
        at=datetime.fromisoformat(timestamp),
        policy=said.get("policy", ""),
        facts=said.get("facts", {}),
        decision=said.get("decision", {}),
        states=said.get("availability", {}),
        served=served,
        failed=failed,
        outrun=outrun,
        usage=Usage(prompt, answer, cached, written) if prompt is not None else None,
        cost_usd=usd,
        latency_ms=took if status in _WHOLE else None,
    )


def record_of(event: Event) -> Record:
    """The event as a dry run asks about it. Raises ValueError when its timestamp is none."""
    served, failed, outrun = _tried([attempt_json(attempt) for attempt in event.attempts])
    prompt = event.input_tokens
    usage = Usage(prompt, event.output_tokens, event.cached_input_tokens, event.cache_write_tokens)
    return Record(
        id=event.id,
        at=datetime.fromisoformat(event.timestamp),
        policy=event.policy,
        facts=event.facts,
        decision=event.decision,
        states=event.availability,
        served=served,
        failed=failed,
        outrun=outrun,
        usage=usage if prompt is not None else None,
        cost_usd=event.cost_usd,
        latency_ms=event.latency_ms if event.status in _WHOLE else None,
    )


def _tried(attempts: Iterable[JsonObject]) -> tuple[str, frozenset[str], frozenset[str]]:
    """(who answered, who failed, who was outrun). Whose answer the client did not wait for has answered."""
    served, failed, outrun = "", set[str](), set[str]()
    for attempt in attempts:
        ref = f"{attempt['provider']}/{attempt['model']}"
        meaning = attempt.get("meaning", "")
        if meaning in ("", "cancelled"):
            served = served or ref
        else:
            (outrun if meaning == LOST else failed).add(ref)
    return served, frozenset(failed - {served}), frozenset(outrun)
