"""How long events are kept: by age and by the size of the file, the oldest go first, and what goes is overwritten.

Deleting is done in small steps between commits, so that no request waits for it. Sums by session go with the session's last
event; sums by time hold no names but those of projects, clients and models, and stay for `SUMS_DAYS`, so that a year's cost is
known when its events are gone. What was spent is kept for good, by what budgets ask for, so that none of them grows by forgetting:
after the longest period without its time, and with its session only where it counted for a budget.

A dictionary quotes the events that it was made of (names and paths, no text of a request). So it is used no more as soon as an event
packed with it goes, and goes with the last of those: after twice the time that events are kept, at the latest.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from engine.store.detail import NUMBER, number_of
from engine.store.event import timestamp_of

STEP = 100
"""Events deleted at once: some milliseconds."""

PAGES = 200
"""Pages given back to the disk at once."""

SUMS_DAYS = 400

PERIOD_DAYS = 40
"""Days after which no budget's day or month goes on."""


@dataclass(slots=True, frozen=True)
class Keep:
    """What is kept: events of the last `days`, in a file of about `mib` MiB."""

    days: int = 90
    mib: int = 2048


def forget(connection: sqlite3.Connection, keep: Keep, now: datetime) -> bool:
    """Delete one step of what is too old, or too much; True when there is more. Raises sqlite3.Error.

    To be called between transactions, by the connection that writes.
    """
    bound = _bound(connection, keep, now)
    if bound is None:
        return False
    connection.execute("BEGIN IMMEDIATE")
    try:
        gone = connection.execute(
            "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE timestamp < ? ORDER BY timestamp LIMIT ?) "  # noqa: S608
            f"RETURNING substr(detail, 1, {NUMBER})",
            (bound, STEP),
        ).fetchall()
        _retire({number_of(row[0]) for row in gone}, connection, now)
        _fold_spending(connection, now)
        oldest = connection.execute("SELECT min(timestamp) FROM events").fetchone()[0] or bound
        connection.execute("DELETE FROM violations WHERE timestamp < ?", (oldest,))
        connection.execute("DELETE FROM sessions WHERE last < ?", (oldest,))
        connection.execute("DELETE FROM dictionaries WHERE until < ?", (oldest,))
        oldest_sum = timestamp_of(now - timedelta(days=SUMS_DAYS))[:10]
        for table, column in (("usage", "slot"), ("usage_days", "day"), ("usage_slots", "slot")):
            connection.execute(f"DELETE FROM {table} WHERE {column} < ?", (oldest_sum,))  # noqa: S608 - our own words
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return bool(gone)


def _retire(numbers: Iterable[int], connection: sqlite3.Connection, now: datetime) -> None:
    """The dictionary in use, if it is among these, is no longer; whoever packs asks for that (`Details.review`)."""
    for number in numbers:
        retired = (timestamp_of(now), number)
        connection.execute("UPDATE dictionaries SET until = ? WHERE number = ? AND until IS NULL", retired)


def _fold_spending(connection: sqlite3.Connection, now: datetime) -> None:
    """Beyond the longest period nobody asks when something was spent."""
    longest = timestamp_of(now - timedelta(days=PERIOD_DAYS))[:16]
    connection.execute(
        "INSERT INTO spending SELECT '', budgets, project, client, key_name, iif(budgets = '', '', session_id) AS session, "
        "total(cost_usd) FROM spending WHERE slot != '' AND slot < ? GROUP BY budgets, project, client, key_name, session "
        "ON CONFLICT DO UPDATE SET cost_usd = cost_usd + excluded.cost_usd",
        (longest,),
    )
    connection.execute("DELETE FROM spending WHERE slot != '' AND slot < ?", (longest,))


def shrink(connection: sqlite3.Connection) -> bool:
    """Give a step's worth of deleted pages back to the disk; True when there are more. Raises sqlite3.Error.

    After the last one nothing of what went is left in the log beside the file either.
    """
    before = _free(connection)
    connection.executescript(f"PRAGMA incremental_vacuum({PAGES})")  # `execute` gives back one page only
    left = _free(connection)
    if left and left < before:
        return True
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return False


def _free(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something."""
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _bound(connection: sqlite3.Connection, keep: Keep, now: datetime) -> str | None:
    """Events before this timestamp go in this step; None when all may stay."""
    oldest = connection.execute("SELECT min(timestamp) FROM events").fetchone()[0]
    if oldest is None:
        return None
    bound = timestamp_of(now - timedelta(days=keep.days))
    if used_bytes(connection) > keep.mib << 20:
        row = connection.execute("SELECT timestamp FROM events ORDER BY timestamp LIMIT 1 OFFSET ?", (STEP,)).fetchone()
        # The newest ones stay whatever the size: a file with nothing in it says nothing.
        bound = max(bound, row[0]) if row is not None else bound
    return bound if oldest < bound else None
