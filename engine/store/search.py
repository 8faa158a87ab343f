"""The newest events that a filter wants, found by way of the sums: they know on which days there were any.

Without that, a client or a model that sent nothing, or little, is looked for in every event there is: 0.4 s for a million. The
sums of a day name all combinations of project, client, class, provider and model that ended on it, so days without the one asked
for are passed over, and a combination that never was is answered at once. Rules kept here:

- Requests under way are in no sum; they are looked for by their status.
- The sums may know more than there is (events are deleted, sums stay), never less.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from engine.store.detail import Details
from engine.store.event import Event, timestamp_of
from engine.store.rows import Condition, Filter, fetch

NEWEST_FIRST = "timestamp DESC, id DESC"

_SUMMED: Mapping[str, str] = {
    "project": "project", "client": "client", "route_class": "route_class", "provider": "provider", "model": "model",
}  # fmt: skip
"""What a filter may name → the column of the sums."""

_ENDED: Mapping[str, str] = {"error": "failed > 0", "interrupted": "failed > 0", "success": "requests > failed"}
"""Status → what the sums say of it."""


def newest(connection: sqlite3.Connection, details: Details, where: Filter, limit: int) -> list[Event]:
    """At most `limit` events that `where` wants, newest first. Raises sqlite3.Error."""
    if not _helped(where):
        return fetch(connection, details, where, order=NEWEST_FIRST, limit=limit)
    under_way: list[Condition] = [("status = ?", ("open",))]
    found = fetch(connection, details, where, extra=under_way, order=NEWEST_FIRST, limit=limit)
    ended: list[Event] = []
    for day in _days(connection, where):
        # "U" follows the "T" between date and time.
        of_day: list[Condition] = [("timestamp >= ? AND timestamp < ?", (day, f"{day}U")), ("status != ?", ("open",))]
        ended += fetch(connection, details, where, extra=of_day, order=NEWEST_FIRST, limit=limit - len(ended))
        if len(ended) >= limit:
            break
    return sorted([*found, *ended], key=lambda event: (event.timestamp, event.id), reverse=True)[:limit]


def _helped(where: Filter) -> bool:
    """Whether no index of the events themselves answers `where`."""
    named = any(getattr(where, name) is not None for name in _SUMMED if name != "project")
    return named and where.session is None and not where.agent and not where.key and where.status != "open"


def _days(connection: sqlite3.Connection, where: Filter) -> list[str]:
    """Days (UTC) with requests that `where` may want, newest first."""
    asked = [
        (f"{column} = ?", value) for name, column in _SUMMED.items() if (value := getattr(where, name)) is not None
    ]
    if where.since is not None:
        asked.append(("day >= ?", timestamp_of(where.since)[:10]))
    if where.until is not None:
        asked.append(("day <= ?", timestamp_of(where.until)[:10]))
    conditions = [condition for condition, _ in asked]
    if where.status is not None and where.status in _ENDED:
        conditions.append(_ENDED[where.status])
    query = (
        f"SELECT DISTINCT day FROM usage_days WHERE {' AND '.join(conditions)} "  # noqa: S608 - our own words
        "AND day >= (SELECT substr(coalesce(min(timestamp), ''), 1, 10) FROM events) ORDER BY day DESC"
    )
    return [row[0] for row in connection.execute(query, [value for _, value in asked])]
