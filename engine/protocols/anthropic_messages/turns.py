"""How one message hangs together with the others of its conversation."""

from __future__ import annotations

from engine.llm.messages import JsonObject
from engine.llm.protocol import Part
from engine.protocols.showing import is_id, tells
from engine.protocols.tool_ids import original

_THOUGHTS = ("thinking", "redacted_thinking")
_SHOWN = ("image", "document")


def part(message: JsonObject) -> Part | None:
    """See `WireProtocol.part`."""
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system") or not content:
        return None
    if isinstance(content, str):
        return Part(role == "assistant") if tells(content) else None
    if not isinstance(content, list):
        return None
    says = False
    calls: list[str] = []
    results: list[str] = []
    for block in content:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            says = says or tells(block.get("text"))
        elif kind == "tool_use" and role == "assistant" and is_id(block.get("id")):
            calls.append(original(block["id"]))
        elif kind == "tool_result" and role == "user" and is_id(block.get("tool_use_id")):
            results.append(original(block["tool_use_id"]))
        elif kind in _SHOWN and role == "user":
            says = True
        elif kind not in _THOUGHTS:
            return None
    return Part(role == "assistant", says or bool(calls or results), tuple(calls), tuple(results))
