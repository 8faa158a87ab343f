"""Reading the ledger: what happened lately, one event, what was spent, everything for an export.

A reader has a connection of its own that cannot write; WAL lets it read while the gateway writes. Queries are short and held
by no transaction, so a long export never keeps the log from being checkpointed.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from engine.llm.messages import JsonObject
from engine.store.detail import Details
from engine.store.event import Event, timestamp_of
from engine.store.pots import Spent, spent_by, spent_in_all, whole_slot
from engine.store.rows import ANY, Condition, Filter, count, fetch, select
from engine.store.search import newest
from engine.store.sums import SESSION_COLUMNS, SessionSum, chosen_violations, session_of

if TYPE_CHECKING:
    from engine.policy.replay import Record

BUSY_MS = 2_000
"""How long a statement waits for another process that holds the file."""

SHORTEST_PREFIX = 8
"""Characters of an id's beginning that may stand for it."""

_OLDEST_FIRST = "timestamp, id"


_T = TypeVar("_T")


class Reader:
    """Queries on a ledger file. Use it as a context manager, or `close` it. All methods raise sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        """Opens the file; an error for one that does not exist or is no ledger comes with the first query."""
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        self._details = Details(self._connection)
        # One connection serves several threads, one at a time.
        self._lock = threading.Lock()

    def recent(self, limit: int = 50, where: Filter = ANY) -> list[Event]:
        """The newest events, newest first."""
        with self._lock:
            return newest(self._connection, self._details, where, limit)

    def get(self, event_id: str) -> Event | None:
        """The event of that id, or of the one id that begins so (at least 8 characters); None if there is none."""
        extra: list[Condition] = [("id = ?", (event_id,))]
        if len(event_id) >= SHORTEST_PREFIX:
            # "g" follows every hex digit.
            extra = [("id >= ? AND id < ?", (event_id, event_id + "g"))]
        with self._lock:
            found = fetch(self._connection, self._details, ANY, extra=extra, order="id", limit=2)
        if found and found[0].id == event_id:
            return found[0]
        return found[0] if len(found) == 1 else None

    def sessions(self, limit: int = 50, *, project: str | None = None) -> list[SessionSum]:
        """Sums of the sessions with the newest requests, newest first."""
        clause, values = (" WHERE project = ?", (project,)) if project is not None else ("", ())
        query = f"SELECT {SESSION_COLUMNS} FROM sessions{clause} ORDER BY last DESC LIMIT ?"  # noqa: S608
        with self._lock:
            return [session_of(row) for row in self._connection.execute(query, (*values, limit))]

    def session_count(self, *, project: str | None = None) -> int:
        """How many sessions there are."""
        clause, values = (" WHERE project = ?", (project,)) if project is not None else ("", ())
        with self._lock:
            return int(self._connection.execute(f"SELECT count(*) FROM sessions{clause}", values).fetchone()[0])  # noqa: S608

    def violations(self, limit: int = 50, *, kind: str | None = None, rule: str | None = None) -> list[JsonObject]:
        """The newest violations, each as an event of its own, newest first."""
        asked = [(f"{name} = ?", value) for name, value in (("kind", kind), ("rule", rule)) if value is not None]
        clause = " WHERE " + " AND ".join(condition for condition, _ in asked) if asked else ""
        query = f"SELECT DISTINCT event_id FROM violations{clause} ORDER BY timestamp DESC, event_id DESC LIMIT ?"  # noqa: S608
        with self._lock:
            names = [row[0] for row in self._connection.execute(query, (*(value for _, value in asked), limit))]
            found: list[Event] = []
            for name in names:
                found += fetch(self._connection, self._details, ANY, extra=[("id = ?", (name,))], order="id", limit=1)
        return chosen_violations(found, kind, rule)[:limit]

    def spend(self, where: Filter = ANY) -> float:
        """USD spent on the requests that `where` wants, as far as costs are known."""
        with self._lock:
            if where.since is not None and where == Filter(since=where.since) and whole_slot(where.since):
                # Since a midnight, in any zone: some thousand sums instead of a million events, at every start.
                query = "SELECT total(cost_usd) FROM usage_slots WHERE slot >= ?"
                return float(self._connection.execute(query, (timestamp_of(where.since)[:16],)).fetchone()[0])
            return spent_in_all(self._connection, where)

    def pots(self, by: Sequence[str], where: Filter = ANY, limit: int = 1_000) -> Spent:
        """What each of the values of `by` (`project session client key`) spent, the largest first; requests without one apart."""
        with self._lock:
            return spent_by(self._connection, by, where, limit)

    def ask(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        """What a query of somebody else's gives."""
        with self._lock:
            return query(self._connection)

    def count(self, where: Filter = ANY) -> int:
        """How many events `where` wants."""
        with self._lock:
            return count(self._connection, where)

    def events(self, where: Filter = ANY, *, batch: int = 500) -> Iterator[Event]:
        """All events that `where` wants, oldest first, read `batch` at a time."""
        after: list[Condition] = []
        while True:
            with self._lock:
                found = fetch(self._connection, self._details, where, extra=after, order=_OLDEST_FIRST, limit=batch)
            yield from found
            if len(found) < batch:
                return
            after = [_after(found[-1].timestamp, found[-1].id)]

    def records(self, where: Filter = ANY, *, batch: int = 500) -> Iterator[Record]:
        """The same as a dry run needs them, without those under way: half the work of whole events."""
        from engine.store.records import RECORDED, record_of_row  # noqa: PLC0415  replaying is not for the gateway's start

        after: list[Condition] = [("status != ?", ("open",))]
        while True:
            with self._lock:
                found = select(self._connection, RECORDED, where, extra=after, order=_OLDEST_FIRST, limit=batch)
                made = [record_of_row(row, self._details) for row in found]
            yield from made
            if len(found) < batch:
                return
            after = [after[0], _after(found[-1][1], found[-1][0])]

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _after(timestamp: str, event_id: str) -> Condition:
    return "(timestamp, id) > (?, ?)", (timestamp, event_id)


def find(events: list[Event], event_id: str) -> Event | None:
    """The event with that id, or the only one whose id begins so."""
    if len(event_id) < SHORTEST_PREFIX:
        return None
    found = [event for event in events if event.id.startswith(event_id)]
    return found[0] if len(found) == 1 else None


def spent(events: list[Event], where: Filter) -> float:
    """USD spent on those of `events` that `where` wants, as far as costs are known."""
    return sum(event.total_usd or 0.0 for event in events if where.matches(event))
