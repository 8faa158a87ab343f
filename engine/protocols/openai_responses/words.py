"""What the Responses API calls things: fields, item types, tool types, and the loss codes they stand for.

Sources: OpenAI's API reference for `POST /responses`; item types and fields beyond it are measured (recorded answers of
seven vendors, requests of three agents).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAME = "openai-responses"
PATH = "/responses"

FIELD_CODES: Mapping[str, str] = {
    "model": "",
    "input": "",
    "instructions": "",
    "stream": "",
    "stream_options": "",
    "tools": "",
    "tool_choice": "",
    "text": "",
    "reasoning": "",
    "store": "",
    "include": "",
    "metadata": "",
    "client_metadata": "",
    "prompt_cache_key": "",
    "prompt_cache_retention": "",
    "prompt_cache_options": "",
    "truncation": "",
    "max_tool_calls": "",
    "parallel_tool_calls": "parallel_tools",
    "max_output_tokens": "max_output_tokens",
    "temperature": "sampling",
    "top_p": "sampling",
    "top_logprobs": "logprobs",
    "user": "user",
    "safety_identifier": "user",
    "service_tier": "",
    "previous_response_id": "previous_response",
    "conversation": "previous_response",
    "background": "background",
    "context_management": "context_management",
    "prompt": "container",
}
"""Top-level field → loss code when it is set; empty: nothing another protocol could lose, or judged by its value."""

HELD = frozenset(
    {
        "model",
        "input",
        "instructions",
        "stream",
        "tools",
        "tool_choice",
        "reasoning",
        "parallel_tool_calls",
        "max_output_tokens",
        "temperature",
        "top_logprobs",
        "top_p",
        "user",
        "prompt_cache_key",
        "service_tier",
    }
)
"""Top-level fields with a place of their own in the neutral request; `text` is split, the others ride in `extra`."""

UNDOCUMENTED = frozenset({"client_metadata"})
"""Fields that agents send and the API takes, but that a provider with `strict` need not know."""

_MADE_BY_MODEL = frozenset({"mcp_list_tools", "mcp_approval_request", "program", "program_output", "compaction"})


LOGPROBS = "message.output_text.logprobs"
"""Word of `include` that asks for token probabilities."""


def field_losses(name: str, value: Any) -> tuple[str, ...]:
    """Codes of what a top-level field stands for where it can't be said; none for one that asks for nothing."""
    if value is None or value is False:
        return ()
    match name:
        case "top_logprobs" if not value:
            return ()
        case "include":
            return ("logprobs",) if isinstance(value, list) and LOGPROBS in value else ()
        case "truncation":
            return () if value == "disabled" else ("context_management",)
        case "context_management":
            compacts = any(edit.get("type") == "compaction" for edit in entries(value))
            return ("context_management", "compaction") if compacts else ("context_management",)
        case "text" if isinstance(value, dict):
            verbose = ("verbosity",) if value.get("verbosity") else ()
            return verbose if value.keys() <= {"format", "verbosity"} else (*verbose, "unknown_field")
        case "reasoning" if isinstance(value, dict):
            kept = ("own_field",) if value.get("context") else ()
            return (
                kept
                if value.keys() <= {"effort", "summary", "generate_summary", "context"}
                else (*kept, "unknown_field")
            )
    code = FIELD_CODES.get(name, "unknown_field")
    return (code,) if code else ()


def made_by_model(kind: str) -> bool:
    """True for items that stand in an answer, so that they belong to the assistant's turn in a history."""
    return kind in _MADE_BY_MODEL or kind.endswith("_call")


def is_part(kind: str) -> bool:
    """True for content parts, which stand inside a message; everything else is an item of its own."""
    return kind.startswith("input_") or kind == "computer_screenshot"


def text(value: Any) -> str:
    """`value` if it is a string, else empty."""
    return value if isinstance(value, str) else ""


def entries(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; nothing for what is no list."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
