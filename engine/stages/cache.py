"""cache: has this been answered before? A place in the graph today: without a response cache every request passes.

Provider-side prompt caches need no stage: the preserve path keeps the client's own breakpoints byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from engine.exchange import Exchange, Services
from engine.policy.decide import Case
from engine.stages.stage import Stage


class Cache(Stage):
    needs: ClassVar[frozenset[str]] = frozenset({"request", "candidates"})
    makes: ClassVar[frozenset[str]] = frozenset()
    exits: ClassVar[Mapping[str, frozenset[str]]] = {"hit": frozenset({"answer", "outcome"})}

    async def run(self, exchange: Exchange, services: Services) -> str | None:
        return None

    def decide(self, case: Case) -> str | None:
        return None
