"""Asks a live model the exam's questions, one after the other, and keeps what came of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import orjson

from engine import __version__
from engine.llm.errors import ProviderError
from engine.llm.messages import LLMRequest, LLMResponse, Usage
from engine.llm.protocol import Target, WireProtocol
from engine.llm.stream import BlockStop, Failure, Finish, Start, StreamEvent
from engine.probe.exam import Given, Question
from engine.protocols.sse import SSEParser
from engine.providers.credentials import Credentials
from engine.providers.transport import Transport, Upstream
from engine.store.redaction import Redactor

_NO_USE: frozenset[str] = frozenset({"authentication", "permission", "not_found", "quota", "unreachable"})
"""Failures after which every further question would fail the same way."""

_PATIENT: frozenset[str] = frozenset({"rate_limit", "overloaded"})
_TRIES = 4
_LONGEST_WAIT = 65.0


class ProbeStopped(Exception):
    """The model can't be asked at all; `str()` says why, without a key in it."""


@dataclass(slots=True, frozen=True)
class Result:
    """What came of one question, asked once."""

    question: Question
    reason: str
    """Why it did not pass, empty when it did."""
    seconds: float
    usage: Usage = field(default_factory=Usage)

    @property
    def passed(self) -> bool:
        return not self.reason


class Examiner:
    """One model, asked on one protocol."""

    def __init__(
        self,
        target: Target,
        wire: WireProtocol,
        credentials: Credentials,
        transport: Transport,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._target = target
        self._wire = wire
        self._credentials = credentials
        self._transport = transport
        self._redactor = Redactor(credentials.secrets)
        self._clock = clock
        self._sleep = sleep

    async def sit(self, questions: Iterable[Question], told: Callable[[Result], None]) -> list[Result]:
        """Ask all; `told` hears each result as it comes. Raises ProbeStopped."""
        results = []
        for question in questions:
            results.append(await self._ask(question))
            told(results[-1])
        return results

    async def _ask(self, question: Question) -> Result:
        began = self._clock()
        try:
            response = await self._patiently(question.request, stream=question.stream)
        except ProviderError as error:
            self._redactor.scrub(error)
            if error.meaning in _NO_USE:
                raise ProbeStopped(f"{self._target.model.ref}: {error.message}") from None
            return Result(question, f"{error.meaning}: {error.message[:200]}", self._clock() - began)
        given = Given.of(response, question.request.tools)
        return Result(question, question.judge(given), self._clock() - began, response.usage)

    async def _patiently(self, request: LLMRequest, *, stream: bool) -> LLMResponse:
        """The answer; a provider that is busy is waited for, as it says or ever longer."""
        for attempt in range(_TRIES):
            try:
                async with asyncio.timeout(self._target.provider.timeouts.total):
                    return await self._send(request, stream=stream)
            except TimeoutError:
                raise ProviderError("no answer in time", meaning="timeout") from None
            except ProviderError as error:
                wait = error.retry_after if error.retry_after is not None else 5.0 * 2**attempt
                if error.meaning not in _PATIENT or attempt == _TRIES - 1 or wait > _LONGEST_WAIT:
                    raise
                await self._sleep(wait)
        raise AssertionError("unreachable")

    async def _send(self, request: LLMRequest, *, stream: bool) -> LLMResponse:
        target, wire = self._target, self._wire
        body, _ = wire.encode_request(replace(request, stream=stream), target)
        body["stream"] = stream
        headers: Mapping[str, str] = {
            "user-agent": f"sbgw/{__version__}",
            **target.quirks.headers,
            "content-type": "application/json",
            "accept": "text/event-stream" if stream else "application/json",
            **wire.auth_headers(target.provider, self._credentials.key(target.provider)),
        }
        url = self._credentials.base_url(target.provider, wire.name) + wire.path
        upstream = await self._transport.send(
            url, headers=headers, body=orjson.dumps(body), timeouts=target.provider.timeouts
        )
        slim = replace(request, messages=())
        try:
            if upstream.status >= 400:
                raise wire.decode_error(upstream.status, await upstream.read(), upstream.headers)
            if stream:
                return await self._streamed(upstream, slim)
            return wire.decode_response(_json(await upstream.read()), quirks=target.quirks, request=slim)
        finally:
            upstream.close()

    async def _streamed(self, upstream: Upstream, request: LLMRequest) -> LLMResponse:
        kind = upstream.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "text/event-stream":
            raise ProviderError(f"a stream was asked for, {kind or 'nothing named'} came", meaning="broken")
        parser, decoder = SSEParser(), self._wire.stream_decoder(quirks=self._target.quirks, request=request)
        events: list[StreamEvent] = []
        async for chunk in upstream.chunks():
            events += [out for event in parser.feed(chunk) for out in decoder.feed(event)]
            if events and isinstance(events[-1], Finish | Failure):
                break
        else:
            events += [out for event in parser.close() for out in decoder.feed(event)] + decoder.close()
        return _put_together(events)


def _put_together(events: list[StreamEvent]) -> LLMResponse:
    last = events[-1] if events else None
    if isinstance(last, Failure):
        raise last.error
    if not isinstance(last, Finish):
        raise ProviderError("the stream ended before the answer did", meaning="broken")
    start = events[0]
    made = start if isinstance(start, Start) else Start("", "")
    content = tuple(event.block for event in events if isinstance(event, BlockStop))
    return LLMResponse(made.id, made.model, content, last.stop, usage=last.usage)


def _json(raw: bytes) -> dict[str, object]:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise ProviderError("the answer is not a JSON object", meaning="broken")
    return value
