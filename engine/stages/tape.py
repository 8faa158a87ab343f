"""A tape of what the client is answered, for a trace or the answer cache. Runs only where one of them is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from engine.llm.catalogue import Quirks
from engine.llm.errors import ProviderError
from engine.llm.stream import ArgumentsDelta, TextDelta, ThinkingDelta
from engine.protocols.sse import SSEParser
from engine.store.traces import LONGEST_ANSWER, Trace

if TYPE_CHECKING:
    from engine.exchange import Exchange, Responder, Services
    from engine.llm.protocol import WireProtocol
    from engine.store.event import Event


class Tape:
    """The way back to the client, with a bounded copy of what went that way."""

    def __init__(self, responder: Responder, rule: str | None) -> None:
        """`rule`: the one that wants a trace, empty when all are wanted; None when none is."""
        self._responder = responder
        self.rule = rule
        self.heard = bytearray()

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        await self._responder.start(status, headers)

    async def write(self, data: bytes) -> None:
        await self._responder.write(data)
        if len(self.heard) <= LONGEST_ANSWER:
            self.heard += data

    @property
    def started(self) -> bool:
        return self._responder.started


def begin(exchange: Exchange, services: Services) -> None:
    """Tape the exchange's answer if a rule of its policy, or the run, wants its trace or may want to keep its answer."""
    if services.traces is None or exchange.case is None:
        return
    policy, facts = exchange.policy, exchange.case.facts
    rule = policy.traces(facts) or None
    if rule is None and (policy.settings.store_prompts or services.traces.everything):
        rule = ""
    if rule is not None or policy.cache.keeps(facts):
        exchange.tape = Tape(exchange.responder, rule)


def end(exchange: Exchange, services: Services, event: Event) -> None:
    """Hand the finished exchange to the store of traces."""
    tape = exchange.tape
    if tape is None or tape.rule is None or services.traces is None:
        return
    answer = bytes(tape.heard) + (exchange.reply.body if exchange.reply is not None else b"")
    services.traces.put(
        Trace(
            event=event,
            rule=tape.rule,
            headers=exchange.headers,
            request=exchange.raw,
            answer=answer[:LONGEST_ANSWER],
            truncated=len(answer) > LONGEST_ANSWER,
            redactor=services.redactor,
            secrets=tuple(exchange.caller_credential.values()),
            said=partial(_said, exchange.wire) if exchange.stream is not None else None,
        )
    )


def _said(wire: WireProtocol, data: bytes) -> str:
    """What a streamed answer says: its words, thoughts and arguments, without what stands between the pieces."""
    parser, decoder = SSEParser(), wire.stream_decoder(quirks=Quirks())
    try:
        frames = [*parser.feed(data), *parser.close()]
    except ProviderError:  # a frame that is too large
        frames = []
    events = [event for frame in frames for event in decoder.feed(frame)]
    return "".join(e.text for e in events if isinstance(e, TextDelta | ThinkingDelta | ArgumentsDelta))
