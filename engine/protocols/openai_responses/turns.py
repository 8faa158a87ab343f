"""How one input item hangs together with the others of its conversation."""

from __future__ import annotations

from typing import Any

from engine.llm.messages import JsonObject
from engine.llm.protocol import Part
from engine.protocols.openai_responses.segments import INJECTED
from engine.protocols.showing import is_id, tells
from engine.protocols.tool_ids import original

_CALLS = ("function_call", "custom_tool_call")
_OUTPUTS = ("function_call_output", "custom_tool_call_output")
_TEXTS = ("input_text", "output_text", "text")
_SHOWN = ("input_image", "input_file")


def part(item: JsonObject) -> Part | None:
    """See `WireProtocol.part`."""
    kind = item.get("type") or "message"
    if kind == "reasoning":
        return Part(True, says=False)
    if kind == "message":
        role = item.get("role")
        if role not in ("user", "assistant", "system", "developer") or not _says(item.get("content"), role):
            return None
        return Part(role == "assistant")
    call_id = item.get("call_id")
    if not is_id(call_id):
        return None
    if kind in _CALLS:
        return Part(True, calls=(original(call_id),))
    return Part(False, results=(original(call_id),)) if kind in _OUTPUTS else None


def _says(content: Any, role: str) -> bool:
    """Whether a message's content shows something, and has nothing but that which other protocols can show, too."""
    if isinstance(content, str):
        return _told(content, role)
    if not isinstance(content, list):
        return False
    says = False
    for piece in content:
        kind = piece.get("type") if isinstance(piece, dict) else None
        if kind in _TEXTS:
            says = says or _told(piece.get("text"), role)
        elif kind in _SHOWN and role == "user":
            says = True
        else:
            return False
    return says


def _told(text: Any, role: str) -> bool:
    # An assistant that begins like what clients inject is read as such while nobody has spoken yet (`segments`).
    return tells(text) and not (role == "assistant" and text.startswith(INJECTED))
