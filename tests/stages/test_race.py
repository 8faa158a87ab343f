"""Any two attempts, however they interleave: one answer or two failures, and nobody left who runs or holds a connection.

Time is counted in turns of the event loop, so that all that can happen in one moment does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.exchange import Attempt
from engine.llm.errors import ProviderError
from engine.policy.decision import Candidate
from engine.stages import hedge
from engine.stages.choice import Choice
from engine.store.event import LOST

FIRST, SECOND = (Candidate(f"{name}/m", name, "m", "openai-chat", preserve=True) for name in ("first", "second"))
TURNS = st.integers(0, 6)


class Defect(Exception):
    """Ours."""


@dataclass
class Plan:
    """How one attempt goes: after so many turns it ends so. `slow`: so many more when it is cancelled."""

    turns: int
    end: str
    slow: int = 0


@dataclass
class World:
    """What a race needs of a gateway."""

    plans: dict[str, Plan]
    due: int
    fit: bool
    now: float = 0.0
    made: list[str] = field(default_factory=list)
    """Who has begun to answer, on a connection that somebody has to close."""
    closed: list[str] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    most: int = 0
    logged: list[str] = field(default_factory=list)

    async def carry_out(self, exchange: Any, services: Any, record: Attempt, **_: Any) -> Any:
        name = record.candidate.provider
        plan = self.plans[name]
        self.running.add(name)
        self.most = max(self.most, len(self.running))
        try:
            for _ in range(plan.turns):
                await asyncio.sleep(0)
            if plan.end == "fails":
                record.meaning = "overloaded"
                raise ProviderError("full", meaning="overloaded")
            if plan.end == "breaks":
                record.meaning = "defect"
                raise Defect
        except asyncio.CancelledError:
            for _ in range(plan.slow):
                await asyncio.sleep(0)
            record.meaning = "cancelled"
            raise
        finally:
            self.running.discard(name)
        self.made.append(name)
        upstream = SimpleNamespace(close=lambda: self.closed.append(name))
        return SimpleNamespace(candidate=record.candidate, upstream=upstream, response=None, tapped=None)

    async def sleep(self, _: float) -> None:
        for _ in range(self.due):
            await asyncio.sleep(0)

    def begin(self, exchange: Any, services: Any, queue: list[Candidate], choice: Choice, *, hedge: bool) -> Attempt:
        record = Attempt(queue.pop(choice.at), 0.0, hedge=hedge)
        exchange.attempts.append(record)
        return record

    @contextmanager
    def given(self) -> Iterator[tuple[Any, Any]]:
        rows = {name: SimpleNamespace(auth="bearer") for name in self.plans}
        fallback = SimpleNamespace(attempts=4, on=frozenset({"incompatible"}))
        exchange = SimpleNamespace(
            id="e", started=0.0, attempts=[Attempt(FIRST, 0.0)], answer=None, served=None, hold=None, case=None,
            decision=SimpleNamespace(hedge_ms=5), policy=SimpleNamespace(providers=rows, fallback=fallback),
            first_event_ms=None, facts={"estimate": {"input_tokens": 7}},
        )  # fmt: skip
        services = SimpleNamespace(
            sleep=self.sleep, monotonic=lambda: self.now, limits=SimpleNamespace(settle=lambda *_: None),
            log=lambda event, **fields: self.logged.append(fields["kind"]),
        )  # fmt: skip
        choice = Choice(0, None, well=self.fit)  # type: ignore[arg-type]
        with (
            patch.object(hedge, "carry_out", self.carry_out),
            patch.object(hedge, "begin", self.begin),
            patch.object(hedge, "choose", lambda *_: choice),
        ):
            yield exchange, services


PLANS = st.builds(Plan, TURNS, st.sampled_from(["answers", "fails", "breaks"]), st.integers(0, 2))


@given(first=PLANS, second=PLANS, due=TURNS, fit=st.booleans(), leaves=st.none() | st.integers(1, 9))
@settings(deadline=None, max_examples=400)
def test_a_race_ends_clean(first: Plan, second: Plan, due: int, *, fit: bool, leaves: int | None) -> None:
    """Whatever happens in whichever order."""
    check(first, second, due, fit=fit, leaves=leaves)


@pytest.mark.parametrize("leaves", range(1, 14))
@pytest.mark.parametrize("winner", [Plan(1, "answers"), Plan(3, "answers")])
def test_a_client_that_leaves_while_the_loser_is_cancelled(winner: Plan, leaves: int) -> None:
    """Which takes a while here."""
    loser = Plan(6, "answers", slow=4)
    check(loser, winner, 0, fit=True, leaves=leaves)
    check(winner, loser, 0, fit=True, leaves=leaves)


def test_nobody_is_asked_when_the_requests_time_is_over() -> None:
    world = World({"first": Plan(5, "answers"), "second": Plan(0, "answers")}, due=1, fit=True, now=2.0)

    async def run() -> Any:
        with world.given() as (exchange, services):
            await hedge.race(exchange, services, exchange.attempts[0], [SECOND], deadline=1.0, most=4)
        return exchange

    assert [attempt.candidate for attempt in asyncio.run(run()).attempts] == [FIRST]


def check(first: Plan, second: Plan, due: int, *, fit: bool, leaves: int | None) -> None:
    """Run it, and hold its end against what must be true of every one."""
    world = World({"first": first, "second": second}, due, fit)

    async def run() -> tuple[Any, Any]:
        with world.given() as (exchange, services):
            racing = asyncio.create_task(
                hedge.race(exchange, services, exchange.attempts[0], [SECOND], deadline=1.0, most=4)
            )
            turn = 0
            while not racing.done():
                if turn == leaves:
                    racing.cancel()
                turn += 1
                await asyncio.sleep(0)
            assert all(attempt.meaning for attempt in exchange.attempts if attempt is not exchange.served)
            for _ in range(4):  # what a client that left meanwhile did not wait for
                await asyncio.sleep(0)
            left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            assert left == []
            return exchange, racing

    exchange, racing = asyncio.run(run())
    attempts, served = exchange.attempts, exchange.served
    assert world.running == set()
    assert world.most <= 2
    assert len(attempts) <= 2
    others = [attempt for attempt in attempts if attempt is not served]
    handed_on = [served.candidate.provider] if served is not None else []  # the pipeline closes that one
    assert sorted(world.closed + handed_on) == sorted(world.made)
    if racing.cancelled():
        return
    failed = racing.exception()
    if served is not None:
        assert failed is None
        assert racing.result() == []
        assert exchange.answer.candidate is served.candidate
        assert served.meaning == ""
        assert {attempt.meaning for attempt in others} <= {LOST, "overloaded", "defect"}
        assert world.logged == ["Defect" for attempt in others if attempt.meaning == "defect"]
        return
    assert world.closed == []
    assert exchange.answer is None
    if isinstance(failed, Defect):
        assert "defect" in {attempt.meaning for attempt in attempts}
        return
    assert failed is None
    assert {candidate.ref for candidate, _ in racing.result()} == {attempt.candidate.ref for attempt in attempts}
    assert {attempt.meaning for attempt in attempts} == {"overloaded"}


@pytest.mark.parametrize("ends", ["fails", "breaks"])
def test_one_that_ends_ill_is_outlived_by_the_other(ends: str) -> None:
    """The other one is waited for, whichever it is."""
    for ill, well in (("first", "second"), ("second", "first")):
        world = World({ill: Plan(3, ends), well: Plan(6, "answers")}, due=1, fit=True)

        async def run(world: World = world) -> Any:
            with world.given() as (exchange, services):
                assert await hedge.race(exchange, services, exchange.attempts[0], [SECOND], deadline=1, most=4) == []
            return exchange

        assert asyncio.run(run()).served.candidate.provider == well
