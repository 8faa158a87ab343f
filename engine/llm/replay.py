"""A whole answer told as a stream, for a client that asked for one from a model that gave none; and the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.llm.messages import LLMResponse, Opaque, Refusal, Text, Thinking, ToolCall
from engine.llm.stream import (
    ArgumentsDelta,
    BlockStart,
    BlockStop,
    Finish,
    Start,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
)


def replay(response: LLMResponse) -> list[StreamEvent]:
    """The events of `response` in stream order, each block in one delta."""
    events: list[StreamEvent] = [Start(response.id, response.model, response.usage)]
    index = 0
    for block in response.content:
        match block:
            case Text() | Refusal():
                if not block.text:
                    continue
                events += [BlockStart(index, replace(block, text="")), TextDelta(index, block.text)]
            case Thinking():
                events.append(BlockStart(index, replace(block, text="", opaque="")))
                if block.text:
                    events.append(ThinkingDelta(index, block.text))
            case ToolCall():
                events += [BlockStart(index, replace(block, arguments="")), ArgumentsDelta(index, block.arguments)]
            case Opaque():
                events.append(BlockStart(index, block))
            case _:  # a model answers with nothing else
                continue
        events.append(BlockStop(index, block))
        index += 1
    events.append(Finish(response.stop, response.usage, response.stop_sequence, response.extra))
    return events


def gathered(events: Sequence[StreamEvent]) -> LLMResponse | None:
    """The whole answer that the events of a stream tell; None for one that did not end well."""
    start = next((event for event in events if isinstance(event, Start)), None)
    if start is None or not events or not isinstance(end := events[-1], Finish):
        return None
    blocks = tuple(event.block for event in events if isinstance(event, BlockStop))
    return LLMResponse(
        id=start.id,
        model=start.model,
        content=blocks,
        stop=end.stop,
        usage=end.usage,
        stop_sequence=end.stop_sequence,
        extra=end.extra,
    )
