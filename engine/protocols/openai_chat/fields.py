"""What Chat Completions calls things: its fields, its roles, its finish reasons, and the loss codes they stand for.

Source: OpenAI's API reference for `POST /chat/completions`, and the fields that compatible servers add (measured).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.llm.meanings import Meaning
from engine.llm.messages import StopReason

NAME = "openai-chat"

MEANT: Mapping[str, str] = {
    "model": "",
    "messages": "",
    "stream": "",
    "stream_options": "",
    "tools": "",
    "tool_choice": "",
    "functions": "",
    "function_call": "",
    "response_format": "",
    "n": "",
    "modalities": "",
    "logprobs": "logprobs",
    "top_logprobs": "logprobs",
    "prompt_cache_key": "",
    "store": "",
    "metadata": "",
    "parallel_tool_calls": "parallel_tools",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "temperature": "sampling",
    "top_p": "sampling",
    "top_k": "top_k",
    "stop": "stop",
    "seed": "seed",
    "random_seed": "seed",
    "reasoning_effort": "effort",
    "reasoning": "effort",
    "thinking": "effort",
    "user": "user",
    "safety_identifier": "user",
    "service_tier": "",
    "audio": "audio",
    "web_search_options": "web_search",
    "verbosity": "verbosity",
    "frequency_penalty": "sampling.bias",
    "presence_penalty": "sampling.bias",
    "logit_bias": "sampling.bias",
    "prediction": "",
    "prompt_cache_retention": "",
    "prompt_cache_options": "",
}
"""Top-level field → loss code when it is set; empty: nothing another protocol could lose, or judged by its value."""

HELD = frozenset(MEANT) - {
    "stream_options",
    "n",
    "modalities",
    "store",
    "metadata",
    "audio",
    "web_search_options",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "prediction",
    "prompt_cache_retention",
    "prompt_cache_options",
}
"""Top-level fields that the neutral request holds in fields of its own; the others ride in `extra`."""

DOCUMENTED = frozenset(
    {
        "audio",
        "frequency_penalty",
        "logit_bias",
        "metadata",
        "modalities",
        "n",
        "prediction",
        "presence_penalty",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "store",
        "verbosity",
        "web_search_options",
    }
)
"""Extra top-level fields that OpenAI documents; a strict provider is sent no others."""


ODD = "message.extra"
"""Where an answer's extra holds what its message says under a vendor's own names."""


def field_losses(name: str, value: Any) -> tuple[str, ...]:
    """Codes of what a top-level field stands for where it can't be said; none for one that asks for nothing."""
    if value is None:
        return ()
    match name:
        case "n":
            return ("choices",) if isinstance(value, int) and value > 1 else ()
        case "logprobs" | "top_logprobs":
            return ("logprobs",) if value else ()
        case "modalities":
            return ("audio",) if isinstance(value, list) and "audio" in value else ()
    code = MEANT.get(name, "unknown_field")
    return (code,) if code else ()


FINISH: Mapping[str, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "model_length": "context_exceeded",
    "model_context_window_exceeded": "context_exceeded",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "refusal",
    "stop_sequence": "stop_sequence",
    "pause_turn": "pause_turn",
}
"""`finish_reason` in lower case → why the answer ended; every other word (`eos`, `tool_calls`, "") is an ordinary end."""

CALLED = frozenset({"tool_calls", "function_call"})
"""Finish reasons of an answer that ends with calls."""

FAILED: Mapping[str, Meaning] = {
    "error": "server_error",
    "insufficient_system_resource": "overloaded",
    "abort": "broken",
}
"""Finish reasons that say the answer broke off → the failure's meaning."""

FINISHED_AS: Mapping[StopReason, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "context_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "content_filter": "content_filter",
}


def stop_reason(finish: str, *, calls: bool, refused: bool) -> StopReason:
    """Why an answer ended. A call makes it `tool_use` whatever the word (providers say `stop` too), unless it was cut off."""
    stop = FINISH.get(finish.lower(), "end_turn")
    if stop in {"end_turn", "stop_sequence"}:
        if calls:
            return "tool_use"
        if refused:
            return "refusal"
    return stop


def cut_short(finish: str) -> bool:
    """Whether `finish` says that the answer was cut off, which no later word can take back."""
    return FINISH.get(finish.lower(), "end_turn") in ("max_tokens", "context_exceeded", "content_filter")


_FORM = frozenset({"role", "type", "index", "id", "format"})
"""Names in a delta whose values say what it is about, and nothing of an answer."""


def says(delta: Any) -> bool:
    """Whether a delta holds a word of an answer; some servers keep a connection warm with ones that hold none."""
    if isinstance(delta, str):
        return bool(delta)
    if isinstance(delta, list):
        return any(says(part) for part in delta)
    return isinstance(delta, dict) and any(says(value) for name, value in delta.items() if name not in _FORM)
