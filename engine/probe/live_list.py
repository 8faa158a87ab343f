"""Asks a provider which models it serves right now. Read only; costs nothing at any provider known."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import orjson

from engine.llm.catalogue import Provider
from engine.llm.errors import ProviderError
from engine.llm.protocol import WireProtocol
from engine.protocols.model_catalogue import ListedModel, next_page, read_models
from engine.providers.credentials import Credentials
from engine.providers.transport import Transport

_PAGES = 20


async def live_models(
    provider: Provider, protocols: Mapping[str, WireProtocol], credentials: Credentials, transport: Transport
) -> list[ListedModel]:
    """Every model that `provider` lists, page by page. Raises ProviderError, in the provider's words."""
    wire = protocols[next(iter(provider.endpoints))]
    headers = {**provider.quirks.headers, **wire.auth_headers(provider, credentials.key(provider))}
    url = credentials.base_url(provider, wire.name) + provider.models_path
    found: dict[str, ListedModel] = {}
    after = ""
    for _ in range(_PAGES):
        page = f"{url}?after_id={quote(after)}" if after else url
        upstream = await transport.send(page, headers=headers, body=b"", timeouts=provider.timeouts, method="GET")
        raw = await upstream.read()
        if upstream.status >= 400:
            raise wire.decode_error(upstream.status, raw, upstream.headers)
        try:
            payload = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise ProviderError("the provider's answer is not JSON", meaning="broken") from None
        for model in read_models(payload):
            found.setdefault(model.name, model)
        following = next_page(payload)
        if not following or following == after:
            break
        after = following
    return list(found.values())
