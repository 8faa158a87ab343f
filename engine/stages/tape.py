"""A tape of what the client is answered, for a trace. Runs only for requests that a policy or the run wants kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.store.traces import LONGEST_ANSWER, Trace

if TYPE_CHECKING:
    from engine.exchange import Exchange, Responder, Services
    from engine.store.event import Event


class Tape:
    """The way back to the client, with a bounded copy of what went that way."""

    def __init__(self, responder: Responder, rule: str) -> None:
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
    """Tape the exchange's answer if a rule of its policy, or the run, wants its trace."""
    if services.traces is None or exchange.case is None:
        return
    settings, facts = exchange.policy.settings, exchange.case.facts
    rule = next((rule.id for rule in exchange.policy.trace if rule.wants(facts)), None)
    if rule is not None or settings.store_prompts or services.traces.everything:
        exchange.tape = Tape(exchange.responder, rule or "")


def end(exchange: Exchange, services: Services, event: Event) -> None:
    """Hand the finished exchange to the store of traces."""
    tape = exchange.tape
    if tape is None or services.traces is None:
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
        )
    )
