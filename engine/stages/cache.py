"""cache: has this been answered before?

An answer is kept where a rule of the policy says that the question is deterministic and read-only, and only if it is whole and
plain: never with tool calls or results, errors, refusals, a cut end or a secret on either side. Its key is everything that an
answer depends on: the request but for whether it is streamed, headers that go on, protocol, model, policy and caller. One that
is asked while the same is under way waits for it. What was streamed can be told whole and the other way round.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import fields, replace
from math import inf
from typing import Any, ClassVar

import orjson

from engine.exchange import Answer, Exchange, Services
from engine.llm.catalogue import Quirks
from engine.llm.messages import JsonObject, Usage
from engine.llm.replay import replay
from engine.llm.stream import StreamEvent
from engine.policy.decide import Case
from engine.policy.decision import Candidate
from engine.stages.attempt import target_of
from engine.stages.decode import parse
from engine.stages.kept import response_of
from engine.stages.provider_stream import Silence, committed_relay
from engine.stages.stage import Stage

_NEVER = frozenset(
    {"choices", "logprobs", "audio", "background", "container", "server_tool", "web_search", "compaction"}
)
"""What a request may need that makes its answer more than a text, or depend on more than the request."""


class Cache(Stage):
    needs: ClassVar[frozenset[str]] = frozenset({"request", "candidates"})
    makes: ClassVar[frozenset[str]] = frozenset()
    exits: ClassVar[Mapping[str, frozenset[str]]] = {"hit": frozenset({"answer", "outcome"})}

    async def run(self, exchange: Exchange, services: Services) -> str | None:
        store, key = services.answers, key_of(exchange, services)
        if store is None or key is None:
            return None
        flight = store.flight(key)
        if flight is None:
            exchange.answer_key = key  # from here on `land` is owed
            kept = await store.get(key)
        else:
            kept = await _landed(flight, exchange.policy.fallback.total_seconds)
        exchange.answer = await _told(exchange, kept) if kept is not None else None
        if exchange.answer is None:
            return None
        if exchange.answer_key:
            exchange.answer_key = ""
            store.land(key, kept)
        exchange.cache_hit = True
        return "hit"

    def decide(self, case: Case) -> str | None:
        return None


async def _landed(flight: asyncio.Future[bytes | None], seconds: float) -> bytes | None:
    """What the same question brings that is under way; None if it brings nothing to keep, or too late."""
    try:
        return await asyncio.wait_for(asyncio.shield(flight), seconds)
    except TimeoutError:
        return None


def key_of(exchange: Exchange, services: Services) -> str | None:
    """SHA-256 of all that the answer depends on; None for a question whose answer is not kept."""
    survey, decision, policy = exchange.survey, exchange.decision, exchange.policy
    if survey is None or decision is None or not decision.chain or exchange.case is None:
        return None
    if not policy.cache.keeps(exchange.case.facts):
        return None
    if survey.tool_calls or survey.tool_results or survey.server_tools or survey.previous_response or survey.compaction:
        return None
    if survey.requires & _NEVER:
        return None
    body = exchange.body if exchange.body is not None else parse(exchange.raw)
    asked = orjson.dumps({name: value for name, value in body.items() if name != "stream"}, option=orjson.OPT_SORT_KEYS)
    if services.redactor.count(asked):
        return None
    passed = sorted((n, v) for n, v in exchange.headers.items() if n.startswith(("anthropic-", "openai-")))
    caller = [*sorted(exchange.caller_credential.items()), exchange.identity.project, exchange.identity.key]
    about = [exchange.wire.name, decision.chain[0].ref, policy.digest, caller, passed]
    return hashlib.sha256(orjson.dumps(about) + b"\n" + asked).hexdigest()


async def _told(exchange: Exchange, kept: bytes) -> Answer | None:
    """A kept answer told anew; None if it was another version's, or its model is no candidate any more."""
    about, _, data = kept.partition(b"\n")
    try:
        head: JsonObject = orjson.loads(about)
    except orjson.JSONDecodeError:
        return None
    candidate = _candidate(exchange, str(head.get("ref", "")))
    survey, wire = exchange.survey, exchange.wire
    if candidate is None or survey is None:
        return None
    exchange.saved = _usage(head.get("usage"))
    memory = Memory(data)
    answer = Answer(candidate, target_of(exchange, candidate), memory, memory.headers)
    streamed = head.get("stream") is True
    if survey.stream and streamed:
        answer.relay = await committed_relay(memory, wire.stream_tap(quirks=Quirks()), answer.heard, Silence(inf))
        return answer
    if not survey.stream and not streamed:
        answer.body, answer.tapped = data, wire.tap_response(orjson.loads(data), quirks=Quirks())
        return answer
    response = response_of(wire, data, stream=streamed)
    if response is None:
        return None
    if not survey.stream:
        answer.response = response
        return answer
    body = exchange.body if exchange.body is not None else parse(exchange.raw)
    slim = replace(wire.decode_request(body), messages=())
    answer.encoder = wire.stream_encoder(model=survey.model, answer_id=exchange.id, request=slim)
    answer.events = _once(replay(response))
    return answer


def _usage(told: Any) -> Usage | None:
    known = {f.name for f in fields(Usage)}
    return Usage(**told) if isinstance(told, dict) and told.keys() <= known else None


def _candidate(exchange: Exchange, ref: str) -> Candidate | None:
    """The candidate that gave the answer, dropped ones included: to say again what it said, nobody needs to be well."""
    decision = exchange.decision
    return next((c for c in decision.candidates if c.ref == ref), None) if decision is not None else None


async def _once(events: list[StreamEvent]) -> AsyncGenerator[list[StreamEvent], None]:
    yield events


class Memory:
    """An answer that is here already, as an upstream."""

    def __init__(self, data: bytes) -> None:
        self.status = 200
        self.headers: Mapping[str, str] = {}
        self._data = data

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield self._data

    async def read(self) -> bytes:
        return self._data

    def close(self) -> None:
        return
