"""The protocol's words that several of its modules use: names, stop reasons, known fields, our own mark on thinking blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.llm.messages import StopReason

NAME = "anthropic-messages"
PATH = "/v1/messages"
VERSION = "2023-06-01"

UNSEALED = "sbgw:unsealed"
"""Signature of a thinking block whose reasoning came without any state. No provider of this protocol could verify it, so
`rewrite` and `decode_request` take the signature (and on the preserve path the block) out when it comes back."""

BILLING = "x-anthropic-billing-header"
"""Start of a system block by which a client accounts for itself. It differs between sessions and says nothing to a model,
so a translation leaves it out."""

STOP_IN: Mapping[str, StopReason] = {
    "end_turn": "end_turn",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
    "pause_turn": "pause_turn",
    "refusal": "refusal",
    "model_context_window_exceeded": "context_exceeded",
    "compaction": "pause_turn",
}
STOP_OUT: Mapping[StopReason, str] = {
    "end_turn": "end_turn",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
    "pause_turn": "pause_turn",
    "refusal": "refusal",
    "content_filter": "refusal",
    "context_exceeded": "model_context_window_exceeded",
}

REQUEST_FIELDS = frozenset(
    {
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "stream",
        "thinking",
        "output_config",
        "metadata",
        "service_tier",
    }
)
"""Top-level fields with a place in the neutral request; the rest rides along in `extra`."""

_FIELD_CODES = {
    "top_k": "top_k",
    "stop_sequences": "stop",
    "temperature": "sampling",
    "top_p": "sampling",
    "service_tier": "service_tier",
    "container": "container",
    "mcp_servers": "container",
    "output_format": "output_format",
    "cache_control": "cache_control",
    "max_tokens": "max_output_tokens",
}


def field_losses(name: str, value: Any) -> tuple[str, ...]:
    """Codes of what a top-level field stands for where it can't be said; none for one that asks for nothing."""
    if value is None:
        return ()
    if name == "context_management":
        edits = value.get("edits") if isinstance(value, dict) else None
        kinds = (edit.get("type") for edit in (edits if isinstance(edits, list) else ()) if isinstance(edit, dict))
        compacts = any(str(kind).startswith("compact") for kind in kinds)
        return ("context_management", "compaction") if compacts else ("context_management",)
    if name == "output_config":
        known = isinstance(value, dict) and value.keys() <= {"effort", "format"}
        return () if known or not isinstance(value, dict) else ("unknown_field",)
    if (code := _FIELD_CODES.get(name)) is not None:
        return (code,)
    return () if name in REQUEST_FIELDS else ("unknown_field",)


TOOL_FIELDS = frozenset({"type", "name", "description", "input_schema", "strict", "defer_loading", "cache_control"})
"""Fields of a client tool whose meaning is known."""

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""All effort words, weakest first; this protocol knows those from `low` on."""


def stop_reason(word: object, *, has_tool_call: bool) -> StopReason:
    """The neutral stop reason. A complete answer with a client tool call is `tool_use`, whatever the provider called it."""
    stop = STOP_IN.get(word) if isinstance(word, str) else None
    if has_tool_call and stop in (None, "end_turn", "stop_sequence"):
        return "tool_use"
    return stop or "end_turn"
