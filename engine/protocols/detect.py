"""Which protocol a request's body is written in, when no path says so."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from engine.llm.messages import JsonObject

_BLOCKS = frozenset({"tool_use", "tool_result", "thinking", "redacted_thinking", "image", "document"})
"""Content blocks that only Anthropic Messages names so."""


def detect(body: JsonObject, headers: Container[str] = ()) -> str:
    """The protocol's name. A body that several could have written counts as Chat Completions, the commonest."""
    if "input" in body:
        return "openai-responses"
    shaped = "system" in body or "stop_sequences" in body or "anthropic-version" in headers
    if shaped or _has_own_tools(body.get("tools")) or _has_own_blocks(body.get("messages")):
        return "anthropic-messages"
    return "openai-chat"


def _has_own_tools(tools: Any) -> bool:
    return isinstance(tools, list) and any(isinstance(tool, dict) and "input_schema" in tool for tool in tools)


def _has_own_blocks(messages: Any) -> bool:
    if not isinstance(messages, list):
        return False
    contents = [message.get("content") for message in messages if isinstance(message, dict)]
    blocks = (block for content in contents if isinstance(content, list) for block in content)
    return any(isinstance(block, dict) and block.get("type") in _BLOCKS for block in blocks)
