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
    "service_tier": "service_tier",
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
        "top_p",
        "user",
        "prompt_cache_key",
        "service_tier",
    }
)
"""Top-level fields with a place of their own in the neutral request; `text` is split, the others ride in `extra`."""

UNDOCUMENTED = frozenset({"client_metadata"})
"""Fields that agents send and the API takes, but that a provider with `strict` need not know."""

FOREIGN_CODES: Mapping[str, str] = {
    "context_management": "context_management",
    "container": "container",
    "mcp_servers": "container",
    "web_search_options": "web_search",
    "audio": "audio",
    "top_logprobs": "logprobs",
}
"""Top-level extras of the other protocols that can't be said here → loss code."""

_ITEM_CODES: Mapping[str, str] = {
    "tool_search_call": "tool_search",
    "tool_search_output": "tool_search",
    "compaction": "compaction",
    "compaction_summary": "compaction",
    "context_compaction": "compaction",
    "compaction_trigger": "compaction",
    "item_reference": "previous_response",
    "mcp_list_tools": "server_tool.result",
    "mcp_approval_request": "server_tool.result",
    "mcp_approval_response": "server_tool.result",
    "program": "server_tool.result",
    "program_output": "server_tool.result",
}

_FOREIGN_BLOCKS: Mapping[str, str] = {
    "server_tool_use": "server_tool.result",
    "mcp_tool_use": "server_tool.result",
    "tool_search_tool_result": "tool_search",
    "tool_reference": "tool_search",
    "tool_addition": "tool_search",
    "container_upload": "container",
    "compaction": "compaction",
    "input_audio": "audio",
    "audio": "audio",
    "image": "container",
    "document": "container",
}
"""Images and documents are opaque only when their provider keeps them."""

_MADE_BY_MODEL = frozenset({"mcp_list_tools", "mcp_approval_request", "program", "program_output", "compaction"})


def item_code(kind: str) -> str:
    """The loss code of an item that only this protocol has."""
    if code := _ITEM_CODES.get(kind):
        return code
    return "server_tool.result" if kind.endswith(("_call", "_call_output")) else "unknown_block"


def foreign_code(kind: str) -> str:
    """The loss code of a block that only another protocol has."""
    if code := _FOREIGN_BLOCKS.get(kind):
        return code
    return "server_tool.result" if kind.endswith("_tool_result") else "unknown_block"


def made_by_model(kind: str) -> bool:
    """True for items that stand in an answer, so that they belong to the assistant's turn in a history."""
    return kind in _MADE_BY_MODEL or kind.endswith("_call")


def tool_code(kind: str) -> str:
    """The loss code of an offered tool that is neither a function, nor custom, nor a namespace."""
    if kind.startswith("web_search"):
        return "web_search"
    if kind.startswith("tool_search"):
        return "tool_search"
    return "container" if kind.startswith("mcp") else "server_tool"


def is_part(kind: str) -> bool:
    """True for content parts, which stand inside a message; everything else is an item of its own."""
    return kind.startswith("input_") or kind == "computer_screenshot"


def text(value: Any) -> str:
    """`value` if it is a string, else empty."""
    return value if isinstance(value, str) else ""


def entries(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; nothing for what is no list."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
