"""The table of what a failure does: what must hold of every row."""

from __future__ import annotations

from typing import get_args

import pytest

from engine.llm.errors import ProviderError
from engine.llm.meanings import EFFECTS, PERMANENT, TELLING, Meaning
from engine.policy.model import FALL_BACK


def test_every_meaning_has_a_row() -> None:
    """And no row is without a meaning."""
    assert set(EFFECTS) == set(get_args(Meaning))


def test_a_callers_mistake_never_travels() -> None:
    """The two that are the caller's go nowhere else and say nothing of anybody; a policy can't make them."""
    stay = {meaning for meaning, effect in EFFECTS.items() if effect.other == "none"}
    assert stay == {"invalid_request", "content_policy"} == set(EFFECTS) - FALL_BACK
    assert not any(EFFECTS[meaning].scope for meaning in stay | {"context_length", "incompatible"})


@pytest.mark.parametrize("meaning", get_args(Meaning))
def test_a_row_makes_sense(meaning: Meaning) -> None:
    """Whoever steps back is named; either at once or by its breaker; what is permanent is not tried again."""
    effect = EFFECTS[meaning]
    assert bool(effect.scope) == (effect.cool_down > 0 or effect.breaks)
    assert not (effect.cool_down and effect.breaks)
    assert not (effect.permanent and effect.again != "no")
    assert (meaning in PERMANENT) == effect.permanent
    assert ProviderError("x", meaning=meaning).status == effect.status
    assert set(TELLING) <= set(EFFECTS)
