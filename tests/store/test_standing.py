"""How budgets stand: spent, reserved, left, reached, and when each begins anew."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from engine.policy.budgets import Pot, end_of
from engine.store.null_ledger import NullLedger
from engine.store.purse import Purse
from engine.store.standing import standings
from tests.policy.policies import policy
from tests.store.builders import event

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("period", "moment", "ends"),
    [
        ("day", "2026-11-26T23:59", "2026-11-27T00:00+01:00"),
        ("day", "2026-10-24T12:00", "2026-10-25T00:00+02:00"),
        ("day", "2026-10-25T00:30", "2026-10-26T00:00+01:00"),  # 25 hours
        ("day", "2026-03-29T00:30", "2026-03-30T00:00+02:00"),  # 23 hours
        ("month", "2026-01-31T12:00", "2026-02-01T00:00+01:00"),
        ("month", "2026-12-01T00:00", "2027-01-01T00:00+01:00"),
        ("month", "2026-10-01T00:00", "2026-11-01T00:00+01:00"),
    ],
)
def test_when_it_begins_anew(period: str, moment: str, ends: str) -> None:
    """At midnight by the clocks of the place, whatever they do on that day."""
    found = end_of(period, datetime.fromisoformat(moment).replace(tzinfo=BERLIN))  # type: ignore[arg-type]
    assert found is not None
    assert found.isoformat(timespec="minutes") == ends


def test_one_for_good_never_ends() -> None:
    assert end_of("", datetime.now(BERLIN)) is None


def test_what_is_in_memory_goes_before_the_ledger() -> None:
    """Pots of the present period, the fullest first; those of another day are not told of."""
    budgets = policy(
        "budgets:\n  all: {usd: 10}\n  team: {usd: 4, per: day, by: project, thresholds: [0.5, 1.0]}\n"
    ).budgets
    ledger = NullLedger()
    for number, project, usd in ((1, "shop", 1.0), (2, "blog", 2.0), (3, "", 4.0)):
        ledger.complete(event(number, project=project, cost_estimate_usd=usd))
    moment = datetime.fromisoformat(event(9).timestamp).astimezone(ZoneInfo("UTC"))
    today = moment.date().isoformat()
    held = {
        Pot("team", ("shop",), today): Purse(3.5, reserved=1.0, unknown=2),
        Pot("team", ("old",), "2026-01-01"): Purse(9.0),
    }
    found = standings(budgets, held, ledger.pots, moment)
    assert [(p["budget"], p["of"], p["spentUsd"], p["reservedUsd"], p["leftUsd"], p["reached"]) for p in found] == [
        ("all", {}, 7.0, 0.0, 3.0, 0.5),
        ("team", {"project": "shop"}, 3.5, 1.0, 0.0, 0.5),
        ("team", {"project": "blog"}, 2.0, 0.0, 2.0, 0.5),
    ]
    assert [(p["per"], p["period"], p["exceeded"], p["unknownCosts"]) for p in found] == [
        (None, None, False, 0), ("day", today, True, 2), ("day", today, False, 0)
    ]  # fmt: skip
