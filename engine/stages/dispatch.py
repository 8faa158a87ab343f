"""dispatch: try the candidates in the policy's order until one begins to answer.

A request's own fault never travels to another vendor. Everything else falls back, before the first content only. With one
candidate left, a short failure is tried again there: an agent in front would do the same, with a whole new request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import ClassVar

from engine.exchange import Attempt, Exchange, Services
from engine.llm.errors import ClientError, Meaning, PolicyError, ProviderError
from engine.policy.decision import Candidate
from engine.stages.attempt import attempt
from engine.stages.stage import Stage

_CALLERS_FAULT: frozenset[Meaning] = frozenset({"invalid_request", "content_policy"})
"""Another vendor would say the same, and should not see the prompt for nothing."""

_WORTH_A_RETRY: frozenset[Meaning] = frozenset({"overloaded", "server_error", "unreachable", "rate_limit", "broken"})
"""Failures that often pass within seconds; a rate limit only when the provider said how many."""

_RETRIES = 2
"""Times the last candidate is tried again: the agents have a ladder of their own, and ours multiplies theirs."""

_TELLING: tuple[Meaning, ...] = ("rate_limit", "overloaded", "context_length")
"""Which failure a client shall hear of when several candidates failed: the ones it can act upon come first."""

_PATIENCE = 5.0
"""Longest wait in seconds before trying the same candidate again; the agents wait by themselves when told to."""


class Dispatch(Stage):
    needs: ClassVar[frozenset[str]] = frozenset({"request", "candidates"})
    makes: ClassVar[frozenset[str]] = frozenset({"answer", "outcome"})
    exits: ClassVar[Mapping[str, frozenset[str]]] = {"failed": frozenset({"outcome"})}
    failing: ClassVar[str | None] = "failed"

    async def run(self, exchange: Exchange, services: Services) -> str | None:
        assert exchange.decision is not None
        fallback = exchange.policy.fallback
        deadline = services.monotonic() + fallback.total_seconds
        failures: list[ProviderError] = []
        queue = list(exchange.decision.chain)
        wait, retries = 0.0, 0
        while queue and len(exchange.attempts) < fallback.attempts:
            if wait:
                await services.sleep(wait)
            candidate = queue.pop(0)
            error = await self._try(exchange, services, candidate, wait)
            if error is None:
                return None
            failures.append(error)
            if error.meaning in _CALLERS_FAULT or error.meaning not in fallback.on:
                break
            if error.meaning == "context_length":
                window = exchange.policy.model(candidate.ref).context
                queue = [c for c in queue if exchange.policy.model(c.ref).context > window]
            wait = 0.0
            if not queue and _again(error, retries):
                wait = _pause(error, retries, services)
                if wait <= _PATIENCE and services.monotonic() + wait < deadline:
                    retries += 1
                    queue = [candidate]
            if services.monotonic() > deadline:
                break
        if not failures:
            raise PolicyError("no model is left to serve this request", code="no_candidate", status=503)
        raise _most_telling(failures)

    async def _try(
        self, exchange: Exchange, services: Services, candidate: Candidate, waited: float
    ) -> ProviderError | None:
        """One attempt, recorded; None when it began to answer."""
        began = services.monotonic()
        record = Attempt(candidate, started_ms=(began - exchange.started) * 1000, waited_ms=waited * 1000)
        exchange.attempts.append(record)
        try:
            exchange.answer = await attempt(exchange, services, candidate, record)
        except ProviderError as error:
            services.credentials.scrub(error, *exchange.caller_credential.values())
            record.latency_ms = (services.monotonic() - began) * 1000
            record.meaning, record.message = error.meaning, error.message
            record.status = record.status or (error.status if error.body else 0)
            error.provider = candidate.provider
            if not _callers(exchange, error):
                services.health.failed(candidate.provider, error)
            return error
        except BaseException as error:
            record.latency_ms = (services.monotonic() - began) * 1000
            record.meaning = _outcome(error)
            raise
        now = services.monotonic()
        record.latency_ms = record.first_event_ms = (now - began) * 1000
        exchange.first_event_ms = (now - exchange.started) * 1000
        services.health.succeeded(candidate.provider, record.first_event_ms)
        return None


def _callers(exchange: Exchange, error: ProviderError) -> bool:
    """Whether the failure is about the caller's own login, which says nothing of the provider."""
    return error.meaning == "authentication" and exchange.policy.providers[error.provider].auth == "client"


def _outcome(error: BaseException) -> str:
    """The meaning of an attempt that ended otherwise than by its provider's failure."""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return "invalid_request" if isinstance(error, ClientError) else "defect"


def _again(error: ProviderError, retries: int) -> bool:
    """Whether the last candidate is worth another try."""
    told = error.meaning != "rate_limit" or error.retry_after is not None
    return error.meaning in _WORTH_A_RETRY and told and retries < _RETRIES


def _pause(error: ProviderError, retries: int, services: Services) -> float:
    """Seconds before the same candidate is tried again: as told, else full jitter over a doubling window."""
    if error.retry_after is not None:
        return error.retry_after
    return services.uniform(0.05, min(_PATIENCE, 0.5 * 2.0**retries))


def _most_telling(failures: list[ProviderError]) -> ProviderError:
    """The failure the client hears of: one it can act upon, else the first, which is that of the model it expects."""
    for meaning in _TELLING:
        for failure in failures:
            if failure.meaning == meaning:
                return failure
    return failures[0]
