"""What steps of `engine.store.migrations` put off: work on all the events of an older file, done in slices while the gateway serves.

Rules kept here:

- A slice and how far it came are committed together: a kill at any moment loses nothing and does nothing twice. It takes some
  tens of milliseconds, for which a commit waits at most.
- The newest events come first. Those from now on are counted by triggers and are no part of it.
- An index cannot be made in slices. It is made in a moment in which nobody has asked for a while (a second or two for a million
  events, once in a file's life); lists are found without it, more slowly.
- `upgrades` tells what is not done yet: whoever reads sums that are not whole says so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.store.migrations import CUBE, SAVED, SLOT, comparison, migrate
from engine.store.rows import ESTIMATED_USD, KNOWN_USD

SLICE = 500
"""Events of one slice."""

FEW = 2_000
"""Of so many events all of it is done at once, before the gateway serves."""

_SLOT = SLOT.replace("NEW.", "")


@dataclass(slots=True, frozen=True)
class Upgrading:
    """How far the work is that was put off."""

    done: float
    """Share of it."""
    sums: frozenset[str]
    """Which sums are not whole yet: `savings estimates spending`."""


def upgrading(connection: sqlite3.Connection) -> Upgrading | None:
    """How far a file is; None when nothing is left to do. Raises sqlite3.Error."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'upgrades'").fetchone() is None:
        return None  # of a version that put nothing off
    rows = connection.execute("SELECT name, newest, undone FROM upgrades").fetchall()
    left = {name for name, _, undone in rows if undone}
    if not left:
        return None
    done = 1.0 - sum(undone for _, _, undone in rows) / sum(newest for _, newest, _ in rows)
    return Upgrading(done, frozenset(left & _SLICED.keys()))


def up_to_date(connection: sqlite3.Connection) -> Upgrading | None:
    """Bring a file's tables up to date, and all of what was put off if it is about few events; what is left to `advance`.

    `connection` is in autocommit mode. Raises LedgerTooNew or sqlite3.Error.
    """
    migrate(connection)
    if (connection.execute("SELECT max(newest) FROM upgrades").fetchone()[0] or 0) <= FEW:
        while advance(connection, quiet=True):
            continue
    return upgrading(connection)


def advance(connection: sqlite3.Connection, *, quiet: bool) -> bool:
    """Do the next slice; whether anything is left that can be done now. `quiet`: nobody has asked for a while.

    To be called between transactions, by the connection that writes. Raises sqlite3.Error.
    """
    names = [row[0] for row in connection.execute("SELECT name FROM upgrades WHERE undone ORDER BY number")]
    able = [name for name in names if quiet or name in _SLICED]
    if not able:
        return False
    connection.execute("BEGIN IMMEDIATE")
    try:
        _work(connection, able[0])
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return True


def _work(connection: sqlite3.Connection, name: str) -> None:
    upper = connection.execute("SELECT undone FROM upgrades WHERE name = ?", (name,)).fetchone()[0]
    lower = 0
    if name in _SLICED:
        lower = max(upper - SLICE, 0)
        _SLICED[name](connection, lower, upper)
    else:
        for statement in _INDEXES[name]:
            connection.execute(statement)
    connection.execute("UPDATE upgrades SET undone = ? WHERE name = ?", (lower, name))
    connection.execute("DELETE FROM upgrades WHERE NOT EXISTS (SELECT 1 FROM upgrades WHERE undone)")


def _add_up(connection: sqlite3.Connection, lower: int, upper: int, added: Mapping[str, str]) -> None:
    """Add to the columns of all sums what the events of a slice make of them: column → SQL over an event."""
    sums = ", ".join(f"total({value}) AS {name}" for name, value in added.items())
    connection.execute(
        f"CREATE TEMP TABLE slice AS SELECT {_SLOT} AS slot, project, client, route_class, selected_provider AS provider, "  # noqa: S608
        f"selected_model AS model, session_id, {sums} FROM events WHERE rowid > ? AND rowid <= ? AND status != 'open' "
        f"GROUP BY slot, {CUBE}, session_id",
        (lower, upper),
    )
    cube = CUBE.split(", ")
    for table, keys, first in (
        ("usage", ["slot", *cube], "slot"),
        ("usage_days", ["day", *cube], "substr(slot, 1, 10)"),
        ("usage_slots", ["slot"], "slot"),
        ("sessions", ["id"], "session_id"),
    ):
        columns = ", ".join((f"{first} AS {keys[0]}", *keys[1:]))
        totals = ", ".join(f"total({name}) AS {name}" for name in added)
        new = ", ".join(f"{name} = {table}.{name} + s.{name}" for name in added)
        same = " AND ".join(f"{table}.{key} = s.{key}" for key in keys)
        grouped = ", ".join(str(n) for n in range(1, len(keys) + 1))
        connection.execute(
            f"UPDATE {table} SET {new} FROM (SELECT {columns}, {totals} FROM temp.slice GROUP BY {grouped}) AS s WHERE {same}"  # noqa: S608
        )
    connection.execute("DROP TABLE temp.slice")


def _savings(connection: sqlite3.Connection, lower: int, upper: int) -> None:
    _add_up(connection, lower, upper, dict(zip(SAVED, comparison(""), strict=True)))


def _estimates(connection: sqlite3.Connection, lower: int, upper: int) -> None:
    """What was told of an answer that broke off, or of one that was given up, was not recorded: all of it is taken for estimated."""
    _add_up(connection, lower, upper, {"estimated_usd": ESTIMATED_USD})


def _spending(connection: sqlite3.Connection, lower: int, upper: int) -> None:
    connection.execute(
        f"INSERT INTO spending SELECT {_SLOT} AS slot, budgets, project, client, key_name, session_id, total({KNOWN_USD}) "  # noqa: S608
        f"FROM events WHERE rowid > ? AND rowid <= ? AND status != 'open' AND {KNOWN_USD} != 0 GROUP BY 1, 2, 3, 4, 5, 6 "
        "ON CONFLICT DO UPDATE SET cost_usd = cost_usd + excluded.cost_usd",
        (lower, upper),
    )


_SLICED: Mapping[str, Callable[[sqlite3.Connection, int, int], None]] = {
    "savings": _savings,
    "estimates": _estimates,
    "spending": _spending,
}
"""Work on the events whose row numbers are above the first bound, up to the second."""

_INDEXES: Mapping[str, tuple[str, ...]] = {
    "index_timestamp": (
        "DROP INDEX events_timestamp",
        "DROP INDEX events_model",
        """
        CREATE INDEX events_timestamp ON events (timestamp, cost_estimate_usd, cost_reported_usd, wasted_usd,
            client, agent, route_class, selected_provider, selected_model)
        """,
    ),
    "index_agent": ("CREATE INDEX events_agent ON events (agent, timestamp) WHERE agent != ''",),
    "index_key": ("CREATE INDEX events_key ON events (key_name, timestamp) WHERE key_name != ''",),
}
