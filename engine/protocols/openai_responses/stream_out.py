"""Stream events as a client reads them: the full sequence, as the strictest known clients need it.

`response.created` comes first and every event carries the same response id; each item is announced, told in deltas, ended
part by part and ended itself; the terminal event holds all items and the usage. Text blocks in a row are parts of one
message, whose end is told when something else begins. A custom tool that another protocol had to call as a function is
held back until its text can be unpacked.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from engine.llm.errors import GatewayError
from engine.llm.messages import Block, JsonObject, LLMRequest, Opaque, Refusal, Text, Thinking, ToolCall
from engine.llm.stream import (
    ArgumentsDelta,
    BlockStart,
    BlockStop,
    Failure,
    Finish,
    Progress,
    Start,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
)
from engine.protocols import sse
from engine.protocols.openai_responses import reasoning
from engine.protocols.openai_responses.answer_out import (
    call_item,
    call_item_id,
    created_at,
    ending,
    item_id,
    message_item,
    response_id,
    response_object,
    said_part,
)
from engine.protocols.openai_responses.errors import failed
from engine.protocols.openai_responses.tools import restored
from engine.protocols.openai_responses.words import NAME
from engine.protocols.tool_names import ToolNames

_TERMINAL = {"completed": "response.completed", "incomplete": "response.incomplete"}


class Encoder:
    """See `StreamEncoder`. `feed` gives nothing after the terminal event."""

    __slots__ = (
        "_base",
        "_block",
        "_content",
        "_ended",
        "_frame",
        "_id",
        "_item",
        "_names",
        "_out",
        "_output",
        "_said",
        "_sequence",
        "_started",
    )

    def __init__(self, *, model: str, answer_id: str, request: LLMRequest | None) -> None:
        self._id = response_id(answer_id)
        self._base = response_object(self._id, model, request=request)
        self._names = ToolNames(request.tools if request is not None else ())
        self._out: list[bytes] = []
        self._output: list[JsonObject] = []
        """Finished items."""
        self._item = ""
        """Id of the item that is open, empty for none."""
        self._content: list[JsonObject] | None = None
        """Finished parts of the message that is open; None when no message is."""
        self._block: Block | None = None
        """The block that is open; None while one is held back."""
        self._said = False
        """Whether the open block has been told in deltas."""
        self._frame = (b"", b"", b"")
        """Of the open block's deltas."""
        self._sequence = 0
        self._started = False
        self._ended = False

    def feed(self, event: StreamEvent) -> bytes:
        """See `StreamEncoder.feed`."""
        if self._ended:
            return b""
        match event:
            case TextDelta(text=piece) | ThinkingDelta(text=piece) | ArgumentsDelta(text=piece):
                self._delta(piece)
            case BlockStart(block=block):
                self._begin(event.index, block)
            case BlockStop(block=block):
                self._stop(block)
            case Start():
                self._start(event.extra)
            case Finish():
                self._finish(event)
            case Failure(error=error):
                self._fail(error)
            case Progress():
                self._alive()
        data = b"".join(self._out)
        self._out.clear()
        return data

    # ── the frame ──

    def _say(self, kind: str, **members: Any) -> None:
        event = {"type": kind, "sequence_number": self._sequence, **members}
        self._sequence += 1
        self._out.append(sse.encode(kind, orjson.dumps(event)))

    def _about(self, kind: str, **members: Any) -> None:
        """An event about the item that is open."""
        self._say(kind, item_id=self._item, output_index=len(self._output), **members)

    def _start(self, extra: Mapping[str, Any] = MappingProxyType({})) -> None:
        if self._started:
            return
        self._started = True
        self._base["created_at"] = created_at(extra, self._id)
        self._say("response.created", response=self._base)
        self._say("response.in_progress", response=self._base)

    def _alive(self) -> None:
        if self._started:
            self._say("response.in_progress", response=self._base)
        else:
            self._start()

    def _finish(self, event: Finish) -> None:
        self._start()
        self._close_message()
        self._ended = True
        response = {**self._base, "output": self._output, **ending(event.stop, event.usage)}
        self._say(_TERMINAL[response["status"]], response=response)

    def _fail(self, error: GatewayError) -> None:
        self._start()
        self._ended = True
        response = {**self._base, "status": "failed", "error": failed(error), "output": self._output}
        self._say("response.failed", response=response)

    # ── items ──

    def _begin(self, index: int, block: Block) -> None:
        self._start()
        self._said = False
        if isinstance(block, ToolCall):
            call = restored(block, self._names)
            held = call.kind != block.kind
            self._close_message()
            self._block = None if held else call
            if not held:
                self._announce(call_item(call, call_item_id(call, self._id, len(self._output)), "in_progress"))
            return
        self._block = block
        match block:
            case Text() | Refusal():
                self._part(block)
            case Thinking():
                self._close_message()
                made = reasoning.client_id(block, item_id("", self._id, len(self._output)))
                self._announce({"type": "reasoning", "id": made, "summary": []})
            case _:
                self._close_message()

    def _announce(self, item: JsonObject) -> None:
        if "arguments" in item:
            item["arguments"] = ""
        elif "input" in item:
            item["input"] = ""
        self._item = item["id"]
        self._say("response.output_item.added", output_index=len(self._output), item=item)

    def _part(self, block: Text | Refusal) -> None:
        if self._content is None:
            self._content = []
            self._announce(message_item(item_id("msg", self._id, len(self._output)), [], "in_progress"))
        empty = Refusal("") if isinstance(block, Refusal) else Text("")
        self._about("response.content_part.added", content_index=len(self._content), part=said_part(empty))

    def _delta(self, piece: str) -> None:
        block = self._block
        if not piece or block is None:
            return
        if not self._said:
            self._said = True
            if isinstance(block, Thinking):
                part = {"type": "summary_text", "text": ""}
                self._about("response.reasoning_summary_part.added", summary_index=0, part=part)
            self._frame = self._delta_frame(block)
        head, middle, tail = self._frame
        self._out.append(b"%b%d%b%b%b" % (head, self._sequence, middle, orjson.dumps(piece), tail))
        self._sequence += 1

    def _delta_frame(self, block: Block) -> tuple[bytes, bytes, bytes]:
        """What stands around the sequence number and the text in a delta of `block`: most of a stream is deltas."""
        place: JsonObject = {"item_id": self._item, "output_index": len(self._output)}
        tail = b"}\n\n"
        match block:
            case Text():
                kind, place["content_index"] = "output_text", len(self._content or ())
                tail = b',"logprobs":[]}\n\n'
            case Refusal():
                kind, place["content_index"] = "refusal", len(self._content or ())
            case Thinking():
                kind, place["summary_index"] = "reasoning_summary_text", 0
            case ToolCall(kind="custom"):
                kind = "custom_tool_call_input"
            case _:
                kind = "function_call_arguments"
        head = f'event: response.{kind}.delta\ndata: {{"type":"response.{kind}.delta","sequence_number":'
        return head.encode(), b"," + orjson.dumps(place)[1:-1] + b',"delta":', tail

    def _stop(self, block: Block) -> None:
        match block:
            case Text() | Refusal():
                self._stop_part(block)
            case Thinking():
                self._stop_thinking(block)
            case ToolCall():
                self._stop_call(block)
            case Opaque(protocol, value) if protocol == NAME:
                at = len(self._output)
                self._say("response.output_item.added", output_index=at, item=value)
                self._say("response.output_item.done", output_index=at, item=value)
                self._output.append(value)
        self._block = None

    def _stop_part(self, block: Text | Refusal) -> None:
        if self._content is None:
            return
        if not self._said:
            self._delta(block.text)
        at = len(self._content)
        part = said_part(block)
        if isinstance(block, Refusal):
            self._about("response.refusal.done", content_index=at, refusal=block.text)
        else:
            for number, annotation in enumerate(part["annotations"]):
                self._about(
                    "response.output_text.annotation.added",
                    content_index=at,
                    annotation_index=number,
                    annotation=annotation,
                )
            self._about("response.output_text.done", content_index=at, text=block.text, logprobs=part["logprobs"])
        self._about("response.content_part.done", content_index=at, part=part)
        self._content.append(part)

    def _stop_thinking(self, block: Thinking) -> None:
        if not self._said:
            self._delta(block.text)
        if block.text:
            part = {"type": "summary_text", "text": block.text}
            self._about("response.reasoning_summary_text.done", summary_index=0, text=block.text)
            self._about("response.reasoning_summary_part.done", summary_index=0, part=part)
        self._end(reasoning.for_client(block, self._item))

    def _stop_call(self, block: ToolCall) -> None:
        call = restored(block, self._names)
        if self._block is None:
            self._block = call
            self._announce(call_item(call, call_item_id(call, self._id, len(self._output)), "in_progress"))
        if not self._said:
            self._delta(call.arguments)
        item = call_item(call, self._item)
        if call.kind == "custom":
            self._about("response.custom_tool_call_input.done", input=call.arguments)
        else:
            self._about("response.function_call_arguments.done", arguments=call.arguments)
        self._end(item)

    def _close_message(self) -> None:
        if self._content is not None:
            self._end(message_item(self._item, self._content))
            self._content = None

    def _end(self, item: JsonObject) -> None:
        self._say("response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)
        self._item = ""


def encode_stream_error(error: GatewayError) -> bytes:
    """See `WireProtocol.encode_stream_error`. The id of the answer that broke off is not known here."""
    response = {**response_object("resp_interrupted", ""), "status": "failed", "error": failed(error)}
    return sse.encode(
        "response.failed", orjson.dumps({"type": "response.failed", "sequence_number": 0, "response": response})
    )
