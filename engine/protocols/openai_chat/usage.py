"""Token counts, read from what providers send and written as OpenAI has them.

Reading brings them to one meaning: output includes reasoning, input includes cached tokens. Some providers leave reasoning
out of `completion_tokens`; where the total says so it is believed, else the quirk decides.
"""

from __future__ import annotations

from typing import Any

from engine.llm.catalogue import Quirks
from engine.llm.messages import JsonObject, Usage

_READ = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
        "prompt_cache_hit_tokens",
        "prompt_cache_miss_tokens",
        "num_cached_tokens",
        "cached_tokens",
        "cost",
        "cost_in_usd_ticks",
    }
)
_TICKS_PER_USD = 1e10
"""Unit of `cost_in_usd_ticks`, found by recomputing a recorded answer's price."""


def read_usage(held: Any, quirks: Quirks) -> Usage | None:
    """Usage of one `usage` object; None when there is none."""
    if not isinstance(held, dict) or not held:
        return None
    prompt_details = _object(held.get("prompt_tokens_details"))
    completion_details = _object(held.get("completion_tokens_details"))
    prompt, completion, total = (_count(held.get(f"{n}_tokens")) for n in ("prompt", "completion", "total"))
    reasoning = _count(completion_details.get("reasoning_tokens"))
    output = completion
    beyond: int | None = None
    if completion is not None:
        beyond = None if total is None or prompt is None else total - prompt - completion
        if reasoning and (beyond == reasoning or (beyond is None and quirks.reasoning_outside_output)):
            output = completion + reasoning
        elif beyond is not None and beyond > 0 and not prompt_details and not completion_details:
            output = completion + beyond  # thinking that is billed and not itemised
        if reasoning and output is not None:
            reasoning = min(reasoning, output)
    if prompt is not None and beyond and beyond == _count(prompt_details.get("audio_tokens")):
        prompt += beyond  # sound in the prompt that is not counted among its tokens
    held_cached = [prompt_details.get("cached_tokens"), *(held.get(k) for k in _CACHED)]
    cached = next((n for value in held_cached if (n := _count(value)) is not None), None)
    if cached is not None and prompt is not None:
        cached = min(cached, prompt)  # one server counts more of them than the prompt has (measured)
    return Usage(
        input_tokens=prompt,
        output_tokens=output,
        cached_tokens=cached,
        cache_write_tokens=_count(prompt_details.get("cache_write_tokens")),
        reasoning_tokens=reasoning,
        cost_usd=_cost(held),
        extra={key: value for key, value in held.items() if key not in _READ and value is not None},
    )


_CACHED = ("prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens")


def write_usage(usage: Usage) -> JsonObject | None:
    """The `usage` object; None when nothing is known."""
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    prompt, completion = usage.input_tokens or 0, usage.output_tokens or 0
    written: JsonObject = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens or 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
    }
    if usage.cache_write_tokens:
        written["prompt_tokens_details"]["cache_write_tokens"] = usage.cache_write_tokens
    if usage.cost_usd is not None:
        written["cost"] = usage.cost_usd
    return written


def _object(value: Any) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        return None
    return int(value)


def _cost(held: JsonObject) -> float | None:
    cost = held.get("cost")
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    if not isinstance(cost, int | float) or isinstance(cost, bool):
        ticks = _count(held.get("cost_in_usd_ticks"))
        return None if ticks is None else ticks / _TICKS_PER_USD
    return float(cost)
