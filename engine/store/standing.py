"""How the budgets stand: every pot that somebody has drawn from in its present period, for those who look."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from engine.llm.messages import JsonObject
from engine.policy.budgets import Budget, Pot, end_of
from engine.store.pots import Spent
from engine.store.purse import Purse, recorded
from engine.store.rows import Filter

MOST = 1_000
"""Pots told of per budget, the emptiest first."""

Recorded = Callable[[tuple[str, ...], Filter], Spent]
"""What the ledger knows of the values of what is gone by."""


def standings(
    budgets: Iterable[Budget], held: Mapping[Pot, Purse], ledger: Recorded, moment: datetime
) -> list[JsonObject]:
    """Each pot with limit, spent, reserved and left, US dollars; what is `held` in memory goes before what the `ledger` says.

    A budget without `by` always has its one pot; of the others, those that somebody has drawn from. Raises sqlite3.Error.
    """
    return [pot for budget in budgets for pot in _of(budget, held, ledger, moment)]


def _of(budget: Budget, held: Mapping[Pot, Purse], ledger: Recorded, moment: datetime) -> list[JsonObject]:
    period = budget.period(moment.date().isoformat())
    purses = {of: Purse(usd) for of, usd in ledger(budget.by, recorded(budget, (), moment))}
    purses |= {pot.of: purse for pot, purse in held.items() if (pot.budget, pot.period) == (budget.id, period)}
    if not budget.by:
        purses.setdefault((), Purse(0.0))
    fullest = sorted(purses.items(), key=lambda found: (-found[1].spent - found[1].reserved, found[0]))[:MOST]
    return [_standing(budget, of, period, purse, moment) for of, purse in fullest]


def _standing(budget: Budget, of: tuple[str, ...], period: str, purse: Purse, moment: datetime) -> JsonObject:
    passed = [share for share in budget.thresholds if share * budget.usd <= purse.spent]
    left = budget.usd - purse.spent - purse.reserved
    ends = end_of(budget.per, moment)
    return {
        "budget": budget.id, "of": dict(zip(budget.by, of, strict=True)), "per": budget.per or None, "period": period or None,
        "limitUsd": budget.usd, "spentUsd": round(purse.spent, 6), "reservedUsd": round(purse.reserved, 6),
        "leftUsd": round(max(left, 0.0), 6), "exceeded": round(left, 6) <= 0, "unknownCosts": purse.unknown,
        "thresholds": list(budget.thresholds), "reached": passed[-1] if passed else None,
        "resetsAt": ends.isoformat() if ends is not None else None,
    }  # fmt: skip
