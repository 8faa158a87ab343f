"""Reasoning items and the neutral `Thinking`, both ways.

A Responses client keeps an item's `encrypted_content` and sends it back unchanged, so another protocol's sealed state
travels there, in an envelope of ours. What is inside reaches the provider that made it and no other: it could not decrypt it
and would refuse the whole request. Nor does an item that we made of another protocol's reasoning, known by its id.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from engine.llm.envelope import ENVELOPE, is_ours
from engine.llm.messages import JsonObject, Thinking
from engine.protocols.openai_responses.words import NAME, entries, text

OWN_ID = "rs_sbgw_"
"""Start of the ids of reasoning items that we made."""

_LONGEST_ID = 64
_KNOWN = frozenset({"type", "id", "summary", "content", "encrypted_content"})


def read(item: JsonObject) -> Thinking:
    """The thinking of an item of an answer or a history. Reasoning itself goes before its summary where both are given."""
    summary = [text(part.get("text")) for part in entries(item.get("summary"))]
    content = [text(part.get("text")) for part in entries(item.get("content"))]
    extra = {name: value for name, value in item.items() if name not in _KNOWN and value is not None}
    if len(summary) > 1 or (summary and content):
        extra["summary"] = item["summary"]
    opaque = text(item.get("encrypted_content"))
    item_id = text(item.get("id"))
    said = "\n\n".join(content or summary)
    if is_ours(opaque):
        return Thinking(said, opaque=opaque, summary=bool(summary and not content), origin=ENVELOPE)
    origin = "" if item_id.startswith(OWN_ID) else NAME
    return Thinking(said, opaque=opaque, summary=bool(summary and not content), id=item_id, origin=origin, extra=extra)


def for_client(thinking: Thinking, item_id: str) -> JsonObject:
    """The item as an answer holds it. `summary` is always a list: strict clients fail without it."""
    item: JsonObject = {"type": "reasoning", "id": item_id, "summary": summary_parts(thinking.text)}
    if thinking.opaque and thinking.origin in (NAME, ENVELOPE):
        item["encrypted_content"] = thinking.opaque
    return item


def client_id(thinking: Thinking, made: str) -> str:
    """The item's id for a client: its own where this protocol gave it one, which its seal may be bound to."""
    return thinking.id if thinking.origin == NAME and valid_id(thinking.id, "rs_") else OWN_ID + made


def for_provider(thinking: Thinking, *, echo: bool) -> JsonObject | None:
    """The item as a provider takes it back: sealed state of this protocol, or plain text where the row asks for an echo."""
    if thinking.origin == NAME and thinking.opaque:
        item: JsonObject = {"type": "reasoning"}
        if valid_id(thinking.id, "rs_"):
            item["id"] = thinking.id
        # Readable reasoning is refused beside the sealed one, which says it anyway; a summary is wanted back.
        item["summary"] = thinking.extra.get("summary") or (summary_parts(thinking.text) if thinking.summary else [])
        item["encrypted_content"] = thinking.opaque
        return item
    if echo and thinking.text:
        return {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": thinking.text}]}
    return None


def taken_back(item: JsonObject, take_back: Callable[[Thinking], Thinking | None]) -> JsonObject | None:
    """A client's reasoning item for a provider of this protocol: as it is, unpacked, or None where it may not go there."""
    thinking = read(item)
    if not thinking.opaque:
        if text(item.get("id")).startswith(OWN_ID):
            return None
        # Kept by the provider that made it: its id is all the state there is.
        return item if not thinking.id or take_back(replace(thinking, opaque=thinking.id)) is not None else None
    kept = take_back(thinking)
    return item if kept is thinking else for_provider(kept, echo=False) if kept is not None else None


def summary_parts(said: str) -> list[JsonObject]:
    """`said` as the one part of a summary; no part for nothing."""
    return [{"type": "summary_text", "text": said}] if said else []


def valid_id(item_id: object, prefix: str) -> bool:
    """Whether a provider takes `item_id` for an item of the kind that `prefix` stands for."""
    return isinstance(item_id, str) and item_id.startswith(prefix) and len(item_id) <= _LONGEST_ID
