"""Ids of events: ordered by time, readable, not guessable.

An id is 24 hex digits: milliseconds since 1970 (12 digits) and 48 random bits. Its first digits tell when, so a list sorted by
id is sorted by time and a copied beginning finds its event.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_NS_PER_MS = 1_000_000


def new_id(clock: Callable[[], int] = time.time_ns) -> str:
    """A fresh id. `clock` gives nanoseconds since 1970."""
    return f"{clock() // _NS_PER_MS:012x}{os.urandom(6).hex()}"
