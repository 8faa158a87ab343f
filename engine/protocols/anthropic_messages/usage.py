"""Token counts. This protocol's `input_tokens` leaves out what was read from or written to the prompt cache; ours does not."""

from __future__ import annotations

from typing import Any

from engine.llm.messages import JsonObject, Usage

_KNOWN = frozenset({"input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"})


def decode_usage(value: Any) -> Usage:
    """Usage of an answer; what has no field of its own (`server_tool_use`, `iterations`) stays in `extra`."""
    if not isinstance(value, dict):
        return Usage()
    fresh = _count(value.get("input_tokens"))
    read = _count(value.get("cache_read_input_tokens"))
    written = _count(value.get("cache_creation_input_tokens"))
    creation = value.get("cache_creation")
    details = value.get("output_tokens_details")
    hour = _count(creation.get("ephemeral_1h_input_tokens")) if isinstance(creation, dict) else None
    return Usage(
        input_tokens=None if fresh is None else fresh + (read or 0) + (written or 0),
        output_tokens=_count(value.get("output_tokens")),
        cached_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=hour,
        reasoning_tokens=_count(details.get("thinking_tokens")) if isinstance(details, dict) else None,
        extra={key: item for key, item in value.items() if key not in _KNOWN},
    )


def merge_usage(earlier: JsonObject, later: Any) -> JsonObject:
    """Usage of a stream so far. Later figures replace earlier ones, also by smaller ones (an answer whose prompt was compacted
    on the way says so), but some vendors send zeros for what they said before: those do not count.
    """
    if not isinstance(later, dict):
        return earlier
    merged = dict(earlier)
    counts_again = bool(_count(later.get("input_tokens")))
    for key, value in later.items():
        before = merged.get(key)
        shrinks = isinstance(value, int) and isinstance(before, int) and value < before
        if value is None or (shrinks and not counts_again):
            continue
        merged[key] = value
    return merged


def encode_usage(usage: Usage | None, *, with_extra: bool = False) -> JsonObject:
    """All four counts, unknown ones as 0: strict clients refuse an answer without them."""
    if usage is None:
        usage = Usage()
    read = usage.cached_tokens or 0
    written = usage.cache_write_tokens or 0
    value: JsonObject = {
        "input_tokens": max((usage.input_tokens or 0) - read - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output_tokens or 0,
    }
    if with_extra:
        return {**value, **usage.extra}
    if usage.reasoning_tokens is not None:
        value["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return value


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
