"""Neutral blocks → content blocks of this protocol, for requests and answers.

`None` means that nothing is to be said (empty text, reasoning that this protocol's providers could not verify); the losses
that matter are added to the set that is handed in. Fields beside a block come out again only where they came from, except
`cache_control`, which means the same wherever it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.llm.envelope import ENVELOPE
from engine.llm.messages import Block, Document, Image, JsonObject, Opaque, Refusal, Text, Thinking
from engine.protocols.anthropic_messages.words import NAME, UNSEALED
from engine.protocols.unshared import block_loss


def encode_part(block: Block, losses: set[str], *, own: bool) -> JsonObject | None:
    """A block other than a call or its result. `own`: the conversation came in this protocol, so extras are its own."""
    if not own and isinstance(block, Text | Image) and block.extra:
        if block.extra.get("annotations"):
            losses.add("annotations")
        if block.extra.get("detail") not in (None, "auto"):
            losses.add("image.detail")
    match block:
        case Text(text, extra) | Refusal(text, extra):
            return {"type": "text", "text": text, **beside(extra, own=own)} if text.strip() else None
        case Image():
            return _image(block, own=own)
        case Document():
            return _document(block, own=own)
        case Thinking():
            if (part := sealed(block)) is None:
                losses.add("thinking.signature")
            return part
        case Opaque(protocol, value):
            if protocol == NAME:
                return value
            losses.add(block_loss(block.type))
    return None


def thinking_shown(block: Thinking) -> JsonObject | None:
    """A thinking block of an answer. Another protocol's reasoning is shown under our mark instead of a signature."""
    if block.opaque and block.origin == ENVELOPE:
        return {"type": "thinking", "thinking": block.text, "signature": block.opaque}
    return sealed(block) or (
        {"type": "thinking", "thinking": block.text, "signature": UNSEALED} if block.text else None
    )


def sealed(block: Thinking) -> JsonObject | None:
    """A thinking block with its signature; None for what no provider of this protocol has sealed."""
    if block.origin != NAME or not block.opaque:
        return None
    if block.redacted:
        return {"type": "redacted_thinking", "data": block.opaque, **block.extra}
    return {"type": "thinking", "thinking": block.text, "signature": block.opaque, **block.extra}


def beside(extra: Mapping[str, Any], *, own: bool) -> Mapping[str, Any]:
    """The fields of `extra` that may stand beside a block here."""
    if own or not extra:
        return extra
    if isinstance(mark := extra.get("cache_control"), dict):
        return {"cache_control": mark}
    return {"cache_control": {"type": "ephemeral"}} if "prompt_cache_breakpoint" in extra else {}


def _image(block: Image, *, own: bool) -> JsonObject:
    if block.data:
        source = {"type": "base64", "media_type": block.media_type or "image/png", "data": block.data}
    else:
        source = {"type": "url", "url": block.url}
    return {"type": "image", "source": source, **beside(block.extra, own=own)}


def _document(block: Document, *, own: bool) -> JsonObject:
    if block.data:
        source = {"type": "base64", "media_type": block.media_type or "application/pdf", "data": block.data}
    elif block.url:
        source = {"type": "url", "url": block.url}
    elif block.file_id:
        source = {"type": "file", "file_id": block.file_id}
    else:
        source = {"type": "text", "media_type": "text/plain", "data": block.text}
    title = {"title": block.title} if block.title else {}
    return {"type": "document", "source": source, **title, **beside(block.extra, own=own)}
