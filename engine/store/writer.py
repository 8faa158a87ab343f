"""The writing end of the ledger's file: commits, what is kept while it can't, and deleting what need not be kept.

Rules kept here:

- Nothing that the file does is raised: events that can't be written are kept in memory, the newest of them, and written when
  it works again.
- An event that no column takes is lost alone, and told of as a defect of ours.
- What is deleted is overwritten; the file is readable by its owner only.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from engine.store.detail import Details
from engine.store.event import Event
from engine.store.migrations import LedgerTooNew
from engine.store.reader import BUSY_MS
from engine.store.retention import Keep, forget, shrink
from engine.store.rows import SAVE, SAVE_VIOLATION, row_of, violations_of
from engine.store.upgrades import Upgrading, advance, up_to_date, upgrading

RETRY = 5.0
"""Seconds between two tries to write to a file that failed."""

TELL = 5.0
"""Seconds between two lines about a file that is being brought up to date."""

QUIET = 2.0
"""Seconds without an event after which what cannot be done in slices may be done."""

TIDY = 300.0
"""Seconds between two looks for events that need not be kept."""

TIDY_AFTER = 5.0
"""Seconds after the start before the first look: a start has other things to do."""

TIDY_PAUSE = 0.02
"""Seconds between two steps of deleting, for those who wait for a commit."""

KEPT_IN_MEMORY = 1_000
"""Events kept while the file can't be written; the oldest go first."""

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


class Writer:
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
        self.upgrading: Upgrading | None = None
        """What is left to do on an older file, while it serves."""
        self._told_at = self._saved_at = monotonic()
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
            self.upgrading = up_to_date(self._connection)
            if self.upgrading is not None:
                self._log("ledger_upgrading", done=round(self.upgrading.done, 2))
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
        self._saved_at = self._monotonic()
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
            # Nothing may go before it is in all sums.
            more = self._upgrade(connection)
            if not more and (more := forget(connection, self.keep, self._now())) and self._details is not None:
                self._details.review()
            more = more or (not self._tidied and shrink(connection))
        except sqlite3.Error as error:
            more = False
            self._log("ledger_not_tidied", kind=type(error).__name__, reason=str(error))
        self._tidied = not more
        self._tidy_at = self._monotonic() + (TIDY_PAUSE if more else QUIET if self.upgrading else TIDY)

    def _upgrade(self, connection: sqlite3.Connection) -> bool:
        """Do a slice of what is left to do on an older file; False if nothing is, or nothing that can be done now."""
        if self.upgrading is None:
            return False
        now = self._monotonic()
        if not advance(connection, quiet=now - self._saved_at >= QUIET):
            return False
        self.upgrading = upgrading(connection)
        if self.upgrading is None:
            self._log("ledger_upgraded")
        elif now - self._told_at >= TELL:
            self._told_at = now
            self._log("ledger_upgrading", done=round(self.upgrading.done, 2))
        return True

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
