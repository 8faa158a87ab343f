"""Neutral events → the event stream that the strictest clients of this protocol accept.

Every event has its name and its `type`; `message_start` has an empty content list and usage; blocks are numbered without
gaps; a block that turns out to be empty is never opened; the end is `message_delta` with stop reason and full usage, then
`message_stop` (measured: some clients loop for ever without it).
"""

from __future__ import annotations

from typing import Any

import orjson

from engine.llm.messages import JsonObject, Opaque, Refusal, Text, Thinking, ToolCall
from engine.llm.stream import (
    ArgumentsDelta,
    BlockStart,
    BlockStop,
    Failure,
    Finish,
    OpaqueDelta,
    Progress,
    Start,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
)
from engine.protocols import tool_ids
from engine.protocols.anthropic_messages.blocks_out import thinking_shown
from engine.protocols.anthropic_messages.errors import encode_stream_error
from engine.protocols.anthropic_messages.usage import encode_usage
from engine.protocols.anthropic_messages.words import NAME, STOP_OUT
from engine.protocols.custom_text import wrapped

_TEXT_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":'
)
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


class Encoder:
    """See `StreamEncoder`."""

    def __init__(self, *, model: str, answer_id: str) -> None:
        self._model = model
        self._answer_id = answer_id
        self._index = -1
        self._text = b""
        """A text delta of the open block, up to its text: nearly all of a stream."""
        self._is_open = False
        self._pending: Text | Refusal | Thinking | None = None
        """The block that was announced and is opened by its first delta."""
        self._said_arguments = False
        self._is_custom = False
        """The open call's text is no JSON: it is sent in one piece, as the one argument of a function."""
        self._ended = False

    def feed(self, event: StreamEvent) -> bytes:
        """See `StreamEncoder.feed`."""
        if self._ended:
            return b""
        match event:
            case TextDelta(_, text) if text and self._is_open:
                return self._text + orjson.dumps(text) + b"}}\n\n"
            case TextDelta(_, text):
                return self._piece("text", {"type": "text_delta", "text": text}, text)
            case ThinkingDelta(_, text):
                return self._piece("thinking", {"type": "thinking_delta", "thinking": text}, text)
            case ArgumentsDelta(_, text):
                if self._is_custom:
                    return b""
                self._said_arguments = True
                return self._delta({"type": "input_json_delta", "partial_json": text})
            case OpaqueDelta(_, value):
                return self._delta(value) if self._is_open else b""
            case BlockStart(_, block):
                return self._begin(block)
            case BlockStop(_, block):
                return self._end(block)
            case Start():
                return self._start(event)
            case Progress():
                return PING
            case Finish():
                self._ended = True
                return self._finish(event)
            case Failure(error):
                self._ended = True
                return encode_stream_error(error)

    def _start(self, event: Start) -> bytes:
        message: JsonObject = {
            "id": event.id or self._answer_id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": encode_usage(event.usage),
        }
        return frame("message_start", {"message": message})

    def _begin(self, block: Text | Refusal | Thinking | ToolCall | Opaque) -> bytes:
        self._pending = None
        self._said_arguments = False
        self._is_custom = isinstance(block, ToolCall) and block.kind == "custom"
        match block:
            case Text() | Refusal() | Thinking():
                self._pending = block
                return b""
            case ToolCall():
                call_id = tool_ids.fit(block.id, "word")
                return self._open({"type": "tool_use", "id": call_id, "name": block.name, "input": {}})
            case Opaque(protocol, value) if protocol == NAME:
                return self._open(value)
        return b""

    def _piece(self, kind: str, delta: JsonObject, text: str) -> bytes:
        if not text:
            return b""
        opened = b""
        if not self._is_open:
            start: JsonObject = {"type": kind, kind: ""}
            opened = self._open({**start, "signature": ""} if kind == "thinking" else start)
        return opened + self._delta(delta)

    def _end(self, block: Text | Refusal | Thinking | ToolCall | Opaque) -> bytes:
        late = b""
        match block:
            case Thinking():
                late = self._end_thinking(block)
            case ToolCall() if self._is_open and not self._said_arguments:
                text = "" if block.arguments == "{}" else block.arguments
                text = wrapped(block.arguments) if self._is_custom else text
                late = self._delta({"type": "input_json_delta", "partial_json": text})
            case Text() if self._is_open and isinstance(citations := block.extra.get("citations"), list):
                late = b"".join(self._delta({"type": "citations_delta", "citation": item}) for item in citations)
        self._pending = None
        return late + self._close()

    def _end_thinking(self, block: Thinking) -> bytes:
        """The signature ends a thinking block. Hidden thoughts have nothing else; redacted ones stand in the start."""
        shown = thinking_shown(block)
        if shown is None:
            return b""
        if shown["type"] == "redacted_thinking":
            return self._open(shown)
        opened = b"" if self._is_open else self._open({"type": "thinking", "thinking": "", "signature": ""})
        return opened + self._delta({"type": "signature_delta", "signature": shown["signature"]})

    def _open(self, block: JsonObject) -> bytes:
        self._index += 1
        self._is_open = True
        self._text = _TEXT_DELTA % self._index
        return frame("content_block_start", {"index": self._index, "content_block": block})

    def _delta(self, delta: JsonObject) -> bytes:
        return frame("content_block_delta", {"index": self._index, "delta": delta})

    def _close(self) -> bytes:
        if not self._is_open:
            return b""
        self._is_open = False
        return frame("content_block_stop", {"index": self._index})

    def _finish(self, event: Finish) -> bytes:
        delta = {"stop_reason": STOP_OUT[event.stop], "stop_sequence": event.stop_sequence}
        return frame("message_delta", {"delta": delta, "usage": encode_usage(event.usage)}) + frame("message_stop", {})


def frame(name: str, fields: dict[str, Any]) -> bytes:
    """One event whose data repeats its name as `type`."""
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps({"type": name, **fields}) + b"\n\n"
