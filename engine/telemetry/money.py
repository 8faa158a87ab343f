"""What money is counted as: spent, unknown, saved against the model asked for, and shares of budgets that were passed.

What was saved is an estimate by the event's own figures, told apart by how: another model served (`downgrade`), the response
cache did (`cache`), or the policy refused (`refused`). Its price stands beside it: what another model cost more (`dearer`), and
what was paid for attempts that brought nothing (`wasted`). So a saving that was eaten up elsewhere shows.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.store.event import Event
from engine.telemetry.series import Counter, Labels

Name = Callable[[str], str]


class Money:
    """Counters since the gateway started."""

    def __init__(self, name: Name, served: Labels) -> None:
        """`name` bounds a label's values; `served` are the labels of who was served by whom."""
        self._name = name
        self._cost = Counter(
            "sbgw_cost_usd_total", "Cost in US dollars, wasted attempts included, as far as prices are known.", served
        )
        self._unknown = Counter(
            "sbgw_requests_without_cost_total", "Answers of a provider whose cost is unknown.", ("provider", "model")
        )
        self._saved = Counter(
            "sbgw_saved_usd_total", "Estimate of what was saved against the model asked for.", ("kind",)
        )
        self._lost = Counter(
            "sbgw_extra_usd_total", "Estimate of what was spent beyond the model asked for.", ("kind",)
        )
        self._thresholds = Counter(
            "sbgw_budget_thresholds_total", "Shares of budgets that were passed.", ("budget", "threshold")
        )
        self.families = (self._cost, self._unknown, self._saved, self._lost, self._thresholds)

    def observe(self, event: Event, served: Labels) -> None:
        """Count a completed request; `served` are its values of the labels given."""
        if (cost := event.total_usd) is not None:
            self._cost.add(served, cost)
        if event.cost_usd is None and event.status in ("success", "fallback_success") and not event.cache_hit:
            self._unknown.add(served[-2:])
        if (kind := event.saving) is not None:
            counter, usd = (self._saved, kind[1]) if kind[1] >= 0 else (self._lost, -kind[1])
            counter.add((kind[0],), usd)
        if event.wasted_usd:
            self._lost.add(("wasted",), event.wasted_usd)
        for label in event.budget_thresholds:
            budget, _, share = label.partition(":")
            self._thresholds.add((self._name(budget), self._name(share)))
