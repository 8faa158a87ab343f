"""Content blocks of this protocol → neutral blocks, the same for requests and answers.

A block that the vocabulary has no word for, or one whose shape is not the documented one, stays whole as `Opaque`: it is
never guessed at and never turned into a client tool call.
"""

from __future__ import annotations

from typing import Any

from engine.llm.envelope import ENVELOPE, is_ours
from engine.llm.messages import Block, Document, Image, JsonObject, Opaque, Text, Thinking, ToolCall, ToolResult
from engine.protocols import arguments, tool_ids
from engine.protocols.anthropic_messages.words import NAME, UNSEALED

_TEXT = frozenset({"type", "text"})
_IMAGE = frozenset({"type", "source"})
_DOCUMENT = frozenset({"type", "source", "title"})
_THINKING = frozenset({"type", "thinking", "signature"})
_REDACTED = frozenset({"type", "data"})
_TOOL_USE = frozenset({"type", "id", "name", "input"})
_TOOL_RESULT = frozenset({"type", "tool_use_id", "content", "is_error"})


def decode_block(block: JsonObject) -> Block:
    """One block. Never raises for any JSON object."""
    decoder = _DECODERS.get(str(block.get("type")))
    decoded = decoder(block) if decoder else None
    return decoded if decoded is not None else Opaque(NAME, block)


def decode_content(content: list[Any]) -> tuple[Block, ...]:
    """Blocks of a list; a bare string in it is text, anything else that is no object is left out."""
    blocks: list[Block] = []
    for block in content:
        if isinstance(block, dict):
            text = block.get("text") if len(block) == 2 and block.get("type") == "text" else None
            blocks.append(Text(text) if isinstance(text, str) else decode_block(block))
        elif isinstance(block, str):
            blocks.append(Text(block))
    return tuple(blocks)


def _text(block: JsonObject) -> Block | None:
    text = block.get("text")
    return Text(text, _beside(block, _TEXT)) if isinstance(text, str) else None


def _image(block: JsonObject) -> Block | None:
    match block.get("source"):
        case {"type": "base64", "data": str(data), **rest}:
            return Image(str(rest.get("media_type") or ""), data, extra=_beside(block, _IMAGE))
        case {"type": "url", "url": str(url)}:
            return Image(url=url, extra=_beside(block, _IMAGE))
    return None


def _document(block: JsonObject) -> Block | None:
    title = str(block.get("title") or "")
    extra = _beside(block, _DOCUMENT)
    match block.get("source"):
        case {"type": "base64", "data": str(data), **rest}:
            return Document(str(rest.get("media_type") or "application/pdf"), data=data, title=title, extra=extra)
        case {"type": "text", "data": str(text), **rest}:
            return Document(str(rest.get("media_type") or "text/plain"), text=text, title=title, extra=extra)
        case {"type": "url", "url": str(url)}:
            return Document(url=url, title=title, extra=extra)
        case {"type": "file", "file_id": str(file_id)}:
            return Document(file_id=file_id, title=title, extra=extra)
    return None


def _thinking(block: JsonObject) -> Block | None:
    text = block.get("thinking")
    signature = block.get("signature")
    if not isinstance(text, str):
        return None
    sealed = signature if isinstance(signature, str) and signature != UNSEALED else ""
    return Thinking(text, sealed, origin=_origin(sealed), extra=_beside(block, _THINKING))


def _redacted(block: JsonObject) -> Block | None:
    data = block.get("data")
    if not isinstance(data, str):
        return None
    return Thinking(opaque=data, redacted=True, origin=_origin(data), extra=_beside(block, _REDACTED))


def _origin(state: str) -> str:
    if not state:
        return ""
    return ENVELOPE if is_ours(state) else NAME


def _tool_use(block: JsonObject) -> Block | None:
    name = block.get("name")
    if not isinstance(name, str):
        return None
    call_id = tool_ids.original(str(block.get("id") or ""))
    extra = _beside(block, _TOOL_USE)
    return ToolCall(call_id, name, arguments.to_text(block.get("input")), extra=extra)


def _tool_result(block: JsonObject) -> Block | None:
    content = block.get("content")
    parts: tuple[Block, ...] = ()
    if isinstance(content, str):
        parts = (Text(content),) if content else ()
    elif isinstance(content, list):
        parts = decode_content(content)
    call_id = tool_ids.original(str(block.get("tool_use_id") or ""))
    extra = _beside(block, _TOOL_RESULT)
    return ToolResult(call_id, parts, block.get("is_error") is True, extra=extra)


_DECODERS = {
    "text": _text,
    "image": _image,
    "document": _document,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
}


def _beside(block: JsonObject, known: frozenset[str]) -> JsonObject:
    if block.keys() <= known:  # nearly always, and found out without making anything
        return {}
    return {key: value for key, value in block.items() if key not in known}
