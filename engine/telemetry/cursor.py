"""How far an export has come, in a small file: what an earlier run did not deliver is delivered by the next one.

The ledger holds every event, so no event is kept twice: the file says until when what had ended is delivered. Around that moment
and of requests that a crash cut off, whose end nobody saw, it names what is delivered. Rules kept here:

- An export that is new begins now; what was recorded before is not its own.
- At least once: a crash between a delivery and its note repeats that delivery. Events have ids for that.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import orjson

from engine.store.event import LONGEST, Event, end_of, timestamp_of
from engine.store.protocol import EventStore
from engine.store.rows import Filter

SLACK = timedelta(seconds=5)
"""Events are delivered in the order of their ends but for this much."""


class Cursor:
    """The note of one export. Reads and writes files: not for the event loop, and by one thread at a time."""

    def __init__(self, path: Path, store: EventStore, now: datetime) -> None:
        """`path` need not exist. A file that can't be read counts as none."""
        self._path, self._store = path, store
        self._until, self._told = now, dict[str, datetime]()
        try:
            said = orjson.loads(path.read_bytes())
            until = datetime.fromisoformat(said["until"])
            self._until, self._told = until, {name: datetime.fromisoformat(end) for name, end in said["told"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            self._save()  # from now on a crash loses nothing

    def missed(self, most: int) -> list[Event]:
        """What ended and was not delivered, the newest `most`, in the order of the ends. Raises what the store does."""
        ended = Filter(since=self._until - SLACK - LONGEST, ended_after=self._until - SLACK)
        found = deque((event for event in self._store.events(ended) if event.id not in self._told), maxlen=most)
        return sorted(found, key=end_of)

    def delivered(self, events: Sequence[Event]) -> None:
        """These need not be delivered again."""
        self._told |= {event.id: end_of(event) for event in events}
        seen = [end_of(event) for event in events if event.status != "interrupted"]
        self._until = max([self._until, *seen])
        self._told = {name: end for name, end in self._told.items() if end > self._until - SLACK}
        self._save()

    def _save(self) -> None:
        """Whole or not at all. A disk that is full costs a repeated delivery after the next start, no more."""
        said = {
            "until": timestamp_of(self._until), "told": {name: end.isoformat() for name, end in self._told.items()}
        }  # fmt: skip
        new = self._path.with_suffix(".new")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(orjson.dumps(said))
            new.replace(self._path)
        except OSError:
            return
