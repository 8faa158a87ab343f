"""The file of kept answers.

diskcache keeps them in SQLite. Its own `Disk` unpickles what a file's columns say is pickled and reads (or deletes) files that
they name, so whoever can write that file runs code (CVE-2025-69872, measured; `JSONDisk` too). `BytesDisk` knows text for keys
and bytes for values and nothing else: a row that says otherwise is an error, and no row leads to a file. A file that was not
made by this is thrown away before diskcache sees it: it is a cache.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import diskcache
from diskcache.core import DEFAULT_SETTINGS, METADATA, MODE_RAW

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


FAILURES = (OSError, sqlite3.Error, ForeignEntry, diskcache.Timeout)
"""What a file that can't be used raises."""


def open_cache(folder: Path, limit: int) -> Any:
    """The cache in `folder`, for its owner alone. A file that diskcache with our settings has not made is deleted first, and so is
    a link to one elsewhere. Raises OSError, for a folder that is a link or another user's, too.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise PermissionError(f"{folder} is a link or belongs to somebody else")
    folder.chmod(0o700)
    for path in folder.glob(FILE + "*"):
        if path.is_symlink():
            path.unlink()
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
