"""Answers checked before the agent sees them: tool calls are held back until they are known to fit what was offered.

    nothing held      until a call begins, text passes as it comes (`hold: calls`); with `hold: answer` nothing does
    held              reasoning until text comes (it may lead to a call), calls until the answer's end; the client's timer says
                      meanwhile that we live
    at the end        sound: what was held goes out as it came. Repaired: it goes out in our words, if none of it was out yet
                      or it is translated anyway. At fault: the next candidate is asked, as long as nothing is out and one is
                      left; otherwise it goes out as it is, the agent's own validation answers it, and the event counts it

An answer that ran into its output limit is not judged: the cut is nobody's incompetence. Models that the policy calls proven
never come here.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

import orjson

from engine.exchange import Answer, CallTally, Exchange, Relayed, Services
from engine.llm.errors import ProviderError
from engine.llm.messages import Block, Opaque, Refusal, StopReason, Text, Thinking, ToolCall, Usage
from engine.llm.protocol import SSEEvent, StreamDecoder, StreamTap, Tapped, Target
from engine.llm.stream import ArgumentsDelta, BlockStart, BlockStop, Failure, Finish, StreamEvent
from engine.memory.known import Known
from engine.policy.decision import Candidate
from engine.protocols.tool_checks import OfferedTools
from engine.stages.decode import parse
from engine.stages.provider_stream import once, resumed

_UNJUDGED = frozenset({"max_tokens", "context_exceeded", "pause_turn", "content_filter", "refusal"})
"""Stop reasons of answers that were cut off."""


class AnswerCheck:
    """The check of one attempt's answer."""

    def __init__(
        self, tools: Callable[[], OfferedTools], tally: CallTally, *, whole: bool, spare: bool, pliant: bool
    ) -> None:
        """`whole`: text is held back too. `spare`: there is a candidate to fall back to. `pliant`: the answer is translated, so
        that a call can be said otherwise after something else has gone out.
        """
        self._tools = tools
        self._tally = tally
        self._whole = whole
        self._spare = spare
        self._shown = Text | Refusal | Opaque | Thinking if pliant and not spare else Text | Refusal | Opaque
        """What need not wait. Reasoning does, unless that could help nobody."""
        self._heard: list[StreamEvent] = []
        self._calling = self._speaking = False
        self.spent: Usage | None = None
        """What the provider counted, once the answer's end has been read."""

    def listening(self, tap: StreamTap, decoder: StreamDecoder) -> StreamTap:
        """`tap`, with this check listening to what it is fed."""
        return _Listening(tap, decoder, self._heard)

    async def settle(self, answer: Answer, target: Target, services: Services) -> None:
        """Hold `answer` back as far as the policy wants it. Raises ProviderError(incompatible) for one that may not go out.

        Called when its first content has been read, outside the time that is set for that; changes the answer in place.
        """
        if answer.relay is not None:
            await self._settle_relay(answer)
        elif answer.events is not None:
            answer.events = await self._settle_events(answer.events)
        elif answer.response is not None:
            self.spent = answer.response.usage
            content = await self._judged(list(answer.response.content), stop=answer.response.stop)
            answer.response = replace(answer.response, content=tuple(content))
        elif answer.body is not None:
            wire = services.protocols[target.protocol]
            response = wire.decode_response(orjson.loads(answer.body), quirks=target.quirks)
            self.spent = response.usage
            content = await self._judged(list(response.content), stop=response.stop)
            if content != list(response.content):
                answer.body, answer.response = None, replace(response, content=tuple(content))

    async def _settle_events(
        self, source: AsyncGenerator[list[StreamEvent], None]
    ) -> AsyncGenerator[list[StreamEvent], None]:
        held: list[StreamEvent] = []
        async for events in source:
            held += events
            if isinstance(held[-1], Failure):  # all of it is held back still: it has not begun
                await source.aclose()
                raise held[-1].error
            if self._may_go(events):
                return resumed(held, self._later_events(source))
            if isinstance(held[-1], Finish):
                break
        return resumed(await self._judged_events(source, held, late=False), source)

    async def _later_events(
        self, source: AsyncGenerator[list[StreamEvent], None]
    ) -> AsyncGenerator[list[StreamEvent], None]:
        """What comes after text has gone out: calls together, at the end, repaired where that can be."""
        held: list[StreamEvent] = []
        async with aclosing(source):
            async for events in source:
                if held or _calling(events):
                    held += events
                    if not isinstance(held[-1], Finish | Failure):
                        continue
                    events = await self._judged_events(source, held, late=True)
                    held = []
                yield events
        if held:
            yield held

    async def _settle_relay(self, answer: Answer) -> None:
        assert answer.relay is not None
        source, heard, at = answer.relay, self._heard, 0
        held: list[Relayed] = []
        async for piece in source:
            held.append(piece)
            if piece.tapped.error is not None:
                await source.aclose()
                raise piece.tapped.error
            new, at = heard[at:], len(heard)
            if self._may_go(new):
                heard.clear()
                answer.relay = resumed(_joined(held), self._later_relay(source))
                return
        told = await self._judged_events(source, heard, late=False)
        if told != heard and answer.encoder is not None:
            answer.relay, answer.events = None, once(told)
        else:
            answer.relay = once(_joined(held))

    async def _later_relay(self, source: AsyncGenerator[Relayed, None]) -> AsyncGenerator[Relayed, None]:
        """What comes after text has gone out: calls together, at the end; its bytes can no longer be others."""
        held: list[Relayed] = []
        async with aclosing(source):
            async for piece in source:
                if held or _calling(self._heard):
                    held.append(piece)
                    continue
                self._heard.clear()
                yield piece
        if held:
            await self._judged_events(source, self._heard, late=True, fixed=True)
            yield _joined(held)

    def _may_go(self, new: list[StreamEvent]) -> bool:
        """Whether text has come that need not wait; asked of what is new."""
        self._calling = self._calling or _calling(new)
        self._speaking = self._speaking or any(
            isinstance(event, BlockStart) and isinstance(event.block, self._shown) for event in new
        )
        return self._speaking and not (self._whole or self._calling)

    async def _judged_events(
        self,
        source: AsyncGenerator[object, None],
        held: list[StreamEvent],
        *,
        late: bool,
        fixed: bool = False,
    ) -> list[StreamEvent]:
        """`held` with its calls as they may go out. `late`: something is out already; `fixed`: and this can't change."""
        finish = next((event for event in reversed(held) if isinstance(event, Finish)), None)
        calls = [event.block for event in held if isinstance(event, BlockStop) and isinstance(event.block, ToolCall)]
        if finish is None or not calls:
            return list(held)
        self.spent = finish.usage
        try:
            judged = await self._judged(list(calls), stop=finish.stop, late=late, fixed=fixed)
        except ProviderError:
            await source.aclose()
            raise
        said = {
            id(before): after for before, after in zip(calls, judged, strict=True) if after is not before
        }  # a call is its own object in the list
        return _rewritten(held, said) if said else list(held)

    async def _judged(
        self, content: list[Block] | list[ToolCall], *, stop: StopReason, late: bool = False, fixed: bool = False
    ) -> list[Block]:
        """The blocks with each call as it may go out, the very object where nothing was wrong with it."""
        if stop in _UNJUDGED or not any(isinstance(block, ToolCall) for block in content):
            return list(content)
        await _ready()
        tools = self._tools()
        out: list[Block] = []
        for block in content:
            if not isinstance(block, ToolCall):
                out.append(block)
                continue
            checked = tools.check(block)
            amiss = checked.fault or (fixed and checked.call is not block)
            if amiss:
                self._tally.invalid += 1
                if self._spare and not late:
                    raise ProviderError(checked.message, meaning="incompatible", in_stream=True)
                out.append(block)
            else:
                self._tally.repaired += checked.call is not block
                out.append(checked.call)
        return out


def answer_check(
    exchange: Exchange, services: Services, candidate: Candidate, target: Target, *, spare: bool
) -> AnswerCheck | None:
    """The check that `candidate`'s answer needs, None for nearly all: no tools are offered, or the model is proven."""
    settings, survey = exchange.policy.answers, exchange.survey
    if survey is None or not survey.tools or not settings.checks(target.model, exchange.identity.name):
        return None
    if exchange.calls is None:
        exchange.calls = CallTally()

    known = exchange.known if exchange.known is not None and exchange.known.groups else None

    def tools() -> OfferedTools:
        # Only for an answer that calls: tools also come in the conversation, where a search has found them.
        offered = exchange.offered
        if offered is None:
            # Read anew where nothing is remembered: the parsed request is not held while a provider answers.
            read = known if known is not None else Known(exchange.wire, parse(exchange.raw))
            offered = exchange.offered = read.offered().tools
        return services.tool_checks.get(offered, served=candidate.preserve)

    return AnswerCheck(
        tools, exchange.calls, whole=settings.hold == "answer" and spare, spare=spare, pliant=not candidate.preserve
    )


class _Listening:
    """A tap that lets a decoder hear the same."""

    def __init__(self, tap: StreamTap, decoder: StreamDecoder, heard: list[StreamEvent]) -> None:
        self._tap = tap
        self._stream = decoder
        self._heard = heard

    @property
    def quiet(self) -> bool:
        """See `StreamTap.quiet`."""
        return self._tap.quiet

    def goes_on(self, frame: bytes) -> bool:
        """See `StreamTap.goes_on`: everything is to be heard."""
        return False

    def feed(self, event: SSEEvent) -> Tapped:
        """See `StreamTap.feed`."""
        self._heard += self._stream.feed(event)
        return self._tap.feed(event)

    def close(self) -> Tapped:
        """See `StreamTap.close`."""
        self._heard += self._stream.close()
        return self._tap.close()


async def _ready() -> None:
    """The validators' library takes a sixth of a second to import: not on the loop that everybody else's answers use."""
    if "jsonschema.validators" not in sys.modules:
        await asyncio.to_thread(__import__, "jsonschema.validators")


def _calling(events: list[StreamEvent]) -> bool:
    return any(isinstance(event, BlockStart) and isinstance(event.block, ToolCall) for event in events)


def _rewritten(held: list[StreamEvent], said: dict[int, Block]) -> list[StreamEvent]:
    """The events with some calls said anew, each in one piece."""
    stops = {event.index: event for event in held if isinstance(event, BlockStop) and id(event.block) in said}
    out: list[StreamEvent] = []
    for event in held:
        stop = stops.get(event.index) if isinstance(event, BlockStart | ArgumentsDelta | BlockStop) else None
        if stop is None:
            out.append(event)
        elif isinstance(event, BlockStop):
            call = said[id(stop.block)]
            assert isinstance(call, ToolCall)
            out += [
                BlockStart(event.index, replace(call, arguments="")),
                ArgumentsDelta(event.index, call.arguments),
                BlockStop(event.index, call),
            ]
    return out


def _joined(held: list[Relayed]) -> Relayed:
    return held[0] if len(held) == 1 else Relayed(b"".join(piece.data for piece in held), held[-1].tapped)
