"""Deferred tools, which a model is not shown until a search names them, on wires that know nothing of that.

A search that the client runs (a tool of its own whose result holds references, or items that say what was found) goes on
working: what it has found is shown, the rest stays hidden. A search that the provider ran is gone with the provider, so then
everything is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.llm.messages import LLMRequest, Opaque, Tool, ToolCall, ToolResult


def has_deferred(tool: Tool) -> bool:
    """Whether `tool` or one of its members is not to be shown at once."""
    return tool.deferred or any(member.deferred for member in tool.members)


def is_shown(tool: Tool, loaded: set[str] | None, *, group: Tool | None = None) -> bool:
    """Whether the model sees `tool`, of the namespace `group` if any, given what is loaded (None: everything)."""
    if loaded is None or not (tool.deferred or (group is not None and group.deferred)):
        return True
    return tool.name in loaded or (group is not None and group.name in loaded)


def loaded(request: LLMRequest) -> set[str] | None:
    """Names that a search has found so far, and of every tool that was called; None if a provider searched."""
    if any(_searches(tool) for tool in request.tools):
        return None
    found: set[str] = set()
    for message in request.messages:
        for block in message.content:
            if isinstance(block, ToolCall):
                found.add(block.name)
            elif isinstance(block, ToolResult):
                for inner in block.content:
                    if isinstance(inner, Opaque):
                        found |= set(_references(inner.value))
            elif isinstance(block, Opaque):
                found |= set(_references(block.value))
    return found


def _searches(tool: Tool) -> bool:
    kind = str(tool.extra.get("type") or "")
    return tool.kind == "server" and kind.startswith("tool_search")


def _references(value: Any) -> Iterator[str]:
    """Tool names in a `tool_reference`, a `tool_addition`, a tool search result (Messages) or a tool search output (Responses)."""
    if not isinstance(value, dict):
        return
    match value.get("type"):
        case "tool_reference":
            yield str(value.get("tool_name", ""))
        case "tool_addition":
            tool = value.get("tool")
            yield str(tool.get("name", "")) if isinstance(tool, dict) else ""
        case "tool_search_tool_result" | "tool_search_tool_search_result":
            yield from _references(value.get("content"))
            for reference in _objects(value.get("tool_references")):
                yield from _references(reference)
        case "tool_search_output":
            for tool in _objects(value.get("tools")):
                yield str(tool.get("name", ""))
                yield from (str(member.get("name", "")) for member in _objects(tool.get("tools")))


def _objects(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
