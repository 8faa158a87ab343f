"""An attempt on the books: what health, limits, retries and the event are told of it, however it ends."""

from __future__ import annotations

import asyncio

from engine.exchange import Answer, Attempt, Exchange, Services
from engine.llm.errors import ClientError, ProviderError
from engine.policy.decision import Candidate
from engine.stages.attempt import attempt
from engine.stages.choice import Choice, prompt_tokens


def begin(
    exchange: Exchange,
    services: Services,
    queue: list[Candidate],
    choice: Choice,
    *,
    waited: float = 0.0,
    hedge: bool = False,
) -> Attempt:
    """Enter an attempt at the choice of `queue`, which leaves it. `hedge`: it begins beside the one before it."""
    candidate, now = queue.pop(choice.at), services.monotonic()
    provider = exchange.policy.providers[candidate.provider]
    record = Attempt(
        candidate,
        started_ms=(now - exchange.started) * 1000,
        waited_ms=waited * 1000,
        passed_over=tuple(earlier.ref for earlier in queue[: choice.at]),
        trial=services.health.begin(choice.place),
        taken=services.limits.take(provider, prompt_tokens(exchange)),
        key=services.credentials.label(provider, choice.place.key),
        hedge=hedge,
    )
    if all(earlier.candidate.provider != provider.name for earlier in exchange.attempts):
        services.retries.asked(provider, now)
    exchange.attempts.append(record)
    return record


async def carry_out(exchange: Exchange, services: Services, record: Attempt, *, deadline: float, spare: bool) -> Answer:
    """Make the attempt. Returns once its answer may begin. Raises ProviderError; whatever is raised has been entered."""
    trial, began = record.trial, services.monotonic()
    assert trial is not None, "it was begun"
    try:
        answer = await attempt(exchange, services, record.candidate, record, left=deadline - began, spare=spare)
    except ProviderError as error:
        services.redactor.scrub(error, *exchange.logins)
        record.latency_ms = (services.monotonic() - began) * 1000
        record.meaning, record.message = error.meaning, error.message
        record.status = record.status or (error.status if error.body else 0)
        error.provider = record.candidate.provider
        services.health.failed(trial, error)
        if error.meaning == "authentication":  # nobody would see it while another provider answers
            services.log("credential_refused", provider=error.provider, key=record.key, login=bool(exchange.login))
        services.limits.settle(record.taken, 0)
        raise
    except BaseException as error:
        record.latency_ms = (services.monotonic() - began) * 1000
        record.meaning = _outcome(error)
        services.health.left(trial)
        raise
    record.latency_ms = (services.monotonic() - began) * 1000
    services.health.answered(trial, record.first_event_ms)
    return answer


def serve(exchange: Exchange, services: Services, record: Attempt, answer: Answer) -> None:
    """The attempt's answer is the client's."""
    exchange.answer, exchange.served = answer, record
    exchange.first_event_ms = (services.monotonic() - exchange.started) * 1000


def spare(exchange: Exchange, queue: list[Candidate]) -> bool:
    """Whether an answer that an agent could not use may be given up for another candidate's."""
    fallback = exchange.policy.fallback
    return bool(queue) and len(exchange.attempts) < fallback.attempts and "incompatible" in fallback.on


def _outcome(error: BaseException) -> str:
    """The meaning of an attempt that ended otherwise than by its provider's failure."""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return "invalid_request" if isinstance(error, ClientError) else "defect"
