"""`GET /v1/models`: what a client may ask for, in the shape its protocol expects."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from engine.gateway import Gateway
from engine.llm.catalogue import Model, Provider
from engine.llm.errors import ClientError
from engine.llm.messages import JsonObject
from engine.llm.protocol import WireProtocol


def list_models(gateway: Gateway, wire: WireProtocol) -> JsonObject:
    """Every model of a provider that is ready, under the name a client would use for it."""
    return wire.encode_models([_entry(name, model) for name, model in _offered(gateway).items()])


def one_model(gateway: Gateway, wire: WireProtocol, name: str) -> JsonObject:
    """One of them. Raises ClientError (404)."""
    model = _offered(gateway).get(name) or gateway.loaded.policy.models.get(name)
    if model is None:
        raise ClientError(f"no model '{name}' here; GET /v1/models lists them", code="model_not_found", status=404)
    listed: list[JsonObject] = wire.encode_models([_entry(name, model)])["data"]
    return listed[0]


def _offered(gateway: Gateway) -> dict[str, Model]:
    """Name → model. First-party names stand alone (`claude-…`: Claude Code shows only those), others as provider/name."""
    policy, credentials = gateway.loaded.policy, gateway.services.credentials
    ready = {n: p for n, p in policy.providers.items() if p.enabled and not credentials.missing(p)}
    offered: dict[str, Model] = {}
    for model in policy.models.values():
        provider = ready.get(model.provider)
        if provider is not None:
            offered.setdefault(_name(model, provider), model)
    return offered


def _name(model: Model, provider: Provider) -> str:
    return model.name if model.name.startswith(provider.match or ("\0",)) else model.ref


def _entry(name: str, model: Model) -> Mapping[str, Any]:
    try:
        day = date.fromisoformat(model.as_of)
    except ValueError:
        day = date(1970, 1, 1)
    return {
        "id": name,
        "created": int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()),
        "display_name": name,
        "owned_by": model.provider,
        "context": model.context,
        "max_output": model.max_output,
    }
