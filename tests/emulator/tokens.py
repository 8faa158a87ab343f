"""Token counts of the emulated vendors: four bytes of JSON to a token, and a prompt cache that is real enough to test with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from tests.emulator.refusal import canonical


def count(value: Any) -> int:
    """Tokens of a JSON value or text, at least 1."""
    return max(1, len(value.encode() if isinstance(value, str) else canonical(value)) // 4)


class PromptCache:
    """Remembers prefixes by digest. A prefix is a run of segments; only its end points that were marked are remembered."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def use(self, segments: Sequence[Any], marks: Iterable[int], *, smallest: int) -> tuple[int, int]:
        """(tokens read, tokens written) for a request whose prefixes end after the segments in `marks`.

        Prefixes under `smallest` tokens are not cached, as with real vendors.
        """
        digest, total = hashlib.sha256(), 0
        ends: dict[int, tuple[bytes, int]] = {}
        for index, segment in enumerate(segments):
            digest.update(canonical(segment))
            total += count(segment)
            ends[index] = (digest.digest(), total)
        read = longest = 0
        for index in sorted(set(marks)):
            key, tokens = ends[index]
            if tokens < smallest:
                continue
            longest = tokens
            if key in self._seen:
                read = tokens
            self._seen.add(key)
        return read, longest - read
