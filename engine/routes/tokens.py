"""`count_tokens`: asked of the provider that would serve the request, where it can tell, else estimated from sizes."""

from __future__ import annotations

import asyncio
from contextlib import closing

import orjson

from engine.exchange import Exchange
from engine.gateway import Gateway
from engine.llm.errors import ProviderError
from engine.llm.messages import JsonObject
from engine.stages.attempt import target_of
from engine.stages.decode import prepare

_COUNTING = {"anthropic-messages": "/v1/messages/count_tokens", "openai-responses": "/responses/input_tokens"}
"""Provider paths that count, by protocol."""

_PASSED = ("anthropic-", "openai-beta")

_PATIENCE = 10.0
"""Seconds to wait for a provider's count: an estimate now is better than a number then."""


async def count_tokens(gateway: Gateway, exchange: Exchange) -> tuple[JsonObject, str]:
    """(`{"input_tokens": N}` as the protocol says it, whose number it is: `provider` or `estimate`).

    Claude Code asks about 28 times at once for `/context`; none of it is recorded.
    """
    services = gateway.services
    await prepare(exchange, services)
    decision = gateway.loaded.pipeline.decide(
        exchange.facts, services.health.availability(exchange.policy, services.credentials, exchange.login)
    )
    chosen = decision.chosen
    if chosen is not None and chosen.preserve and chosen.protocol in _COUNTING:
        target = target_of(exchange, chosen)
        if not target.provider.simulated and exchange.body is not None:
            counted = await _ask(
                gateway, exchange, target.provider.name, orjson.dumps(exchange.wire.rewrite(exchange.body, target))
            )
            if counted is not None:
                return counted, "provider"
    kind = {"object": "response.input_tokens"} if exchange.wire.name == "openai-responses" else {}
    return {**kind, "input_tokens": max(1, exchange.facts["estimate"]["input_tokens"])}, "estimate"


async def _ask(gateway: Gateway, exchange: Exchange, name: str, payload: bytes) -> JsonObject | None:
    """The provider's own count, None when it has none to give."""
    services = gateway.services
    provider = exchange.policy.providers[name]
    headers = {k: v for k, v in exchange.headers.items() if k.startswith(_PASSED)} | {
        "content-type": "application/json"
    }
    if provider.auth == "client":
        headers |= exchange.caller_credential
    else:
        headers |= exchange.wire.auth_headers(provider, services.credentials.key(provider))
    url = services.credentials.base_url(provider, exchange.wire.name) + _COUNTING[exchange.wire.name]
    try:
        async with asyncio.timeout(_PATIENCE):
            upstream = await services.transport.send(url, headers=headers, body=payload, timeouts=provider.timeouts)
            with closing(upstream):
                raw = await upstream.read()
    except (ProviderError, TimeoutError):
        return None
    if upstream.status != 200:
        return None
    try:
        counted = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return counted if isinstance(counted, dict) and isinstance(counted.get("input_tokens"), int) else None
