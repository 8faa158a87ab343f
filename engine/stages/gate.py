"""gate: which models may serve the request, in which order, or is it refused?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from engine.exchange import Exchange, Services
from engine.llm.errors import PolicyError
from engine.policy import decide
from engine.policy.decide import Case
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
        taken = self.decide(exchange.case)
        decision = exchange.decision = decide.finish(exchange.case)
        if decision.denial is not None:
            denial = decision.denial
            exchange.error = PolicyError(
                denial.message,
                rule=denial.rule,
                status=denial.status,
                code="policy_denied" if denial.rule else "no_candidate",
                reasons={c.ref: c.rule or str(c.dropped) for c in decision.candidates if c.dropped},
            )
        return taken

    def decide(self, case: Case) -> str | None:
        return decide.gate(case, self._rules)
