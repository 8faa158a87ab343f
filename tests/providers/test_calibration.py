"""How many tokens a model counts, learned from what it told."""

from __future__ import annotations

import orjson

from engine.llm.messages import Usage
from engine.providers.calibration import Calibration
from engine.providers.heard import Heard


def heard(tokens: int) -> Heard:
    """A stream of which so many tokens were heard, a hundred bytes a frame."""
    found = Heard()
    for _ in range(tokens // 25):
        found.frame(orjson.dumps({"type": "x", "delta": {"text": "t" * 100}}).decode())
    return found


def learned(told: float, times: int, size: int = 4_000) -> Calibration:
    found = Calibration()
    for _ in range(times):
        found.note("v/m", "p", Usage(round(size * told), round(500 * told)), size, heard(500))
    return found


def test_before_anything_was_told_the_estimate_stands() -> None:
    """A model that nobody heard of counts as estimated; so does the same model in another protocol."""
    found = learned(1.3, 250)
    assert (found.prompt("v/other", "p", 100), found.answer("v/m", "q", 70)) == (100, 70)


def test_a_model_that_counts_more_is_believed() -> None:
    """After many answers the estimate is within a hundredth of what it counts, for sizes that never were."""
    found = learned(1.3, 250)
    assert abs(found.prompt("v/m", "p", 10_000) - 13_000) < 130
    assert abs(found.answer("v/m", "p", 1_000) - 1_300) < 30


def test_one_odd_count_moves_little() -> None:
    """An answer that tells a hundred times as much is an oddity: the next estimate is off by some hundredths."""
    found = learned(1.0, 50)
    found.note("v/m", "p", Usage(400_000, 0), 4_000, heard(0))
    assert 10_000 <= found.prompt("v/m", "p", 10_000) <= 10_700


def test_what_was_not_measured_teaches_nothing() -> None:
    """An answer that came whole was not listened to."""
    found = Calibration()
    found.note("v/m", "p", Usage(0, 500), 0, heard(0))
    assert (found.prompt("v/m", "p", 100), found.answer("v/m", "p", 100)) == (100, 100)


def test_hidden_reasoning_is_no_text() -> None:
    """What a model thinks unseen is not heard: it does not make the heard part count for more."""
    found = Calibration()
    for _ in range(50):
        found.note("v/m", "p", Usage(100, 2_500, reasoning_tokens=2_000), 100, heard(500))
    assert abs(found.answer("v/m", "p", 1_000) - 1_000) < 30


def test_names_are_bounded() -> None:
    """Clients choose models' names; those longest unused are forgotten."""
    found = learned(1.4, 20)
    for number in range(1_500):
        found.note(f"v/{number}", "p", Usage(100, 10), 100, heard(0))
    assert found.prompt("v/m", "p", 1_000) == 1_000
