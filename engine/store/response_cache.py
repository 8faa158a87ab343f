"""Answers kept on disk: bytes by key, bounded, with an age; and one question under way per key.

diskcache keeps them in SQLite. Its own `Disk` unpickles what a file's columns say is pickled and reads (or deletes) files that
they name, so whoever can write that file runs code (CVE-2025-69872, measured; `JSONDisk` too). `BytesDisk` knows text for keys
and bytes for values and nothing else: a row that says otherwise is an error, and no row leads to a file. A file that was not
made by this is thrown away before diskcache sees it: it is a cache.

Nothing here breaks a request: what fails is a miss, said once.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import diskcache
from diskcache.core import DEFAULT_SETTINGS, METADATA, MODE_RAW

_T = TypeVar("_T")

FILE = "cache.db"


class ForeignEntry(ValueError):
    """A row that this gateway has not written."""


class BytesDisk(diskcache.Disk):  # type: ignore[misc]
    """Keys are text, values are bytes, both in the row itself. Anything else is a ForeignEntry, and no file is touched."""

    _MADE: ClassVar[str] = "only text keys and bytes are kept here"

    def put(self, key: Any) -> tuple[str, bool]:
        if type(key) is not str:
            raise ForeignEntry(self._MADE)
        return key, True

    def get(self, key: Any, raw: Any) -> str:
        if type(key) is not str or raw != 1:
            raise ForeignEntry(self._MADE)
        return key

    def store(self, value: Any, read: bool, key: Any = None) -> tuple[int, int, None, memoryview]:
        if type(value) is not bytes or read:
            raise ForeignEntry(self._MADE)
        return 0, MODE_RAW, None, sqlite3.Binary(value)  # of the file; what stands in a row counts by its pages

    def fetch(self, mode: Any, filename: Any, value: Any, read: bool) -> bytes:
        if mode != MODE_RAW or filename is not None or type(value) is not bytes or read:
            raise ForeignEntry(self._MADE)
        return value

    def filename(self, key: Any = None, value: Any = None) -> tuple[str, str]:
        raise ForeignEntry(self._MADE)

    def remove(self, file_path: Any) -> None:
        """A row's file is never ours, so it is not ours to delete."""


class AnswerStore:
    """Kept answers below a folder. Every access is in one thread of its own; the event loop never waits for the disk."""

    def __init__(self, folder: Path, *, limit: int, log: Callable[..., None]) -> None:
        """`limit`: bytes of all answers together, about. Nothing is opened before the first use."""
        self.size_limit = limit
        self._folder = folder
        self._log = log
        self._thread: ThreadPoolExecutor | None = None
        self._cache: Any = None
        self._failed = False
        self._flights: dict[str, asyncio.Future[bytes | None]] = {}

    async def get(self, key: str) -> bytes | None:
        """The answer kept under `key`, None when there is none."""
        return await asyncio.wrap_future(self._submit(self._get, key))

    def flight(self, key: str) -> asyncio.Future[bytes | None] | None:
        """What another request will bring that asks the same right now; None makes this one the first, which owes `land`."""
        under_way = self._flights.get(key)
        if under_way is None:
            self._flights[key] = asyncio.get_running_loop().create_future()
        return under_way

    def land(self, key: str, value: bytes | None, *, keep: float = 0.0) -> None:
        """The flight's end: `value` for everybody who waits, kept for `keep` seconds. None: they must ask themselves."""
        flight = self._flights.pop(key, None)
        if flight is not None and not flight.done():
            flight.set_result(value)
        if value is not None and keep > 0:
            self._submit(self._set, key, value, keep)

    def limit(self, size: int) -> None:
        """From now on `size` bytes of all answers together. What is too much goes with the next answers that are kept."""
        if size != self.size_limit:
            self.size_limit = size
            if self._thread is not None:  # else it is opened with the new limit
                self._submit(self._set_limit)

    async def close(self) -> None:
        """Write what waits."""
        if self._thread is not None:
            await asyncio.wrap_future(self._submit(self._close))
            self._thread.shutdown()
            self._thread = None

    def _submit(self, work: Callable[..., _T], *args: Any) -> Any:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="sbgw-answers")
        return self._thread.submit(self._guarded, work, *args)

    def _guarded(self, work: Callable[..., _T], *args: Any) -> _T | None:
        try:
            return work(*args)
        except (OSError, sqlite3.Error, ForeignEntry, diskcache.Timeout) as error:
            if not self._failed:
                self._failed = True
                self._log("answer_cache_failed", kind=type(error).__name__, error=error)
            return None

    def _opened(self) -> Any:
        if self._cache is None:
            self._cache = open_cache(self._folder, self.size_limit)
        return self._cache

    def _get(self, key: str) -> bytes | None:
        found: bytes | None = self._opened().get(key)
        return found

    def _set(self, key: str, value: bytes, seconds: float) -> None:
        self._opened().set(key, value, expire=seconds)

    def _set_limit(self) -> None:
        self._opened().reset("size_limit", self.size_limit)

    def _close(self) -> None:
        if self._cache is not None:
            self._cache.close()
            self._cache = None


def open_cache(folder: Path, limit: int) -> Any:
    """The cache in `folder`, for its owner alone. A file that diskcache with our settings has not made is deleted first."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (folder / FILE).exists() and not _ours(folder / FILE):
        for path in folder.glob(FILE + "*"):
            path.unlink()
    # All settings are given, so none is taken from the file; those with `sqlite_` become statements.
    settings = {**DEFAULT_SETTINGS, "size_limit": limit, "disk_min_file_size": 1 << 62, "sqlite_secure_delete": 1}
    cache = diskcache.Cache(str(folder.absolute()), timeout=5, disk=BytesDisk, **settings)
    (folder / FILE).chmod(0o600)
    return cache


def clear(folder: Path) -> int:
    """Delete every kept answer; how many there were. Raises OSError and sqlite3.Error."""
    if not (folder / FILE).exists():
        return 0
    with closing(open_cache(folder, DEFAULT_SETTINGS["size_limit"])) as cache:
        return int(cache.clear(retry=True))


def count(folder: Path) -> tuple[int, int]:
    """(answers kept, bytes of them). Raises OSError and sqlite3.Error."""
    if not (folder / FILE).exists() or not _ours(folder / FILE):
        return 0, 0
    with closing(sqlite3.connect(f"{(folder / FILE).absolute().as_uri()}?mode=ro", uri=True)) as file:
        number, size = file.execute("SELECT count(*), total(length(value)) FROM Cache").fetchone()
    return int(number), int(size)


_KNOWN = frozenset({*DEFAULT_SETTINGS, *METADATA, "disk_min_file_size", "sqlite_secure_delete"})


def _ours(path: Path) -> bool:
    """Whether the file's settings are those that diskcache keeps: it makes attributes and statements of what stands there."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
            file.execute("PRAGMA trusted_schema = OFF")
            rows = file.execute("SELECT key, value FROM Settings").fetchall()
    except sqlite3.Error:
        return False
    return all(key in _KNOWN and (key not in METADATA or type(value) is int) for key, value in rows)
