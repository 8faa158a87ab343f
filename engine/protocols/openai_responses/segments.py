"""A Responses request as the segments of its prompt: tools, the output schema and `instructions` come before the items."""

from __future__ import annotations

from typing import Any

from engine.llm.messages import JsonObject
from engine.llm.prefix import Kind, Segments

INJECTED = ("<environment_context>", "<user_instructions>", "# AGENTS.md")
"""How texts begin that agents put before the conversation by themselves."""


def segments(body: JsonObject) -> Segments:
    """See `WireProtocol.segments`. Of a conversation that lies with the provider only the new items are there."""
    found = Segments()
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        found.add("tools", tool)
    text = body.get("text")
    if isinstance(text, dict) and text.get("format") is not None:
        found.add("settings", text["format"], 0)
    if body.get("instructions") is not None:
        found.add("system", body["instructions"])
    asked = body.get("input")
    if isinstance(asked, str):
        found.add("message", ("user", asked))
        return found
    leading = True
    for item in asked if isinstance(asked, list) else ():
        kind: Kind = "message"
        if leading:
            kind = _leading(item)
            leading = kind != "message"
        content = item.get("content") if isinstance(item, dict) else None
        found.add(kind, item, len(content) if type(content) is list else 1)
    return found


def _leading(item: Any) -> Kind:
    if not isinstance(item, dict):
        return "message"
    if item.get("role") in ("system", "developer") or item.get("type") == "additional_tools":
        return "system"
    content = item.get("content")
    texts = [content] if isinstance(content, str) else [p.get("text") for p in content or () if isinstance(p, dict)]
    told = [text for text in texts if isinstance(text, str)]
    return "instructions" if told and all(text.startswith(INJECTED) for text in told) else "message"
