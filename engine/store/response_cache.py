"""Answers kept on disk: bytes by key, bounded, with an age; and one question under way per key.

Nothing here breaks a request: what fails is a miss, said once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")


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
        from engine.store.answer_file import FAILURES  # noqa: PLC0415  for those who keep answers; in this thread

        try:
            return work(*args)
        except FAILURES as error:
            if not self._failed:
                self._failed = True
                self._log("answer_cache_failed", kind=type(error).__name__, error=error)
            return None

    def _opened(self) -> Any:
        if self._cache is None:
            from engine.store.answer_file import open_cache  # noqa: PLC0415

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
