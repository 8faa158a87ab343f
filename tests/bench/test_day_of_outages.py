"""The simulated day: its first hours, with twenty minutes in which the provider can't be reached."""

from __future__ import annotations

from typing import Any

from tests.bench.day_of_outages import WAYS, day, figures, table
from tests.bench.virtual_time import run


def hours(way: str, until: float) -> dict[str, Any]:
    route, attempts = WAYS[way]
    return figures(*run(day(route=route, attempts=attempts, agents=1, seed=7, hours=until)))


def test_with_other_providers_nothing_is_lost() -> None:
    """Without the gateway turns are lost while nobody answers; with others behind it none is, and the outage is hardly asked."""
    alone = hours("without", 2.6)
    others = hours("gateway, three providers", 2.6)
    assert alone["lost"] > 0
    assert others["lost"] == 0
    assert others["asked"]["beta"] > 20
    assert others["seconds p99"] < alone["seconds p99"]
    assert "100.00%" in table({"alone": alone, "others": others})


def test_the_same_day_twice_is_the_same() -> None:
    """Nothing but the seed decides."""
    assert hours("gateway, three providers", 0.3) == hours("gateway, three providers", 0.3)
