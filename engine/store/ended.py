"""Which requests have ended since a moment: what somebody missed who was told of each end and was away for a while."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from engine.store.event import LONGEST, Event, end_of
from engine.store.protocol import EventStore
from engine.store.rows import ANY, Filter


def ended_after(store: EventStore, moment: datetime, *, where: Filter = ANY, limit: int) -> list[Event]:
    """Requests that ended after `moment`, in the order in which they did: the `limit` newest that `where` wants.

    Reads the store, so not for the event loop.
    """
    since = moment - LONGEST if where.since is None else max(moment - LONGEST, where.since)
    return sorted(store.recent(limit, replace(where, since=since, ended_after=moment)), key=end_of)
