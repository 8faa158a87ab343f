"""What is spent of pots: the same sums before and after events are deleted, whoever asks."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.store.detail import Details
from engine.store.event import Event
from engine.store.pots import spent_by, spent_in_all, spent_of
from engine.store.retention import PERIOD_DAYS, Keep, forget
from engine.store.rows import SAVE, Filter, row_of
from engine.store.upgrades import up_to_date
from tests.store.builders import START, event

DAY = 86_400

EVENTS = st.builds(
    lambda day, **fields: event(day * DAY, **fields),
    day=st.integers(0, 80),
    client=st.sampled_from(["claude-code", "codex"]),
    project=st.sampled_from(["", "shop", "blog"]),
    session_id=st.sampled_from(["", "s-1", "s-2"]),
    key_name=st.sampled_from(["", "ci"]),
    budgets=st.sampled_from([(), ("all",), ("all", "big")]),
    status=st.sampled_from(["success", "error"]),
    cost_estimate_usd=st.none() | st.integers(0, 64).map(lambda n: n / 64),
    wasted_usd=st.none() | st.just(0.25),
)

FILTERS = st.builds(
    Filter,
    project=st.none() | st.sampled_from(["shop", "blog"]),
    client=st.none() | st.just("codex"),
    key=st.none() | st.just("ci"),
    budget=st.none() | st.sampled_from(["big", "all", "al"]),
)


def stored(events: list[Event]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    up_to_date(connection)
    details = Details(connection)
    for one in events:
        connection.execute(SAVE, row_of(one, details))
    return connection


@settings(deadline=None, max_examples=80)
@given(
    events=st.lists(EVENTS, max_size=12, unique_by=lambda one: one.id),
    where=FILTERS,
    by=st.lists(st.sampled_from(["project", "client", "key", "session"]), unique=True),
    kept=st.integers(1, 60),
    later=st.integers(0, 90),
)
def test_no_budget_grows_by_forgetting(
    events: list[Event], where: Filter, by: list[str], kept: int, later: int
) -> None:
    """For good, and since a midnight of the longest period: as if every event were still there.

    Longer ago than any period, sessions are only known of what counted for a budget: theirs lie between that and all.
    """
    connection = stored(events)
    # In two steps with time between them, so that what is remembered by the quarter of an hour gets old as well.
    for days in (later // 2, later):
        while forget(connection, Keep(days=kept), START + timedelta(days=days)):
            pass
    now = START + timedelta(days=later)
    midnight = (now - timedelta(days=31)).replace(hour=0, minute=0, second=0)
    assert PERIOD_DAYS > 31
    for asked in (
        where,
        Filter(since=midnight, **{f: getattr(where, f) for f in ("project", "client", "key", "budget")}),
    ):
        assert spent_in_all(connection, asked) == sum(one.total_usd or 0.0 for one in events if asked.matches(one))
        found = {of: usd for of, usd in spent_by(connection, by, asked, 99) if usd}
        everything = {of: usd for of, usd in spent_of(events, by, asked) if usd}
        if "session" in by and asked.since is None:
            counted = {of: usd for of, usd in spent_of([one for one in events if one.budgets], by, asked) if usd}
            assert counted.keys() <= found.keys() <= everything.keys()
            assert all(counted.get(of, 0.0) <= usd <= everything[of] for of, usd in found.items())
        else:
            assert found == everything
    connection.close()


def test_a_session_keeps_its_sum_as_long_as_it_has_an_event() -> None:
    """Deleted events of a session that goes on count for its budget for good, also for one that came after them."""
    connection = stored([event(day * DAY, session_id="s-1", cost_estimate_usd=0.5) for day in (0, 1, 50)])
    while forget(connection, Keep(days=10), START + timedelta(days=50)):
        pass
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (1,)
    assert spent_in_all(connection, Filter(session="s-1")) == 1.5
    connection.close()


def test_a_session_whose_events_are_gone_has_spent_what_it_spent() -> None:
    """A session's budget for good, with a condition: nothing of it comes back when the session's last event is deleted."""
    connection = stored(
        [event(day * DAY, session_id="s-1", budgets=("big",), cost_estimate_usd=0.5) for day in (0, 1, 2)]
        + [event(90 * DAY, session_id="s-2", budgets=("big",), cost_estimate_usd=0.25)]
    )
    while forget(connection, Keep(days=10), START + timedelta(days=90)):
        pass
    assert connection.execute("SELECT id FROM sessions").fetchall() == [("s-2",)]
    assert [spent_in_all(connection, Filter(session="s-1", budget=b)) for b in ("big", None, "al")] == [1.5, 1.5, 0.0]
    assert dict(spent_by(connection, ("session",), Filter(budget="big"), 9)) == {("s-1",): 1.5, ("s-2",): 0.25}
    connection.close()


def test_budgets_are_asked_of_sums_not_of_events() -> None:
    """A month of a million events is as quick as one of a thousand: no event is read for any budget's question."""
    connection = stored([])
    for where, by in (
        (Filter(budget="big"), ()),
        (Filter(key="ci", since=START.replace(hour=0, minute=0, second=0)), ()),
        (Filter(session="s-1", budget="big"), ()),
        (Filter(), ("session",)),
    ):
        asked: list[str] = []
        connection.set_trace_callback(asked.append)
        spent_by(connection, by, where, 9)
        connection.set_trace_callback(None)
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {asked[0]}")]
        assert not any(line.startswith("SCAN events") for line in plan), plan
        assert any("rowid<?" in line or "events_" in line for line in plan if "events" in line), plan
        assert where.session is None or any("spending_session" in line for line in plan), plan
    connection.close()


def test_what_is_remembered_stays_small() -> None:
    """What is older than any period is folded into sums without a time, from the next deletion on."""
    connection = stored([event(n * DAY, project=f"p{n % 2}", cost_estimate_usd=1.0) for n in range(61)])
    remembered = "SELECT slot != '', project, total(cost_usd), count(*) FROM spending GROUP BY 1, 2 ORDER BY 1, 2"
    for day, expected in (
        (59, [(0, "p0", 10.0, 1), (0, "p1", 9.0, 1), (1, "p0", 21.0, 21), (1, "p1", 21.0, 21)]),
        (120, [(0, "p0", 31.0, 1), (0, "p1", 30.0, 1)]),
    ):
        while forget(connection, Keep(days=1), START + timedelta(days=day)):
            pass
        assert connection.execute(remembered).fetchall() == expected
    connection.close()
