"""The ledger's tables through time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from typing import Any

import orjson
import pytest

from engine.store import migrations
from engine.store.detail import Details
from engine.store.event import AttemptEvent, Event, attempt_json
from engine.store.migrations import MIGRATIONS, LedgerTooNew, migrate
from engine.store.rows import ANY, COLUMNS, KNOWN_USD, SAVE, fetch, row_of
from engine.store.upgrades import up_to_date
from tests.store.builders import event, full


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(":memory:", isolation_level=None)
    yield opened
    opened.close()


def columns(connection: sqlite3.Connection) -> set[str]:
    return {row[1] for row in connection.execute("PRAGMA table_info(events)")}


def test_a_new_file_gets_all_steps_once(connection: sqlite3.Connection) -> None:
    """The first call takes every step, the second none."""
    assert (migrate(connection), migrate(connection)) == (len(MIGRATIONS), 0)


def test_the_table_has_the_columns_that_are_written(connection: sqlite3.Connection) -> None:
    """Tables and rows agree: a field that shall have a column of its own needs a new step, any other does not."""
    migrate(connection)
    assert columns(connection) == {*COLUMNS, "detail"}


def test_a_step_keeps_what_is_there(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later step finds the rows of the earlier format."""
    migrate(connection)
    connection.execute(SAVE, row_of(full(), Details(connection)))
    later = lambda c: c.execute("ALTER TABLE events ADD COLUMN added TEXT NOT NULL DEFAULT 'new'")  # noqa: E731
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, later))
    assert (migrate(connection), connection.execute("SELECT id, added FROM events").fetchall()) == (
        1,
        [(full().id, "new")],
    )


def test_a_step_that_fails_changes_nothing(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken step is undone as a whole, and the next start tries it again."""
    migrate(connection)

    def broken(c: sqlite3.Connection) -> None:
        c.execute("ALTER TABLE events ADD COLUMN half TEXT")
        c.execute("ALTER TABLE nothing ADD COLUMN whole TEXT")

    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, broken))
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection)
    assert ("half" in columns(connection), connection.in_transaction) == (False, False)


def test_a_newer_file_is_left_alone(connection: sqlite3.Connection) -> None:
    """Tables of a later version are not touched."""
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(LedgerTooNew, match=f"format {len(MIGRATIONS) + 1}"):
        migrate(connection)
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT id FROM events WHERE session_id = ? ORDER BY timestamp", "events_session"),
        ("SELECT id FROM events WHERE project = ? ORDER BY timestamp DESC LIMIT 50", "events_project"),
        (
            "SELECT detail FROM events WHERE selected_model = ? ORDER BY timestamp DESC, id DESC LIMIT 50",
            "events_timestamp",
        ),
        (
            "SELECT detail FROM events WHERE client = ? AND agent = ? ORDER BY timestamp DESC LIMIT 50",
            "events_timestamp",
        ),
        (
            "SELECT id FROM events WHERE agent = ? AND agent != '' ORDER BY timestamp DESC, id DESC LIMIT 50",
            "events_agent",
        ),
        (
            "SELECT id FROM events WHERE key_name = ? AND key_name != '' ORDER BY timestamp DESC, id DESC LIMIT 50",
            "events_key",
        ),
        ("SELECT project, total(cost_usd) FROM usage_days WHERE day >= ? GROUP BY project", "PRIMARY KEY (day>?)"),
        ("SELECT id FROM sessions ORDER BY last DESC LIMIT 50", "sessions_last"),
        ("SELECT project, total(cost_usd) FROM usage WHERE slot >= ? GROUP BY project", "PRIMARY KEY (slot>?)"),
        ("SELECT id FROM events WHERE status = ? ORDER BY timestamp", "events_status"),
        ("SELECT id FROM events WHERE timestamp >= ?", "events_timestamp"),
        (
            f"SELECT total({KNOWN_USD}) FROM events WHERE timestamp >= ?",
            "COVERING INDEX events_timestamp",
        ),
    ],
)
def test_queries_use_their_index(connection: sqlite3.Connection, query: str, index: str) -> None:
    """The usual questions are answered from an index."""
    up_to_date(connection)
    plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", ("x",) * query.count("?")))
    assert index in plan


def test_what_an_earlier_version_wrote_is_packed(connection: sqlite3.Connection) -> None:
    """Events of the format before come back whole, and are in the sums."""
    connection.execute("PRAGMA foreign_keys = OFF")
    for number, step in enumerate(MIGRATIONS[:4], 1):
        step(connection)
        connection.execute(f"PRAGMA user_version = {number}")
    old, least = full(1), event(2, cost_estimate_usd=0.5)
    for made in (old, least):
        values = {name: _unpacked(value) for name, value in ((f.name, getattr(made, f.name)) for f in fields(Event))}
        known = {row[1] for row in connection.execute("PRAGMA table_info(events)")}
        values = {name: value for name, value in values.items() if name in known}
        marks = ", ".join(f":{name}" for name in values)
        connection.execute(f"INSERT INTO events ({', '.join(values)}) VALUES ({marks})", values)
    up_to_date(connection)
    later = [f for f in fields(Event) if f.name not in known]
    kept = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in later}
    found = fetch(connection, Details(connection), ANY, order="id", limit=9)
    assert found == [replace(old, **kept), replace(least, **kept)]
    assert connection.execute("SELECT sum(requests), total(cost_usd) FROM usage").fetchone() == (2, 1.125)
    assert connection.execute("SELECT id, requests, cost_usd FROM sessions").fetchall() == [("s-1", 1, 0.625)]


def _unpacked(value: Any) -> Any:
    """A field as the first formats stored it."""
    if isinstance(value, tuple):
        return orjson.dumps([attempt_json(v) if isinstance(v, AttemptEvent) else v for v in value]).decode()
    return orjson.dumps(value).decode() if isinstance(value, dict) else value
