"""Token counts of the emulated vendors: four bytes of JSON to a token, and a prompt cache by the vendors' rules."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tests.emulator.refusal import canonical

SHORT = 300.0
"""Seconds that a prefix is kept after its last use."""

LOOKBACK = 20
"""Blocks before a breakpoint in which an earlier prefix is found."""


def count(value: Any) -> int:
    """Tokens of a JSON value or text, at least 1."""
    return max(1, len(value.encode() if isinstance(value, str) else canonical(value)) // 4)


class Used(NamedTuple):
    """Tokens of a prompt that a cache was asked for and given."""

    read: int
    written: int
    written_long: int
    """Part of `written` that is kept for longer than the usual time."""


class PromptCache:
    """Remembers prefixes by digest. A prefix is a run of segments; only its end points that were marked are remembered.

    A prefix is forgotten some seconds after its last use. One that ends a few segments before a mark is found, too.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[bytes, tuple[float, float]] = {}
        """Digest → (until, seconds)."""

    def use(self, segments: Sequence[Any], marks: Iterable[int] | Mapping[int, float], *, smallest: int) -> Used:
        """What is read and written for a request whose prefixes end after the segments in `marks` (→ seconds to keep them).

        Prefixes under `smallest` tokens are not cached, as with real vendors.
        """
        now = self._clock()
        kept = marks if isinstance(marks, Mapping) else dict.fromkeys(marks, SHORT)
        digest, total = hashlib.sha256(), 0
        ends: list[tuple[bytes, int]] = []
        for segment in segments:
            data = canonical(segment)
            digest.update(data)
            total += max(1, len(data) // 4) if not isinstance(segment, str) else count(segment)
            ends.append((digest.digest(), total))
        read = self._read(ends, sorted(kept, reverse=True), smallest, now)
        longest = longest_long = 0
        for index, seconds in kept.items():
            key, tokens = ends[index]
            if tokens < smallest:
                continue
            longest = max(longest, tokens)
            longest_long = max(longest_long, tokens if seconds > SHORT else 0)
            if tokens <= read:  # only a write changes how long a prefix is kept; a use renews it
                _, seconds = self._seen.get(key, (0.0, SHORT))
            self._seen[key] = (now + seconds, seconds)
        return Used(read, max(longest - read, 0), max(longest_long - read, 0))

    def _read(self, ends: list[tuple[bytes, int]], marks: list[int], smallest: int, now: float) -> int:
        for mark in marks:
            for index in range(mark, max(mark - LOOKBACK, -1), -1):
                key, tokens = ends[index]
                until, seconds = self._seen.get(key, (0.0, 0.0))
                if until > now and tokens >= smallest:
                    self._seen[key] = (now + seconds, seconds)
                    return tokens
        return 0
