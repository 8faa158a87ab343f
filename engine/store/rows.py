"""Events as rows of the ledger and back.

A field has a column of its own when a query asks for it or a list shows it. All others are in one, `detail`, so a field that
is new to events needs no step of `migrations`: it is packed with the rest.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from engine.store.detail import Details
from engine.store.event import KEPT, KEYS, LONGEST, NUMBERS, Event, Status, attempt_json, end_of, timestamp_of

COLUMNS = (
    "id", "timestamp", "client", "session_id", "agent", "project", "route_class", "requested_model", "selected_provider",
    "selected_model", "input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "cost_estimate_usd",
    "cost_reported_usd", "cost_basis", "wasted_usd", "requested_usd", "latency_ms", "cache_hit", "status", "error_class",
    "budgets", "key_name", "estimated_usd",
)  # fmt: skip
"""Fields of an event with a column of their own."""

_NAMES = ", ".join((*COLUMNS, "detail"))

SAVE = (
    f"INSERT INTO events ({_NAMES}) VALUES ({', '.join('?' * (len(COLUMNS) + 1))}) "  # noqa: S608
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in (*COLUMNS[1:], 'detail'))}"
)
"""Writes an event, or overwrites what is there of it."""

SAVE_VIOLATION = "INSERT OR IGNORE INTO violations (timestamp, event_id, kind, rule) VALUES (?, ?, ?, ?)"

_COLUMN_KEYS = tuple(KEYS[name] for name in COLUMNS)
_columns_of = attrgetter(*COLUMNS)

_REST = tuple((name, KEYS[name], name in KEPT) for name in KEYS if name not in (*COLUMNS, "attempts"))
_rest_of = attrgetter(*(name for name, _, _ in _REST))

_AS_IT_IS = frozenset({float, bool, type(None)})


def row_of(event: Event, details: Details) -> tuple[Any, ...]:
    """Values for `SAVE`. Raises sqlite3.Error when the file's dictionary can't be read."""
    # Twice a request: what `Event.to_json` says of the fields without a column, but for tuples, which are as good as lists here.
    rest = {
        key: value
        for (_, key, always), value in zip(_REST, _rest_of(event), strict=True)
        if value or always or value.__class__ in NUMBERS
    }
    if event.attempts:
        rest["attempts"] = [attempt_json(attempt) for attempt in event.attempts]
    cells = [value if value.__class__ in _AS_IT_IS else _cell(value) for value in _columns_of(event)]
    return (*cells, details.pack(rest, event.timestamp))


def violations_of(event: Event) -> list[tuple[str, ...]]:
    """Values for `SAVE_VIOLATION`."""
    return [(event.timestamp, event.id, said["kind"], _cell(said["rule"])) for said in event.violations]


def event_of(row: Sequence[Any], details: Details) -> Event:
    """The event in a row of all columns. Raises sqlite3.Error."""
    data = {key: value for key, value in zip(_COLUMN_KEYS, row, strict=False) if value is not None}
    data["cacheHit"] = bool(data["cacheHit"])
    data["budgets"] = data["budgets"].split(",") if data["budgets"] else []
    return Event.from_json(data | details.unpack(row[-1]))


_LARGEST = 2**63 - 1


def _cell(value: Any) -> Any:
    """`value` as SQLite takes it: a header may hold bytes that are no text, a provider may count beyond 64 bits."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, tuple):
        return ",".join(value)
    return min(value, _LARGEST) if isinstance(value, int) else value


KNOWN_USD = "coalesce(cost_reported_usd, cost_estimate_usd, 0.0) + coalesce(wasted_usd, 0.0)"
"""What a request cost in all, as far as it is known, in SQL."""

ESTIMATED_USD = (
    "coalesce(estimated_usd, iif(cost_basis IN ('partial', 'sizes'), coalesce(cost_reported_usd, cost_estimate_usd, 0.0), 0.0) "
    "+ coalesce(wasted_usd, 0.0))"
)
"""How much of it rests on counts that no provider told; all of what may, where an older version recorded no more."""

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
    agent: str | None = None
    project: str | None = None
    route_class: str | None = None
    provider: str | None = None
    model: str | None = None
    key: str | None = None
    budget: str | None = None
    """One that it counted for."""
    ended_after: datetime | None = None
    """It has ended, and after that. Name `since` as well: no index knows of ends."""

    def conditions(self, time: str = "timestamp") -> list[Condition]:
        """What is asked, in SQL; `time` is the column that bounds apply to, a timestamp or the beginning of one."""
        out: list[Condition] = [
            (f"{column} = ?", (value,)) for name, column in EQUAL.items() if (value := getattr(self, name)) is not None
        ]
        # The indexes hold only those that have one: the query must say so.
        out += [(f"{column} != ''", ()) for column, value in (("agent", self.agent), ("key_name", self.key)) if value]
        if self.budget is not None:
            out.append(("instr(',' || budgets || ',', ?)", (f",{self.budget},",)))
        if self.ended_after is not None:
            out.append((_ENDED_AFTER, (repr(self.ended_after.timestamp()),)))
        if self.since is not None:
            out.append((f"{time} >= ?", (timestamp_of(self.since)[: _LENGTH[time]],)))
        if self.until is not None:
            out.append((f"{time} < ?", (timestamp_of(self.until)[: _LENGTH[time]],)))
        return out

    def matches(self, event: Event) -> bool:
        """The same, asked of an event in memory."""
        if any(
            value is not None and value != getattr(event, column)
            for name, column in EQUAL.items()
            for value in (getattr(self, name),)
        ):
            return False
        if self.budget is not None and self.budget not in event.budgets:
            return False
        if self.ended_after is not None and (event.status == "open" or end_of(event) <= self.ended_after):
            return False
        return (self.since is None or event.timestamp >= timestamp_of(self.since)) and (
            self.until is None or event.timestamp < timestamp_of(self.until)
        )


_ENDED_AFTER = (
    "status != 'open' AND (julianday(timestamp) - 2440587.5) * 86400.0 "
    f"+ iif(status = 'interrupted', {LONGEST.total_seconds()}, latency_ms / 1000.0) > CAST(? AS REAL)"
)
"""See `end_of`, in seconds since 1970."""

_LENGTH = {"timestamp": 24, "slot": 16}
"""Characters of a moment in each column."""

EQUAL = {
    "status": "status",
    "session": "session_id",
    "client": "client",
    "agent": "agent",
    "project": "project",
    "key": "key_name",
    "route_class": "route_class",
    "provider": "selected_provider",
    "model": "selected_model",
}
"""What a filter may name → the column, and the attribute of an event."""

ANY = Filter()


def count(connection: sqlite3.Connection, where: Filter) -> int:
    """How many events `where` wants."""
    return int(select(connection, "count(*)", where)[0][0])


def fetch(
    connection: sqlite3.Connection,
    details: Details,
    where: Filter,
    *,
    extra: Sequence[Condition] = (),
    order: str,
    limit: int,
) -> list[Event]:
    """At most `limit` events that `where` and `extra` conditions want. `order` is SQL of our own."""
    return [event_of(row, details) for row in select(connection, _NAMES, where, extra=extra, order=order, limit=limit)]


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
