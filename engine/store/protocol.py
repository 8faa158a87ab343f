"""What the gateway asks of whoever keeps its events, so that another engine than SQLite can.

The promises are the store's, not a file's: `complete` is fulfilled when the event survives the gateway's death, nothing here
blocks the event loop for longer than an index look-up, and a store that fails costs no request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Sequence
from typing import Protocol

from engine.llm.messages import JsonObject
from engine.store.event import Event
from engine.store.pots import Spent
from engine.store.retention import Keep
from engine.store.rows import ANY, Filter
from engine.store.sums import SessionSum
from engine.store.upgrades import Upgrading


class EventStore(Protocol):
    """Events, written by one gateway. `Ledger` and `NullLedger` are two."""

    @property
    def ok(self) -> bool:
        """Whether events are kept as promised."""

    @property
    def upgrading(self) -> Upgrading | None:
        """What is left to do on the events of an older version, while it serves; None when nothing is."""

    def start(self) -> None:
        """Make ready, and mark what an earlier run left open as interrupted. Never raises; see `ok`."""

    def keep(self, keep: Keep) -> None:
        """Keep so much from now on."""

    def open(self, event: Event) -> None:
        """A request has begun. Takes a microsecond."""

    def complete(self, event: Event) -> Awaitable[None]:
        """A request has ended; the result is fulfilled when the event is safe, or can't be made so."""

    def close(self) -> None:
        """Make safe what is left. May block, so not in the event loop. Safe to call twice."""

    def recent(self, limit: int = 50, where: Filter = ANY) -> list[Event]:
        """The newest events that `where` wants, newest first, those under way included."""

    def get(self, event_id: str) -> Event | None:
        """The event of that id, or of the one id that begins so (at least 8 characters)."""

    def spend(self, where: Filter = ANY) -> float:
        """USD spent on the requests that `where` wants, as far as costs are known."""

    def pots(self, by: Sequence[str], where: Filter = ANY) -> Spent:
        """The same for each of the values of `by` (`project session client key`), the largest first; requests without one apart."""

    def sessions(self, limit: int = 50, *, project: str | None = None) -> list[SessionSum]:
        """Sums of the sessions with the newest requests, newest first; requests under way are not in them."""

    def violations(self, limit: int = 50, *, kind: str | None = None, rule: str | None = None) -> list[JsonObject]:
        """The newest violations, each as an event of its own, newest first."""

    def events(self, where: Filter = ANY) -> Iterator[Event]:
        """All events that `where` wants, oldest first."""
