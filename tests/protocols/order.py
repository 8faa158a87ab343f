"""What every stream decoder promises about the order of its events (`engine.llm.stream`), checked; and the answer they tell.

Shared by the tests of all protocols: `check` raises AssertionError with the offending place, `whole` puts an answer together
from nothing but the events, as a client would.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from engine.llm.messages import Block, LLMResponse, Opaque, Refusal, Text, Thinking, ToolCall
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

_FITTING = {
    TextDelta: (Text, Refusal),
    ThinkingDelta: (Thinking,),
    ArgumentsDelta: (ToolCall,),
    OpaqueDelta: (Opaque,),
}


def check(events: Iterable[StreamEvent], *, ended: bool = True) -> None:
    """Raises AssertionError unless `events` are in order; `ended` False accepts a stream that is still going on."""
    started = finished = False
    index = -1
    current: Block | None = None
    said: list[str] = []
    for place, event in enumerate(events):
        where = f"event {place}: {event!r}"
        assert not finished, f"something follows the end, {where}"
        match event:
            case Progress():
                continue
            case Start():
                assert not started, f"a second start, {where}"
                started = True
                continue
        assert started, f"something precedes the start, {where}"
        match event:
            case BlockStart(number, block):
                assert current is None, f"blocks overlap, {where}"
                assert number == index + 1, f"a gap in the indexes, {where}"
                index, current, said = number, block, []
            case BlockStop(number, block):
                assert current is not None, f"a stop without a start, {where}"
                assert number == index, f"the wrong block is closed, {where}"
                assert type(block) is type(current), f"a block changes its kind, {where}"
                _check_whole(current, block, "".join(said), where)
                current = None
            case Finish():
                assert current is None, f"a block is left open, {where}"
                finished = True
            case Failure():
                finished = True
            case _:
                assert current is not None, f"a delta outside a block, {where}"
                assert event.index == index, f"a delta of another block, {where}"
                assert isinstance(current, _FITTING[type(event)]), f"a delta that does not fit its block, {where}"
                if not isinstance(event, OpaqueDelta):
                    assert event.text, f"an empty delta, {where}"
                    said.append(event.text)
    assert finished or not ended, "the stream has no end"


def _check_whole(start: Block, stop: Block, said: str, where: str) -> None:
    match stop:
        case Text() | Refusal() | Thinking():
            assert said == stop.text, f"the deltas do not make the block, {where}"
        case ToolCall():
            assert isinstance(start, ToolCall)
            assert said == stop.arguments or (not said and stop.arguments == "{}"), f"arguments differ, {where}"
            assert (start.id, start.name, start.kind) == (stop.id, stop.name, stop.kind), f"a call changes, {where}"


def whole(events: Iterable[StreamEvent], *, protocol: str = "") -> LLMResponse:
    """The answer that a finished stream tells. Raises AssertionError for one that failed."""
    answer = LLMResponse("", "", (), "end_turn", protocol=protocol)
    blocks: list[Block] = []
    for event in events:
        match event:
            case Start():
                answer = replace(answer, id=event.id, model=event.model, extra={**event.extra})
            case BlockStop(_, block):
                blocks.append(block)
            case Finish():
                answer = replace(
                    answer,
                    content=tuple(blocks),
                    stop=event.stop,
                    stop_sequence=event.stop_sequence,
                    usage=event.usage,
                    extra={**answer.extra, **event.extra},
                )
            case Failure(error):
                raise AssertionError(f"the stream failed: {error.meaning}: {error.message}")
    return answer
