"""The ledger: one row per request in SQLite, safe before the client has its last byte.

Rules kept here:

- One thread writes; the event loop never commits. What waits when the thread is free is committed together, and everyone who
  waited is told in one call into the loop.
- `complete` is fulfilled when the row is committed. WAL with synchronous=NORMAL keeps it through a kill of the process; only
  a crash of the machine may lose the newest rows, never damage the file.
- A request under way has a row with status `open` within milliseconds; the next start makes what was left open
  `interrupted`.
- A ledger that can't write costs no request: `complete` is fulfilled all the same, `ok` is False, the newest events stay in
  memory and are written when the file works again.
- The file is readable by its owner only, and what is deleted is overwritten.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from engine.llm.messages import JsonObject
from engine.store.detail import Details
from engine.store.event import Event
from engine.store.migrations import LedgerTooNew, migrate
from engine.store.reader import BUSY_MS, SHORTEST_PREFIX, Reader
from engine.store.retention import Keep, forget, shrink
from engine.store.rows import ANY, SAVE, SAVE_VIOLATION, Filter, row_of, violations_of
from engine.store.sums import SessionSum, chosen_violations, sum_sessions

OPEN_DELAY = 0.01
"""A request under way gets its row after one to two times these seconds. What is complete by then, refusals and the answers
of the cache, is written once instead of twice."""

BATCH = 500
"""About as many events are committed together at most."""

RETRY = 5.0
"""Seconds between two tries to write to a file that failed."""

TIDY = 300.0
"""Seconds between two looks for events that need not be kept."""

TIDY_AFTER = 5.0
"""Seconds after the start before the first look: a start has other things to do."""

TIDY_PAUSE = 0.02
"""Seconds between two steps of deleting, for those who wait for a commit."""

KEPT_IN_MEMORY = 1_000
"""Events kept while the file can't be written; the oldest go first."""

_T = TypeVar("_T")

_WAL_LIMIT = 16 * 1024 * 1024

_UNSUITABLE = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    ArithmeticError,
    TypeError,
    ValueError,
)
"""What a value that no column takes raises; the file is not to blame."""

_Done = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]
_Job = tuple[Event, _Done | None]


def _now() -> datetime:
    return datetime.now(UTC)


def read_only(path: Path) -> Reader:
    """The queries on the ledger at `path`, also beside a gateway that writes to it. A context manager."""
    return Reader(path)


class Ledger:
    """Events in a SQLite file. `start` it once, then use it from one event loop; `close` it from any thread."""

    def __init__(
        self,
        path: Path,
        *,
        log: Callable[..., None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _now,
        keep: Keep | None = None,
    ) -> None:
        """`log(event, **fields)` is told once when writing begins to fail, and once when it works again."""
        self._path = path
        self._log = log or _silent
        self._writer = _Writer(path, self._log, monotonic, now)
        if keep is not None:
            self._writer.keep = keep
        self._queue: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._fresh: dict[str, Event] = {}
        self._aging: dict[str, Event] = {}
        """Opened, and seen by one tick: the next one hands them to the writer."""
        self._ticking = False
        self._completed: list[_Job] = []
        """Completed in this turn of the event loop. Waking a thread costs more than all else here, so it is done once a turn."""
        self._reader: Reader | None = None
        # Lists are asked for in other threads than the loop's.
        self._opening = threading.Lock()

    @property
    def ok(self) -> bool:
        """Whether events reach the file."""
        return self._writer.ok

    def keep(self, keep: Keep) -> None:
        """Keep so much from now on."""
        self._writer.keep = keep

    def start(self) -> None:
        """Open the file, bring its tables up to date, mark what an earlier run left open, start the writer thread.

        Never raises: a file that can't be used makes `ok` False.
        """
        self._writer.open()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def open(self, event: Event) -> None:
        """A request has begun. Called in the event loop; takes a microsecond."""
        self._fresh[event.id] = event
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(OPEN_DELAY, self._tick)

    def complete(self, event: Event) -> Awaitable[None]:
        """A request has ended; await the result to know its row safe. Written even if nobody awaits it."""
        if self._fresh.pop(event.id, None) is None:
            self._aging.pop(event.id, None)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        if self._thread is None:
            future.set_result(None)
            return future
        if not self._completed:
            loop.call_soon(self._hand_over)
        self._completed.append((event, (loop, future)))
        return future

    def close(self) -> None:
        """Write what is left, fold the log into the file and close it. Safe to call twice."""
        self._hand_over()
        if self._thread is not None:
            self._queue.put([(event, None) for event in (*self._aging.values(), *self._fresh.values())])
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def recent(self, limit: int = 50, where: Filter = ANY) -> list[Event]:
        """The newest events, newest first."""
        unsaved = self._unsaved()
        saved: list[Event] = self._ask(lambda reader: reader.recent(limit, where), [])
        found = {event.id: event for event in saved}
        for event in unsaved:
            found.pop(event.id, None)
            if where.matches(event):
                found[event.id] = event
        return sorted(found.values(), key=lambda event: (event.timestamp, event.id), reverse=True)[:limit]

    def get(self, event_id: str) -> Event | None:
        """The event of that id, or of the one id that begins so (at least 8 characters); None if there is none."""
        return _find(self._unsaved(), event_id) or self._ask(lambda reader: reader.get(event_id), None)

    def sessions(self, limit: int = 50, *, project: str | None = None) -> list[SessionSum]:
        """Sums of the sessions with the newest requests, newest first, as far as they are in the file."""
        return self._ask(lambda reader: reader.sessions(limit, project=project), [])

    def violations(self, limit: int = 50, *, kind: str | None = None, rule: str | None = None) -> list[JsonObject]:
        """The newest violations in the file, each as an event of its own, newest first."""
        return self._ask(lambda reader: reader.violations(limit, kind=kind, rule=rule), [])

    def spend(self, where: Filter = ANY) -> float:
        """USD spent on the requests that `where` wants, as far as costs are known."""
        return _spent(self._unsaved(), where) + self._ask(lambda reader: reader.spend(where), 0.0)

    def events(self, where: Filter = ANY) -> Iterator[Event]:
        """All events in the file that `where` wants, oldest first. Raises sqlite3.Error."""
        with Reader(self._path) as reader:
            yield from reader.events(where)

    def _unsaved(self) -> list[Event]:
        return [*self._writer.unsaved(), *self._aging.values(), *self._fresh.values()]

    def _ask(self, query: Callable[[Reader], _T], otherwise: _T) -> _T:
        """What the file answers; `otherwise` when it can't be read."""
        try:
            with self._opening:
                reader = self._reader = self._reader or Reader(self._path)
            return query(reader)
        except sqlite3.Error:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
            return otherwise

    def _hand_over(self) -> None:
        """Give the writer what was completed."""
        completed, self._completed = self._completed, []
        if completed:
            self._queue.put(completed)

    def _tick(self) -> None:
        """Give the writer the requests that have been under way for a whole tick."""
        if self._aging:
            self._queue.put([(event, None) for event in self._aging.values()])
        self._aging, self._fresh = self._fresh, {}
        self._ticking = bool(self._aging)
        if self._ticking:
            asyncio.get_running_loop().call_later(OPEN_DELAY, self._tick)

    def _run(self) -> None:
        """The writer thread."""
        more = True
        while more:
            jobs, more = self._wait()
            try:
                self._writer.save([event for event, _ in jobs])
            except Exception as error:  # noqa: BLE001  the thread's boundary: without it later requests wait for ever
                self._log("defect", stage="ledger", kind=type(error).__name__, error=error)
            _tell([done for _, done in jobs if done is not None])
            self._writer.tidy()
        self._writer.close()

    def _wait(self) -> tuple[list[_Job], bool]:
        """The jobs that wait, none when it is time to tidy; False when there will be no more."""
        jobs: list[_Job] = []
        try:
            given = self._queue.get(timeout=max(self._writer.tidy_in, 0.001))
            while given is not None:
                jobs += given
                if len(jobs) >= BATCH:
                    return jobs, True
                given = self._queue.get_nowait()
        except Empty:
            return jobs, True
        return jobs, False


class NullLedger:
    """No file: the newest events in memory, for a gateway without telemetry."""

    ok = True

    def __init__(self, kept: int = 200) -> None:
        self._events: OrderedDict[str, Event] = OrderedDict()
        self._kept = kept

    def start(self) -> None:
        """Nothing to start."""

    def keep(self, keep: Keep) -> None:
        """The number of events is fixed."""

    def open(self, event: Event) -> None:
        """A request has begun."""
        self._events[event.id] = event
        if len(self._events) > self._kept:
            self._events.popitem(last=False)

    def complete(self, event: Event) -> Awaitable[None]:
        """A request has ended."""
        self.open(event)
        return _Fulfilled()

    def close(self) -> None:
        """Nothing to close."""

    def recent(self, limit: int = 50, where: Filter = ANY) -> list[Event]:
        """The newest events, newest first."""
        return [event for event in reversed(self._events.values()) if where.matches(event)][:limit]

    def get(self, event_id: str) -> Event | None:
        """The event of that id, or of the one id that begins so; None if it is not among the newest."""
        return _find(list(self._events.values()), event_id)

    def sessions(self, limit: int = 50, *, project: str | None = None) -> list[SessionSum]:
        """Sums of the sessions with the newest requests, over the newest events."""
        found = sum_sessions(self._events.values())
        return [one for one in found if project in (None, one.project)][:limit]

    def violations(self, limit: int = 50, *, kind: str | None = None, rule: str | None = None) -> list[JsonObject]:
        """The violations among the newest events, newest first."""
        return chosen_violations(reversed(self._events.values()), kind, rule)[:limit]

    def spend(self, where: Filter = ANY) -> float:
        """The same, as far as the newest events tell."""
        return _spent(list(self._events.values()), where)

    def events(self, where: Filter = ANY) -> Iterator[Event]:
        """What is kept, oldest first."""
        return iter([event for event in self._events.values() if where.matches(event)])


class _Writer:
    """The writing end of the file. Opened by whoever starts the ledger, then used by its thread alone."""

    def __init__(
        self, path: Path, log: Callable[..., None], monotonic: Callable[[], float], now: Callable[[], datetime]
    ) -> None:
        self.ok = False
        self.keep = Keep()
        self._now = now
        self._tidy_at = monotonic() + TIDY_AFTER
        self._tidied = True
        self._path = path
        self._log = log
        self._monotonic = monotonic
        self._connection: sqlite3.Connection | None = None
        self._details: Details | None = None
        self._retry_at = 0.0
        self._backlog: OrderedDict[str, Event] = OrderedDict()
        self._marked = False
        self._failing = False
        self._dropped = 0
        # Guards the backlog, which queries read from the event loop.
        self._lock = threading.Lock()

    def open(self) -> None:
        """Open or make the file. Sets `ok`."""
        try:
            self._connection = _connect(self._path)
            migrate(self._connection)
            self._details = Details(self._connection)
            if not self._marked:
                # Nothing of this run can be in a file that is opened for the first time.
                self._connection.execute("UPDATE events SET status = 'interrupted' WHERE status = 'open'")
                self._marked = True
        except (sqlite3.Error, OSError, LedgerTooNew) as error:
            self._failed(error)
        else:
            self.ok = True

    def save(self, events: list[Event]) -> None:
        """Commit `events`, or keep them in memory when that fails. Does not raise for anything the file does."""
        if not events:
            return
        if not self.ok:
            if self._monotonic() < self._retry_at:
                self._keep(events)
                return
            if self._connection is None:
                self.open()
        try:
            self._write([*self.unsaved(), *events])
            if self._details is not None:
                self._details.learn()
        except (sqlite3.Error, OSError) as error:
            self._keep(events)
            self._failed(error)
        else:
            self._works_again()

    @property
    def tidy_in(self) -> float:
        """Seconds until `tidy` has something to do."""
        return self._tidy_at - self._monotonic()

    def tidy(self) -> None:
        """Delete a step of what need not be kept, if it is time; what fails is tried again later."""
        connection = self._connection
        if self.tidy_in > 0 or connection is None:
            if connection is None:
                self._tidy_at = self._monotonic() + RETRY
            return
        try:
            gone = forget(connection, self.keep, self._now())
            more = gone or (not self._tidied and shrink(connection))
        except sqlite3.Error as error:
            more = False
            self._log("ledger_not_tidied", kind=type(error).__name__, reason=str(error))
        self._tidied = not more
        self._tidy_at = self._monotonic() + (TIDY_PAUSE if more else TIDY)

    def unsaved(self) -> list[Event]:
        """Events that are in memory only."""
        if not self._backlog:
            return []
        with self._lock:
            return list(self._backlog.values())

    def close(self) -> None:
        """Try a last time to write what is unsaved, then close the file."""
        if self._backlog:
            self._retry_at = 0.0
            self.save(self.unsaved()[-1:])
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._disconnect()

    def _write(self, events: list[Event]) -> None:
        """Commit `events`; one that can't be stored is lost alone."""
        try:
            self._commit(events)
        except _UNSUITABLE:
            for event in events:
                try:
                    self._commit([event])
                except _UNSUITABLE as error:
                    self._log("defect", stage="ledger", event_id=event.id, kind=type(error).__name__, error=error)

    def _commit(self, events: list[Event]) -> None:
        connection, details = self._connection, self._details
        if connection is None or details is None:
            raise sqlite3.OperationalError("the ledger is not open")
        rows = [row_of(event, details) for event in events]
        found = [values for event in events if event.violations for values in violations_of(event)]
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(SAVE, rows)
            if found:
                connection.executemany(SAVE_VIOLATION, found)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _keep(self, events: list[Event]) -> None:
        with self._lock:
            for event in events:
                self._backlog[event.id] = event
            while len(self._backlog) > KEPT_IN_MEMORY:
                self._backlog.popitem(last=False)
                self._dropped += 1

    def _failed(self, error: Exception) -> None:
        self.ok = False
        self._retry_at = self._monotonic() + RETRY
        self._disconnect()
        if not self._failing:
            self._failing = True
            self._log("ledger_failed", kind=type(error).__name__, reason=str(error))

    def _works_again(self) -> None:
        if not self._failing:
            return
        with self._lock:
            self._backlog.clear()
        self._log("ledger_works_again", lost=self._dropped)
        self.ok, self._failing, self._dropped = True, False, 0

    def _disconnect(self) -> None:
        if self._connection is None:
            return
        with suppress(sqlite3.Error):
            self._connection.close()
        self._connection = self._details = None


def _connect(path: Path) -> sqlite3.Connection:
    """A connection that writes. Makes the file, and its folder if need be, for their owner alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives the log beside the file the file's own mode, but for one that is there already.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.close(descriptor)
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        if os.name == "posix" and file.exists() and file.stat().st_mode & 0o077:
            file.chmod(0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=16)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        # Only a file without tables takes this; an older one keeps its size and uses its pages again.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _silent(event: str, **fields: Any) -> None:
    """For those who don't want to be told."""


def _tell(waiting: list[_Done]) -> None:
    """Fulfil the futures, with one call into each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for loop, future in waiting:
        by_loop.setdefault(loop, []).append(future)
    for loop, futures in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed, nobody waits any more
            loop.call_soon_threadsafe(_fulfil, futures)


def _fulfil(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


class _Fulfilled:
    """An awaitable that is done."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


def _find(events: list[Event], event_id: str) -> Event | None:
    """The event with that id, or the only one whose id begins so."""
    if len(event_id) < SHORTEST_PREFIX:
        return None
    found = [event for event in events if event.id.startswith(event_id)]
    return found[0] if len(found) == 1 else None


def _spent(events: list[Event], where: Filter) -> float:
    return sum(event.total_usd or 0.0 for event in events if where.matches(event))
