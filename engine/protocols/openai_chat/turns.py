"""How one message hangs together with the others of its conversation."""

from __future__ import annotations

from typing import Any

from engine.llm.messages import JsonObject
from engine.llm.protocol import Part
from engine.protocols.showing import is_id, tells
from engine.protocols.tool_ids import original

_SHOWN = ("image_url", "file")


def part(message: JsonObject) -> Part | None:
    """See `WireProtocol.part`."""
    role, content = message.get("role"), message.get("content")
    if role == "tool":
        call_id = message.get("tool_call_id")
        if not is_id(call_id) or not isinstance(content, str | list):
            return None
        return Part(False, results=(original(call_id),))
    if role not in ("user", "assistant", "system", "developer"):
        return None
    says = _says(content)
    if says is None:
        return None
    if role != "assistant":
        return Part(False) if says else None
    listed = message.get("tool_calls") or []
    if not isinstance(listed, list) or message.get("function_call"):
        return None
    calls: list[str] = []
    for call in listed:
        if not isinstance(call, dict) or not is_id(call.get("id")):
            return None
        calls.append(original(call["id"]))
    return Part(True, says or bool(calls), tuple(calls))


def _says(content: Any) -> bool | None:
    """Whether a content shows something; None for parts that this protocol alone has."""
    if content is None or isinstance(content, str):
        return tells(content)
    if not isinstance(content, list):
        return None
    says = False
    for piece in content:
        kind = piece.get("type") if isinstance(piece, dict) else None
        if kind == "text":
            says = says or tells(piece.get("text"))
        elif kind in _SHOWN:
            says = True
        else:
            return None
    return says
