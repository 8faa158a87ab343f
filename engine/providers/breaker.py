"""A graduated circuit breaker over a rolling window: closed → degraded → open → recovering → closed.

Rules kept here:

- No clock is read and nothing is thrown: every call is told the time (seconds, monotonic).
- Time alone opens the way back, so constant traffic heals a provider as well as none does.
- While recovering a few requests may try at once (1, then 2, then 4); that many successes close it, one failure opens it again,
  for twice as long.
- An attempt counts for the time it began in: what was under way when the breaker opened can't close or reopen it.
- A stream that breaks off turns the success of its beginning into a failure.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

State = Literal["closed", "degraded", "recovering", "open"]

WINDOW = 300.0
"""Seconds that an outcome is remembered."""

REMEMBERED = 20
"""Most outcomes that are remembered: an outage must show against what went well before it."""

IN_A_ROW = 3
"""Failures without a success between them that open it."""

LEAST, SHARE = 6, 0.5
"""It also opens when, of at least so many outcomes, that share failed: a provider that fails every other time."""

DEGRADED = 0.2
"""Share of failures from which it is degraded; a failure that was the newest outcome is enough as well."""

OPEN_SECONDS, LONGEST_OPEN = 30.0, 300.0
"""How long it stays open the first time, and at most."""

STEPS = 3
"""Successes in a row that close it; before the n-th, 2 ** n attempts may be under way."""

LEASE = 60.0
"""Seconds after which an attempt that never told how it went makes room for another."""


@dataclass(slots=True, eq=False)
class Outcome:
    """One attempt: how it ended, as far as that is known."""

    began: float
    period: int
    """How often the breaker had opened when it began."""
    probe: bool = False
    ok: bool | None = None


class Breaker:
    """The state of one place. `begin` an attempt, then tell how it went, once or twice."""

    __slots__ = ("_healed", "_marked", "_outcomes", "_period", "_probes", "closed_at", "openings", "reason", "until")

    def __init__(self) -> None:
        self._outcomes: deque[Outcome] = deque(maxlen=REMEMBERED)
        """Those that ended, by when they did."""
        self._probes: list[Outcome] = []
        self._marked = float("-inf")
        """Until when some failure is remembered."""
        self._healed = 0
        self._period = 0
        self.until: float | None = None
        """When the time of being open ends (or ended: it is recovering since then); None while it is not open."""
        self.openings = 0
        """Times it opened without a quiet window between."""
        self.closed_at = float("-inf")
        self.reason = ""
        """What the failure meant that was counted last."""

    def state(self, now: float) -> State:
        if self.until is not None:
            return "open" if now < self.until else "recovering"
        if now >= self._marked:
            return "closed"
        recent = self._recent(now)
        if not recent:
            return "closed"
        failed = sum(not outcome.ok for outcome in recent)
        return "degraded" if not recent[-1].ok or failed >= DEGRADED * len(recent) else "closed"

    def admits(self, now: float) -> bool:
        """Whether one more attempt fits: always while it works, never while it is open, a few while it recovers."""
        if self.until is None:
            return True
        if now < self.until:
            return False
        self._probes = [probe for probe in self._probes if probe.began > now - LEASE]
        return len(self._probes) < 1 << self._healed

    def begin(self, now: float) -> Outcome:
        """An attempt begins, admitted or because there is nobody else."""
        probe = self.until is not None and now >= self.until
        outcome = Outcome(now, self._period, probe)
        if probe:
            self._probes.append(outcome)
        return outcome

    def succeeded(self, outcome: Outcome, now: float) -> None:
        self._ended(outcome, now, ok=True)
        if self.until is None or outcome.period != self._period:
            return
        self.until = min(self.until, now)  # with nobody else left it was asked while open, and it works: wait no longer
        self._healed += 1
        if self._healed >= STEPS:
            self.until, self.closed_at = None, now
            self._probes.clear()
            good = [o for o in self._outcomes if o.ok and o.period == self._period]
            self._outcomes = deque(good, maxlen=REMEMBERED)

    def failed(self, outcome: Outcome, now: float, reason: str) -> None:
        """It failed, or broke off after it had begun well."""
        turned = outcome.ok is True
        self._marked = max(self._marked, outcome.began + WINDOW)
        self.reason = reason
        if turned:
            outcome.ok = False
        else:
            self._ended(outcome, now, ok=False)
        if outcome.period != self._period:
            return
        if self.until is None:
            if self._broken(now):
                self._open(now)
        elif outcome.probe or turned:
            self._open(now)

    def released(self, outcome: Outcome) -> None:
        """It told nothing: the caller left, or was at fault."""
        if outcome.probe and outcome in self._probes:
            self._probes.remove(outcome)

    def error_rate(self, now: float) -> float:
        """Share of the window's outcomes that failed, 0.0 without any."""
        recent = self._recent(now)
        return sum(not outcome.ok for outcome in recent) / len(recent) if recent else 0.0

    def changes_at(self, now: float) -> float:
        """The next moment at which time alone changes the state."""
        if self.until is not None:
            return (
                self.until if now < self.until else min((p.began + LEASE for p in self._probes), default=float("inf"))
            )
        if now >= self._marked:
            return float("inf")
        # A success that is forgotten counts as well: it leaves the failures a larger share.
        return min((outcome.began + WINDOW for outcome in self._recent(now)), default=float("inf"))

    def restore(self, until: float, openings: int, reason: str) -> None:
        """Take up where an earlier process left it."""
        self.until, self.openings, self.reason = until, openings, reason

    def _recent(self, now: float) -> list[Outcome]:
        return [outcome for outcome in self._outcomes if outcome.began > now - WINDOW]

    def _broken(self, now: float) -> bool:
        recent = self._recent(now)
        last = recent[-IN_A_ROW:]
        in_a_row = len(last) == IN_A_ROW and not any(outcome.ok for outcome in last)
        return in_a_row or (len(recent) >= LEAST and sum(not o.ok for o in recent) >= SHARE * len(recent))

    def _open(self, now: float) -> None:
        self.openings = self.openings + 1 if now - self.closed_at < WINDOW or self.until is not None else 1
        self.until = now + min(OPEN_SECONDS * 2.0 ** (self.openings - 1), LONGEST_OPEN)
        self._period += 1
        self._healed = 0
        self._probes.clear()

    def _ended(self, outcome: Outcome, now: float, *, ok: bool) -> None:
        self.released(outcome)
        outcome.ok = ok
        self._outcomes.append(outcome)
