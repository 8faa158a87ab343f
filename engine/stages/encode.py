"""encode: the answer, or what went wrong, in the client's own protocol.

A stream is written as it comes, all but its end: the bytes from the terminal event on are left in `exchange.reply.body`,
and go out after the record is safe. While a provider is silent the stream is kept alive in the protocol's own way.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from dataclasses import replace
from typing import ClassVar
from urllib.parse import quote

import orjson

from engine.exchange import Answer, Exchange, Reply, Services
from engine.llm.errors import GatewayError, ProviderError
from engine.llm.protocol import StreamEncoder, Tapped
from engine.llm.stream import Failure, Finish, Progress, Start, StreamEvent, TextDelta
from engine.stages.advice import advised
from engine.stages.client_stream import STREAM_HEADERS, ClientStream
from engine.stages.stage import Stage

_PASSED_BACK = (
    "anthropic-",
    "openai-",
    "x-ratelimit-",
    "ratelimit-",
    "x-codex-",
    "x-request-id",
    "request-id",
    "retry-after",
    "x-should-retry",
)
"""Response headers of a preserved answer that go on to the client, by prefix: what clients act upon, and ids for support."""

_PLAIN = re.compile(r"[!-~]+(?: [!-~]+)*").fullmatch


class Encode(Stage):
    needs: ClassVar[frozenset[str]] = frozenset({"outcome"})
    makes: ClassVar[frozenset[str]] = frozenset({"reply"})

    async def run(self, exchange: Exchange, services: Services) -> str | None:
        answer, stream = exchange.answer, exchange.stream
        if answer is None:
            if stream is not None:
                await stream.end()
            if isinstance(exchange.error, ProviderError):
                exchange.error.message = advised(exchange, services, exchange.error)
            exchange.reply = error_reply(exchange)
            exchange.reply.body = services.redactor.redact(exchange.reply.body)
        elif stream is None:
            exchange.reply = _whole(exchange, answer)
        else:
            say = _relay if answer.relay is not None else _translate
            try:
                await say(exchange, services, answer, stream)
            finally:
                answer.upstream.close()
                await stream.end()
            exchange.reply = Reply(200, body=stream.tail)
        return None


def error_reply(exchange: Exchange) -> Reply:
    """`exchange.error` in the client's protocol: as an HTTP error, or in a stream that has begun as its terminal event."""
    error = exchange.error or GatewayError("the gateway has no answer")
    if exchange.responder.started:
        return Reply(200, body=exchange.wire.encode_stream_error(error))
    status, body, headers = exchange.wire.encode_error(error, event_id=exchange.id)
    passed: dict[str, str] = {}
    if isinstance(error, ProviderError) and error.protocol == exchange.wire.name:
        passed = {k.lower(): v for k, v in error.headers.items() if k.lower().startswith(_PASSED_BACK)}
    reply_headers = passed | {k.lower(): v for k, v in headers.items()} | own_headers(exchange)
    return Reply(status, {**reply_headers, "content-type": "application/json"}, orjson.dumps(body))


def own_headers(exchange: Exchange) -> dict[str, str]:
    """`x-sbgw-*`: the event to look up, and what was decided; percent-encoded where a header can't hold it."""
    headers = {"x-sbgw-event": exchange.id}
    if exchange.decision is not None:
        headers["x-sbgw-route"] = exchange.decision.route_class
        headers["x-sbgw-policy"] = exchange.decision.policy
    if exchange.answer is not None:
        headers["x-sbgw-model"] = exchange.answer.candidate.ref
        if exchange.served is not None and exchange.served.losses:
            headers["x-sbgw-loss"] = ",".join(exchange.served.losses)
        if exchange.cache_hit:
            headers["x-sbgw-cache"] = "hit"
    # A model without a row has the name that the client gave it.
    return {name: value if _PLAIN(value) else quote(value, safe="/@:,. ") for name, value in headers.items()}


def _answer_headers(exchange: Exchange, answer: Answer) -> dict[str, str]:
    headers: dict[str, str] = {}
    if answer.candidate.preserve:
        headers = {name: value for name, value in answer.headers.items() if name.startswith(_PASSED_BACK)}
    return headers | own_headers(exchange)


def _stream_headers(exchange: Exchange, answer: Answer) -> dict[str, str]:
    return {**_answer_headers(exchange, answer), **STREAM_HEADERS}


def _whole(exchange: Exchange, answer: Answer) -> Reply:
    headers = {**_answer_headers(exchange, answer), "content-type": "application/json"}
    if answer.body is not None:
        exchange.tapped = answer.tapped
        return Reply(200, headers, answer.body)
    response = answer.response
    assert response is not None, "an answer carries something"
    exchange.tapped = Tapped(
        started=True, finished=True, stop=response.stop, usage=response.usage, model=response.model
    )
    model = exchange.survey.model if exchange.survey is not None else response.model
    return Reply(200, headers, orjson.dumps(exchange.wire.encode_response(response, model=model)))


async def _relay(exchange: Exchange, services: Services, answer: Answer, stream: ClientStream) -> None:
    """Pass a preserved stream on, byte for byte; the end is held back."""
    assert answer.relay is not None
    await stream.begin(_stream_headers(exchange, answer), exchange.wire.keepalive)
    async with aclosing(answer.relay) as relay:
        async for piece in relay:
            tapped = exchange.tapped = piece.tapped
            if tapped.error is not None:  # the vendor's own words, which may quote a key
                stream.tail += services.redactor.knowing(*exchange.logins).redact(piece.data)
            elif tapped.finished:
                stream.tail += piece.data
            else:
                await stream.write(piece.data)
            if tapped.error is not None:
                _note_failure(exchange, services, tapped.error)
                if not tapped.finished:
                    stream.tail += exchange.wire.encode_stream_error(tapped.error)
                stream.tail = services.redactor.redact(stream.tail)


async def _translate(exchange: Exchange, services: Services, answer: Answer, stream: ClientStream) -> None:
    """Say the events in the client's protocol; the end is held back."""
    encoder = answer.encoder
    assert answer.events is not None
    assert encoder is not None, "a stream was asked for"
    exchange.tapped = Tapped(started=True, sealed=answer.tapped.sealed if answer.tapped is not None else ())
    await stream.begin(_stream_headers(exchange, answer), lambda: encoder.feed(Progress()) or exchange.wire.keepalive())
    async with aclosing(answer.events) as pieces:
        async for events in pieces:
            if data := _say(exchange, services, encoder, events):
                await stream.write(data)


def _say(exchange: Exchange, services: Services, encoder: StreamEncoder, events: list[StreamEvent]) -> bytes:
    """The bytes that say `events`, but for the answer's end, which is put aside."""
    parts: list[bytes] = []
    assert exchange.stream is not None
    assert exchange.tapped is not None
    for event in events:
        match event:
            case TextDelta():
                pass  # nearly all there are
            case Progress():
                continue  # the client's own timer says that we live, and how often
            case Start(model=model, usage=usage):
                exchange.tapped = replace(exchange.tapped, model=model, usage=usage)
            case Finish(stop=stop, usage=usage):
                exchange.tapped = replace(exchange.tapped, finished=True, stop=stop, usage=usage)
                exchange.stream.tail += encoder.feed(event)
                continue
            case Failure(error=error):
                _note_failure(exchange, services, error)
                exchange.stream.tail += encoder.feed(event)
                continue
        parts.append(encoder.feed(event))
    return b"".join(parts)


def _note_failure(exchange: Exchange, services: Services, error: ProviderError) -> None:
    """The answer broke off after it had begun: the attempt was a failure after all."""
    services.redactor.scrub(error, *exchange.logins)
    exchange.error = error
    record = exchange.served
    assert record is not None, "it has answered"
    record.meaning, record.message = error.meaning, error.message
    if record.trial is not None:
        services.health.failed(record.trial, error)
