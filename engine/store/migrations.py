"""The ledger's tables, as the list of steps that made them.

Append only: a released step never changes. The number of steps taken is kept in the file (`user_version`), and each step and
its number are committed together, so an interrupted migration goes on where it stopped.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable


class LedgerTooNew(Exception):
    """The file was written by a newer version of the gateway, whose tables this one does not know."""


def _events(connection: sqlite3.Connection) -> None:
    connection.execute(
        """
        CREATE TABLE events (
            id TEXT PRIMARY KEY,
            timestamp TEXT NOT NULL,
            client TEXT NOT NULL,
            protocol TEXT NOT NULL,
            session_id TEXT NOT NULL DEFAULT '',
            repo_path TEXT NOT NULL DEFAULT '',
            route_class TEXT NOT NULL DEFAULT '',
            requested_model TEXT NOT NULL DEFAULT '',
            selected_provider TEXT NOT NULL DEFAULT '',
            selected_model TEXT NOT NULL DEFAULT '',
            fallback_chain TEXT NOT NULL DEFAULT '[]',
            input_tokens INTEGER,
            output_tokens INTEGER,
            cached_input_tokens INTEGER,
            cost_estimate_usd REAL,
            latency_ms REAL NOT NULL DEFAULT 0,
            cache_hit INTEGER NOT NULL DEFAULT 0,
            status TEXT NOT NULL,
            error_class TEXT NOT NULL DEFAULT '',
            client_version TEXT NOT NULL DEFAULT '',
            agent TEXT NOT NULL DEFAULT '',
            project TEXT NOT NULL DEFAULT '',
            stream INTEGER NOT NULL DEFAULT 0,
            http_status INTEGER,
            class_rule TEXT NOT NULL DEFAULT '',
            facts TEXT NOT NULL DEFAULT '{}',
            decision TEXT NOT NULL DEFAULT '{}',
            losses TEXT NOT NULL DEFAULT '[]',
            attempts TEXT NOT NULL DEFAULT '[]',
            policy TEXT NOT NULL DEFAULT '',
            cache_write_tokens INTEGER,
            reasoning_tokens INTEGER,
            cost_reported_usd REAL,
            cost_provenance TEXT NOT NULL DEFAULT '',
            price_table TEXT NOT NULL DEFAULT '',
            stop_reason TEXT NOT NULL DEFAULT '',
            first_event_ms REAL,
            request_digest TEXT NOT NULL DEFAULT '',
            gateway_version TEXT NOT NULL DEFAULT ''
        )
        """
    )
    # With the costs in it, what was spent since a moment is read from the index alone.
    connection.execute("CREATE INDEX events_timestamp ON events (timestamp, cost_estimate_usd, cost_reported_usd)")
    connection.execute("CREATE INDEX events_session ON events (session_id, timestamp)")
    connection.execute("CREATE INDEX events_status ON events (status, timestamp)")


def _inputs(connection: sqlite3.Connection) -> None:
    """What a decision depended on beside the facts, and the way it took."""
    connection.execute("ALTER TABLE events ADD COLUMN availability TEXT NOT NULL DEFAULT '{}'")
    connection.execute("ALTER TABLE events ADD COLUMN path TEXT NOT NULL DEFAULT '[]'")


def _shadow(connection: sqlite3.Connection) -> None:
    """What a watching policy would have done."""
    connection.execute("ALTER TABLE events ADD COLUMN shadow TEXT NOT NULL DEFAULT '{}'")


def _money(connection: sqlite3.Connection) -> None:
    """What a cost rests on, what was paid for nothing, and what the model asked for would have cost."""
    connection.execute("ALTER TABLE events ADD COLUMN cost_basis TEXT NOT NULL DEFAULT ''")
    connection.execute("ALTER TABLE events ADD COLUMN wasted_usd REAL")
    connection.execute("ALTER TABLE events ADD COLUMN requested_usd REAL")
    connection.execute("DROP INDEX events_timestamp")
    connection.execute(
        "CREATE INDEX events_timestamp ON events (timestamp, cost_estimate_usd, cost_reported_usd, wasted_usd)"
    )


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_events, _inputs, _shadow, _money)


def migrate(connection: sqlite3.Connection) -> int:
    """Bring the tables up to date; the number of steps taken now. `connection` is in autocommit mode.

    Raises LedgerTooNew, or sqlite3.Error and then leaves the tables as the last whole step made them.
    """
    taken = 0
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            more = _step(connection)
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        if not more:
            return taken
        taken += 1


def _step(connection: sqlite3.Connection) -> bool:
    """Take the next step; False if there is none."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise LedgerTooNew(f"the ledger has format {version}, this gateway knows {len(MIGRATIONS)}")
    if version == len(MIGRATIONS):
        return False
    MIGRATIONS[version](connection)
    connection.execute(f"PRAGMA user_version = {version + 1}")
    return True
