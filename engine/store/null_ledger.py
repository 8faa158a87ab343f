"""A ledger without a file: the newest events in memory, for a gateway without telemetry."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Generator, Iterator, Sequence
from typing import Any

from engine.llm.messages import JsonObject
from engine.store.event import Event
from engine.store.pots import Spent, spent_of
from engine.store.reader import find, spent
from engine.store.retention import Keep
from engine.store.rows import ANY, Filter
from engine.store.sums import SessionSum, chosen_violations, sum_sessions


class NullLedger:
    """What `Ledger` does, as far as the newest events go."""

    ok = True
    upgrading = None

    def __init__(self, kept: int = 200) -> None:
        self._events: OrderedDict[str, Event] = OrderedDict()
        self._kept = kept

    def start(self) -> None:
        """Nothing to start."""

    def keep(self, keep: Keep) -> None:
        """The number of events is fixed."""

    def open(self, event: Event) -> None:
        """A request has begun."""
        self._events[event.id] = event
        if len(self._events) > self._kept:
            self._events.popitem(last=False)

    def complete(self, event: Event) -> Awaitable[None]:
        """A request has ended."""
        self.open(event)
        return _Fulfilled()

    def close(self) -> None:
        """Nothing to close."""

    def recent(self, limit: int = 50, where: Filter = ANY) -> list[Event]:
        """The newest events, newest first."""
        return [event for event in reversed(self._events.values()) if where.matches(event)][:limit]

    def get(self, event_id: str) -> Event | None:
        """The event of that id, or of the one id that begins so; None if it is not among the newest."""
        return find(list(self._events.values()), event_id)

    def sessions(self, limit: int = 50, *, project: str | None = None) -> list[SessionSum]:
        """Sums of the sessions with the newest requests, over the newest events."""
        found = sum_sessions(self._events.values())
        return [one for one in found if project in (None, one.project)][:limit]

    def violations(self, limit: int = 50, *, kind: str | None = None, rule: str | None = None) -> list[JsonObject]:
        """The violations among the newest events, newest first."""
        return chosen_violations(reversed(self._events.values()), kind, rule)[:limit]

    def spend(self, where: Filter = ANY) -> float:
        """The same, as far as the newest events tell."""
        return spent(list(self._events.values()), where)

    def pots(self, by: Sequence[str], where: Filter = ANY) -> Spent:
        """The same for each of the values of `by`, the largest first."""
        return spent_of(list(self._events.values()), by, where)

    def events(self, where: Filter = ANY) -> Iterator[Event]:
        """What is kept, oldest first."""
        return iter([event for event in self._events.values() if where.matches(event)])


class _Fulfilled:
    """An awaitable that is done."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield
