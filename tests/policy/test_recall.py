"""Recorded facts made whole."""

from __future__ import annotations

from typing import Any

import pytest

from engine.policy.facts import complete, defaults, schema
from engine.policy.recall import FactsBroken, recall

WHOLE = defaults(schema()) | {"signals": {"design": True}}


def test_whole_facts_are_not_copied() -> None:
    """Facts of this version pass as they are, with nothing missing."""
    found, missing = recall(WHOLE, ["design"])
    assert (missing, found["request"] is WHOLE["request"], found["signals"]) == ((), True, {"design": True})


def test_what_is_missing_is_filled_and_named() -> None:
    """A field, a section and a signal that nobody recorded have their defaults, and are told by name."""
    recorded = {k: v for k, v in WHOLE.items() if k != "budget"} | {"request": dict(WHOLE["request"])}
    del recorded["request"]["effort"]
    found, missing = recall(recorded, ["design", "legal"])
    assert missing == ("request.effort", "budget.day_usd", "budget.month_usd", "signals.legal")
    assert (found["request"]["effort"], found["budget"]["day_usd"], found["signals"]["legal"]) == ("", 0.0, False)
    assert "effort" not in recorded["request"]


def test_what_the_policy_does_not_read_is_no_guess() -> None:
    """A count that nobody asked for is not recorded, and matters only to a policy that asks for it now."""
    recorded = WHOLE | {"request": {k: v for k, v in WHOLE["request"].items() if k not in {"secrets", "effort"}}}
    found, missing = recall(recorded, [], lambda fact: fact == "request.effort")
    assert (missing, found["request"]["secrets"], found["request"]["effort"]) == (("request.effort",), 0, "")


def test_whole_numbers_stand_for_doubles() -> None:
    """JSON writers drop a trailing .0; the type is restored without counting as a guess."""
    found, missing = recall(
        complete({"budget": {"day_usd": 3.0}}, schema()) | {"budget": {"day_usd": 3, "month_usd": 4}}, []
    )
    assert (missing, repr(found["budget"]["day_usd"])) == ((), "3.0")


@pytest.mark.parametrize(
    "broken", [None, {}, [], "x", {"request": []}, {"request": WHOLE["request"] | {"tools": "three-secret"}}]
)
def test_broken_facts_are_refused_without_being_quoted(broken: Any) -> None:
    """What is no facts document raises, and the message does not repeat it."""
    with pytest.raises(FactsBroken) as raised:
        recall(broken, [])
    assert "secret" not in str(raised.value)
