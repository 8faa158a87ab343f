"""What was spent, on whom, and what was saved: sums that the ledger's file is asked for.

Rules kept here:

- Spending is read from the sums that the ledger keeps by days, by quarters of an hour and by session: a month of a million
  requests is some thousand rows. So `since` counts from the quarter of an hour that it lies in.
- A cost that nobody knows is in no sum; how many there were stands beside it.
- What was saved is summed up from what each event recorded when it came, never from prices of today. Both sides of the
  comparison are of the same requests: those of which both are known.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from engine.store.event import timestamp_of

By = Literal["project", "session", "client", "model", "class", "day"]

_COLUMNS: Mapping[By, str] = {
    "project": "project",
    "client": "client",
    "model": "CASE WHEN model = '' THEN '' ELSE provider || '/' || model END",
    "class": "route_class",
}

_SPENT = (
    "requests", "failed", "unpriced", "input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "cost_usd",
    "estimated_usd",
)  # fmt: skip


@dataclass(slots=True)
class Spent:
    """The sums of one group. `name` is empty for requests that name none."""

    name: str
    requests: int = 0
    failed: int = 0
    unknown: int = 0
    """Answers whose cost nobody knows; they are not in `cost_usd`."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float = 0.0
    estimated_usd: float = 0.0
    """How much of `cost_usd` rests on counts that no provider told."""


_Group = TypeVar("_Group", "Spent", "Saved")


def spent(connection: sqlite3.Connection, by: By, since: datetime, limit: int | None = None) -> list[Spent]:
    """Sums by group, the dearest first; by day in the order of time.

    By session: whole sessions that were active since then, at most `limit` of them.
    """
    most = (" ORDER BY cost_usd DESC, requests DESC, id LIMIT ?", limit)
    found = [Spent(*row) for row in _asked(connection, by, since, _SPENT, most)]
    return _days(found, since) if by == "day" else _dearest(found)


def all_sessions(connection: sqlite3.Connection, since: datetime) -> tuple[int, Spent]:
    """How many sessions were active since then, and all of them together."""
    query = f"SELECT count(*), {_sums(_SPENT)} FROM sessions WHERE last >= ?"  # noqa: S608 (words of our own)
    count, *sums = connection.execute(query, (timestamp_of(since),)).fetchone()
    return int(count), Spent("total", *(value or 0 for value in sums))


def _asked(
    connection: sqlite3.Connection, by: By | None, since: datetime, names: tuple[str, ...], most: tuple[str, int | None]
) -> Iterator[tuple[Any, ...]]:
    """Rows of a group's name and the sums of these columns; of sessions only the first in the order of `most`."""
    columns, sums = ", ".join(names), _sums(names)
    if by == "session":
        # A session's sums are one row already: nothing to group.
        order, limit = most
        query = f"SELECT id, {columns} FROM sessions WHERE last >= ?{order}"  # noqa: S608 (words of our own)
        yield from connection.execute(query, (timestamp_of(since), -1 if limit is None else limit))
        return
    slot = _slot(since)
    if by == "day" or by is None:
        name = "slot" if by == "day" else "''"
        query = f"SELECT {name} AS name, {sums} FROM usage_slots WHERE slot >= ? GROUP BY name ORDER BY name"  # noqa: S608
        yield from connection.execute(query, (slot,))
        return
    # The rest of the first day by quarters of an hour, then whole days.
    cube = f"project, client, route_class, provider, model, {columns}"
    query = (
        f"SELECT {_COLUMNS[by]} AS name, {sums} FROM (SELECT {cube} FROM usage WHERE slot >= ? AND slot < ? "  # noqa: S608
        f"UNION ALL SELECT {cube} FROM usage_days WHERE day >= ?) GROUP BY name"
    )
    day = slot[:10] if slot.endswith("T00:00") else _next_day(slot[:10])
    yield from connection.execute(query, (slot, day, day))


def _sums(names: Iterable[str]) -> str:
    return ", ".join(f"sum({name})" for name in names)


def total(groups: Iterable[Spent]) -> Spent:
    """All of them together."""
    whole = Spent("total")
    for group in groups:
        _add(whole, group)
    return whole


def _add(one: _Group, other: _Group) -> None:
    """Count another group's sums in."""
    for f in fields(one)[1:]:
        setattr(one, f.name, getattr(one, f.name) + getattr(other, f.name))


def _next_day(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()


def _dearest(groups: list[Spent]) -> list[Spent]:
    return sorted(groups, key=lambda group: (-group.cost_usd, -group.requests, group.name))


def _days(slots: Iterable[_Group], since: datetime) -> list[_Group]:
    """Slots by the calendar of this machine's zone, or of the place that `since` names; zones are apart by whole quarters."""
    zone = since.tzinfo if isinstance(since.tzinfo, ZoneInfo) else None
    found: dict[str, _Group] = {}
    for slot in slots:
        day = datetime.fromisoformat(slot.name).replace(tzinfo=UTC).astimezone(zone).date().isoformat()
        if day in found:
            _add(found[day], slot)
        else:
            slot.name = day
            found[day] = slot
    return list(found.values())


def _slot(moment: datetime) -> str:
    """The quarter of an hour that holds `moment`, as the ledger names it."""
    utc = moment.astimezone(UTC)
    return utc.replace(minute=utc.minute // 15 * 15).isoformat(timespec="minutes").removesuffix("+00:00")


@dataclass(slots=True)
class Saved:
    """One group against "everything to the model asked for". All in US dollars but the counts."""

    name: str
    requests: int = 0
    """Requests of which both sides are known."""
    unknown: int = 0
    """Answers of which one side is not; they are in no sum."""
    requested_usd: float = 0.0
    """Everything to the model asked for."""
    actual_usd: float = 0.0
    downgrades: int = 0
    downgraded_usd: float = 0.0
    """Saved because a cheaper model served."""
    cached: int = 0
    cached_usd: float = 0.0
    """Saved because the response cache answered."""
    refused: int = 0
    refused_usd: float = 0.0
    """Not spent because the policy refused."""
    fallbacks: int = 0
    fallback_usd: float = 0.0
    """Spent beyond it, because a dearer model answered in the place of one that failed."""
    dearer: int = 0
    dearer_usd: float = 0.0
    """Spent beyond it, because the policy chose a dearer model."""
    wasted: int = 0
    wasted_usd: float = 0.0
    """Spent on attempts that brought nothing."""

    @property
    def saved_usd(self) -> float:
        """Below 0 when it was no saving."""
        return self.requested_usd - self.actual_usd


_COMPARED = (
    "compared", "uncompared", "requested_usd", "downgrades", "downgraded_usd", "cached", "cached_usd", "refused", "refused_usd",
    "fallbacks", "fallback_usd", "dearer", "dearer_usd", "wasted", "wasted_usd",
)  # fmt: skip
"""The ledger's sums of the comparison, in the order of the fields of `Saved`, without what follows from them."""


def saved(
    connection: sqlite3.Connection, since: datetime, by: By | None = None, limit: int | None = None
) -> list[Saved]:
    """The comparison for each group, the largest first, days in their order; without `by` for all in one.

    By session: whole sessions that were active since then, at most `limit` of them.
    """
    most = (" ORDER BY requested_usd DESC, id LIMIT ?", limit)
    found = [_saved(row) for row in _asked(connection, by, since, _COMPARED, most)]
    if by == "day":
        return _days(found, since)
    return sorted(found, key=lambda group: (-abs(group.requested_usd), group.name))


def _saved(row: tuple[Any, ...]) -> Saved:
    name, compared, uncompared, requested, *parts = row
    usd = dict(zip(("downgraded", "cached", "refused", "fallback", "dearer", "wasted"), parts[1::2], strict=True))
    less, more = usd["downgraded"] + usd["cached"] + usd["refused"], usd["fallback"] + usd["dearer"] + usd["wasted"]
    return Saved(name, compared, uncompared, requested, requested - less + more, *parts)
