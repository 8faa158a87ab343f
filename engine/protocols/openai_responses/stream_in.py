"""A provider's streamed answer as stream events.

Each output item has a lane that turns the item's events into blocks. Lanes are told in the order in which their items
began, one at a time, so that items which a vendor sends interleaved come out one after the other. Events find their lane
by `output_index` unless another item bears their item id (one vendor changes ids between events, another counts every item as
the first), else they belong to the newest.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from engine.llm.catalogue import Quirks
from engine.llm.errors import ProviderError
from engine.llm.messages import Block, JsonObject, LLMRequest, Refusal, ToolCall
from engine.llm.protocol import SSEEvent
from engine.llm.stream import BlockStart, BlockStop, Failure, Finish, Progress, Start, StreamEvent
from engine.protocols.openai_responses.answer_in import NAMELESS, broken, decode_usage, failure, kept, stop_reason
from engine.protocols.openai_responses.lanes import CallLane, Lane, MessageLane, OtherLane, ReasoningLane
from engine.protocols.openai_responses.numbers import Numbers
from engine.protocols.openai_responses.words import entries, text
from engine.protocols.tool_ids import AnswerIds
from engine.protocols.tool_names import ToolNames

_SIGNS_OF_LIFE = (".in_progress", ".searching", ".interpreting", ".generating", ".completed", ".queued")

_LANE_OF_EVENT = {
    "response.output_text.delta": "message",
    "response.output_text.done": "message",
    "response.refusal.delta": "message",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
}
"""Events that say enough to open a lane by themselves, for vendors that do not announce their items."""

LOST = "a part of the provider's answer never came: what it sent is not what it says to have sent"


class Decoder:
    """See `StreamDecoder`."""

    __slots__ = (
        "_block",
        "_by_id",
        "_by_index",
        "_call_id",
        "_calls",
        "_ended",
        "_id",
        "_ids",
        "_lanes",
        "_names",
        "_newest",
        "_numbers",
        "_quirks",
        "_said",
        "_spoke",
        "_started",
        "quiet",
    )

    def __init__(self, *, quirks: Quirks, request: LLMRequest | None) -> None:
        self._quirks = quirks
        self._names = ToolNames(request.tools if request is not None else ())
        self._ids = AnswerIds(request)
        self._call_id = ""
        """The client's id of the call that is being told."""
        self._id = ""
        self._started = False
        self._ended = False
        self.quiet = False
        """See `StreamDecoder.quiet`."""
        self._block = 0
        self._lanes: list[Lane] = []
        """Those not yet told to the end, in the order of their items."""
        self._by_index: dict[int, Lane] = {}
        self._by_id: dict[str, Lane] = {}
        self._calls: set[str] = set()
        """Call ids that the events have told of; empty for a call without one."""
        self._newest: Lane | None = None
        self._numbers = Numbers()
        self._spoke = False
        """An event has told of a message."""
        self._said: list[Block] = []
        """Finished refusals and calls: what the stop reason depends on."""

    def feed(self, event: SSEEvent) -> list[StreamEvent]:
        """See `StreamDecoder.feed`."""
        self.quiet = True
        if self._ended or event.data.startswith("[DONE]") or not event.data.strip():
            return []
        try:
            value = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            return self._fail(broken("the provider sent an event that is not JSON"))
        if not isinstance(value, dict):
            return self._fail(broken("the provider sent an event that is not a JSON object"))
        if (number := value.get("sequence_number")) is not None:
            self._numbers.heard(number)
        return self._event(text(value.get("type")) or event.name, value)

    def close(self) -> list[StreamEvent]:
        """See `StreamDecoder.close`."""
        return [] if self._ended else self._fail(broken("the provider's stream ended before response.completed"))

    @property
    def complete(self) -> bool:
        """See `StreamDecoder.complete`: only the last event makes an answer whole here."""
        return False

    def _event(self, kind: str, value: JsonObject) -> list[StreamEvent]:
        if kind.endswith(".delta"):  # most of a stream
            self.quiet = not value.get("delta")
            lane = self._lane(kind, value)
            if lane is not None and not lane.done:
                lane.event(kind, value)
            return self._tell()
        self.quiet = not kind.startswith("response.") or kind.endswith(_SIGNS_OF_LIFE)
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
                lane = self._lane(kind, value)
                if lane is not None and not lane.done:
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

    def _enlist(self, item: JsonObject, index: Any) -> Lane:
        number = index if isinstance(index, int) else len(self._by_index)
        lane: Lane
        match item.get("type"):
            case "message":
                self._spoke = True
                lane = MessageLane(item, self._numbers)
            case "reasoning":
                lane = ReasoningLane(item, self._numbers)
            case "function_call" | "custom_tool_call":
                lane = CallLane(item, self._numbers, self._names)
                self._calls.add(text(item.get("call_id")))
            case _:
                lane = OtherLane(item, self._numbers)
        self._lanes.append(lane)
        self._by_index[number] = lane
        if item_id := text(item.get("id")):
            self._by_id[item_id] = lane
        self._newest = lane
        return lane

    def _lane(self, kind: str, value: JsonObject) -> Lane | None:
        index, item_id = value.get("output_index"), value.get("item_id")
        lane = self._by_index.get(index) if isinstance(index, int) else self._newest
        named = self._by_id.get(item_id) if isinstance(item_id, str) else None
        if named is not None and (lane is None or not isinstance(index, int) or lane.added.get("id") != item_id):
            lane = named
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
            if isinstance(lane, CallLane):
                self._calls.add(text(item.get("call_id")))
            lane.finish(item)

    def _find(self, index: Any, item: JsonObject) -> Lane | None:
        """The lane that `item` belongs to: of its kind, by index or by id."""
        for lane in (
            self._by_index.get(index) if isinstance(index, int) else None,
            self._by_id.get(text(item.get("id"))),
        ):
            if lane is not None and lane.added.get("type") == item.get("type") and not _other_call(lane.added, item):
                return lane
        return None

    def _unheard(self, item: JsonObject) -> bool:
        """Whether `item` is a call, or the answer's text, that only the whole answer tells of."""
        if item.get("type") == "message":
            return self._numbers.jumped or not self._spoke
        if item.get("type") not in ("function_call", "custom_tool_call"):
            return False
        call_id = text(item.get("call_id"))
        return call_id not in self._calls if call_id else not self._calls

    def _end(self, response: Any) -> list[StreamEvent]:
        if not isinstance(response, dict):
            return self._fail(broken("the provider's last event holds no response"))
        if (error := failure(response)) is not None:
            return self._fail(error)
        events = self._start(response)
        unannounced = not self._by_index
        unheard = [item for item in entries(response.get("output")) if self._unheard(item)]
        for index, item in enumerate(entries(response.get("output"))):
            lane = self._find(index, item)
            if lane is None and (unannounced or item in unheard):
                lane = self._enlist(_bare(item), index)
            if lane is not None and not lane.done:
                lane.finish(item)
        for lane in self._lanes:
            if not lane.done:
                lane.finish(None)
        events += self._tell()
        if self._ended:  # what a lane had to tell was that the answer is none
            return events
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
                if isinstance(value, ToolCall):
                    if make is BlockStart:
                        if not value.name:
                            return [*self._start(None), *events, *self._fail(broken(NAMELESS))]
                        self._call_id = self._ids.of(value.id, self._id, self._block)
                    value = replace(value, id=self._call_id)
                events.append(make(self._block, value))
                if make is BlockStop:
                    self._block += 1
                    if isinstance(value, ToolCall | Refusal):
                        self._said.append(value)
            lane.told.clear()
            if not lane.done:
                break
            if lane.lost:
                return [*self._start(None), *events, *self._fail(broken(LOST))]
            del self._lanes[0]
        return [*self._start(None), *events] if events else events


def _other_call(one: JsonObject, other: JsonObject) -> bool:
    """Whether two items are calls of different ids: an index may come twice."""
    first, second = one.get("call_id"), other.get("call_id")
    return bool(first and second) and first != second


def _bare(item: JsonObject) -> JsonObject:
    """What announces an item that was not announced: the item without what it will say when it is finished."""
    return {name: value for name, value in item.items() if name not in ("content", "summary", "arguments", "input")}
