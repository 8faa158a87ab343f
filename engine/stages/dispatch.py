"""dispatch: try the candidates in the policy's order until one begins to answer.

What a failure leads to stands in `engine.llm.meanings`. A request's own fault never travels to another vendor. Everything else
falls back, before the first content only; what another key of the same provider may be allowed, to that first. With one candidate left, a short failure is tried again there: an agent in front
would do the same, with a whole new request. One deadline and one number of attempts hold for all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from engine.exchange import Attempt, Exchange, Services
from engine.llm.errors import PolicyError, ProviderError
from engine.llm.meanings import EFFECTS, TELLING
from engine.llm.returning import refuses_state
from engine.policy.decision import Candidate
from engine.stages.booked import begin, carry_out, serve, spare
from engine.stages.choice import Choice, choose, other_key
from engine.stages.hedge import Failed, race
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
        wait, retries, keys, over = 0.0, 0, 0, False
        while queue and not over and len(exchange.attempts) < (most := fallback.attempts + len(exchange.bare) + keys):
            if wait:
                await services.sleep(wait)
            failed = await self._ask(exchange, services, queue, waited=wait, deadline=deadline, most=most)
            if not failed:
                return None
            wait = 0.0
            for candidate, error in failed:
                failures.append(error)
                if refuses_state(error) and candidate.ref not in exchange.bare:
                    # Reasoning of another provider, sent unknowingly: the rest of the request is sound.
                    exchange.bare.add(candidate.ref)
                    queue.insert(0, candidate)
                    continue
                effect = EFFECTS[error.meaning]
                if effect.other_key and other_key(exchange, services, candidate) and services.monotonic() < deadline:
                    queue.insert(0, candidate)
                    keys += 1
                    continue
                if effect.other == "none" or error.meaning not in fallback.on:
                    over = True
                    break
                if effect.other == "larger":
                    window = exchange.policy.model(candidate.ref).context
                    queue = [c for c in queue if exchange.policy.model(c.ref).context > window]
                if not queue and _again(error):
                    wait = _pause(error, retries, services)
                    if services.monotonic() + wait < deadline and _may_retry(
                        exchange, services, candidate, wait, retries
                    ):
                        retries += 1
                        queue = [candidate]
                over = services.monotonic() >= deadline
        if not failures:
            raise PolicyError("no model is left to serve this request", code="no_candidate", status=503)
        raise _most_telling(failures)

    async def _ask(
        self,
        exchange: Exchange,
        services: Services,
        queue: list[Candidate],
        *,
        waited: float,
        deadline: float,
        most: int,
    ) -> list[Failed]:
        """Ask the first of `queue` that is fit for it, which leaves it; who failed, nobody once there is an answer.

        Where the route is hedged, the next one as well, if the first is slow; `most` attempts in all.
        """
        assert exchange.decision is not None
        choice = choose(exchange, services, queue)
        if choice.wait:
            return [_full(exchange, services, queue, choice, waited)]
        record = begin(exchange, services, queue, choice, waited=waited)
        if exchange.decision.hedge_ms and queue and not any(earlier.hedge for earlier in exchange.attempts):
            return await race(exchange, services, record, queue, deadline=deadline, most=most)
        try:
            answer = await carry_out(exchange, services, record, deadline=deadline, spare=spare(exchange, queue))
        except ProviderError as error:
            return [(record.candidate, error)]
        serve(exchange, services, record, answer)
        return []


def _full(exchange: Exchange, services: Services, queue: list[Candidate], choice: Choice, waited: float) -> Failed:
    """Nobody of `queue`, which ends then, has room in its row's limits: the failure of the one that has it soonest."""
    candidate = queue[choice.at]
    queue.clear()
    error = ProviderError(
        f"the limit that the policy sets for '{candidate.provider}' is reached", meaning="rate_limit",
        retry_after=choice.wait, provider=candidate.provider,
    )  # fmt: skip
    started = (services.monotonic() - exchange.started) * 1000
    exchange.attempts.append(
        Attempt(candidate, started, waited_ms=waited * 1000, meaning=error.meaning, message=error.message)
    )
    return candidate, error


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
