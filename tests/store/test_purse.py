"""Pots against a model: reserving, settling, days that end, restarts in between."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from engine.policy.budgets import Pot
from engine.policy.facts import clock_facts
from engine.store import purse as module
from engine.store.purse import Hold, Purses
from engine.store.rows import Filter
from tests.policy.policies import policy, request
from tests.store.builders import event

BUDGETS = policy(
    "budgets:\n"
    "  all: {usd: 10}\n"
    "  day: {usd: 1, per: day, thresholds: [0.5, 1.0]}\n"
    "  team: {usd: 3, per: month, by: project}\n"
    "  big: {usd: 2, per: day, when: request.turns > 5}\n"
).budgets
START = datetime(2026, 11, 29, 20, tzinfo=UTC)
MICRO = 1_000_000
"""The model counts in millionths, so that it adds up exactly."""


def facts(moment: datetime, project: str, turns: int) -> dict[str, Any]:
    return {**request(client__project=project, turns=turns), "now": clock_facts(moment)}


class Spending(RuleBasedStateMachine):
    """Requests begin and end in any order while time passes; now and then the gateway is started anew."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.events: list[Any] = []
        self.purses = self.fresh()
        self.open: list[tuple[Hold, int, datetime, dict[str, Any]]] = []
        self.spent: dict[Pot, int] = {}
        self.unsettled: dict[Pot, int] = {}
        self.asked: set[Pot] = set()

    def fresh(self) -> Purses:
        """A gateway just started: it knows what its ledger says."""
        return Purses(lambda where: sum(e.total_usd or 0.0 for e in self.events if where.matches(e)))

    @rule(project=st.sampled_from(["", "shop", "blog"]), turns=st.sampled_from([0, 9]), micro=st.integers(0, 400_000))
    def begin(self, project: str, turns: int, micro: int) -> None:
        """A request reserves its estimate."""
        given = facts(self.now, project, turns)
        hold = self.purses.reserve(BUDGETS, given, self.now, micro / MICRO)
        self.open.append((hold, micro, self.now, given))
        for _, pot in hold.pots:
            self.unsettled[pot] = self.unsettled.get(pot, 0) + micro
            self.asked.add(pot)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), micro=st.integers(0, 900_000))
    def ask_another(self, data: st.DataObject, micro: int) -> None:
        """A second model is to be asked beside a slow one: only with what is left of every pot, and then that is set aside."""
        number = data.draw(st.integers(0, len(self.open) - 1))
        hold, reserved, began, given = self.open[number]
        held = all(pot in self.purses.pots for _, pot in hold.pots)
        left = min(
            (
                round(budget.usd * MICRO) - self.spent.get(pot, 0) - self.unsettled.get(pot, 0)
                for budget, pot in hold.pots
            ),
            default=MICRO,
        )
        assert self.purses.extend(hold, micro / MICRO) == (held and left > 0 and left >= micro)
        if held and left > 0 and left >= micro:
            self.open[number] = (hold, reserved + micro, began, given)
            for _, pot in hold.pots:
                self.unsettled[pot] += micro

    @precondition(lambda self: self.open)
    @rule(data=st.data(), micro=st.none() | st.integers(0, 600_000))
    def end(self, data: st.DataObject, micro: int | None) -> None:
        """One of the requests under way ends: its row is written, its cost counted once."""
        hold, reserved, began, given = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        before = {pot: self.spent.get(pot, 0) for _, pot in hold.pots}
        passed = self.purses.settle(hold, None if micro is None else micro / MICRO)
        assert self.purses.settle(hold, 99.0) == ()
        told = {
            (budget.id, share)
            for budget, pot in hold.pots
            for share in budget.thresholds
            if before[pot] < round(share * budget.usd * MICRO) <= before[pot] + (micro or 0)
        }
        assert {(crossing.budget, crossing.threshold) for crossing in passed} == told
        self.events.append(
            event(
                len(self.events), timestamp=began.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                project=given["client"]["project"], budgets=hold.budgets,
                cost_estimate_usd=None if micro is None else micro / MICRO,
            )
        )  # fmt: skip
        for _, pot in hold.pots:
            self.unsettled[pot] -= reserved
            self.spent[pot] = self.spent.get(pot, 0) + (micro or 0)

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        """Time passes, over midnight and the end of the month."""
        self.now += timedelta(hours=hours)

    @precondition(lambda self: not self.open)
    @rule()
    def restart(self) -> None:
        """The gateway is started anew."""
        self.purses = self.fresh()

    @invariant()
    def figures_agree(self) -> None:
        """What the facts say is what the model has spent and reserved."""
        for project in ("", "shop", "blog"):
            for turns in (0, 9):
                given = facts(self.now, project, turns)
                found = self.purses.figures(BUDGETS, given, self.now)
                for budget in BUDGETS:
                    pot = budget.pot(given)
                    expected = 0 if pot is None else self.spent.get(pot, 0) + self.unsettled.get(pot, 0)
                    assert found[budget.id]["spent_usd"] == pytest.approx(expected / MICRO, abs=1e-8)


Spending.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)
TestSpending = Spending.TestCase


def test_a_pot_is_read_from_the_ledger_once() -> None:
    """By the columns of what the budget goes by, since its period began; by its name where a condition chose."""
    wanted: list[Filter] = []

    def spent(where: Filter) -> float:
        wanted.append(where)
        return 0.25

    purses = Purses(spent)
    given = facts(START, "shop", 9)
    for _ in range(2):
        figures = purses.figures(BUDGETS, given, START)
    assert {name: figure["spent_usd"] for name, figure in figures.items()} == dict.fromkeys(figures, 0.25)
    midnight, month = START.replace(hour=0), START.replace(day=1, hour=0)
    assert wanted == [
        Filter(), Filter(since=midnight), Filter(since=month, project="shop"), Filter(since=midnight, budget="big")
    ]  # fmt: skip


def test_pots_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one unused for longest is forgotten, unless something is reserved of it."""
    monkeypatch.setattr(module, "MOST_POTS", 3)
    by = policy("budgets: {team: {usd: 3, by: project}}\n").budgets
    read: list[str | None] = []
    purses = Purses(lambda where: read.append(where.project) or 0.0)
    held = purses.reserve(by, facts(START, "a", 0), START, 0.5)
    for name in ("b", "c", "d", "a", "b"):
        purses.figures(by, facts(START, name, 0), START)
    assert read == ["a", "b", "c", "d", "b"]
    purses.settle(held, 1.0)
    assert purses.figures(by, facts(START, "a", 0), START)["team"]["spent_usd"] == 1.0


def test_every_move_has_a_new_version() -> None:
    """So that whoever decided before it can tell."""
    purses = Purses(lambda _: 0.0)
    before = purses.version
    hold = purses.reserve(BUDGETS, facts(START, "", 0), START, 1.0)
    between = purses.version
    purses.settle(hold, None, asked=False)
    assert before != between != purses.version


async def test_pots_are_read_beside_the_event_loop() -> None:
    """In another thread, once for all who wait for it, and nothing below reads the ledger any more."""
    threads: list[threading.Thread] = []
    begun, go_on = threading.Event(), threading.Event()

    def spent(where: Filter) -> float:
        threads.append(threading.current_thread())
        begun.set()
        assert go_on.wait(10)
        return 0.25

    by = policy("budgets: {team: {usd: 3, by: project}}\n").budgets
    purses, given = Purses(spent), facts(START, "shop", 0)
    first, second = (asyncio.create_task(purses.ready(by, given, START)) for _ in range(2))
    await asyncio.to_thread(begun.wait, 10)
    first.cancel()  # its client left; the other one still gets the answer
    go_on.set()
    await second
    assert purses.figures(by, given, START) == {"team": {"spent_usd": 0.25}}
    hold = purses.reserve(by, given, START, 0.5)
    purses.settle(hold, 1.0)
    await purses.ready(by, given, START)
    assert purses.figures(by, given, START) == {"team": {"spent_usd": 1.25}}
    assert (len(threads), threading.main_thread() in threads) == (1, False)


async def test_a_ledger_that_fails_is_asked_again() -> None:
    """What went wrong once is not remembered."""
    answers = iter([OSError("no"), 0.5])

    def spent(where: Filter) -> float:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    by = policy("budgets: {all: {usd: 3}}\n").budgets
    purses, given = Purses(spent), facts(START, "shop", 0)
    with pytest.raises(OSError, match="no"):
        await purses.ready(by, given, START)
    await purses.ready(by, given, START)
    assert purses.figures(by, given, START) == {"all": {"spent_usd": 0.5}}
