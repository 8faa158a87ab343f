"""Older files: served at once, brought up to date in slices, right at every moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.store import upgrades
from engine.store.detail import Details
from engine.store.event import Event
from engine.store.migrations import MIGRATIONS, SUMS, migrate
from engine.store.pots import spent_by, spent_of
from engine.store.retention import Keep
from engine.store.rows import COLUMNS, SAVE, Filter, row_of
from engine.store.upgrades import advance, up_to_date, upgrading
from engine.store.writer import QUIET, TIDY_AFTER, Writer
from tests.store.builders import START, event

FORMATS = (8, 10, 12, 13)
"""Without an index, comparison or spending; each was some build's own."""

EVENTS = st.builds(
    lambda number, **fields: event(number * 400, **fields),
    number=st.integers(0, 400),
    status=st.sampled_from(["success", "fallback_success", "error", "open"]),
    session_id=st.sampled_from(["", "s-1", "s-2"]),
    project=st.sampled_from(["", "shop"]),
    budgets=st.sampled_from([(), ("all",), ("all", "big")]),
    selected_provider=st.sampled_from(["", "a"]),
    selected_model=st.sampled_from(["", "m"]),
    cost_basis=st.sampled_from(["usage", "sizes", "partial"]),
    cost_estimate_usd=st.none() | st.integers(0, 64).map(lambda n: n / 64),
    wasted_usd=st.none() | st.just(0.25),
    requested_usd=st.none() | st.integers(0, 64).map(lambda n: n / 64),
)


def older(version: int, events: list[Event], path: str = ":memory:") -> sqlite3.Connection:
    """A file as a gateway of that format left it, which put nothing off."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for number, step in enumerate(MIGRATIONS[:version], 1):
        step(connection)
        connection.execute(f"PRAGMA user_version = {number}")
    if version > FORMATS[0]:
        while advance(connection, quiet=True):
            pass
        connection.execute("DROP TABLE upgrades")
    have = {row[1] for row in connection.execute("PRAGMA table_info(events)")}
    for one in events:
        _save(connection, one, have)
    return connection


def _save(connection: sqlite3.Connection, one: Event, have: set[str]) -> None:
    cells = zip((*COLUMNS, "detail"), row_of(one, Details(connection)), strict=True)
    row: dict[str, Any] = {name: value for name, value in cells if name in have}
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO events ({', '.join(row)}) VALUES ({marks})", [*row.values()])


def _as_new(one: Event) -> Event:
    """The event as the present gateway would have recorded it."""
    guessed = (one.cost_usd or 0.0 if one.cost_basis != "usage" else 0.0) + (one.wasted_usd or 0.0)
    status = "interrupted" if one.status == "open" else one.status
    return replace(one, status=status, estimated_usd=guessed or None)


def _all_sums(connection: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    return {name: sorted(connection.execute(f"SELECT * FROM {name}")) for name in (*SUMS, "spending")}


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrades, "SLICE", 3)


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("version", FORMATS)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=st.lists(EVENTS, max_size=12, unique_by=lambda one: one.id),
    later=st.lists(EVENTS, max_size=6, unique_by=lambda one: one.id),
)
def test_an_older_file_is_right_at_every_moment(version: int, events: list[Event], later: list[Event]) -> None:
    """What is spent is known before, between and after all slices, though requests go on and every slice is at first cut off by
    a kill; in the end all sums are those of a file that was never old.
    """
    later = [replace(one, id=f"f{one.id[1:]}", status="success") for one in later]
    connection = older(version, events)
    migrate(connection)
    known = [_as_new(one) for one in events]
    waiting, more = [*later], True
    while more or waiting:
        for where in (Filter(), Filter(budget="big"), Filter(session="s-1"), Filter(project="shop", since=START)):
            assert spent_by(connection, (), where, 9) == [((), sum(usd for _, usd in spent_of(known, (), where)))]
        undone = connection.execute("SELECT name FROM upgrades WHERE undone ORDER BY number").fetchone()
        if undone is not None:
            connection.execute("BEGIN IMMEDIATE")
            upgrades._work(connection, undone[0])
            connection.execute("ROLLBACK")
        more = advance(connection, quiet=True)
        if waiting:
            known.append(waiting.pop())
            connection.execute(SAVE, row_of(known[-1], Details(connection)))
    assert upgrading(connection) is None
    fresh = sqlite3.connect(":memory:", isolation_level=None)
    up_to_date(fresh)
    for one in known:
        fresh.execute(SAVE, row_of(one, Details(fresh)))
    assert _all_sums(connection) == _all_sums(fresh)
    assert _tables(connection) == _tables(fresh)
    connection.close()
    fresh.close()


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")}


def test_a_small_file_is_brought_up_to_date_at_once() -> None:
    """Nothing is put off that takes no time, and a new file has nothing to put off."""
    connection = older(8, [event(1, cost_estimate_usd=0.5)])
    assert up_to_date(connection) is None
    assert connection.execute("SELECT count(*) FROM upgrades").fetchone() == (0,)
    connection.close()


class Clocked:
    """A writer on a file whose clock stands still unless it is told to go on, and what it logged."""

    def __init__(self, path: Path) -> None:
        self.now = 0.0
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.writer = Writer(
            path, lambda event, **more: self.told.append((event, more)), lambda: self.now, lambda: START
        )
        self.writer.keep = Keep(days=3650)
        self.writer.open()

    def tidied(self) -> Iterator[None]:
        """Each time that something is due, up to the moment when all is done."""
        self.now += TIDY_AFTER
        while self.writer.upgrading is not None:
            self.writer.tidy()
            yield
            self.now += max(self.writer.tidy_in, 0.0)


def test_the_writer_does_it_between_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It opens with the work put off, tells how far it is, does an index only when nobody asks, and says when all is done;
    events come through meanwhile, a restart goes on where it stopped, and nothing is deleted before it is counted.
    """
    monkeypatch.setattr(upgrades, "FEW", 10)
    monkeypatch.setattr(upgrades, "SLICE", 20)
    path = tmp_path / "ledger.sqlite"
    older(8, [event(n, cost_estimate_usd=0.5, session_id="s") for n in range(200)], str(path)).close()
    first = Clocked(path)
    assert (first.writer.ok, first.writer.upgrading and first.writer.upgrading.done) == (True, 0.0)
    busy = first.tidied()
    for number in range(12):
        next(busy)
        first.writer.save([event(1_000 + number, cost_estimate_usd=0.25)])
        indexes = first.writer._connection.execute("SELECT name FROM sqlite_master WHERE name = 'events_agent'")  # type: ignore[union-attr]
        assert indexes.fetchone() is None
    assert first.writer.upgrading is not None
    assert 0 < first.writer.upgrading.done < 1
    first.writer._connection.close()  # type: ignore[union-attr]  # no orderly end

    second = Clocked(path)
    second.now += QUIET
    begun = second.writer.upgrading
    assert begun is not None
    assert begun.done == first.writer.upgrading.done
    for _ in second.tidied():
        pass
    *before, last = (name for name, _ in second.told)
    assert (set(before), last) == ({"ledger_upgrading"}, "ledger_upgraded")
    assert second.writer._connection is not None
    assert spent_by(second.writer._connection, (), Filter(), 9) == [((), 103.0)]
    second.writer.close()
