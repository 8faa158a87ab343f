"""What was spent, on whom, and what was saved: sums that the ledger's file is asked for.

Rules kept here:

- Spending is read from the sums that the ledger keeps by days, by quarters of an hour and by session: a month of a million
  requests is some thousand rows. So `since` counts from the quarter of an hour that it lies in.
- A cost that nobody knows is in no sum; how many there were stands beside it.
- What was saved is worked out from what each event recorded when it came, never from prices of today. Both sides of the
  comparison are of the same requests: those of which both are known.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
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

_SUMS = (
    "sum(requests), sum(failed), sum(unpriced), sum(input_tokens), sum(output_tokens), sum(cached_input_tokens), "
    "sum(cache_write_tokens), sum(cost_usd)"
)

_CUBE = (
    "project, client, route_class, provider, model, requests, failed, unpriced, input_tokens, output_tokens, "
    "cached_input_tokens, cache_write_tokens, cost_usd"
)

_SLOT = "substr(timestamp, 1, 14) || printf('%02d', CAST(substr(timestamp, 15, 2) AS INTEGER) / 15 * 15)"
"""The quarter of an hour of an event."""

_KINDS: Mapping[By, str] = {
    "project": "project",
    "session": "session_id",
    "client": "client",
    "model": "CASE WHEN selected_model = '' THEN '' ELSE selected_provider || '/' || selected_model END",
    "class": "route_class",
}


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


_Group = TypeVar("_Group", "Spent", "Saved")


def spent(connection: sqlite3.Connection, by: By, since: datetime) -> list[Spent]:
    """Sums by group, the dearest first; by day in the order of time.

    By session: whole sessions that were active since then.
    """
    if by == "session":
        query = f"SELECT id, {_SUMS} FROM sessions WHERE last >= ? GROUP BY id"  # noqa: S608 (words of our own)
        return _dearest(_rows(connection, query, timestamp_of(since)))
    if by == "day":
        query = f"SELECT slot, {_SUMS} FROM usage_slots WHERE slot >= ? GROUP BY slot ORDER BY slot"  # noqa: S608
        return _days(_rows(connection, query, _slot(since)), since)
    # The rest of the first day by quarters of an hour, then whole days.
    query = (
        f"SELECT {_COLUMNS[by]} AS name, {_SUMS} FROM (SELECT {_CUBE} FROM usage WHERE slot >= ? AND slot < ? "  # noqa: S608
        f"UNION ALL SELECT {_CUBE} FROM usage_days WHERE day >= ?) GROUP BY name"
    )
    slot = _slot(since)
    day = slot[:10] if slot.endswith("T00:00") else _next_day(slot[:10])
    return _dearest(_rows(connection, query, slot, day, day))


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


def _rows(connection: sqlite3.Connection, query: str, *values: str) -> list[Spent]:
    return [Spent(*row) for row in connection.execute(query, values)]


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


_COST = "coalesce(cost_reported_usd, cost_estimate_usd)"
_SERVED = "NOT cache_hit AND selected_provider != '' AND cost IS NOT NULL AND requested_usd IS NOT NULL"
_PARTS: Mapping[str, tuple[str, str]] = {
    "downgraded": (f"{_SERVED} AND cost < requested_usd", "requested_usd - cost"),
    "cached": ("cache_hit AND requested_usd IS NOT NULL", "requested_usd"),
    "refused": ("NOT cache_hit AND selected_provider = '' AND requested_usd IS NOT NULL", "requested_usd"),
    "fallback": (f"{_SERVED} AND cost > requested_usd AND status = 'fallback_success'", "cost - requested_usd"),
    "dearer": (f"{_SERVED} AND cost > requested_usd AND status != 'fallback_success'", "cost - requested_usd"),
    "wasted": ("wasted_usd IS NOT NULL", "wasted_usd"),
}
"""Part → which requests, and how much of each."""

_COMPARED = f"({_SERVED}) OR ({_PARTS['cached'][0]}) OR ({_PARTS['refused'][0]})"
_UNCOMPARED = "NOT cache_hit AND status IN ('success', 'fallback_success') AND (cost IS NULL OR requested_usd IS NULL)"


def saved(connection: sqlite3.Connection, since: datetime, by: By | None = None) -> list[Saved]:
    """The comparison for each group, the largest first, days in their order; without `by` for all in one."""
    name = "''" if by is None else _SLOT if by == "day" else _KINDS[by]
    parts = ", ".join(
        f"total(CASE WHEN {which} THEN 1 END), total(CASE WHEN {which} THEN {usd} END)"
        for which, usd in _PARTS.values()
    )
    query = (
        f"SELECT name, total(CASE WHEN {_COMPARED} THEN 1 END), total(CASE WHEN {_UNCOMPARED} THEN 1 END), "  # noqa: S608
        f"total(CASE WHEN {_COMPARED} THEN requested_usd END), "
        f"total(CASE WHEN {_SERVED} THEN cost END) + total(wasted_usd), {parts} "
        f"FROM (SELECT {name} AS name, {_COST} AS cost, requested_usd, wasted_usd, cache_hit, selected_provider, status "
        "FROM events WHERE timestamp >= ? AND status != 'open') GROUP BY name"
    )
    found = [_saved(row) for row in connection.execute(query, (timestamp_of(since),))]
    if by == "day":
        return _days(sorted(found, key=lambda group: group.name), since)
    return sorted(found, key=lambda group: (-abs(group.requested_usd), group.name))


def _saved(row: tuple[Any, ...]) -> Saved:
    """The query keeps the order of the fields; its sums are floats, the counts too."""
    values: list[Any] = [int(v) if f.type == "int" else v for f, v in zip(fields(Saved), row, strict=True)]
    return Saved(*values)
