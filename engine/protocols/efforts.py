"""Effort words: their order, the nearest one a provider accepts, and the word for a thinking budget in tokens."""

from __future__ import annotations

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""All of them, weakest first."""

_LOW_BUDGET = 4096
_MEDIUM_BUDGET = 16384


def nearest_effort(word: str, accepted: tuple[str, ...]) -> str:
    """`word` if `accepted` (empty: all) has it, else the strongest accepted one that is weaker, else the weakest."""
    if not accepted or word in accepted or word not in EFFORTS:
        return word
    rank = EFFORTS.index(word)
    weaker = [a for a in accepted if a in EFFORTS and EFFORTS.index(a) < rank]
    return weaker[-1] if weaker else accepted[0]


def effort_of_budget(tokens: int) -> str:
    """The effort that comes nearest to a thinking budget: under 4096 tokens low, under 16384 medium, else high."""
    if tokens < _LOW_BUDGET:
        return "low"
    return "medium" if tokens < _MEDIUM_BUDGET else "high"
