"""A provider's streamed answer as stream events.

Each output item has a lane that turns the item's events into blocks. Lanes are told in the order in which their items
began, one at a time, so that items which a vendor sends interleaved come out one after the other. Events find their lane
by `output_index`, then by item id (one vendor changes ids between events), else they belong to the newest. What an item's
last event says wins over what its deltas said, as far as nothing contradicts what has already been passed on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from engine.llm.catalogue import Quirks
from engine.llm.errors import ProviderError
from engine.llm.messages import Block, JsonObject, LLMRequest, Opaque, Refusal, Text, ToolCall
from engine.llm.protocol import SSEEvent
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
from engine.protocols.openai_responses import reasoning
from engine.protocols.openai_responses.answer_in import (
    blocks,
    broken,
    call_of,
    decode_usage,
    failure,
    kept,
    stop_reason,
)
from engine.protocols.openai_responses.parts import read_said
from engine.protocols.openai_responses.words import entries, text
from engine.protocols.tool_names import ToolNames

_Make = Callable[[int, Any], StreamEvent]
_SIGNS_OF_LIFE = (".in_progress", ".searching", ".interpreting", ".generating", ".completed", ".queued")


class _Lane:
    """One output item on its way. `told` holds events without their block index; `done` ends the lane."""

    __slots__ = ("added", "done", "told")

    def __init__(self, item: JsonObject) -> None:
        self.added = item
        self.told: list[tuple[_Make, Any]] = []
        self.done = False

    def event(self, kind: str, event: JsonObject) -> None:
        """An event of this item other than its first and last."""

    def finish(self, item: JsonObject | None) -> None:
        """The item's last word; None when the stream ended without it."""
        self.done = True

    def _whole(self, block: Block) -> None:
        """Tells a block that came in one piece."""
        match block:
            case Text() | Refusal():
                self.told += [(BlockStart, replace(block, text="")), (TextDelta, block.text)]
            case _:
                self.told.append((BlockStart, block))
        self.told.append((BlockStop, block))


class _MessageLane(_Lane):
    __slots__ = ("_annotations", "_closed", "_logprobs", "_open", "_part", "_pieces")

    def __init__(self, item: JsonObject) -> None:
        super().__init__(item)
        self._part = -1
        """Content index of the part that is open, or was last."""
        self._open: type[Text | Refusal] | None = None
        self._pieces: list[str] = []
        self._annotations: list[JsonObject] = []
        self._logprobs: Any = None
        self._closed: set[int] = set()

    def event(self, kind: str, event: JsonObject) -> None:
        part = event.get("content_index")
        part = part if isinstance(part, int) else max(self._part, 0)
        match kind:
            case "response.output_text.delta":
                self._say(Text, part, text(event.get("delta")))
            case "response.refusal.delta":
                self._say(Refusal, part, text(event.get("delta")))
            case "response.output_text.done":
                self._rest(Text, part, text(event.get("text")))
                self._logprobs = event.get("logprobs")
            case "response.refusal.done":
                self._rest(Refusal, part, text(event.get("refusal")))
            case "response.output_text.annotation.added" if isinstance(event.get("annotation"), dict):
                self._annotations.append(event["annotation"])
            case "response.content_part.done" if isinstance(event.get("part"), dict):
                self._end_part(part, event["part"])

    def finish(self, item: JsonObject | None) -> None:
        content = entries(item.get("content")) if item is not None else []
        for index, part in enumerate(content):
            self._end_part(index, part)
        self._close(Text("".join(self._pieces)))
        super().finish(item)

    def _say(self, kind: type[Text | Refusal], part: int, piece: str) -> None:
        if not piece or part in self._closed:
            return
        if self._open is not kind or part != self._part:
            self._close(Text("".join(self._pieces)))
            self._open, self._part = kind, part
            self.told.append((BlockStart, kind("")))
        self._pieces.append(piece)
        self.told.append((TextDelta, piece))

    def _rest(self, kind: type[Text | Refusal], part: int, whole: str) -> None:
        """What the deltas left out of `whole`."""
        said = "".join(self._pieces) if part == self._part else ""
        if whole.startswith(said):
            self._say(kind, part, whole[len(said) :])

    def _end_part(self, index: int, part: JsonObject) -> None:
        if index in self._closed:
            return
        block = read_said(part)
        if isinstance(block, Opaque):
            self._close(Text("".join(self._pieces)))
            self._whole(block)
        else:
            self._rest(type(block), index, block.text)
            if index == self._part:
                self._close(block)
        self._closed.add(index)

    def _close(self, last: Text | Refusal) -> None:
        """Ends the open part; `last` brings what stands beside its text."""
        if self._open is not None:
            extra = dict(last.extra)
            if self._annotations and "annotations" not in extra:
                extra["annotations"] = self._annotations
            if self._logprobs and "logprobs" not in extra:
                extra["logprobs"] = self._logprobs
            self.told.append((BlockStop, self._open("".join(self._pieces), extra)))
            self._closed.add(self._part)
        self._open, self._pieces, self._annotations, self._logprobs = None, [], [], None


class _ReasoningLane(_Lane):
    __slots__ = ("_index", "_pieces", "_source")

    def __init__(self, item: JsonObject) -> None:
        super().__init__(item)
        self._source = ""
        """`summary` or `content`, whichever came first: the other one would say the same again."""
        self._index: Any = None
        self._pieces: list[str] = []
        self.told.append((BlockStart, replace(reasoning.read(item), text="", opaque="", extra={})))

    def event(self, kind: str, event: JsonObject) -> None:
        match kind:
            case "response.reasoning_summary_text.delta":
                self._say("summary", event.get("summary_index"), text(event.get("delta")))
            case "response.reasoning_text.delta":
                self._say("content", event.get("content_index"), text(event.get("delta")))
            case "response.reasoning_summary_text.done":
                self._unless_said("summary", event.get("summary_index"), text(event.get("text")))
            case "response.reasoning_text.done":
                self._unless_said("content", event.get("content_index"), text(event.get("text")))

    def finish(self, item: JsonObject | None) -> None:
        last = reasoning.read({**self.added, **{k: v for k, v in (item or {}).items() if v is not None}})
        if not self._pieces and last.text:
            self._pieces.append(last.text)
            self.told.append((ThinkingDelta, last.text))
        elif self._source:
            last = replace(last, summary=self._source == "summary")
        self.told.append((BlockStop, replace(last, text="".join(self._pieces))))
        super().finish(item)

    def _say(self, source: str, index: Any, piece: str) -> None:
        self._source = self._source or source
        if source != self._source or not piece:
            return
        if self._pieces and index != self._index:
            piece = "\n\n" + piece
        self._index = index
        self._pieces.append(piece)
        self.told.append((ThinkingDelta, piece))

    def _unless_said(self, source: str, index: Any, whole: str) -> None:
        if not (self._pieces and index == self._index):
            self._say(source, index, whole)


class _CallLane(_Lane):
    """A call is told from the moment its name is known; one whose kind must be restored, when it is whole."""

    __slots__ = ("_answer_id", "_begun", "_first", "_index", "_names", "_pieces")

    def __init__(self, item: JsonObject, names: ToolNames, answer_id: str, index: int) -> None:
        super().__init__(item)
        self._names = names
        self._answer_id = answer_id
        self._index = index
        self._pieces: list[str] = []
        self._first = call = self._call(item)
        same_kind = (call.kind == "custom") == (item.get("type") == "custom_tool_call")
        self._begun = bool(call.name) and same_kind
        if self._begun:
            self.told.append((BlockStart, replace(call, arguments="")))
            if given := text(item.get("arguments") or item.get("input")):
                self._say(given)

    def event(self, kind: str, event: JsonObject) -> None:
        match kind:
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                self._say(text(event.get("delta")))
            case "response.function_call_arguments.done":
                self._rest(text(event.get("arguments")))
            case "response.custom_tool_call_input.done":
                self._rest(text(event.get("input")))

    def finish(self, item: JsonObject | None) -> None:
        last = {**self.added, **{k: v for k, v in (item or {}).items() if v is not None}}
        custom = last.get("type") == "custom_tool_call"
        if item is not None:
            self._rest(text(item.get("input" if custom else "arguments")))
        said = "".join(self._pieces)
        call = self._call({**last, "input" if custom else "arguments": said})
        if self._begun:
            call = replace(call, id=self._first.id, name=self._first.name, namespace=self._first.namespace)
        else:
            self.told.append((BlockStart, replace(call, arguments="")))
            if said and call.arguments:
                self.told.append((ArgumentsDelta, call.arguments))
        self.told.append((BlockStop, call))
        super().finish(item)

    def _call(self, item: JsonObject) -> ToolCall:
        return call_of(item, self._names, self._answer_id, self._index)

    def _say(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)
            if self._begun:
                self.told.append((ArgumentsDelta, piece))

    def _rest(self, whole: str) -> None:
        said = "".join(self._pieces)
        if whole.startswith(said):
            self._say(whole[len(said) :])


class _OtherLane(_Lane):
    """An item that only this protocol has: one opaque block, told when it is whole."""

    __slots__ = ()

    def finish(self, item: JsonObject | None) -> None:
        for block in blocks(item or self.added, ToolNames(()), "", 0):
            self._whole(block)
        super().finish(item)


_LANE_OF_EVENT = {
    "response.output_text.delta": "message",
    "response.output_text.done": "message",
    "response.refusal.delta": "message",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
}
"""Events that say enough to open a lane by themselves, for vendors that do not announce their items."""


class Decoder:
    """See `StreamDecoder`."""

    __slots__ = (
        "_block",
        "_by_id",
        "_by_index",
        "_ended",
        "_id",
        "_lanes",
        "_names",
        "_newest",
        "_quirks",
        "_said",
        "_started",
    )

    def __init__(self, *, quirks: Quirks, request: LLMRequest | None) -> None:
        self._quirks = quirks
        self._names = ToolNames(request.tools if request is not None else ())
        self._id = ""
        self._started = False
        self._ended = False
        self._block = 0
        self._lanes: list[_Lane] = []
        """Those not yet told to the end, in the order of their items."""
        self._by_index: dict[int, _Lane] = {}
        self._by_id: dict[str, _Lane] = {}
        self._newest: _Lane | None = None
        self._said: list[Block] = []
        """Finished refusals and calls: what the stop reason depends on."""

    def feed(self, event: SSEEvent) -> list[StreamEvent]:
        """See `StreamDecoder.feed`."""
        if self._ended or event.data.startswith("[DONE]"):
            return []
        try:
            value = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            return self._fail(broken("the provider sent an event that is not JSON"))
        if not isinstance(value, dict):
            return self._fail(broken("the provider sent an event that is not a JSON object"))
        return self._event(text(value.get("type")) or event.name, value)

    def close(self) -> list[StreamEvent]:
        """See `StreamDecoder.close`."""
        return [] if self._ended else self._fail(broken("the provider's stream ended before response.completed"))

    def _event(self, kind: str, value: JsonObject) -> list[StreamEvent]:
        match kind:
            case "response.created":
                return self._start(value.get("response"))
            case "response.output_item.added":
                self._open(value)
            case "response.output_item.done":
                self._done(value)
            case "response.completed" | "response.incomplete":
                return self._end(value.get("response"))
            case "response.failed":
                return self._failed(value.get("response"))
            case "error":
                return self._fail(
                    failure(value if value.get("error") else {"error": value}) or broken("the provider failed")
                )
            case "response.in_progress" | "response.queued":
                return [*self._start(value.get("response")), Progress()]
            case _ if kind.startswith("response."):
                if (lane := self._lane(kind, value)) is not None:
                    lane.event(kind, value)
                if kind.endswith(_SIGNS_OF_LIFE):
                    return [*self._tell(), Progress()]
            case _ if value.get("error"):
                return self._fail(failure(value) or broken("the provider failed"))
        return self._tell()

    def _start(self, response: Any) -> list[StreamEvent]:
        if self._started:
            return []
        self._started = True
        response = response if isinstance(response, dict) else {}
        self._id = text(response.get("id"))
        return [Start(self._id, text(response.get("model")), extra=kept(response))]

    def _open(self, value: JsonObject) -> None:
        item = value.get("item")
        if isinstance(item, dict):
            self._enlist(item, value.get("output_index"))

    def _enlist(self, item: JsonObject, index: Any) -> _Lane:
        number = index if isinstance(index, int) else len(self._by_index)
        lane: _Lane
        match item.get("type"):
            case "message":
                lane = _MessageLane(item)
            case "reasoning":
                lane = _ReasoningLane(item)
            case "function_call" | "custom_tool_call":
                lane = _CallLane(item, self._names, self._id, number)
            case _:
                lane = _OtherLane(item)
        self._lanes.append(lane)
        self._by_index[number] = lane
        if item_id := text(item.get("id")):
            self._by_id[item_id] = lane
        self._newest = lane
        return lane

    def _lane(self, kind: str, value: JsonObject) -> _Lane | None:
        index, item_id = value.get("output_index"), value.get("item_id")
        if isinstance(index, int):
            lane = self._by_index.get(index)
        elif isinstance(item_id, str) and item_id in self._by_id:
            lane = self._by_id[item_id]
        else:
            lane = self._newest
        if lane is None and (opened := _LANE_OF_EVENT.get(kind)):
            lane = self._enlist({"type": opened, "id": item_id}, index)
        return lane

    def _done(self, value: JsonObject) -> None:
        item = value.get("item")
        if not isinstance(item, dict):
            return
        lane = self._find(value.get("output_index"), item)
        if lane is None:
            lane = self._enlist(_bare(item), value.get("output_index"))
        if not lane.done:
            lane.finish(item)

    def _find(self, index: Any, item: JsonObject) -> _Lane | None:
        """The lane that `item` belongs to: of its kind, by index or by id."""
        for lane in (
            self._by_index.get(index) if isinstance(index, int) else None,
            self._by_id.get(text(item.get("id"))),
        ):
            if lane is not None and lane.added.get("type") == item.get("type"):
                return lane
        return None

    def _end(self, response: Any) -> list[StreamEvent]:
        if not isinstance(response, dict):
            return self._fail(broken("the provider's last event holds no response"))
        if (error := failure(response)) is not None:
            return self._fail(error)
        events = self._start(response)
        unannounced = not self._by_index
        for index, item in enumerate(entries(response.get("output"))):
            lane = self._find(index, item)
            if lane is None and unannounced:
                lane = self._enlist(_bare(item), index)
            if lane is not None and not lane.done:
                lane.finish(item)
        for lane in self._lanes:
            if not lane.done:
                lane.finish(None)
        events += self._tell()
        self._ended = True
        usage = decode_usage(response.get("usage"), self._quirks)
        return [*events, Finish(stop_reason(response, self._said), usage, extra=kept(response))]

    def _failed(self, response: Any) -> list[StreamEvent]:
        response = response if isinstance(response, dict) else {}
        return self._fail(failure({**response, "status": "failed"}) or broken("the provider failed"))

    def _fail(self, error: ProviderError) -> list[StreamEvent]:
        self._ended = True
        return [*self._start(None), Failure(error)]

    def _tell(self) -> list[StreamEvent]:
        """What the lanes have to say now: the first one that is not done holds back those behind it."""
        events: list[StreamEvent] = []
        while self._lanes:
            lane = self._lanes[0]
            for make, value in lane.told:
                events.append(make(self._block, value))
                if make is BlockStop:
                    self._block += 1
                    if isinstance(value, ToolCall | Refusal):
                        self._said.append(value)
            lane.told.clear()
            if not lane.done:
                break
            del self._lanes[0]
        return [*self._start(None), *events] if events else events


def _bare(item: JsonObject) -> JsonObject:
    """What announces an item that was not announced: the item without what it will say when it is finished."""
    return {name: value for name, value in item.items() if name not in ("content", "summary", "arguments", "input")}
