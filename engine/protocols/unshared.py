"""What only one protocol has: loss codes of its blocks, items and provider-run tools.

Surveys and encoders of all protocols ask here, so that a loss is reported under the code by which it was announced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.llm.messages import LLMRequest

_BLOCKS: Mapping[str, str] = {
    "server_tool_use": "server_tool.result",
    "mcp_tool_use": "server_tool.result",
    "mcp_list_tools": "server_tool.result",
    "mcp_approval_request": "server_tool.result",
    "mcp_approval_response": "server_tool.result",
    "program": "server_tool.result",
    "program_output": "server_tool.result",
    "tool_reference": "tool_search",
    "tool_addition": "tool_search",
    "tool_search_call": "tool_search",
    "tool_search_output": "tool_search",
    "tool_search_tool_result": "tool_search",
    "compaction": "compaction",
    "compaction_summary": "compaction",
    "compaction_trigger": "compaction",
    "context_compaction": "compaction",
    "item_reference": "previous_response",
    "container_upload": "container",
    "input_audio": "audio",
    "audio": "audio",
    "image": "container",
    "document": "container",
    "input_image": "container",
    "input_file": "container",
    "file": "container",
}
"""Images and files are of one protocol alone only where their provider keeps them."""

MARKS = frozenset({"cache_control", "prompt_cache_breakpoint"})
"""Fields beside a block or a part that end a piece of the prompt to be cached."""

_BESIDE: Mapping[str, str] = {
    "name": "own_field",
    "phase": "own_field",
    "annotations": "annotations",
    "audio": "audio",
    "prefix": "prefill",
}
_SAID = frozenset(
    {"type", "role", "content", "tool_calls", "function_call", "tool_call_id", "refusal"}
    | {"extra_content", "reasoning_details", "reasoning_content", "reasoning"}
    | {"id", "status", "internal_chat_message_metadata_passthrough"}
)
"""Fields of a message that are read, or that say nothing to a model: ids, states, accounting of one client."""

_RESULTS = ("_tool_result", "_call", "_call_output")


def message_losses(message: Mapping[str, Any]) -> set[str]:
    """The loss codes of what stands beside a message's content where only its own protocol can say it."""
    if message.keys() <= _SAID:
        return set()
    return {_BESIDE.get(name, "unknown_field") for name, value in message.items() if value and name not in _SAID}


def beside_losses(request: LLMRequest) -> set[str]:
    """The loss codes of everything in a request that only its own protocol can say, blocks and items left out."""
    losses = {*request.extra_losses, *strange_losses(request)}
    return losses.union(*(message_losses(m.extra) for m in request.messages if m.extra))


def strange_losses(request: LLMRequest) -> set[str]:
    """The loss code of unknown fields below a request's top: even its own protocol's encoder need not know where they stood."""
    return {"unknown_field"} if request.strange or any(m.strange for m in request.messages) else set()


def block_loss(kind: str) -> str:
    """The loss code of a block or item whose `type` no other protocol knows."""
    return _BLOCKS.get(kind) or ("server_tool.result" if kind.endswith(_RESULTS) else "unknown_block")


def tool_loss(kind: str) -> str:
    """The loss code of an offered tool of type `kind` that its provider would run."""
    if kind.startswith("web_search"):
        return "web_search"
    if kind.startswith("tool_search"):
        return "tool_search"
    return "container" if kind.startswith("mcp") else "server_tool"
