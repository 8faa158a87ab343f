"""Reasoning in assistant messages, which has four names here and no official one.

`reasoning_content`, `reasoning`, `thinking` parts and `reasoning_details` may stand alone or repeat each other; the text
is taken once. What a provider wants back unchanged (details that are signed or encrypted, `extra_content` of a message or
a tool call) becomes a seal: a JSON text in `Thinking.opaque`, so it survives a client that speaks another protocol. A
seal's `tool_call` fields belong to the next tool call of the message; it is opened only for the model that made it.

State of another protocol travels to a Chat client and back in an envelope of ours, as a detail whose `format` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from engine.llm.envelope import ENVELOPE, is_ours
from engine.llm.messages import JsonObject, Thinking
from engine.llm.names import same_model
from engine.protocols.openai_chat.fields import NAME
from engine.protocols.openai_chat.parts import entries

FIELDS = ("reasoning_content", "reasoning")
"""Names of the plain text field, the more common first."""

_SEAL_KEYS = ("reasoning_details", "extra_content", "tool_call")


def text_of(message: Mapping[str, Any], preferred: str = "") -> str:
    """The reasoning text of a message or delta, once, whichever fields hold it."""
    for name in (preferred, *FIELDS):
        value = message.get(name)
        if isinstance(value, str) and value:
            return value
    details = message.get("reasoning_details")
    return "".join(_detail_text(d) for d in details if isinstance(d, dict)) if isinstance(details, list) else ""


def thoughts(message: Mapping[str, Any], preferred: str = "", model: str = "") -> tuple[Thinking, ...]:
    """The reasoning of a whole message. `model` is the one that wrote it, where that is known."""
    listed = message.get("reasoning_details")
    details = [d for d in listed if isinstance(d, dict)] if isinstance(listed, list) else []
    if foreign := carried(details):
        return foreign
    text = text_of(message, preferred)
    opaque = seal(details=details, extra_content=message.get("extra_content"), model=model)
    if not text and not opaque:
        return ()
    return (Thinking(text, opaque=opaque, summary=_summarised(details), origin=NAME),)


def seal(
    *,
    details: Iterable[JsonObject] = (),
    extra_content: Any = None,
    tool_call: JsonObject | None = None,
    model: str = "",
) -> str:
    """State to send back as one text; empty when there is none (details that are only text need no seal)."""
    state: JsonObject = {}
    kept = list(details)
    if any(d.get("signature") or d.get("data") for d in kept):
        state["reasoning_details"] = kept
    if holds_text(extra_content):
        state["extra_content"] = extra_content
    if tool_call:
        state["tool_call"] = tool_call
    if not state:
        return ""
    return orjson.dumps({"model": model, **state} if model else state).decode()


def unseal(thinking: Thinking, model: str = "") -> JsonObject | None:
    """The fields that a seal holds; None when `opaque` is no seal of this protocol, or one of another model than `model`."""
    if thinking.origin != NAME or not thinking.opaque.startswith("{"):
        return None
    try:
        state = orjson.loads(thinking.opaque)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(state, dict) or not same_model(state.get("model"), model):
        return None
    return {key: state[key] for key in _SEAL_KEYS if key in state}


def call_seal(call: Mapping[str, Any], model: str = "") -> str:
    """The seal of what a tool call on the wire wants back, empty for nothing."""
    held = call.get("extra_content")
    return seal(tool_call={"extra_content": held}, model=model) if holds_text(held) else ""


def holds_text(extra_content: Any) -> bool:
    """Is there state in it, not only flags?"""
    return bool(extra_content) and bool(texts_in(extra_content))


def states(message: Mapping[str, Any]) -> list[str]:
    """The opaque texts of a message: signed and encrypted details, `extra_content` of the message and of its calls."""
    found: list[str] = []
    for detail in entries(message.get("reasoning_details")):
        found += (state,) if (state := state_of(detail)) else ()
    found += texts_in(message.get("extra_content"))
    for call in entries(message.get("tool_calls")):
        found += texts_in(call.get("extra_content"))
    return found


def state_of(detail: JsonObject) -> str:
    """The opaque text of a detail, empty for none."""
    state = detail.get("signature") or detail.get("data")
    return state if isinstance(state, str) else ""


def texts_in(extra_content: Any) -> list[str]:
    """The texts in an `extra_content`: state, unlike its flags (`{"google": {"thought": true}}`)."""
    if isinstance(extra_content, dict):
        return [text for value in extra_content.values() for text in texts_in(value)]
    return [extra_content] if isinstance(extra_content, str) and extra_content else []


def carried_detail(thinking: Thinking) -> JsonObject:
    """Enveloped thinking as a detail for a Chat client; `thoughts` reads it back. Whoever sends it sets the `id` to that of the
    tool call right behind it, if there is one: a message lists its details apart from its calls.
    """
    if not thinking.text:
        return {"type": "reasoning.encrypted", "format": ENVELOPE, "data": thinking.opaque}
    return {"type": "reasoning.text", "format": ENVELOPE, "text": thinking.text, "signature": thinking.opaque}


def carried(details: Any) -> tuple[Thinking, ...]:
    """Enveloped thinking in `details`, as `carried_detail` wrote it; nothing if they are a provider's own."""
    listed = entries(details)
    return tuple(read_carried(d) for d in listed if is_carried(d))


def read_carried(detail: JsonObject) -> Thinking:
    """The enveloped thinking of one detail. Its id is that of the call it led to."""
    call_id = detail.get("id")
    held = call_id if isinstance(call_id, str) else ""
    return Thinking(_detail_text(detail), opaque=state_of(detail), id=held, origin=ENVELOPE)


def led_to(thoughts: Iterable[Thinking], call_ids: Iterable[Any]) -> tuple[list[Thinking], dict[str, list[Thinking]]]:
    """(thoughts that open the message, those that led to one of its calls by that call's id)."""
    first: list[Thinking] = []
    led: dict[str, list[Thinking]] = {}
    named = {call_id for call_id in call_ids if isinstance(call_id, str)}
    for thought in thoughts:
        if thought.origin == ENVELOPE and thought.id:
            held, thought = thought.id, replace(thought, id="")
            (led.setdefault(held, []) if held in named else first).append(thought)
        else:
            first.append(thought)
    return first, led


def is_carried(detail: Any) -> bool:
    """Is `detail` of our making?"""
    return isinstance(detail, dict) and (detail.get("format") == ENVELOPE or is_ours(state_of(detail)))


class DetailMerger:
    """Streamed details put together: pieces of one type and index in a row are one detail."""

    __slots__ = ("details",)

    def __init__(self) -> None:
        self.details: list[JsonObject] = []

    def feed(self, pieces: Any) -> None:
        """Adds the details of one delta."""
        for piece in pieces if isinstance(pieces, list) else ():
            if not isinstance(piece, dict):
                continue
            last = self.details[-1] if self.details else None
            if last is None or (last.get("type"), last.get("index")) != (piece.get("type"), piece.get("index")):
                self.details.append(dict(piece))
                continue
            for key, value in piece.items():
                old = last.get(key)
                joined = key in {"text", "summary"} and isinstance(old, str) and isinstance(value, str)
                if value is not None:
                    last[key] = old + value if joined and isinstance(old, str) else value

    @property
    def summarised(self) -> bool:
        """True when the text is a summary of the reasoning."""
        return _summarised(self.details)


def _detail_text(detail: JsonObject) -> str:
    value = detail.get("text") or detail.get("summary")
    return value if isinstance(value, str) else ""


def _summarised(details: list[JsonObject]) -> bool:
    kinds = [d.get("type") for d in details if d.get("type") != "reasoning.encrypted"]
    return bool(kinds) and all(kind == "reasoning.summary" for kind in kinds)
