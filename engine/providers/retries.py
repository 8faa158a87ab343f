"""How often a provider may be asked the same thing again, so that its outage is not made worse by us.

A bucket per provider: each request puts `share` of a retry in, time puts `per_minute` in, a retry takes one out, and more than
`per_minute` it never holds. Over any time, then, retries are at most that share of the requests, and `per_minute` for each minute
and one to begin with. Every call is told the time (seconds, monotonic).
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.llm.catalogue import Provider

_MINUTE = 60.0
_SLIP = 1e-9
"""Ten shares of 0.1 are one retry, whatever floats say."""


@dataclass(slots=True, eq=False)
class _Bucket:
    level: float
    at: float


class RetryBudgets:
    """The buckets of all providers."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def asked(self, provider: Provider, now: float) -> None:
        """A request has asked `provider` for the first time."""
        bucket, allowed = self._bucket(provider, now), provider.retries
        bucket.level = min(bucket.level + allowed.share, float(allowed.per_minute))

    def take(self, provider: Provider, now: float) -> bool:
        """Whether `provider` may be asked the same thing again now, which is counted then."""
        bucket = self._bucket(provider, now)
        if bucket.level < 1.0 - _SLIP:
            return False
        bucket.level -= 1.0
        return True

    def _bucket(self, provider: Provider, now: float) -> _Bucket:
        """Filled up for the time that has passed."""
        most = float(provider.retries.per_minute)
        bucket = self._buckets.get(provider.name)
        if bucket is None:
            bucket = self._buckets[provider.name] = _Bucket(most, now)
        bucket.level = min(bucket.level + (now - bucket.at) * most / _MINUTE, most)
        bucket.at = now
        return bucket
