"""gate: which models may serve the request, in which order, or is it refused?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from engine.exchange import Exchange, Services
from engine.llm.errors import PolicyError
from engine.policy import decide
from engine.policy.decide import Case
from engine.policy.decision import Denial
from engine.stages.decode import count
from engine.stages.stage import Stage

if TYPE_CHECKING:
    from engine.policy.model import Policy


class Gate(Stage):
    needs: ClassVar[frozenset[str]] = frozenset({"request", "class"})
    makes: ClassVar[frozenset[str]] = frozenset({"candidates"})
    exits: ClassVar[Mapping[str, frozenset[str]]] = {"deny": frozenset({"outcome"})}
    failing: ClassVar[str | None] = "deny"
    pure: ClassVar[bool] = True

    def __init__(self, policy: Policy, settings: Mapping[str, Any]) -> None:
        self._rules = decide.select_gate_rules(policy, settings)

    async def run(self, exchange: Exchange, services: Services) -> str | None:
        assert exchange.case is not None
        if exchange.policy.budgets and exchange.hold is None and exchange.counted != services.purses.version:
            # Somebody has spent since these facts were made: what they decided is decided anew, in this turn of the loop.
            count(exchange, services)
            exchange.case = decide.begin(exchange.policy, exchange.facts, exchange.case.availability)
        taken = self.decide(exchange.case)
        decision = exchange.decision = decide.finish(exchange.case)
        if decision.denial is not None:
            denial = decision.denial
            exchange.error = PolicyError(
                denial.message,
                rule=denial.rule,
                status=denial.status,
                code=_code(denial),
                reasons={c.ref: c.rule or str(c.dropped) for c in decision.candidates if c.dropped},
            )
        elif exchange.policy.budgets and exchange.hold is None:
            usd = _dearest(exchange.case)
            exchange.hold = services.purses.reserve(exchange.policy.budgets, exchange.facts, exchange.wall, usd)
        return taken

    def decide(self, case: Case) -> str | None:
        return decide.gate(case, self._rules)


def _dearest(case: Case) -> float:
    """What the request may cost: the highest estimate of the models that may be tried; 0 where no price is known."""
    left = [found.facts["estimate"]["cost_usd"] for found in case.tries or () if found.dropped is None]
    return max(0.0, *left) if left else 0.0


def _code(denial: Denial) -> str:
    """The error's stable code."""
    if denial.reason == "BUDGET":
        return "budget_exceeded"
    return "policy_denied" if denial.rule else "no_candidate"
