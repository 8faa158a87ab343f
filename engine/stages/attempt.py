"""One try at one candidate, up to the commit point.

Nothing of an attempt reaches the client before its first real content has been read, so whatever goes wrong until then, an
error inside a 200 included, is a ProviderError that the dispatcher may answer with another candidate. What goes wrong later
is told in the stream itself.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import orjson

from engine import __version__
from engine.exchange import Answer, Attempt, Exchange, Services
from engine.llm.envelope import Envelopes, Maker
from engine.llm.errors import ProviderError
from engine.llm.frozen import dataclass
from engine.llm.messages import JsonObject, LLMRequest
from engine.llm.protocol import StreamEncoder, Target, WireProtocol
from engine.llm.replay import replay
from engine.llm.returning import COMPACTION, FOREIGN, SUMMARY, Returning, refuses_state, returned
from engine.llm.sealing import SealingDecoder, seal_response
from engine.memory.known import Known
from engine.memory.rewriting import rewritten
from engine.memory.translation import translated
from engine.policy.decision import Candidate
from engine.protocols import compaction
from engine.providers.heard import Heard
from engine.stages.answer_check import AnswerCheck, answer_check
from engine.stages.decode import parse
from engine.stages.hints import with_hints
from engine.stages.provider_stream import Silence, committed_events, committed_relay, once

if TYPE_CHECKING:  # the transport brings the HTTP client, which a check or an explanation never needs
    from engine.providers.transport import Upstream

_PASSED: Mapping[str, tuple[str, ...]] = {
    "anthropic-messages": ("anthropic-", "x-claude-code-", "x-stainless-", "x-app", "user-agent"),
    "openai-responses": (
        "openai-", "x-openai-", "x-codex-", "session-id", "thread-id", "x-client-request-id", "originator", "user-agent",
    ),
    "openai-chat": ("openai-", "x-session-", "user-agent"),
}  # fmt: skip
"""Request headers that go on to a provider of the client's own protocol, by prefix: open lists, vendors add to them."""

_KEPT = ("openai-organization", "openai-project")
"""Never passed on with our key: they belong to the caller's account."""

_MAX_ERROR = 1024 * 1024
"""Bytes of a provider's error body that are read."""


@dataclass(slots=True, frozen=True)
class _Translation:
    """What reading a translated answer needs of its request."""

    encoder: StreamEncoder | None
    request: LLMRequest | None
    """The request without its messages: the tools' names are restored from it, the conversation need not be held."""
    sealing: tuple[Envelopes, Maker] | None = None
    """How reasoning state of the answer is sealed for the client; None where it passes as it is."""
    compacting: bool = False
    """The answer is a summary, to be handed over as the compaction item that the client asked for."""


async def attempt(
    exchange: Exchange,
    services: Services,
    candidate: Candidate,
    record: Attempt,
    *,
    left: float = float("inf"),
    spare: bool = False,
) -> Answer:
    """Send the exchange's request to `candidate`; returns once its answer may begin. Raises ProviderError.

    `left`: seconds that the whole request still has until an answer must have begun. `spare`: another candidate is left, so
    an answer with a tool call that fits nothing need not be taken.
    """
    rows = target_of(exchange, candidate)
    maker = Maker(candidate.provider, candidate.model, rows.session)
    take_back = services.seals.returning(maker, bare=candidate.ref in exchange.bare)
    target = Target(rows.provider, rows.model, rows.protocol, rows.quirks, rows.session, take_back, take_back.unpacked)
    check = answer_check(exchange, services, candidate, target, spare=spare)
    began = services.monotonic()
    wire = services.protocols[candidate.protocol]
    stream = exchange.survey is not None and exchange.survey.stream and target.model.streaming
    outgoing, losses, translation = _outgoing(exchange, wire, target, candidate, stream=stream)
    if take_back.left_out:
        losses = [*losses, FOREIGN]
    if take_back.compactions_left_out:
        losses = [*losses, COMPACTION]
    if not candidate.preserve:
        translation = replace(translation, sealing=(services.seals.envelopes, maker))
    hinted = with_hints(exchange, services, wire, target, outgoing)
    record.hints = hinted.hints
    payload = orjson.dumps(hinted.body)
    headers = hinted.headers | _headers(exchange, services, wire, target, record)
    del outgoing, hinted
    record.digest = hashlib.sha256(payload).hexdigest()
    deadline = target.provider.timeouts.first_event + target.provider.timeouts.connect
    try:
        async with asyncio.timeout(min(deadline, left)):
            upstream = await _send(services, target, candidate, payload, headers, stream=stream)
            del payload
            record.status = upstream.status
            try:
                answer = await _answer(
                    wire, upstream, target, candidate, translation, heard=record.heard, check=check, stream=stream
                )
            except BaseException as error:
                upstream.close()
                if isinstance(error, ProviderError) and take_back.believed and refuses_state(error):
                    services.seals.makers.note_refused(take_back.believed, candidate.provider)
                raise
    except TimeoutError:
        raise ProviderError("the provider did not begin its answer in time", meaning="timeout") from None
    record.first_event_ms = (services.monotonic() - began) * 1000
    if check is not None:  # holds the answer back, which is no slowness of the provider's
        await _settled(check, answer, services, record)
    record.losses = tuple(sorted({*losses, *candidate.losses} if losses else losses))
    return answer


async def _settled(check: AnswerCheck, answer: Answer, services: Services, record: Attempt) -> None:
    """Hold `answer` back as far as `check` wants it. Raises ProviderError for one that is not to be taken."""
    try:
        await check.settle(answer, answer.target, services)
    except BaseException:
        record.spent = check.spent
        answer.upstream.close()
        raise


def target_of(exchange: Exchange, candidate: Candidate) -> Target:
    """The rows behind `candidate`."""
    provider = exchange.policy.providers[candidate.provider]
    model = exchange.policy.model(candidate.ref)
    session = exchange.identity.session or (exchange.survey.session if exchange.survey else "")
    return Target(provider, model, candidate.protocol, model.quirks, session)


def _outgoing(
    exchange: Exchange, wire: WireProtocol, target: Target, candidate: Candidate, *, stream: bool
) -> tuple[JsonObject, list[str], _Translation]:
    """(request for the provider, losses, what is needed to read the answer). Lets go of the parsed request."""
    asked_stream = exchange.survey is not None and exchange.survey.stream
    known = _known(exchange)
    exchange.known = exchange.body = None
    if candidate.preserve:
        outgoing = rewritten(known, wire, target)
        if asked_stream and not stream:
            outgoing = {**outgoing, "stream": False}
        # An encoder is needed only if the provider answers a stream request with one JSON document.
        encoder = exchange.wire.stream_encoder(model=candidate.model, answer_id=exchange.id) if asked_stream else None
        return outgoing, [], _Translation(encoder, None)
    compacting = False

    def allowed(request: LLMRequest) -> LLMRequest:
        nonlocal compacting
        assert isinstance(target.take_back, Returning)
        request = returned(request, target.take_back)
        compacting = compacting or compaction.asked(request)
        return compaction.in_words(request, target, set())

    outgoing, losses, slim = translated(known, wire, target, allowed)
    exchange.offered = slim.tools
    if compacting:
        losses = [*losses, SUMMARY]
    outgoing["stream"] = stream
    encoder = None
    if asked_stream:
        encoder = exchange.wire.stream_encoder(model=slim.model, answer_id=exchange.id, request=slim)
    return outgoing, losses, _Translation(encoder, slim, compacting=compacting)


def _known(exchange: Exchange) -> Known:
    """The parsed request; read anew for another attempt."""
    if exchange.known is not None:
        return exchange.known
    return Known(exchange.wire, exchange.body if exchange.body is not None else parse(exchange.raw))


def _headers(
    exchange: Exchange, services: Services, wire: WireProtocol, target: Target, record: Attempt
) -> dict[str, str]:
    """Request headers for the provider: what may pass from the client, the row's own, the credential last."""
    provider, candidate = target.provider, record.candidate
    headers = {"user-agent": f"sbgw/{__version__}"}
    if candidate.preserve:
        way = (wire.name, provider.auth)
        passed = exchange.passed.get(way)
        if passed is None:
            prefixes, kept = _PASSED[wire.name], () if provider.auth == "client" else _KEPT
            passed = exchange.passed[way] = {
                name: value
                for name, value in exchange.headers.items()
                if name.startswith(prefixes) and name not in kept
            }
        headers |= passed
    headers |= target.quirks.headers
    headers["content-type"] = "application/json"
    headers["accept"] = (
        "text/event-stream" if exchange.survey is not None and exchange.survey.stream else "application/json"
    )
    if provider.auth == "client":
        told = {name: exchange.headers[name] for name in target.quirks.login_headers if name in exchange.headers}
        return headers | told | _callers_own(exchange, candidate)
    key = services.credentials.key(provider, record.trial.place.key if record.trial is not None else "")
    return headers | wire.auth_headers(provider, key)


def _callers_own(exchange: Exchange, candidate: Candidate) -> dict[str, str]:
    """The caller's credential for `candidate`, which takes nothing else. Raises ProviderError where it may not go.

    A login belongs to the vendor that the client believes to talk to: it goes out on the client's own protocol alone, and
    after one vendor has had it, to no other.
    """
    earlier = (exchange.policy.providers[tried.candidate.provider] for tried in exchange.attempts)
    if not candidate.preserve or any(p.auth == "client" and p.name != candidate.provider for p in earlier):
        raise ProviderError("the caller's own login is for another vendor", meaning="incompatible")
    if not exchange.caller_credential:
        raise ProviderError("the caller sent no login of its own for this provider", meaning="authentication")
    return dict(exchange.caller_credential)


async def _send(
    services: Services,
    target: Target,
    candidate: Candidate,
    payload: bytes,
    headers: Mapping[str, str],
    *,
    stream: bool,
) -> Upstream:
    if target.provider.simulated:
        return await services.simulated(
            candidate.protocol, orjson.loads(payload), model=target.model.name, stream=stream
        )
    wire = services.protocols[candidate.protocol]
    url = services.credentials.base_url(target.provider, candidate.protocol) + wire.path
    return await services.transport.send_untimed(url, headers=headers, body=payload, timeouts=target.provider.timeouts)


async def _answer(
    wire: WireProtocol,
    upstream: Upstream,
    target: Target,
    candidate: Candidate,
    translation: _Translation,
    *,
    heard: Heard,
    check: AnswerCheck | None,
    stream: bool,
) -> Answer:
    """Read until the answer has begun. Raises ProviderError."""
    if upstream.status >= 400:
        raise wire.decode_error(upstream.status, await _error_body(upstream), upstream.headers)
    encoder = translation.encoder
    answer = Answer(candidate, target, upstream, upstream.headers, encoder=encoder, heard=heard)
    kind = upstream.headers.get("content-type", "").partition(";")[0].strip().lower()
    if stream and kind != "application/json":
        if kind == "text/html":
            raise ProviderError("the provider answered with a web page", meaning="broken", in_stream=True)
        silence = Silence(target.provider.timeouts.progress)
        if candidate.preserve:
            tap = wire.stream_tap(quirks=target.quirks)
            if check is not None:
                tap = check.listening(tap, wire.stream_decoder(quirks=target.quirks))
            answer.relay = await committed_relay(upstream, tap, heard, silence)
        else:
            decoder = wire.stream_decoder(quirks=target.quirks, request=translation.request)
            if translation.sealing is not None:
                decoder = SealingDecoder(decoder, *translation.sealing)
                if translation.compacting:
                    decoder = compaction.PackingDecoder(decoder, partial(_sealed_summary, *translation.sealing))
            answer.events = await committed_events(upstream, decoder, heard, silence)
        return answer
    raw = await upstream.read()
    parsed = _json_answer(raw, kind)
    if candidate.preserve:
        answer.tapped = wire.tap_response(parsed, quirks=target.quirks)
        if answer.tapped.error is not None:
            raise answer.tapped.error
        if encoder is None:
            answer.body = raw
            return answer
    response = wire.decode_response(parsed, quirks=target.quirks, request=translation.request)
    if translation.sealing is not None:
        response = seal_response(response, *translation.sealing)
        if translation.compacting:
            response = compaction.packed(response, partial(_sealed_summary, *translation.sealing))
    if encoder is None:
        answer.response = response
    else:
        answer.events = once(replay(response))
    return answer


def _sealed_summary(envelopes: Envelopes, maker: Maker, summary: str) -> str:
    return envelopes.seal_summary(summary, maker)


async def _error_body(upstream: Upstream) -> bytes:
    """What came of an error's body: its status tells enough if the rest is lost."""
    try:
        return (await upstream.read())[:_MAX_ERROR]
    except ProviderError:
        return b""


def _json_answer(raw: bytes, kind: str) -> JsonObject:
    """The JSON object of a whole answer; some vendors pad it with blank lines while they think."""
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        what = "an empty body" if not raw.strip() else f"{kind or 'something'} that is not JSON"
        raise ProviderError(f"the provider answered with {what}", meaning="broken", in_stream=True) from None
    if isinstance(parsed, list) and parsed and isinstance(parsed[0], dict) and "error" in parsed[0]:
        parsed = parsed[0]  # some vendors put their errors in a list
    if not isinstance(parsed, dict):
        raise ProviderError("the provider's answer is not a JSON object", meaning="broken", in_stream=True)
    return parsed
