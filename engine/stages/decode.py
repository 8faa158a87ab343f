"""decode: the client's bytes become facts. Nothing is thrown away, nothing is translated yet.

One parse and one survey of the JSON; the neutral request is made later and only if a candidate needs a translation.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import orjson

from engine.exchange import Exchange, Services, looks_for_secrets
from engine.llm.errors import ClientError
from engine.llm.messages import JsonObject
from engine.memory.conversations import MIB
from engine.policy.decide import begin
from engine.policy.estimates import hinted
from engine.policy.facts import FactContext, build
from engine.stages import tape
from engine.stages.choice import expected_key
from engine.stages.client_stream import ClientStream
from engine.stages.record import open_event
from engine.stages.stage import Stage
from engine.store.cleaning import cleaned
from engine.store.prefixes import Look, warm_facts
from engine.store.sessions import prompt_digest

_MAX_DEPTH_MESSAGE = "the request's JSON is nested too deeply"


class Decode(Stage):
    makes: ClassVar[frozenset[str]] = frozenset({"request"})
    exits: ClassVar[Mapping[str, frozenset[str]]] = {"invalid": frozenset({"outcome"})}
    failing: ClassVar[str | None] = "invalid"

    async def run(self, exchange: Exchange, services: Services) -> str | None:
        await prepare(exchange, services)
        tape.begin(exchange, services)
        services.ledger.open(cleaned(open_event(exchange), services.redactor))
        if exchange.survey is not None and exchange.survey.stream:
            interval = exchange.policy.settings.keepalive_seconds
            exchange.stream = ClientStream(exchange.tape or exchange.responder, interval, {"x-sbgw-event": exchange.id})
        return None


async def prepare(exchange: Exchange, services: Services) -> None:
    """Read the request's bytes: fills `body`, `survey`, `facts`, `case`. Raises ClientError."""
    identity, policy = exchange.identity, exchange.policy
    known = exchange.known = services.memory.read(
        exchange.wire, exchange.raw, parse, session=identity.session, most=policy.cache.memory_mib * MIB
    )
    body = exchange.body = known.body
    survey = exchange.survey = known.survey()
    session = identity.session or survey.session
    spent = services.spend(exchange.wall)
    look = exchange.prefix = look_up(exchange, services, session)
    history = services.sessions.get(session)
    exchange.prompt = prompt_digest(survey.newest_user_text, role=survey.last_role, agent=identity.agent)
    exchange.facts = build(
        survey,
        FactContext(
            protocol=exchange.wire.name,
            identity=identity,
            session=session,
            history=history,
            draw=session or exchange.id,
            body_bytes=len(exchange.raw),
            now=exchange.wall,
            day_usd=spent.day_usd,
            month_usd=spent.month_usd,
            repeats=history.prompts.get(exchange.prompt, 0),
            pinned_model=exchange.headers.get("x-sbgw-model", ""),
            pinned_class=exchange.headers.get("x-sbgw-class", ""),
            secrets=_secrets(exchange, services, body),
            prefix=warm_facts(look, policy.rates) if look is not None else {},
            reasoning_by=services.seals.made_by(survey.sealed) if survey.sealed else (),
            compacted_by=services.seals.compacted_by(survey.compacted) if survey.compacted else (),
        ),
        policy,
    )
    if policy.budgets:
        await services.purses.ready(policy.budgets, exchange.facts, exchange.wall)
        count(exchange, services)
    if exchange.shadow is not None:
        exchange.shadow_budgets = await exchange.shadow.spent(exchange.facts, exchange.wall)
        exchange.shadow_signals = exchange.shadow.signals(survey.newest_user_text)
    # The newest text was read by the signals; it is not needed again and never recorded.
    survey.newest_user_text = ""
    survey.sealed.clear()
    survey.compacted.clear()
    exchange.case = begin(
        policy, exchange.facts, services.health.availability(policy, services.credentials, exchange.login)
    )


def _secrets(exchange: Exchange, services: Services, body: JsonObject) -> int:
    """How many secrets the request holds; 0 if nobody asks, for it takes 1 ms in 100 kB (measured)."""
    if not looks_for_secrets(exchange):
        return 0
    # Written anew where characters are escaped: an escape hides no secret.
    raw = orjson.dumps(body) if b"\\u" in exchange.raw else exchange.raw
    return services.redactor.count(raw)


def look_up(exchange: Exchange, services: Services, session: str) -> Look | None:
    """What is warm for the prompt; None when the policy keeps off prompt caches. Less than half a millisecond for 120 kB that are new (measured)."""
    policy, survey = exchange.policy, exchange.survey
    assert exchange.known is not None
    assert survey is not None
    if not policy.cache.prefix:
        return None
    return services.prefixes.look(
        session,
        exchange.known.segments(),
        policy.prompt_cache,
        exchange.wall.timestamp(),
        marking=hinted(survey.tools, survey.turns),
        protocol=exchange.wire.name,
        asked=partial(expected_key, exchange, services, session),
    )


def count(exchange: Exchange, services: Services) -> None:
    """Put into the facts what is spent of the budgets now."""
    budgets = exchange.policy.budgets
    exchange.counted = services.purses.version
    if budgets:
        figures = services.purses.figures(budgets, exchange.facts, exchange.wall)
        exchange.facts["budget"] = {**exchange.facts["budget"], **figures}


def parse(raw: bytes) -> JsonObject:
    """The request's JSON object. Raises ClientError that says where the JSON is wrong, not what stands there."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if not raw.strip():
            raise ClientError("the request has no body; send a JSON object") from None
        if "recursion" in error.msg:
            raise ClientError(_MAX_DEPTH_MESSAGE) from None
        raise ClientError(f"the request is not valid JSON: line {error.lineno}, column {error.colno}") from None
    if not isinstance(body, dict):
        raise ClientError("the request must be a JSON object")
    return body
