"""Requests and tokens per minute and day that a provider's row allows, counted before anything is sent.

A minute is the last sixty seconds, a day the local calendar's. `take` and `wait` have no await between them, so parallel
requests can't slip through together. Tokens are an estimate of the prompt until the answer tells its usage; a single request
larger than the limit goes out when nothing else has been used.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from engine.llm.catalogue import Provider
from engine.llm.messages import JsonObject

if TYPE_CHECKING:
    from engine.store.event import Event

MINUTE = 60.0


@dataclass(slots=True, eq=False)
class Taken:
    """One request's share of a provider's limits."""

    provider: str
    at: float
    day: date
    tokens: int


@dataclass(slots=True, eq=False)
class _Used:
    minute: deque[Taken] = field(default_factory=deque)
    day: date = date.min
    requests: int = 0
    tokens: int = 0
    """Both of `day`."""


class Limits:
    """What has been used of the limits of all providers; nothing is counted for a row that sets none."""

    def __init__(self, monotonic: Callable[[], float], now: Callable[[], datetime]) -> None:
        """`now` gives local time with its zone."""
        self._monotonic = monotonic
        self._now = now
        self._used: dict[str, _Used] = {}
        self.changed: set[str] = set()
        """Providers whose counts have changed; whoever looks sets this back."""

    def begin(self, providers: Iterable[Provider], events: Callable[[datetime], Iterable[Event]]) -> None:
        """Count what was used today already; `events` gives those since a moment, and is asked only if a row needs it."""
        daily = {p.name for p in providers if p.limits.requests_per_day or p.limits.tokens_per_day}
        if not daily:
            return
        now = self._now()
        for event in events(now.replace(hour=0, minute=0, second=0, microsecond=0)):
            for attempt in event.attempts:
                if attempt.provider in daily:
                    told = self._of(attempt.provider, now)
                    told.requests += 1
                    if attempt.outrun:  # it read the prompt, and nobody was told how long that was
                        told.tokens += int(event.facts.get("estimate", {}).get("input_tokens", 0))
            if event.selected_provider in daily:
                used = (event.input_tokens or 0) + (event.output_tokens or 0)
                self._of(event.selected_provider, now).tokens += used

    def wait(self, provider: Provider, tokens: int = 0) -> float:
        """Seconds until `provider` has room for one more request of so many tokens; 0.0 when it has."""
        limits = provider.limits
        if not limits.any:
            return 0.0
        now, local = self._monotonic(), self._now()
        used = self._of(provider.name, local)
        waits = [0.0]
        if _full(limits.requests_per_day, used.requests, 1) or _full(limits.tokens_per_day, used.tokens, tokens):
            midnight = local.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            waits.append(max((midnight - local).total_seconds(), 1.0))
        recent = [taken for taken in used.minute if taken.at > now - MINUTE]
        requests, spent = len(recent), sum(taken.tokens for taken in recent)
        for taken in recent:
            if not (_full(limits.requests_per_minute, requests, 1) or _full(limits.tokens_per_minute, spent, tokens)):
                break
            requests, spent = requests - 1, spent - taken.tokens
            waits.append(taken.at + MINUTE - now)
        return max(waits)

    def take(self, provider: Provider, tokens: int) -> Taken | None:
        """Count one request of about so many tokens; None for a row without limits."""
        if not provider.limits.any:
            return None
        local = self._now()
        taken = Taken(provider.name, self._monotonic(), local.date(), tokens)
        used = self._of(provider.name, local)
        while used.minute and used.minute[0].at <= taken.at - MINUTE:
            used.minute.popleft()
        used.minute.append(taken)
        used.requests += 1
        used.tokens += tokens
        self.changed.add(provider.name)
        return taken

    def settle(self, taken: Taken | None, tokens: int) -> None:
        """What the request has really used; may be told more than once."""
        if taken is None:
            return
        used = self._of(taken.provider, self._now())
        if used.day == taken.day:
            used.tokens += tokens - taken.tokens
        taken.tokens = tokens
        self.changed.add(taken.provider)

    def report(self, provider: Provider) -> JsonObject:
        """For people: what is used of each limit that the row sets."""
        now, used = self._monotonic(), self._of(provider.name, self._now())
        recent = [taken for taken in used.minute if taken.at > now - MINUTE]
        figures = {
            "requestsPerMinute": (len(recent), provider.limits.requests_per_minute),
            "requestsPerDay": (used.requests, provider.limits.requests_per_day),
            "tokensPerMinute": (sum(taken.tokens for taken in recent), provider.limits.tokens_per_minute),
            "tokensPerDay": (used.tokens, provider.limits.tokens_per_day),
        }
        return {name: {"used": spent, "limit": limit} for name, (spent, limit) in figures.items() if limit}

    def _of(self, provider: str, local: datetime) -> _Used:
        used = self._used.setdefault(provider, _Used())
        if used.day != local.date():
            used.day, used.requests, used.tokens = local.date(), 0, 0
        return used


def _full(limit: int, used: int, more: int) -> bool:
    """Whether `more` no longer fits; what would never fit does when nothing is used. A limit of 0 is none."""
    return bool(limit) and used > 0 and used + max(more, 1) > limit
