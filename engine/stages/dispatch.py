"""dispatch: try the candidates in the policy's order until one begins to answer.

What a failure leads to stands in `engine.llm.meanings`. A request's own fault never travels to another vendor. Everything else
falls back, before the first content only; what another key of the same provider may be allowed, to that first. With one candidate left, a short failure is tried again there: an agent in front
would do the same, with a whole new request. One deadline and one number of attempts hold for all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import ClassVar

from engine.exchange import Attempt, Exchange, Services
from engine.llm.errors import ClientError, PolicyError, ProviderError
from engine.llm.meanings import EFFECTS, TELLING
from engine.llm.returning import refuses_state
from engine.policy.decision import Candidate
from engine.stages.attempt import attempt
from engine.stages.choice import choose, other_key, prompt_tokens
from engine.stages.stage import Stage

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
        wait, retries, keys = 0.0, 0, 0
        while queue and len(exchange.attempts) < fallback.attempts + len(exchange.bare) + keys:
            if wait:
                await services.sleep(wait)
            candidate, error = await self._next(exchange, services, queue, wait, deadline)
            if error is None:
                return None
            failures.append(error)
            if refuses_state(error) and candidate.ref not in exchange.bare:
                # Reasoning of another provider, sent unknowingly: the rest of the request is sound.
                exchange.bare.add(candidate.ref)
                queue.insert(0, candidate)
                wait = 0.0
                continue
            effect = EFFECTS[error.meaning]
            if effect.other_key and other_key(exchange, services, candidate) and services.monotonic() < deadline:
                queue.insert(0, candidate)
                wait, keys = 0.0, keys + 1
                continue
            if effect.other == "none" or error.meaning not in fallback.on:
                break
            if effect.other == "larger":
                window = exchange.policy.model(candidate.ref).context
                queue = [c for c in queue if exchange.policy.model(c.ref).context > window]
            wait = 0.0
            if not queue and _again(error):
                wait = _pause(error, retries, services)
                if services.monotonic() + wait < deadline and _may_retry(exchange, services, candidate, wait, retries):
                    retries += 1
                    queue = [candidate]
            if services.monotonic() >= deadline:
                break
        if not failures:
            raise PolicyError("no model is left to serve this request", code="no_candidate", status=503)
        raise _most_telling(failures)

    async def _next(
        self, exchange: Exchange, services: Services, queue: list[Candidate], waited: float, deadline: float
    ) -> tuple[Candidate, ProviderError | None]:
        """One attempt, at the first of `queue` that is fit for one now, which leaves it; recorded. No error: it answers."""
        at, place, full = choose(exchange, services, queue)
        candidate, passed_over = queue[at], tuple(earlier.ref for earlier in queue[:at])
        began = services.monotonic()
        record = Attempt(candidate, started_ms=(began - exchange.started) * 1000, waited_ms=waited * 1000)
        exchange.attempts.append(record)
        if full:
            queue.clear()
            error = ProviderError(
                f"the limit that the policy sets for '{candidate.provider}' is reached", meaning="rate_limit",
                retry_after=full, provider=candidate.provider,
            )  # fmt: skip
            record.meaning, record.message = error.meaning, error.message
            return candidate, error
        del queue[at]
        record.passed_over = passed_over
        provider = exchange.policy.providers[candidate.provider]
        trial = record.trial = services.health.begin(place)
        record.key = services.credentials.label(provider, place.key)
        record.taken = services.limits.take(provider, prompt_tokens(exchange))
        if all(earlier.candidate.provider != provider.name for earlier in exchange.attempts[:-1]):
            services.retries.asked(provider, began)
        try:
            exchange.answer = await attempt(
                exchange, services, candidate, record, left=deadline - began, spare=_spare(exchange, queue)
            )
        except ProviderError as error:
            services.redactor.scrub(error, *exchange.logins)
            record.latency_ms = (services.monotonic() - began) * 1000
            record.meaning, record.message = error.meaning, error.message
            record.status = record.status or (error.status if error.body else 0)
            error.provider = candidate.provider
            services.health.failed(trial, error)
            if error.meaning == "authentication":  # nobody would see it while another provider answers
                services.log(
                    "credential_refused", provider=candidate.provider, key=record.key, login=bool(exchange.login)
                )
            services.limits.settle(record.taken, 0)
            return candidate, error
        except BaseException as error:
            record.latency_ms = (services.monotonic() - began) * 1000
            record.meaning = _outcome(error)
            services.health.left(trial)
            raise
        exchange.served = record
        now = services.monotonic()
        record.latency_ms = (now - began) * 1000
        exchange.first_event_ms = (now - exchange.started) * 1000
        services.health.answered(trial, record.first_event_ms)
        return candidate, None


def _spare(exchange: Exchange, queue: list[Candidate]) -> bool:
    """Whether an answer that an agent could not use may be given up for another candidate's."""
    fallback = exchange.policy.fallback
    return bool(queue) and len(exchange.attempts) < fallback.attempts and "incompatible" in fallback.on


def _outcome(error: BaseException) -> str:
    """The meaning of an attempt that ended otherwise than by its provider's failure."""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return "invalid_request" if isinstance(error, ClientError) else "defect"


def _again(error: ProviderError) -> bool:
    """Whether the last candidate is worth another try."""
    again = EFFECTS[error.meaning].again
    return again == "yes" or (again == "told" and error.retry_after is not None)


def _may_retry(exchange: Exchange, services: Services, candidate: Candidate, wait: float, retries: int) -> bool:
    """Whether the candidate's row lets it be asked again after so long a wait; counted then."""
    provider = exchange.policy.providers[candidate.provider]
    if wait > _PATIENCE or retries >= provider.retries.per_request:
        return False
    allowed = services.retries.take(provider, services.monotonic())
    if not allowed:
        services.log("retries_spent", provider=provider.name, event_id=exchange.id)
    return allowed


def _pause(error: ProviderError, retries: int, services: Services) -> float:
    """Seconds before the same candidate is tried again: as told, else full jitter over a doubling window."""
    if error.retry_after is not None:
        return error.retry_after
    return services.uniform(0.05, min(_PATIENCE, 0.5 * 2.0**retries))


def _most_telling(failures: list[ProviderError]) -> ProviderError:
    """The failure the client hears of: one it can act upon, else the first, which is that of the model it expects."""
    for meaning in TELLING:
        for failure in failures:
            if failure.meaning == meaning:
                return failure
    return failures[0]
