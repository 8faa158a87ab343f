"""What a client is told of a provider's failure beside the failure itself: who failed, and what to do about it.

A provider's own words pass as they are where clients act upon them: a prompt that is too long starts a compaction.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from engine.exchange import Exchange, Services
from engine.llm.errors import ProviderError
from engine.protocols.error_bodies import OUR_CREDENTIAL

_SOMEBODY = "the provider"
"""How we call it ourselves, where nobody knows yet which one it is."""


def advised(exchange: Exchange, services: Services, error: ProviderError) -> str:
    """The message of `error` with its provider's name, what was tried besides, and what the user can do."""
    provider = exchange.policy.providers.get(error.provider)
    if provider is None or error.meaning == "context_length":
        return error.message
    name = f"'{provider.name}'"
    if _SOMEBODY in error.message:
        said = error.message.replace(_SOMEBODY, name, 1)
    else:
        said = error.message if name in error.message else f"{provider.name}: {error.message}"
    match error.meaning:
        case "authentication" if provider.auth == "client" and not exchange.login:
            advice = "let the client send its login, and the gateway's key as x-sbgw-key"
        case "authentication" if provider.auth == "client":
            said = said.replace(OUR_CREDENTIAL, "your login")
            advice = "log in again in your client"
        case "authentication":
            keys = " or ".join(key.env for key in services.credentials.keys(provider))
            advice = f"set a valid {keys} where sbgw runs, and start it again" if keys else "its row names no key"
        case "unreachable" if not provider.simulated:
            url = urlsplit(provider.endpoints[next(iter(provider.endpoints))])
            advice = f"is it running at {url.hostname}{f':{url.port}' if url.port else ''}?"
        case _:
            advice = ""
    others = [
        f"{attempt.candidate.ref} ({attempt.meaning.replace('_', ' ')})"
        for attempt in exchange.attempts
        if attempt.candidate.provider != error.provider
    ]
    tried = f"tried as well: {', '.join(dict.fromkeys(others))}" if others else ""
    more = [part for part in (advice, tried) if part]
    return "; ".join([said.rstrip("."), *more]) if more else said
