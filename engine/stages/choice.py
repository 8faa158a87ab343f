"""Whom to ask next, and with which key: what the limits of a row have room for, what health says, what a session is used to.

A provider's keys are asked in the order of its row, but a session stays with the key that served it last, while that works: a
prompt cache belongs to a key's account. Keys that this request has tried come last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.exchange import Exchange, Services
from engine.policy.decision import Candidate
from engine.providers.health import identities
from engine.providers.ward import Place


class Choice(NamedTuple):
    """One candidate of a queue."""

    at: int
    place: Place
    wait: float = 0.0
    """Seconds until its row's limits have room."""
    well: bool = True


def choose(exchange: Exchange, services: Services, queue: Sequence[Candidate]) -> Choice:
    """Which of `queue` to ask now.

    The first that is well; else the first that has room in its row's limits, for nobody is shut out for being unwell; else the
    one that has room soonest.
    """
    tokens = prompt_tokens(exchange)
    found: list[Choice] = []
    for at, candidate in enumerate(queue):
        provider = exchange.policy.providers[candidate.provider]
        keys = keys_for(exchange, services, candidate)
        place, well = services.health.pick(provider.name, keys, candidate.model)
        choice = Choice(at, place, services.limits.wait(provider, tokens), well)
        if well and not choice.wait:
            return choice
        found.append(choice)
    return min(found, key=lambda choice: choice.wait)


def prompt_tokens(exchange: Exchange) -> int:
    """What the prompt is taken to need of a limit, until the answer tells."""
    return int(exchange.facts["estimate"]["input_tokens"])


def other_key(exchange: Exchange, services: Services, candidate: Candidate) -> bool:
    """Whether the candidate's provider has a key that is well and that this request has not asked it with."""
    provider = exchange.policy.providers[candidate.provider]
    asked = _asked(exchange, candidate)
    if not asked:  # it was at a limit of its row, which no key has more room under
        return False
    left = [key for key in identities(provider, services.credentials, exchange.login) if key not in asked]
    return bool(left) and services.health.pick(provider.name, left, candidate.model)[1]


def keys_for(exchange: Exchange, services: Services, candidate: Candidate) -> tuple[str, ...]:
    """The keys of the candidate's provider, by digest, as they are to be asked."""
    provider = exchange.policy.providers[candidate.provider]
    keys = identities(provider, services.credentials, exchange.login)
    if len(keys) == 1:
        return keys
    asked, used = _asked(exchange, candidate), services.sessions.get(exchange.facts["session"]["id"]).key
    return tuple(sorted(keys, key=lambda k: (k in asked, services.credentials.label(provider, k) != used)))


def expected_key(exchange: Exchange, services: Services, session: str, ref: str) -> str:
    """What the key is called that `session` will ask `provider/name` with; empty where its provider has but one."""
    provider = exchange.policy.providers.get(ref.partition("/")[0])
    if provider is None:
        return ""
    keys = identities(provider, services.credentials, exchange.login)
    if len(keys) == 1:
        return ""
    used = services.sessions.get(session).key
    keys = tuple(sorted(keys, key=lambda key: services.credentials.label(provider, key) != used))
    place, _ = services.health.pick(provider.name, keys, ref.partition("/")[2])
    return services.credentials.label(provider, place.key)


def _asked(exchange: Exchange, candidate: Candidate) -> set[str]:
    """Keys with which this request has asked the candidate."""
    tried = (attempt for attempt in exchange.attempts if attempt.candidate.ref == candidate.ref)
    return {attempt.trial.place.key for attempt in tried if attempt.trial is not None}
