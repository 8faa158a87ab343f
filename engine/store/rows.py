"""Events as rows of the ledger and back: a column for every field, JSON in those that hold lists or objects."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import orjson

from engine.store.event import Event, Status, attempt_json, attempt_of, timestamp_of

COLUMNS = tuple(f.name for f in fields(Event))
"""The table's columns, in the order of the event's fields."""

_NAMES = ", ".join(COLUMNS)

SAVE = (
    f"INSERT INTO events ({_NAMES}) VALUES ({', '.join('?' * len(COLUMNS))}) "  # noqa: S608
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in COLUMNS if name != 'id')}"
)
"""Writes an event, or overwrites what is there of it."""


def row_of(event: Event) -> tuple[Any, ...]:
    """Values for `SAVE`."""
    return tuple([_WRITE.get(name, _cell)(getattr(event, name)) for name in COLUMNS])


def event_of(row: Sequence[Any]) -> Event:
    """The event in a row of all columns."""
    values = dict(zip(COLUMNS, row, strict=True))
    for name, read in _READ.items():
        values[name] = read(values[name])
    return Event(**values)


_LARGEST = 2**63 - 1


def _cell(value: Any) -> Any:
    """`value` as SQLite takes it: a header may hold bytes that are no text, a provider may count beyond 64 bits."""
    if isinstance(value, str):
        return value if value.isascii() else _sound(value)
    return min(value, _LARGEST) if isinstance(value, int) else value


def _sound(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _dump(value: Any) -> str:
    # A policy's variable may hold what JSON has no word for (a duration); its text is enough for a record.
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError:  # unsound text or an integer beyond 64 bits: the slow codec is less strict
        return _sound(json.dumps(value, default=str, ensure_ascii=False))


_WRITE: dict[str, Callable[[Any], Any]] = {
    "fallback_chain": _dump,
    "losses": _dump,
    "facts": _dump,
    "decision": _dump,
    "availability": _dump,
    "path": _dump,
    "shadow": _dump,
    "attempts": lambda attempts: _dump([attempt_json(attempt) for attempt in attempts]),
}

_READ: dict[str, Callable[[Any], Any]] = {
    "fallback_chain": lambda text: tuple(orjson.loads(text)),
    "losses": lambda text: tuple(orjson.loads(text)),
    "facts": orjson.loads,
    "decision": orjson.loads,
    "availability": orjson.loads,
    "path": lambda text: tuple(orjson.loads(text)),
    "shadow": orjson.loads,
    "attempts": lambda text: tuple(attempt_of(attempt) for attempt in orjson.loads(text)),
    "cache_hit": bool,
    "stream": bool,
}


KNOWN_USD = "coalesce(cost_reported_usd, cost_estimate_usd, 0.0) + coalesce(wasted_usd, 0.0)"
"""What a request cost in all, as far as it is known, in SQL."""

Condition = tuple[str, tuple[str, ...]]
"""SQL of our own with placeholders, and their values."""


@dataclass(slots=True, frozen=True)
class Filter:
    """Which events are wanted; None asks nothing. Times bound the timestamp: `since` included, `until` not."""

    since: datetime | None = None
    until: datetime | None = None
    status: Status | None = None
    session: str | None = None
    client: str | None = None
    project: str | None = None
    route_class: str | None = None
    provider: str | None = None
    model: str | None = None

    def conditions(self) -> list[Condition]:
        """What is asked, in SQL."""
        out: list[Condition] = [
            (f"{column} = ?", (value,)) for name, column in _EQUAL.items() if (value := getattr(self, name)) is not None
        ]
        if self.since is not None:
            out.append(("timestamp >= ?", (timestamp_of(self.since),)))
        if self.until is not None:
            out.append(("timestamp < ?", (timestamp_of(self.until),)))
        return out

    def matches(self, event: Event) -> bool:
        """The same, asked of an event in memory."""
        if any(
            value is not None and value != getattr(event, column)
            for name, column in _EQUAL.items()
            for value in (getattr(self, name),)
        ):
            return False
        return (self.since is None or event.timestamp >= timestamp_of(self.since)) and (
            self.until is None or event.timestamp < timestamp_of(self.until)
        )


_EQUAL = {
    "status": "status",
    "session": "session_id",
    "client": "client",
    "project": "project",
    "route_class": "route_class",
    "provider": "selected_provider",
    "model": "selected_model",
}

ANY = Filter()


def count(connection: sqlite3.Connection, where: Filter) -> int:
    """How many events `where` wants."""
    return int(select(connection, "count(*)", where)[0][0])


def fetch(
    connection: sqlite3.Connection, where: Filter, *, extra: Sequence[Condition] = (), order: str, limit: int
) -> list[Event]:
    """At most `limit` events that `where` and `extra` conditions want. `order` is SQL of our own."""
    return [event_of(row) for row in select(connection, _NAMES, where, extra=extra, order=order, limit=limit)]


def select(
    connection: sqlite3.Connection,
    columns: str,
    where: Filter,
    *,
    extra: Sequence[Condition] = (),
    order: str = "id",
    limit: int = -1,
) -> list[tuple[Any, ...]]:
    """Rows of some columns. `columns`, `extra` and `order` are SQL of our own; values are always bound."""
    conditions = [*where.conditions(), *extra]
    clause = " WHERE " + " AND ".join(condition for condition, _ in conditions) if conditions else ""
    values = [value for _, given in conditions for value in given]
    query = f"SELECT {columns} FROM events{clause} ORDER BY {order} LIMIT ?"  # noqa: S608
    return connection.execute(query, (*values, limit)).fetchall()
