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
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from engine.llm.messages import JsonObject
from engine.store.event import Event
from engine.store.pots import Spent, spent_of
from engine.store.reader import Reader, find, spent
from engine.store.retention import Keep
from engine.store.rows import ANY, Filter
from engine.store.sums import SessionSum
from engine.store.upgrades import Upgrading
from engine.store.writer import Writer

OPEN_DELAY = 0.002
"""A request under way gets its row after at most these seconds, before a provider can have answered. What is complete by then,
refusals and the answers of the cache, is written once instead of twice."""

BATCH = 500
"""About as many events are committed together at most."""

_T = TypeVar("_T")

_Done = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]
_Job = tuple[Event, _Done | None]


def read_only(path: Path) -> Reader:
    """The queries on the ledger at `path`, also beside a gateway that writes to it. A context manager."""
    return Reader(path)


def _now() -> datetime:
    return datetime.now(UTC)


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
        self._writer = Writer(path, self._log, monotonic, now)
        if keep is not None:
            self._writer.keep = keep
        self._queue: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._fresh: dict[str, Event] = {}
        """Opened, and not yet handed to the writer: the next tick does that."""
        self._completed: list[_Job] = []
        """Completed in this turn of the event loop. Waking a thread costs more than all else here, so it is done once a turn."""
        self._reader: Reader | None = None
        # Lists are asked for in other threads than the loop's.
        self._opening = threading.Lock()

    @property
    def ok(self) -> bool:
        """Whether events reach the file."""
        return self._writer.ok

    @property
    def upgrading(self) -> Upgrading | None:
        """What is left to do on the events of an older file, while it serves; None when it is up to date."""
        return self._writer.upgrading

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
        if not self._fresh:
            asyncio.get_running_loop().call_later(OPEN_DELAY, self._tick)
        self._fresh[event.id] = event

    def complete(self, event: Event) -> Awaitable[None]:
        """A request has ended; await the result to know its row safe. Written even if nobody awaits it."""
        self._fresh.pop(event.id, None)
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
            self._queue.put([(event, None) for event in self._fresh.values()])
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
        return find(self._unsaved(), event_id) or self._ask(lambda reader: reader.get(event_id), None)

    def sessions(self, limit: int = 50, *, project: str | None = None) -> list[SessionSum]:
        """Sums of the sessions with the newest requests, newest first, as far as they are in the file."""
        return self._ask(lambda reader: reader.sessions(limit, project=project), [])

    def violations(self, limit: int = 50, *, kind: str | None = None, rule: str | None = None) -> list[JsonObject]:
        """The newest violations in the file, each as an event of its own, newest first."""
        return self._ask(lambda reader: reader.violations(limit, kind=kind, rule=rule), [])

    def spend(self, where: Filter = ANY) -> float:
        """USD spent on the requests that `where` wants, as far as costs are known."""
        return spent(self._unsaved(), where) + self._ask(lambda reader: reader.spend(where), 0.0)

    def pots(self, by: Sequence[str], where: Filter = ANY) -> Spent:
        """The same for each of the values of `by` (`project session client key`), the largest first; requests without one apart."""
        nothing: Spent = []
        found = dict(self._ask(lambda reader: reader.pots(by, where), nothing))
        for of, usd in spent_of(self._unsaved(), by, where):
            found[of] = found.get(of, 0.0) + usd
        return sorted(found.items(), key=lambda pot: -pot[1])

    def events(self, where: Filter = ANY) -> Iterator[Event]:
        """All events in the file that `where` wants, oldest first. Raises sqlite3.Error."""
        with Reader(self._path) as reader:
            yield from reader.events(where)

    def _unsaved(self) -> list[Event]:
        return [*self._writer.unsaved(), *self._fresh.values()]

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
        """Give the writer the requests that are still under way."""
        opened, self._fresh = self._fresh, {}
        if opened:
            self._queue.put([(event, None) for event in opened.values()])

    def _run(self) -> None:
        """The writer thread."""
        more = True
        while more:
            jobs, more = self._wait()
            try:
                # Whoever ended while its beginning waited is written once.
                self._writer.save(list({event.id: event for event, _ in jobs}.values()))
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
