"""A provider's event stream → neutral events.

Vendors serve this protocol loosely: events without names, blocks without start or stop, no `message_delta` or no
`message_stop`. What can be understood is put in order; a stream that ends without either end event is broken, because a
client must never take a cut-off answer for a whole one. So is one that says it ends with a call and holds none (no recorded
answer does so): frames bear no numbers here, and the call's own never came.
"""

from __future__ import annotations

from dataclasses import replace
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
from engine.protocols.anthropic_messages.responses import is_nameless_call, nameless
from engine.protocols.anthropic_messages.usage import decode_usage, merge_usage
from engine.protocols.anthropic_messages.words import NAME, stop_reason
from engine.protocols.custom_text import TextReader, unwrapped
from engine.protocols.tool_ids import AnswerIds
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
    """A block that is being received: its start as sent, what its deltas added, and what is to be told of it."""

    __slots__ = ("call", "done", "index", "reader", "told", "value", "wire_index", "written")

    def __init__(self, index: int, wire_index: Any, value: JsonObject) -> None:
        self.index = index
        self.wire_index = wire_index
        self.value = value
        self.call: ToolCall | None = None
        self.reader: TextReader | None = None
        """Unpacks the text of a custom tool that was called as a function."""
        self.written: list[str] = []
        """Pieces of text, thinking or argument text, by the block's kind."""
        self.told: list[StreamEvent] = []
        self.done = False

    @property
    def awaits_input(self) -> bool:
        """Whether it is a call, the client's or the provider's own, whose arguments are not whole yet."""
        return "input" in self.value and not self.value["input"] and not arguments.is_object("".join(self.written))


class Decoder:
    """See `StreamDecoder`."""

    def __init__(self, request: LLMRequest | None = None) -> None:
        names = ToolNames(request.tools) if request is not None else None
        self._names = names if names is not None and not names.plain else None
        self._started = False
        self._ended = False
        self._index = -1
        self._id = ""
        self._ids = AnswerIds(request)
        self._line: list[_Open] = []
        """Blocks that are not told to the end, in order."""
        self._nameless = False
        self._has_call = False
        self._own_call = False
        """A tool of the provider's own, or another block of this protocol alone, was told of."""
        self._usage: JsonObject = {}
        self._stop: str | None = None
        self._stop_sequence: str | None = None
        self._extra: JsonObject = {}
        self._seen_delta = False
        self.quiet = False
        """See `StreamDecoder.quiet`."""

    def feed(self, event: SSEEvent) -> list[StreamEvent]:
        """See `StreamDecoder.feed`."""
        self.quiet = True
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
                return self._block_stop(value)
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
        self._id = str(message.get("id") or "")
        start = Start(
            id=self._id,
            model=str(message.get("model") or ""),
            usage=decode_usage(self._usage) if self._usage else None,
            extra={key: item for key, item in message.items() if key not in _MESSAGE_KNOWN},
        )
        return [start]

    def _ensure_started(self) -> list[StreamEvent]:
        return [] if self._started else self._message_start({})

    def _block_start(self, value: JsonObject) -> list[StreamEvent]:
        """A new block ends those before it that are not ended, but for calls whose arguments some servers send in turns."""
        block = value.get("content_block")
        events = self._ensure_started()
        for opened in self._line:
            if not opened.awaits_input or opened.wire_index == value.get("index"):
                self._close(opened)
        if isinstance(block, dict):
            self._begin(value.get("index"), block)
        return events + self._tell()

    def _begin(self, wire_index: Any, block: JsonObject) -> None:
        """Opens a block. Text that stands in its start already is sent as its first delta."""
        self.quiet = False
        self._index += 1
        index = self._index
        decoded = decode_block(block)
        opened = _Open(index, wire_index, dict(block))
        self._line.append(opened)
        match decoded:
            case Text(text, extra):
                opened.told.append(BlockStart(index, Text("", extra)))
                self._wrote(opened, TextDelta(index, text))
            case Thinking(redacted=False):
                opened.told.append(BlockStart(index, Thinking("", origin=decoded.origin, extra=decoded.extra)))
                self._wrote(opened, ThinkingDelta(index, decoded.text))
            case ToolCall():
                self._has_call = True
                opened.call = call = self._named(decoded, index)
                custom = call.kind == "custom"
                opened.reader = TextReader() if custom else None
                opened.told.append(BlockStart(index, replace(call, arguments="")))
            case Thinking() | Opaque():
                opened.told.append(BlockStart(index, decoded))
                self._nameless = self._nameless or is_nameless_call(decoded)
                self._own_call = self._own_call or isinstance(decoded, Opaque)
            case _:  # an image, a result: nothing that an answer streams
                opened.told.append(BlockStart(index, Opaque(NAME, block)))

    def _named(self, call: ToolCall, index: int) -> ToolCall:
        """The call under the client's own name and id, its arguments as the provider wrote them."""
        self._nameless = self._nameless or is_nameless_call(call)
        named = self._names.restore(call) if self._names else call
        return replace(named, id=self._ids.of(call.id, self._id, index), arguments=call.arguments)

    def _wrote(self, opened: _Open, event: TextDelta | ThinkingDelta) -> None:
        if event.text:
            self.quiet = False
            opened.written.append(event.text)
            opened.told.append(event)

    def _delta(self, value: JsonObject) -> list[StreamEvent]:
        delta = value.get("delta")
        if not isinstance(delta, dict):
            return []
        kind = str(delta.get("type"))
        events: list[StreamEvent] = []
        opened = self._opened(value.get("index"))
        if opened is None:
            events = self._ensure_started()
            opened = self._missed_start(value.get("index"), kind)
        if opened is None:
            if kind == "input_json_delta" and _string(delta, "partial_json"):
                return events + self._fail(_broken("the provider sent arguments of a call that it had not begun"))
            return events
        if opened.call is None and opened.value.get("type") not in ("text", "thinking"):
            self._opaque_delta(opened, kind, delta)
            return events + self._tell()
        match kind:
            case "text_delta":
                self._wrote(opened, TextDelta(opened.index, _string(delta, "text")))
            case "thinking_delta":
                self._wrote(opened, ThinkingDelta(opened.index, _string(delta, "thinking")))
            case "signature_delta":
                self.quiet = False
                opened.value["signature"] = _string(delta, "signature")
            case "citations_delta":
                self.quiet = False
                opened.value["citations"] = [*(opened.value.get("citations") or []), delta.get("citation")]
            case "input_json_delta" if opened.call is not None and (piece := _string(delta, "partial_json")):
                self.quiet = False
                opened.written.append(piece)
                if text := piece if opened.reader is None else opened.reader.feed(piece):
                    opened.told.append(ArgumentsDelta(opened.index, text))
        return events + self._tell()

    def _opened(self, wire_index: Any) -> _Open | None:
        """The open block of that index. An index that is left out means the newest one."""
        for one in reversed(self._line):
            if not one.done and (wire_index is None or one.wire_index == wire_index):
                return one
        return None

    def _missed_start(self, wire_index: Any, kind: str) -> _Open | None:
        """What a delta belongs to whose block is not open: arguments to the call that waits for some, else a new block."""
        block_type = _DELTA_BLOCKS.get(kind)
        if block_type == "tool_use":
            return next((one for one in reversed(self._line) if not one.done and one.awaits_input), None)
        if block_type is None:
            return None
        for opened in self._line:
            if not opened.awaits_input:
                self._close(opened)
        self._begin(wire_index, {"type": block_type, block_type: ""})
        return self._line[-1]

    def _opaque_delta(self, opened: _Open, kind: str, delta: JsonObject) -> None:
        self.quiet = not any(piece for key, piece in delta.items() if key != "type")
        if kind == "input_json_delta":
            opened.written.append(_string(delta, "partial_json"))
        else:
            for key, piece in delta.items():
                before = opened.value.get(key)
                if key != "type":
                    both = isinstance(before, str) and isinstance(piece, str)
                    opened.value[key] = before + piece if both else piece
        opened.told.append(OpaqueDelta(opened.index, delta))

    def _block_stop(self, value: JsonObject) -> list[StreamEvent]:
        opened = self._opened(value.get("index")) or self._opened(None)
        if opened is not None:
            self._close(opened)
        return self._tell()

    def _close(self, opened: _Open) -> None:
        """The end of a block. Its arguments, if they came whole in its start, are said now in one piece."""
        if opened.done:
            return
        self.quiet = False
        opened.done = True
        index = opened.index
        text = "".join(opened.written)
        call = opened.call
        if call is None:
            opened.told.append(BlockStop(index, _closed(opened.value, text)))
            return
        if opened.reader is not None:
            late = ("" if text else opened.reader.feed(call.arguments)) + opened.reader.close()
            text = unwrapped(text or call.arguments)
        else:
            late = "" if text or call.arguments == "{}" else call.arguments
            text = text or call.arguments
        if late:
            opened.told.append(ArgumentsDelta(index, late))
        opened.told.append(BlockStop(index, replace(call, arguments=text)))

    def _close_all(self) -> list[StreamEvent]:
        for opened in self._line:
            self._close(opened)
        return self._tell()

    def _tell(self) -> list[StreamEvent]:
        """What can be told now: a block that is not done holds back those behind it."""
        if self._nameless:
            return self._fail(nameless())
        events: list[StreamEvent] = []
        while self._line:
            head = self._line[0]
            events += head.told
            head.told.clear()
            if not head.done:
                break
            del self._line[0]
        return events

    def _message_delta(self, value: JsonObject) -> list[StreamEvent]:
        self.quiet = False
        events = [*self._ensure_started(), *self._close_all()]
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
        events = [*self._ensure_started(), *self._close_all()]
        self._ended = True
        stop: StopReason = stop_reason(self._stop, has_tool_call=self._has_call)
        if self._nameless:
            return events
        if stop == "tool_use" and not (self._has_call or self._own_call):
            return [*events, Failure(_broken("the provider's answer ends with a tool call that never came"))]
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
