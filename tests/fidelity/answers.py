"""Recorded answers on their way to the three kinds of clients, and the count of how they arrive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from engine.llm.catalogue import Quirks
from engine.llm.errors import ClientError, ProviderError
from engine.llm.messages import LLMRequest
from engine.llm.replay import replay
from engine.llm.stream import Failure, Finish, StreamEvent
from engine.protocols.registry import PROTOCOLS
from engine.protocols.sse import SSEParser
from tests.fidelity.clients import Sdks
from tests.fidelity.corpus import Exchange
from tests.fidelity.expected import TRIMMED, chat_order, told
from tests.fidelity.meaning import Answer, differences
from tests.fidelity.read import chat, messages, responses

READ: dict[str, Any] = {"anthropic-messages": messages, "openai-chat": chat, "openai-responses": responses}
QUIRKS = Quirks()
MADE_UP = ("fixture-edited", "fixture-concatenated")
"""Recordings that are no one answer of a provider: they must not crash anything, their meaning counts for nothing."""


@dataclass(slots=True)
class Tally:
    """How answers of one kind fared."""

    tried: int = 0
    wrong: list[str] = field(default_factory=list)
    """One line for each difference that nothing declares, and for each answer that could not be read."""
    declared: Counter[str] = field(default_factory=Counter)
    """Named deviations, and how many answers have each."""
    deviating: int = 0
    """Answers with at least one of them."""
    errors: int = 0
    """Recorded failures inside a success; the client gets an error."""

    @property
    def passed(self) -> int:
        """Answers without an undeclared difference."""
        return self.tried - len({line.partition(":")[0] for line in self.wrong})


def recorded(exchange: Exchange) -> Answer:
    """The answer as the plain reader of its protocol reads it."""
    reader = READ[exchange.protocol]
    answer: Answer = (
        reader.stream(exchange.raw.decode()) if exchange.streamed else reader.whole(orjson.loads(exchange.raw))
    )
    return answer


def asked(exchange: Exchange) -> LLMRequest | None:
    """The recorded request, as far as it has one: names of tools are restored by it."""
    if exchange.request is None:
        return None
    try:
        return PROTOCOLS[exchange.protocol].decode_request(exchange.request)
    except ClientError:
        return None


def events_of(exchange: Exchange, *, size: int = 0) -> list[StreamEvent]:
    """The events that the gateway reads from a recorded answer; `size` cuts a stream into pieces of so many bytes.

    A whole answer gives the events that tell it to a client that asked for a stream. Raises ProviderError.
    """
    wire = PROTOCOLS[exchange.protocol]
    if not exchange.streamed:
        return replay(wire.decode_response(orjson.loads(exchange.raw), quirks=QUIRKS, request=asked(exchange)))
    parser, decoder = SSEParser(), wire.stream_decoder(quirks=QUIRKS, request=asked(exchange))
    step = size or len(exchange.raw) or 1
    cuts = [exchange.raw[at : at + step] for at in range(0, len(exchange.raw), step)]
    found = [event for cut in cuts for event in parser.feed(cut)] + parser.close()
    return [out for event in found for out in decoder.feed(event)] + decoder.close()


def spoken(client: str, events: Iterable[StreamEvent]) -> bytes:
    """The stream that a client of `client` gets."""
    encoder = PROTOCOLS[client].stream_encoder(model="m", answer_id="a1b2")
    return b"".join(encoder.feed(event) for event in events)


def arrive(exchange: Exchange, client: str, sdks: Sdks, *, stream: bool) -> Answer:
    """What an SDK of `client` makes of a recorded answer. An answer that fails is an Answer with its error."""
    wire = PROTOCOLS[exchange.protocol]
    try:
        if not stream:
            answer = wire.decode_response(orjson.loads(exchange.raw), quirks=QUIRKS, request=asked(exchange))
            body = PROTOCOLS[client].encode_response(answer, model="m")
            return sdks.whole(client, body, strict=client != exchange.protocol)
        events = events_of(exchange)
    except ProviderError as error:
        return Answer(error=error.message)
    if isinstance(end := events[-1], Failure):
        return Answer(error=end.error.message)
    assert isinstance(end, Finish)
    raw = spoken(client, events)
    if any(isinstance(call.arguments, str) and call.kind == "function" for call in recorded(exchange).calls):
        return READ[client].stream(raw.decode())  # type: ignore[no-any-return]  # an SDK makes what it can of half an object
    return sdks.stream(client, raw)


def judge(exchange: Exchange, client: str, sdks: Sdks, tally: Tally, *, stream: bool) -> None:
    """Lets one answer arrive and counts it."""
    tally.tried += 1
    expected, names = told(recorded(exchange), exchange.protocol, client)
    try:
        got = arrive(exchange, client, sdks, stream=stream)
    except Exception as error:  # noqa: BLE001 - whatever an SDK raises is a client that got nothing
        tally.wrong.append(f"{exchange.short}: {type(error).__name__}: {str(error)[:200]}")
        return
    tally.errors += bool(expected.error)
    if any(part in exchange.name for part in TRIMMED):
        names.add("trimmed_recording")
    else:
        fit(expected, got, client, names, stream=stream)
        tally.wrong += [f"{exchange.short}: {line}" for line in differences(expected, got)]
    tally.declared.update(names)
    tally.deviating += bool(names)


def fit(expected: Answer, got: Answer, client: str, names: set[str], *, stream: bool) -> None:
    """What holds for every Chat client, and for half an object in a stream, which is shown as it came."""
    if client == "openai-chat":
        expected.order = chat_order(expected.order)
        got.order = chat_order(got.order)
        for number, (call, read) in enumerate(zip(expected.calls, got.calls, strict=False)):
            if call.namespace and read.name == f"{call.namespace}__{call.name}":
                expected.calls[number] = replace(call, name=read.name)
                names.add("namespace")
    if stream:
        for number, call in enumerate(expected.calls):
            held = call.arguments.get("raw_arguments") if isinstance(call.arguments, dict) else None
            if held is not None and number < len(got.calls) and got.calls[number].arguments == held:
                expected.calls[number] = got.calls[number]
