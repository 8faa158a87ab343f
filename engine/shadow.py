"""A second policy that watches: it decides about every request beside the one that serves, and nothing it says is done.

Its budgets have purses of their own, filled from the same ledger and by what the requests that it watches really cost; it
reserves nothing. A budget of its own with `when` begins with what was counted for a budget of that name, else with nothing.

Its decision stands in the event, with what the answer would have cost on the model it would have taken, priced with the
tokens that were really used. That is an estimate: another model would have answered with other tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.llm.messages import JsonObject
from engine.policy.facts import search

if TYPE_CHECKING:
    from datetime import datetime

    from engine.exchange import Exchange
    from engine.pipeline import Pipeline
    from engine.policy.decision import Facts
    from engine.policy.model import Policy
    from engine.providers.prices import PriceTable
    from engine.store.purse import Purses


@dataclass(slots=True, frozen=True)
class Shadow:
    """A policy that only watches."""

    policy: Policy
    pipeline: Pipeline
    prices: PriceTable
    purses: Purses

    async def spent(self, facts: Facts, moment: datetime) -> JsonObject:
        """`budget` of its facts for a request that begins now."""
        budgets = self.policy.budgets
        if not budgets:
            return {}
        await self.purses.ready(budgets, facts, moment)
        return self.purses.figures(budgets, facts, moment)

    def count(self, exchange: Exchange) -> None:
        """Count what a finished exchange cost for its budgets."""
        if self.policy.budgets and exchange.facts and exchange.bill is not None:
            hold = self.purses.reserve(self.policy.budgets, exchange.facts, exchange.wall, 0.0)
            self.purses.settle(hold, exchange.bill.total_usd)

    def signals(self, text: str) -> dict[str, bool]:
        """Which of its own signals the newest user text matches; asked while the text is still there."""
        return search(self.policy.signals, text)

    def opinion(self, exchange: Exchange) -> JsonObject:
        """What it would have done with a finished exchange, as the event's `shadow`. Empty for a request without facts."""
        if not exchange.facts or exchange.case is None:
            return {}
        budgets = {**exchange.facts["budget"], **exchange.shadow_budgets}
        facts = {**exchange.facts, "signals": exchange.shadow_signals, "budget": budgets}
        decision = self.pipeline.decide(facts, exchange.case.availability)
        chosen, served = decision.chosen, exchange.decision.chosen if exchange.decision else None
        opinion: JsonObject = {
            "policy": decision.policy,
            "routeClass": decision.route_class,
            "model": chosen.ref if chosen else None,
            "change": change(
                served.ref if served else "", chosen.ref if chosen else "", denied=decision.denial is not None
            ),
        }
        if decision.denial is not None:
            opinion["denied"] = decision.denial.rule or "no_candidate"
        usage = exchange.tapped.usage if exchange.tapped else None
        if chosen is not None and usage is not None:
            cost = self.prices.cost(chosen.ref, usage, exchange.wall)
            if cost.estimate_usd is not None:
                opinion["costEstimateUsd"] = cost.estimate_usd
        return opinion


def change(served: str, chosen: str, *, denied: bool) -> str:
    """How two decisions differ: `same model denied allowed`."""
    if denied:
        return "same" if not served else "denied"
    if not served:
        return "allowed"
    return "same" if served == chosen else "model"
