"""Token counts of the emulated vendors: four bytes of JSON to a token, and a prompt cache by the vendors' rules."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(slots=True, frozen=True)
class Keeping:
    """How a vendor without breakpoints keeps prompts, by its own pages."""

    seconds: float = SHORT
    """After the last use; 0: nothing is kept."""
    smallest: int = 1024
    """Tokens of the shortest prefix."""
    step: int = 1
    """Hits are counted in multiples of so many tokens."""
    units: bool = False
    """A prefix is found only where an earlier request ended; else a prompt that departs from one reads what both share."""
    key: str = ""
    """Field of the request under which prompts are kept; those without it are not."""


OPENAI = Keeping(step=128)
"""developers.openai.com/docs/guides/prompt-caching: from 1,024 tokens on, in steps of 128, five to ten minutes."""
GROQ = Keeping(seconds=7200)
"""console.groq.com/docs/prompt-caching: two hours after the last use, for gpt-oss and Kimi K2."""
DEEPSEEK = Keeping(seconds=3 * 3600, units=True)
"""api-docs.deepseek.com/guides/kv_cache: units that end where a request ended, for hours."""
MISTRAL = Keeping(key="prompt_cache_key")
"""docs.mistral.ai, Prompt caching: under a key; how long is not said, so this is a guess."""
GEMINI = Keeping(smallest=4096)
"""ai.google.dev/gemini-api/docs/caching: from 4,096 tokens on; how long is not said, so this is a guess."""
NOTHING = Keeping(seconds=0)


class PromptCache:
    """Remembers prefixes by digest. A prefix is a run of segments; only its end points that were marked are remembered.

    A prefix is forgotten some seconds after its last use. One that ends a few segments before a mark is found, too.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[bytes, tuple[float, float]] = {}
        """Digest → (until, seconds)."""

    def keep(self, segments: Sequence[Any], by: Keeping, body: Mapping[str, Any]) -> int:
        """Tokens that are read for a request without breakpoints, all of which is kept by the vendor's rules."""
        if not by.seconds or (by.key and not body.get(by.key)):
            return 0
        held = [body[by.key], *segments] if by.key else list(segments)
        last = len(held) - 1
        kept = dict.fromkeys([last] if by.units else range(len(held)), by.seconds)
        read = self.use(held, kept, smallest=by.smallest, lookback=len(held)).read
        return read // by.step * by.step

    def use(
        self,
        segments: Sequence[Any],
        marks: Iterable[int] | Mapping[int, float],
        *,
        smallest: int,
        lookback: int = LOOKBACK,
    ) -> Used:
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
        read = self._read(ends, sorted(kept, reverse=True), smallest, now, lookback)
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

    def _read(self, ends: list[tuple[bytes, int]], marks: list[int], smallest: int, now: float, lookback: int) -> int:
        for mark in marks:
            for index in range(mark, max(mark - lookback, -1), -1):
                key, tokens = ends[index]
                until, seconds = self._seen.get(key, (0.0, 0.0))
                if until > now and tokens >= smallest:
                    self._seen[key] = (now + seconds, seconds)
                    return tokens
        return 0
