"""Two attempts side by side: the next candidate is asked beside one that has not begun to answer in the time a route sets.

Rules kept here:

- Whoever begins to answer first is served; the other one is cancelled at once, and its connection closed, before a byte of the
  answer goes out. After that nobody else is asked.
- At most two are asked at once, and only once a request. The second must be well, within its row's limits, and what it may
  cost must be left of every budget: it is reserved then. Otherwise the first one goes on alone, and the event says why.
- If one fails, the other goes on. If both do, the dispatcher hears of both failures and goes by them as by any others.
- Being outrun is no failure of a provider. That a slow one took at least so long is known of it: a provider that always loses
  would else seem as fast as its few best answers.
- A caller's own login is with one vendor at a time, and so is a request that goes on from what one provider keeps
  (`engine.policy.hedging`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from engine.exchange import Answer, Attempt, Exchange, Services
from engine.llm.errors import ProviderError
from engine.llm.messages import Usage
from engine.policy.decision import Candidate
from engine.stages.booked import begin, carry_out, serve, spare
from engine.stages.choice import choose, prompt_tokens
from engine.store.event import LOST, Unhedged

Failed = tuple[Candidate, ProviderError]

_Runners = dict[asyncio.Task[Answer], Attempt]


async def race(
    exchange: Exchange, services: Services, first: Attempt, queue: list[Candidate], *, deadline: float, most: int
) -> list[Failed]:
    """Make the attempt that has begun, and one beside it if it is slow; who failed, nobody once there is an answer.

    `deadline` in monotonic seconds, for both; `most` attempts in all.
    """
    assert exchange.decision is not None
    timer = asyncio.ensure_future(services.sleep(exchange.decision.hedge_ms / 1000))
    runners: _Runners = {}
    winner: asyncio.Task[Answer] | None = None
    ended: list[asyncio.Task[Answer]] = []

    def run(record: Attempt) -> asyncio.Task[Answer]:
        trying = carry_out(exchange, services, record, deadline=deadline, spare=spare(exchange, queue))
        task = asyncio.create_task(trying)
        runners[task] = record
        return task

    try:
        alone = run(first)
        await asyncio.wait((alone, timer), return_when=asyncio.FIRST_COMPLETED)
        if not alone.done() and first.first_event_ms is None and services.monotonic() < deadline:
            second = _second(exchange, services, first, queue, most=most)
            if isinstance(second, Attempt):
                run(second)
            else:
                first.unhedged = second
        while winner is None and len(ended) < len(runners):
            await asyncio.wait(runners.keys() - set(ended), return_when=asyncio.FIRST_COMPLETED)
            ended += (task for task in runners if task.done() and task not in ended)
            winner = next((task for task in runners if _answer(task) is not None), None)
        if winner is not None:
            # Before anything is waited for: a client that leaves meanwhile leaves an answer that the pipeline closes.
            serve(exchange, services, runners[winner], winner.result())
    finally:
        timer.cancel()
        await _give_up(exchange, services, runners, winner)
    if winner is not None:
        _log_defects(exchange, services, runners)
        return []
    return [(runners[task].candidate, _failure(task)) for task in ended]


def _second(
    exchange: Exchange, services: Services, first: Attempt, queue: list[Candidate], *, most: int
) -> Attempt | Unhedged:
    """The attempt to make beside `first`, which has begun then; or why there is none."""
    providers = exchange.policy.providers
    if providers[first.candidate.provider].auth == "client":
        return "login"
    if len(exchange.attempts) >= most:
        return "attempts"
    others = [candidate for candidate in queue if providers[candidate.provider].auth != "client"]
    if not others:
        return "unfit"
    choice = choose(exchange, services, others)
    if choice.wait or not choice.well:
        return "unfit"
    chosen = others[choice.at]
    if not _reserve(exchange, services, chosen):
        return "budget"
    return begin(exchange, services, queue, choice._replace(at=queue.index(chosen)), hedge=True)


def _reserve(exchange: Exchange, services: Services, candidate: Candidate) -> bool:
    """Set aside what the candidate may cost beside what is reserved for the first one; False when that is not left."""
    if exchange.hold is None or exchange.case is None:
        return True
    facts = next(found.facts for found in exchange.case.tries or () if found.option.model.ref == candidate.ref)
    usd = facts["estimate"]["cost_usd"]
    if facts["model"]["local"] or usd == 0:
        return True
    return services.purses.extend(exchange.hold, max(usd, 0.0))


async def _give_up(
    exchange: Exchange, services: Services, runners: _Runners, winner: asyncio.Task[Answer] | None
) -> None:
    """Cancel all but the winner; all of them when the client has left."""
    others = [task for task in runners if task is not winner]
    for task in others:
        task.cancel()
    try:
        if others:
            await asyncio.wait(others)
    finally:
        for task in others:
            record = runners[task]
            answer = _answer(task)
            if answer is not None:  # it began in the very moment in which the other one did
                answer.upstream.close()
                record.spent = _told(answer)
                record.meaning = "cancelled"
            elif not task.done():  # the client leaves while it is being cancelled
                record.meaning = "cancelled"
            if winner is not None and record.meaning == "cancelled":
                _outrun(exchange, services, record, by=runners[winner])


def _outrun(exchange: Exchange, services: Services, record: Attempt, *, by: Attempt) -> None:
    """Enter that the attempt was given up for the other one's answer."""
    record.meaning, record.message = LOST, f"{by.candidate.ref} began to answer first"
    used = record.spent or Usage()
    tokens = prompt_tokens(exchange) if used.input_tokens is None else used.input_tokens
    services.limits.settle(record.taken, tokens + (used.output_tokens or record.heard.tokens))
    if record.trial is not None and record.trial.ok is None and not record.hedge:
        services.health.outrun(record.trial, record.latency_ms)


def _answer(task: asyncio.Task[Answer]) -> Answer | None:
    """What an attempt brought; None if nothing, or nothing yet."""
    return task.result() if task.done() and not task.cancelled() and task.exception() is None else None


def _told(answer: Answer) -> Usage | None:
    """What the provider of an answer that was not taken has counted so far."""
    if answer.response is not None:
        return answer.response.usage
    return answer.tapped.usage if answer.tapped is not None else None


def _failure(task: asyncio.Task[Answer]) -> ProviderError:
    """How an attempt failed. Raises what is no provider's failure."""
    error = task.exception()
    if isinstance(error, ProviderError):
        return error
    assert error is not None
    raise error


def _log_defects(exchange: Exchange, services: Services, runners: Mapping[asyncio.Task[Answer], Attempt]) -> None:
    """A defect that another one's answer has covered up is still one."""
    for task, record in runners.items():
        if record.meaning == "defect":
            error = task.exception()
            services.log("defect", event_id=exchange.id, stage="dispatch", kind=type(error).__name__, error=error)
