"""What is spent and reserved of each pot of the budgets, and of the day and the month as a whole.

Rules kept here:

- A pot is filled from the ledger when it is first asked for: after a restart, in a new day or month, under an edited policy.
  That may take a while with many events, so `ready` does it beside the event loop, once for all who wait for it. Afterwards
  it is added up in memory. Changing a budget's amount changes nothing about what has been spent of it.
- Reserving and settling happen in the event loop without a pause between asking and taking, so no two requests take the same
  money. `version` changes with every move; who decided by an older one decides anew.
- A reservation is settled once, into the pots it was taken from, even if the day has ended meanwhile.
- An unknown cost is not 0: it is counted, and the pot knows how many there were.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from engine.policy.budgets import Budget, Pot, start_of
from engine.policy.decision import Facts
from engine.store.rows import Filter

MOST_POTS = 10_000
"""Pots in memory; one that nothing is reserved of goes when it was not used for longest, and is read again if need be."""

_CENT_OF_A_CENT = 1e-9
"""Below that, sums of floats say nothing."""


@dataclass(slots=True)
class Purse:
    """One pot."""

    spent: float
    reserved: float = 0.0
    unknown: int = 0
    """Requests whose cost nobody knows."""


@dataclass(slots=True, frozen=True)
class Crossing:
    """A share of a budget that has been passed."""

    budget: str
    of: tuple[str, ...]
    threshold: float
    spent_usd: float
    limit_usd: float

    @property
    def label(self) -> str:
        """`day:0.8`, as events hold it."""
        return f"{self.budget}:{self.threshold:g}"


@dataclass(slots=True)
class Hold:
    """What one request has reserved."""

    usd: float
    pots: tuple[tuple[Budget, Pot], ...]
    open: bool = True

    @property
    def budgets(self) -> tuple[str, ...]:
        """Names of the budgets that it counts for."""
        return tuple(budget.id for budget, _ in self.pots)


@dataclass(slots=True)
class Purses:
    """All pots. Used from the event loop alone."""

    spent: Callable[[Filter], float]
    """USD that the ledger knows of. Called in another thread too."""
    version: int = 0
    _pots: OrderedDict[Pot, Purse] = field(default_factory=OrderedDict)
    _readings: dict[Pot, asyncio.Future[float]] = field(default_factory=dict)

    @property
    def pots(self) -> Mapping[Pot, Purse]:
        """What is in memory."""
        return self._pots

    async def ready(self, budgets: Iterable[Budget], facts: Facts, moment: datetime) -> None:
        """Have the pots that the request draws from in memory, so that nothing below waits for the ledger."""
        for budget in budgets:
            pot = budget.pot(facts)
            if pot is None or pot in self._pots:
                continue
            reading = self._readings.get(pot)
            if reading is None:
                reading = asyncio.ensure_future(asyncio.to_thread(self.spent, recorded(budget, pot.of, moment)))
                self._readings[pot] = reading
            try:
                # Others wait for it too, if this one leaves.
                spent = await asyncio.shield(reading)
            finally:
                if reading.done():
                    self._readings.pop(pot, None)
            if pot not in self._pots:
                self._keep(pot, spent)

    def figures(self, budgets: Iterable[Budget], facts: Facts, moment: datetime) -> dict[str, Any]:
        """`budget.NAME` of the facts: what is spent and reserved of each budget's pot for this request."""
        found: dict[str, Any] = {}
        for budget in budgets:
            pot = budget.pot(facts)
            purse = self._purse(budget, pot, moment) if pot is not None else None
            found[budget.id] = {"spent_usd": purse.spent + purse.reserved if purse is not None else 0.0}
        return found

    def reserve(self, budgets: Iterable[Budget], facts: Facts, moment: datetime, usd: float) -> Hold:
        """Set `usd` aside in every pot that the request draws from."""
        taken: list[tuple[Budget, Pot]] = []
        for budget in budgets:
            pot = budget.pot(facts)
            if pot is not None:
                self._purse(budget, pot, moment).reserved += usd
                taken.append((budget, pot))
        self.version += 1
        return Hold(usd, tuple(taken))

    def extend(self, hold: Hold, usd: float) -> bool:
        """Set `usd` more aside for the same request, if every pot of it that is enforced has that left, and something at all.

        False when not, and nothing has been taken.
        """
        purses = [(budget, self._pots.get(pot)) for budget, pot in hold.pots]
        for budget, purse in purses:
            left = budget.usd - purse.spent - purse.reserved if purse is not None else 0.0
            if not budget.shadow and (left < _CENT_OF_A_CENT or left < usd):
                return False
        for _, purse in purses:
            if purse is not None:
                purse.reserved += usd
        hold.usd += usd
        self.version += 1
        return True

    def settle(self, hold: Hold, usd: float | None, *, asked: bool = True) -> tuple[Crossing, ...]:
        """Give back what `hold` reserved and count what the request really cost; None is unknown, if a model was `asked`.

        The shares of budgets that were passed by it. Safe to call twice: the second time changes nothing.
        """
        if not hold.open:
            return ()
        hold.open = False
        self.version += 1
        passed: list[Crossing] = []
        for budget, pot in hold.pots:
            purse = self._pots.get(pot)
            if purse is None:
                continue
            left = purse.reserved - hold.usd
            purse.reserved = left if left > _CENT_OF_A_CENT else 0.0
            before = purse.spent
            if usd is not None:
                purse.spent += usd
            elif asked:
                purse.unknown += 1
            passed += (
                Crossing(budget.id, pot.of, share, purse.spent, budget.usd)
                for share in budget.thresholds
                if before < share * budget.usd <= purse.spent
            )
        return tuple(passed)

    def _purse(self, budget: Budget, pot: Pot, moment: datetime) -> Purse:
        purse = self._pots.get(pot)
        if purse is None:
            purse = self._keep(pot, self.spent(recorded(budget, pot.of, moment)))
        self._pots.move_to_end(pot)
        return purse

    def _keep(self, pot: Pot, spent: float) -> Purse:
        if len(self._pots) >= MOST_POTS:
            self._forget()
        purse = self._pots[pot] = Purse(spent)
        return purse

    def _forget(self) -> None:
        idle = next((pot for pot, purse in self._pots.items() if not purse.reserved), None)
        if idle is not None:
            del self._pots[idle]


def recorded(budget: Budget, of: tuple[str, ...], moment: datetime) -> Filter:
    """The requests of the ledger that drew from the pot of these values, or of any: by their columns, or by name where a
    condition chose them.
    """
    named: Mapping[str, Any] = dict(zip(budget.by, of, strict=False))
    since = start_of(budget.per, moment) if budget.per else None
    return Filter(since=since, budget=budget.id if budget.when is not None else None, **named)
