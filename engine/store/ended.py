"""When requests ended, and which have since a moment: what somebody missed who was told of each end and was away for a while."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from engine.store.event import Event
from engine.store.protocol import EventStore
from engine.store.rows import ANY, Filter

LONGEST = timedelta(hours=1)
"""No request takes longer, so what has ended since a moment began at most that much before it."""


def end_of(event: Event) -> datetime:
    """When it ended. Nobody saw when an interrupted one did: as late as it may have."""
    began = datetime.fromisoformat(event.timestamp)
    return began + (LONGEST if event.status == "interrupted" else timedelta(milliseconds=event.latency_ms))


def ended_after(store: EventStore, moment: datetime, *, where: Filter = ANY, limit: int) -> list[Event]:
    """Requests that ended after `moment`, in the order in which they did: of the `limit` newest that `where` wants.

    Reads the store, so not for the event loop.
    """
    began = moment - LONGEST
    since = began if where.since is None else max(began, where.since)
    found = store.recent(limit, replace(where, since=since))
    return sorted((event for event in found if event.status != "open" and end_of(event) > moment), key=end_of)
