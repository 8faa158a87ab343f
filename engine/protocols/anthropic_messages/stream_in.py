"""A provider's event stream → neutral events.

Vendors serve this protocol loosely: events without names, blocks without start or stop, no `message_delta` or no
`message_stop`. What can be understood is put in order; a stream that ends without either end event is broken, because a
client must never take a cut-off answer for a whole one.
"""

from __future__ import annotations

from typing import Any

import orjson

from engine.llm.errors import ProviderError
from engine.llm.messages import JsonObject, LLMRequest, Opaque, StopReason, Text, Thinking, ToolCall
from engine.llm.protocol import SSEEvent
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
from engine.protocols import arguments, error_bodies
from engine.protocols.anthropic_messages.blocks_in import decode_block
from engine.protocols.anthropic_messages.usage import decode_usage, merge_usage
from engine.protocols.anthropic_messages.words import NAME, stop_reason
from engine.protocols.tool_names import ToolNames

_MESSAGE_KNOWN = frozenset({"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"})
_DELTA_BLOCKS = {
    "text_delta": "text",
    "citations_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
    "input_json_delta": "tool_use",
}
"""Kind of delta → block that it opens when its start is missing; a call can't be opened so, it has no name."""


class _Open:
    """The block that is being received: its start as sent, and what its deltas added."""

    __slots__ = ("call", "value", "wire_index", "written")

    def __init__(self, wire_index: Any, value: JsonObject, call: ToolCall | None) -> None:
        self.wire_index = wire_index
        self.value = value
        self.call = call
        self.written: list[str] = []
        """Pieces of text, thinking or argument text, by the block's kind."""


class Decoder:
    """See `StreamDecoder`."""

    def __init__(self, request: LLMRequest | None = None) -> None:
        names = ToolNames(request.tools) if request is not None else None
        self._names = names if names is not None and not names.plain else None
        self._started = False
        self._ended = False
        self._index = -1
        self._open: _Open | None = None
        self._has_call = False
        self._usage: JsonObject = {}
        self._stop: str | None = None
        self._stop_sequence: str | None = None
        self._extra: JsonObject = {}
        self._seen_delta = False

    def feed(self, event: SSEEvent) -> list[StreamEvent]:
        """See `StreamDecoder.feed`."""
        if self._ended or event.data.strip() in ("", "[DONE]"):
            return []
        try:
            value = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            return self._fail(_broken("the provider sent an event that is not JSON"))
        if not isinstance(value, dict):
            return self._fail(_broken("the provider sent an event that is no object"))
        kind = value.get("type")
        if not isinstance(kind, str):
            kind = "error" if value.get("error") else event.name
        match kind:
            case "content_block_delta":
                return self._delta(value)
            case "content_block_start":
                return self._block_start(value)
            case "content_block_stop":
                return self._close_block()
            case "message_start":
                return self._message_start(value)
            case "message_delta":
                return self._message_delta(value)
            case "message_stop":
                return self._finish()
            case "error":
                seen = error_bodies.from_value(value)
                error = error_bodies.provider_error(
                    0, event.data.encode(), {}, protocol=NAME, in_stream=True, read_as=seen
                )
                return self._fail(error)
        return [Progress()] if self._started else []

    def close(self) -> list[StreamEvent]:
        """See `StreamDecoder.close`. A stop reason without `message_stop` still makes the answer whole."""
        if self._ended:
            return []
        if self._stop is not None:
            return self._finish()
        return self._fail(_broken("the provider's stream ended before its answer did"))

    @property
    def complete(self) -> bool:
        """See `StreamDecoder.complete`."""
        return self._stop is not None

    def _message_start(self, value: JsonObject) -> list[StreamEvent]:
        if self._started:
            return [Progress()]
        message = value.get("message")
        message = message if isinstance(message, dict) else {}
        self._started = True
        self._usage = merge_usage(self._usage, message.get("usage"))
        start = Start(
            id=str(message.get("id") or ""),
            model=str(message.get("model") or ""),
            usage=decode_usage(self._usage) if self._usage else None,
            extra={key: item for key, item in message.items() if key not in _MESSAGE_KNOWN},
        )
        return [start]

    def _ensure_started(self) -> list[StreamEvent]:
        return [] if self._started else self._message_start({})

    def _block_start(self, value: JsonObject) -> list[StreamEvent]:
        block = value.get("content_block")
        events = [*self._ensure_started(), *self._close_block()]
        if not isinstance(block, dict):
            return events
        return events + self._begin(value.get("index"), block)

    def _begin(self, wire_index: Any, block: JsonObject) -> list[StreamEvent]:
        """Opens a block. Text that stands in its start already is sent as its first delta."""
        self._index += 1
        decoded = decode_block(block)
        opened = self._open = _Open(wire_index, dict(block), None)
        index = self._index
        match decoded:
            case Text(text, extra):
                return [BlockStart(index, Text("", extra)), *self._wrote(TextDelta(index, text))]
            case Thinking(redacted=False):
                start = Thinking("", origin=decoded.origin, extra=decoded.extra)
                return [BlockStart(index, start), *self._wrote(ThinkingDelta(index, decoded.text))]
            case ToolCall():
                self._has_call = True
                opened.call = self._names.restore(decoded) if self._names else decoded
                return [BlockStart(index, self._called(""))]
            case Thinking() | Opaque():
                return [BlockStart(index, decoded)]
        opaque = Opaque(NAME, block)  # an image, a result: nothing that an answer streams
        return [BlockStart(index, opaque)]

    def _called(self, text: str) -> ToolCall:
        call = self._open.call if self._open else None
        assert call is not None
        return ToolCall(
            call.id, call.name, text, kind=call.kind, namespace=call.namespace, item_id=call.item_id, extra=call.extra
        )

    def _wrote(self, event: TextDelta | ThinkingDelta) -> list[StreamEvent]:
        if not event.text or self._open is None:
            return []
        self._open.written.append(event.text)
        return [event]

    def _delta(self, value: JsonObject) -> list[StreamEvent]:
        delta = value.get("delta")
        if not isinstance(delta, dict):
            return []
        kind = str(delta.get("type"))
        events: list[StreamEvent] = []
        if self._open is None or self._open.wire_index != value.get("index"):
            events = self._missed_start(value.get("index"), kind)
        opened = self._open
        if opened is None:
            return events
        is_opaque = opened.call is None and opened.value.get("type") not in ("text", "thinking")
        if is_opaque:
            return [*events, *self._opaque_delta(opened, kind, delta)]
        match kind:
            case "text_delta":
                events += self._wrote(TextDelta(self._index, _string(delta, "text")))
            case "thinking_delta":
                events += self._wrote(ThinkingDelta(self._index, _string(delta, "thinking")))
            case "signature_delta":
                opened.value["signature"] = _string(delta, "signature")
            case "citations_delta":
                opened.value["citations"] = [*(opened.value.get("citations") or []), delta.get("citation")]
            case "input_json_delta" if opened.call is not None and (piece := _string(delta, "partial_json")):
                opened.written.append(piece)
                if opened.call.kind != "custom":
                    events.append(ArgumentsDelta(self._index, piece))
        return events

    def _missed_start(self, wire_index: Any, kind: str) -> list[StreamEvent]:
        """A delta for a block that is not open. An index that is left out means the open block."""
        if self._open is not None and wire_index is None:
            return []
        block_type = _DELTA_BLOCKS.get(kind)
        if block_type is None or block_type == "tool_use":
            return []
        events = [*self._ensure_started(), *self._close_block()]
        start: JsonObject = {"type": block_type, block_type: ""}
        return events + self._begin(wire_index, start)

    def _opaque_delta(self, opened: _Open, kind: str, delta: JsonObject) -> list[StreamEvent]:
        if kind == "input_json_delta":
            opened.written.append(_string(delta, "partial_json"))
        else:
            for key, piece in delta.items():
                before = opened.value.get(key)
                if key != "type":
                    both = isinstance(before, str) and isinstance(piece, str)
                    opened.value[key] = before + piece if both else piece
        return [OpaqueDelta(self._index, delta)]

    def _close_block(self) -> list[StreamEvent]:
        opened = self._open
        if opened is None:
            return []
        index = self._index
        text = "".join(opened.written)
        events: list[StreamEvent]
        if opened.call is not None:
            late, call = self._closed_call(opened.call, text)
            events = [*late, BlockStop(index, call)]
        else:
            events = [BlockStop(index, _closed(opened.value, text))]
        self._open = None
        return events

    def _closed_call(self, call: ToolCall, text: str) -> tuple[list[ArgumentsDelta], ToolCall]:
        """A call whose arguments came whole in its start, or whose tool is a custom one, says them now in one piece."""
        said = text if call.kind != "custom" else ""
        if text and self._names is not None and call.kind == "custom":
            text = self._names.restore(ToolCall(call.id, self._wire_name(), text)).arguments
        elif not text:
            text = call.arguments
        late = [] if said or (text == "{}" and call.kind != "custom") else [ArgumentsDelta(self._index, text)]
        return late, self._called(text)

    def _wire_name(self) -> str:
        return _string(self._open.value, "name") if self._open else ""

    def _message_delta(self, value: JsonObject) -> list[StreamEvent]:
        events = [*self._ensure_started(), *self._close_block()]
        self._usage = merge_usage(self._usage, value.get("usage"))
        delta = value.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        if isinstance(reason := delta.get("stop_reason"), str):
            self._stop = reason
        if isinstance(sequence := delta.get("stop_sequence"), str):
            self._stop_sequence = sequence
        self._extra |= {k: v for k, v in delta.items() if k not in ("stop_reason", "stop_sequence")}
        self._extra |= {k: v for k, v in value.items() if k not in ("type", "delta", "usage")}
        return events or [Progress()]

    def _finish(self) -> list[StreamEvent]:
        events = [*self._ensure_started(), *self._close_block()]
        self._ended = True
        stop: StopReason = stop_reason(self._stop, has_tool_call=self._has_call)
        return [*events, Finish(stop, decode_usage(self._usage), self._stop_sequence, self._extra)]

    def _fail(self, error: ProviderError) -> list[StreamEvent]:
        events = self._ensure_started()
        self._ended = True
        return [*events, Failure(error)]


def _closed(value: JsonObject, text: str) -> Text | Thinking | Opaque:
    match value.get("type"):
        case "text":
            value["text"] = text
        case "thinking":
            value["thinking"] = text
        case _ if text:
            value["input"] = arguments.to_object(text)
    decoded = decode_block(value)
    return decoded if isinstance(decoded, Text | Thinking | Opaque) else Opaque(NAME, value)


def _string(value: JsonObject, key: str) -> str:
    piece = value.get(key)
    return piece if isinstance(piece, str) else ""


def _broken(message: str) -> ProviderError:
    return ProviderError(message, meaning="broken", protocol=NAME, in_stream=True)
