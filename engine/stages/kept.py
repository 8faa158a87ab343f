"""Which answers may be told again, and how they are kept: a line of JSON about it, then the bytes that the client got."""

from __future__ import annotations

import orjson

from engine.exchange import Exchange, Services
from engine.llm.catalogue import Quirks
from engine.llm.errors import ClientError, ProviderError
from engine.llm.messages import LLMResponse, Text, Thinking
from engine.llm.protocol import WireProtocol
from engine.llm.replay import gathered
from engine.protocols.sse import SSEParser
from engine.stages.bill import counted

LONGEST = 1024 * 1024
"""Bytes of the longest answer that is kept."""

_WHOLE = frozenset({"end_turn", "stop_sequence"})


def land(exchange: Exchange, services: Services) -> None:
    """The exchange has ended: keep its answer if it may be, and tell those who wait for it."""
    if not exchange.answer_key or services.answers is None:
        return
    entry = None
    try:
        entry = entry_of(exchange, services)
    finally:
        services.answers.land(exchange.answer_key, entry, keep=exchange.policy.cache.ttl_seconds)


def entry_of(exchange: Exchange, services: Services) -> bytes | None:
    """The finished exchange's answer as it is kept: a line of JSON about it, then what the client got. None: not kept."""
    answer, tapped, reply, survey = exchange.answer, exchange.tapped, exchange.reply, exchange.survey
    if (
        answer is None
        or exchange.served is None
        or tapped is None
        or reply is None
        or survey is None
        or reply.status != 200
    ):
        return None
    if exchange.cancelled or exchange.error is not None or tapped.error is not None or tapped.stop not in _WHOLE:
        return None
    data = reply.body if not survey.stream else bytes(exchange.tape.heard) + reply.body if exchange.tape else b""
    if not data or len(data) > LONGEST or services.redactor.count(data):
        return None
    response = response_of(exchange.wire, data, stream=survey.stream)
    if response is None or not _plain(response):
        return None
    said = "".join(block.text for block in response.content if isinstance(block, Text | Thinking))
    if services.redactor.count(said.encode("utf-8", "replace")):  # a stream tells it in pieces
        return None
    head = {
        "ref": answer.candidate.ref,
        "stream": survey.stream,
        "usage": counted(exchange, answer, exchange.served, services.calibration).usage,
    }
    return orjson.dumps(head) + b"\n" + data


def _plain(response: LLMResponse) -> bool:
    """Nothing but text, and thoughts that are not sealed for one session."""
    texts = [block for block in response.content if isinstance(block, Text)]
    thoughts = [block for block in response.content if isinstance(block, Thinking) and not block.opaque]
    return (
        response.stop in _WHOLE and any(t.text for t in texts) and len(texts) + len(thoughts) == len(response.content)
    )


def response_of(wire: WireProtocol, data: bytes, *, stream: bool) -> LLMResponse | None:
    """The answer that `data` tells in `wire`; None if it tells none."""
    try:
        if not stream:
            return wire.decode_response(orjson.loads(data), quirks=Quirks())
        parser, decoder = SSEParser(), wire.stream_decoder(quirks=Quirks())
        frames = [*parser.feed(data), *parser.close()]
        return gathered([event for frame in frames for event in decoder.feed(frame)] + decoder.close())
    except (ProviderError, ClientError, ValueError):
        return None
