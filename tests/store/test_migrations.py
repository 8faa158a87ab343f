"""The ledger's tables through time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from engine.store import migrations
from engine.store.migrations import MIGRATIONS, LedgerTooNew, migrate
from engine.store.rows import COLUMNS, KNOWN_USD, SAVE, row_of
from tests.store.builders import full


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


def test_the_table_has_a_column_for_every_field(connection: sqlite3.Connection) -> None:
    """Tables and events agree: a new field needs a new step."""
    migrate(connection)
    assert columns(connection) == set(COLUMNS)


def test_a_step_keeps_what_is_there(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later step finds the rows of the earlier format."""
    migrate(connection)
    connection.execute(SAVE, row_of(full()))
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
    migrate(connection)
    plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", ("x",)))
    assert index in plan
