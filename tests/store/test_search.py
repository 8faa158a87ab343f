"""Finding events by way of the sums: the same as looking at every one, without looking at every one."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.store.detail import Details
from engine.store.event import Event
from engine.store.rows import SAVE, Filter, row_of
from engine.store.search import newest
from engine.store.upgrades import up_to_date
from tests.store.builders import START, event

HOUR = 3600

EVENTS = st.builds(
    lambda hours, **fields: event(hours * HOUR, **fields),
    hours=st.integers(0, 80),
    status=st.sampled_from(["open", "success", "fallback_success", "error", "cancelled", "interrupted"]),
    client=st.sampled_from(["claude-code", "codex"]),
    agent=st.sampled_from(["", "Explore"]),
    key_name=st.sampled_from(["", "ci"]),
    project=st.sampled_from(["", "shop"]),
    route_class=st.sampled_from(["", "fast_code"]),
    selected_provider=st.sampled_from(["", "a"]),
    selected_model=st.sampled_from(["", "m"]),
)

FILTERS = st.builds(
    Filter,
    since=st.none() | st.integers(0, 80).map(lambda hours: START + timedelta(hours=hours)),
    until=st.none() | st.integers(0, 80).map(lambda hours: START + timedelta(hours=hours)),
    status=st.none() | st.sampled_from(["open", "success", "fallback_success", "error", "interrupted"]),
    client=st.none() | st.sampled_from(["claude-code", "codex", "nobody"]),
    agent=st.none() | st.sampled_from(["", "Explore", "nobody"]),
    key=st.none() | st.sampled_from(["", "ci", "nobody"]),
    project=st.none() | st.sampled_from(["shop", "nowhere"]),
    route_class=st.none() | st.just("fast_code"),
    provider=st.none() | st.sampled_from(["", "a"]),
    model=st.none() | st.sampled_from(["m", "n"]),
)


def stored(events: list[Event]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    up_to_date(connection)
    details = Details(connection)
    for one in events:
        connection.execute(SAVE, row_of(one, details))
    return connection


@settings(deadline=None, max_examples=150)
@given(
    events=st.lists(EVENTS, max_size=20, unique_by=lambda one: one.timestamp),
    where=FILTERS,
    limit=st.integers(1, 6),
    gone=st.integers(0, 40),
)
def test_the_same_as_looking_at_all(events: list[Event], where: Filter, limit: int, gone: int) -> None:
    """Whatever is asked, under way or ended, after the oldest were deleted too: the newest that fit, in order."""
    connection = stored(events)
    bound = event(gone * HOUR).timestamp
    connection.execute("DELETE FROM events WHERE timestamp < ?", (bound,))
    fitting = [one for one in events if one.timestamp >= bound and where.matches(one)]
    expected = sorted(fitting, key=lambda one: one.timestamp, reverse=True)[:limit]
    assert newest(connection, Details(connection), where, limit) == expected
    connection.close()


@pytest.mark.parametrize(
    "asked",
    [
        {"client": "nobody"}, {"provider": "b"}, {"model": "n"}, {"route_class": "deep_reasoning"}, {"agent": "nobody"},
        {"key": "nobody"}, {"client": "codex", "status": "error"}, {"client": "codex", "model": "n"},
    ],
    ids=str,
)  # fmt: skip
def test_what_never_was_is_not_looked_for(asked: dict[str, Any]) -> None:
    """A filter that fits nothing is answered without going through the events."""
    served = {"selected_provider": "a", "selected_model": "m", "status": "success"}
    connection = stored([event(n, client="codex" if n % 2 else "claude-code", **served) for n in range(3_000)])
    details = Details(connection)
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    connection.set_progress_handler(count, 100)
    assert newest(connection, details, Filter(**asked), 50) == []
    assert steps < 20  # to look at each of them takes 120 (measured)
    connection.close()
