"""Sums by session and by time: every event is counted once, whatever happens to its row."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.store.detail import Details
from engine.store.event import Event
from engine.store.rows import SAVE, row_of
from engine.store.upgrades import up_to_date
from tests.store.builders import event

EVENTS = st.builds(
    lambda number, **fields: event(number * 400, **fields),
    number=st.integers(0, 12),
    status=st.sampled_from(["success", "fallback_success", "error", "cancelled", "interrupted"]),
    session_id=st.sampled_from(["", "s-1", "s-2"]),
    project=st.sampled_from(["", "shop"]),
    selected_provider=st.sampled_from(["", "a"]),
    selected_model=st.sampled_from(["", "m"]),
    input_tokens=st.none() | st.integers(0, 10**6),
    output_tokens=st.none() | st.integers(0, 10**6),
    cost_estimate_usd=st.none() | st.integers(0, 64).map(lambda n: n / 64),
    cost_reported_usd=st.none() | st.integers(0, 64).map(lambda n: n / 64),
    wasted_usd=st.none() | st.just(0.25),
    requested_usd=st.none() | st.integers(0, 64).map(lambda n: n / 64),
    cache_hit=st.booleans(),
)


@settings(deadline=None, max_examples=60)
@given(
    given_events=st.lists(
        st.tuples(EVENTS, st.sampled_from(["once", "opened", "twice"])), max_size=12, unique_by=lambda e: e[0].id
    )
)
def test_every_event_is_counted_once(given_events: list[tuple[Event, str]]) -> None:
    """Opened first or not, completed once or again: the sums are those of the events."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    up_to_date(connection)
    details = Details(connection)
    for made, way in given_events:
        steps = [made, made] if way == "twice" else [replace(made, status="open"), made] if way == "opened" else [made]
        for step in steps:
            connection.execute(SAVE, row_of(step, details))
    made = [event for event, _ in given_events]
    for table in ("usage", "usage_days", "usage_slots"):
        assert (_sums(connection, table), _compared(connection, table)) == (_expected(made), _comparison(made))
    named = [event for event in made if event.session_id]
    assert (_sums(connection, "sessions"), _compared(connection, "sessions")) == (_expected(named), _comparison(named))
    assert {row[0] for row in connection.execute("SELECT slot FROM usage")} == {_slot(event) for event in made}
    connection.close()


def _sums(connection: sqlite3.Connection, table: str) -> tuple[Any, ...]:
    names = ("requests", "failed", "unpriced", "input_tokens", "output_tokens", "cost_usd")
    row = connection.execute(f"SELECT {', '.join(f'total({name})' for name in names)} FROM {table}").fetchone()
    return tuple(row)


def _expected(events: list[Event]) -> tuple[Any, ...]:
    answered = ("success", "fallback_success")
    return (
        len(events),
        sum(event.status in ("error", "interrupted") for event in events),
        sum(event.status in answered and event.cost_usd is None and not event.cache_hit for event in events),
        sum(event.input_tokens or 0 for event in events),
        sum(event.output_tokens or 0 for event in events),
        sum(event.total_usd or 0.0 for event in events),
    )


COMPARED = (
    "compared", "uncompared", "requested_usd", "downgrades", "downgraded_usd", "cached", "cached_usd", "refused", "refused_usd",
    "fallbacks", "fallback_usd", "dearer", "dearer_usd", "wasted", "wasted_usd",
)  # fmt: skip


def _compared(connection: sqlite3.Connection, table: str) -> dict[str, float]:
    row = connection.execute(f"SELECT {', '.join(f'total({name})' for name in COMPARED)} FROM {table}").fetchone()
    return dict(zip(COMPARED, row, strict=True))


def _comparison(events: list[Event]) -> dict[str, float]:
    """The same by what an event says of itself."""
    found = dict.fromkeys(COMPARED, 0.0)
    for one in events:
        served = one.cost_usd is not None and one.selected_provider
        if one.requested_usd is not None and (one.cache_hit or not one.selected_provider or served):
            found["compared"] += 1
            found["requested_usd"] += one.requested_usd
        elif one.status in ("success", "fallback_success") and not one.cache_hit:
            found["uncompared"] += 1
        if one.saving is not None:
            kind, usd = one.saving
            fell_back = kind == "dearer" and one.status == "fallback_success"
            counts, sums = {
                "downgrade": ("downgrades", "downgraded_usd"), "cache": ("cached", "cached_usd"),
                "refused": ("refused", "refused_usd"), "dearer": ("dearer", "dearer_usd"),
            }[kind] if not fell_back else ("fallbacks", "fallback_usd")  # fmt: skip
            found[counts] += 1
            found[sums] += abs(usd)
        if one.wasted_usd is not None:
            found["wasted"] += 1
            found["wasted_usd"] += one.wasted_usd
    return found


def _slot(event: Event) -> str:
    minute = int(event.timestamp[14:16]) // 15 * 15
    return f"{event.timestamp[:14]}{minute:02d}"
