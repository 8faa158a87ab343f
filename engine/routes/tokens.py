"""`count_tokens`: asked of the provider that would serve the request, where it can tell, else estimated from sizes."""

from __future__ import annotations

import asyncio
from contextlib import closing

import orjson

from engine.exchange import Exchange, Services
from engine.gateway import Gateway
from engine.llm.errors import ProviderError
from engine.llm.messages import JsonObject
from engine.policy.decision import Candidate
from engine.providers.ward import Place
from engine.stages.attempt import target_of
from engine.stages.choice import keys_for
from engine.stages.decode import prepare

_COUNTING = {"anthropic-messages": "/v1/messages/count_tokens", "openai-responses": "/responses/input_tokens"}
"""Provider paths that count, by protocol."""

_PASSED = ("anthropic-", "openai-beta")

PLACE = "count_tokens"
"""What counting is called where health is kept. Vendors limit it apart from answers, and many have none: what goes wrong with
it says nothing of a model, only what a bad key or a lost connection says of everything."""

_PATIENCE = 10.0
"""Seconds to wait for a provider's count: an estimate now is better than a number then."""


async def count_tokens(gateway: Gateway, exchange: Exchange) -> tuple[JsonObject, str]:
    """(`{"input_tokens": N}` as the protocol says it, whose number it is: `provider` or `estimate`).

    Claude Code asks about 28 times at once for `/context`; none of it is recorded.
    Each question counts as a request for the row's limits, and for the health of key and provider.
    """
    services = gateway.services
    await prepare(exchange, services)
    decision = gateway.loaded.pipeline.decide(
        exchange.facts, services.health.availability(exchange.policy, services.credentials, exchange.login)
    )
    chosen = decision.chosen
    if chosen is not None and chosen.preserve and chosen.protocol in _COUNTING and exchange.body is not None:
        target = target_of(exchange, chosen)
        if not target.provider.simulated:
            payload = orjson.dumps(exchange.wire.rewrite(exchange.body, target))
            counted = await _ask(exchange, services, chosen, payload)
            if counted is not None:
                return counted, "provider"
    kind = {"object": "response.input_tokens"} if exchange.wire.name == "openai-responses" else {}
    return {**kind, "input_tokens": max(1, exchange.facts["estimate"]["input_tokens"])}, "estimate"


async def _ask(exchange: Exchange, services: Services, chosen: Candidate, payload: bytes) -> JsonObject | None:
    """The provider's own count; None when it has none to give, or had none lately, or is at a limit of its row."""
    provider = exchange.policy.providers[chosen.provider]
    place, well = services.health.pick(provider.name, keys_for(exchange, services, chosen), PLACE)
    if not well or services.limits.wait(provider):
        return None
    trial = services.health.begin(place)
    services.limits.take(provider, 0)
    try:
        counted = await _counted(exchange, services, place, payload)
    except ProviderError as error:
        services.health.failed(trial, error)
        return None
    except BaseException:
        services.health.left(trial)
        raise
    services.health.answered(trial, None)
    return counted


async def _counted(exchange: Exchange, services: Services, place: Place, payload: bytes) -> JsonObject:
    """The provider's answer. Raises ProviderError for one that is no count."""
    provider = exchange.policy.providers[place.provider]
    headers = {k: v for k, v in exchange.headers.items() if k.startswith(_PASSED)} | {
        "content-type": "application/json"
    }
    if provider.auth == "client":
        headers |= exchange.caller_credential
    else:
        headers |= exchange.wire.auth_headers(provider, services.credentials.key(provider, place.key))
    url = services.credentials.base_url(provider, exchange.wire.name) + _COUNTING[exchange.wire.name]
    try:
        async with asyncio.timeout(_PATIENCE):
            upstream = await services.transport.send(url, headers=headers, body=payload, timeouts=provider.timeouts)
            with closing(upstream):
                raw = await upstream.read()
    except TimeoutError:
        raise ProviderError("the provider did not count in time", meaning="timeout") from None
    if upstream.status >= 400:
        raise exchange.wire.decode_error(upstream.status, raw, upstream.headers)
    try:
        counted = orjson.loads(raw)
    except orjson.JSONDecodeError:
        counted = None
    if not isinstance(counted, dict) or not isinstance(counted.get("input_tokens"), int):
        raise ProviderError("the provider's count is none", meaning="broken", in_stream=True)
    return counted
