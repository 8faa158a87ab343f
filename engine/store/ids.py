"""Ids of events: ordered by time, readable, not guessable.

An id is 24 hex digits: milliseconds since 1970 (12 digits) and 48 random bits. Its first digits tell when, so a list sorted by
id is sorted by time and a copied beginning finds its event.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_NS_PER_MS = 1_000_000


_RANDOM = 6
_POOL = 256 * _RANDOM


class Ids:
    """Makes ids. Random bytes are fetched for 256 of them at once: the system call costs more than all the rest."""

    __slots__ = ("_at", "_clock", "_pool")

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        """`clock` gives nanoseconds since 1970."""
        self._clock = clock
        self._pool = b""
        self._at = 0

    def new(self) -> str:
        """A fresh id."""
        if self._at >= len(self._pool):
            self._pool, self._at = os.urandom(_POOL), 0
        self._at += _RANDOM
        return f"{self._clock() // _NS_PER_MS:012x}{self._pool[self._at - _RANDOM : self._at].hex()}"


def new_id(clock: Callable[[], int] = time.time_ns) -> str:
    """A single fresh id."""
    return Ids(clock).new()
