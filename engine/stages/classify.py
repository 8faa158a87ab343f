"""classify: which class of work is this? Overrides first, then the policy's rules in order."""

from __future__ import annotations

from typing import ClassVar

from engine.policy import decide
from engine.policy.decide import Case
from engine.stages.stage import Stage


class Classify(Stage):
    needs: ClassVar[frozenset[str]] = frozenset({"request"})
    makes: ClassVar[frozenset[str]] = frozenset({"class"})
    pure: ClassVar[bool] = True

    def decide(self, case: Case) -> str | None:
        decide.classify(case)
        return None
