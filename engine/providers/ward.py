"""What is known of one place that attempts go to: its breaker, its cool-down, its newest attempts."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.providers.breaker import WINDOW, Breaker, Outcome

REMEMBERED = 31
"""Attempts that latency and error rate are taken of."""


class Place(NamedTuple):
    """Whom an attempt asks. Without a model: all that a key reaches; without a key too: the whole provider."""

    provider: str
    key: str = ""
    """Which credential: a digest, never the thing itself."""
    model: str = ""

    def wider(self) -> tuple[Place, ...]:
        """The place itself, all of its key, all of its provider."""
        if self.model:
            return self, Place(self.provider, self.key), Place(self.provider)
        return (self, Place(self.provider)) if self.key else (self,)


@dataclass(slots=True, eq=False)
class Trial:
    """One attempt at a place, from its begin to what it told."""

    place: Place
    wards: tuple[Ward, ...]
    """What is known of the place, of all of its key, of all of its provider."""
    began: float
    outcomes: tuple[Outcome, Outcome]
    """On the breakers of the model and of the provider."""
    ok: bool | None = None
    latency_ms: float | None = None
    """To the first content."""

    @property
    def counted(self) -> tuple[tuple[Ward, Outcome], tuple[Ward, Outcome]]:
        """Where it counts, and as what: the model's breaker and the provider's."""
        return (self.wards[0], self.outcomes[0]), (self.wards[-1], self.outcomes[1])


@dataclass(slots=True, eq=False)
class Ward:
    breaker: Breaker = field(default_factory=Breaker)
    cool_until: float = float("-inf")
    cool_since: float = float("-inf")
    cool_reason: str = ""
    failed_until: float = float("-inf")
    """Until when some failure counts in the error rate."""
    trials: deque[Trial] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    """The newest that ended."""

    def cool(self, now: float, seconds: float, reason: str) -> None:
        """Step back; a shorter later word does not shorten an earlier one."""
        self.cool_since = now
        if now + seconds >= self.cool_until:
            self.cool_until, self.cool_reason = now + seconds, reason

    def ready(self, now: float) -> bool:
        """Neither cooling nor broken, or recovering with room for one more attempt."""
        return self.cool_until <= now and self.breaker.admits(now)

    def until(self, now: float) -> float:
        """When it is worth a try again, `now` when it is."""
        return max(now, self.cool_until, self.breaker.until or now)

    def reason(self, now: float) -> str:
        """What the failures meant that it is not simply well for; empty when it is."""
        broken = self.breaker.state(now) != "closed"
        if self.cool_until > now and (not broken or self.cool_until >= (self.breaker.until or now)):
            return self.cool_reason
        return self.breaker.reason if broken else ""

    def changes_at(self, now: float) -> float:
        """The next moment at which time alone changes what is told of it."""
        if self.cool_until <= now and self.failed_until <= now:
            moment = self.breaker.changes_at(now)
            return moment if moment > now else float("inf")
        moments = [self.cool_until, self.breaker.changes_at(now)]
        if now < self.failed_until:  # the error rate forgets
            moments += [trial.began + WINDOW for trial in self.trials]
        return min((moment for moment in moments if moment > now), default=float("inf"))

    @property
    def latency_ms(self) -> float:
        """Median time to the first content, 0.0 when unknown."""
        known = sorted([trial.latency_ms for trial in self.trials if trial.latency_ms is not None])
        if not known:
            return 0.0
        half = len(known) // 2
        return round(known[half] if len(known) % 2 else (known[half - 1] + known[half]) / 2, 1)

    def error_rate(self, now: float) -> float:
        """Share of recent attempts that failed, for whatever reason but the request's own."""
        if now >= self.failed_until:
            return 0.0
        recent = [trial for trial in self.trials if trial.began > now - WINDOW]
        return round(sum(not trial.ok for trial in recent) / len(recent), 3) if recent else 0.0
