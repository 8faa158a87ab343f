"""What the ledger knows to be spent, by what budgets go by: in the events that are there and in those that were deleted.

A deleted event is remembered by project, client, key and the names of its budgets, not by session: a session's budget for good
counts the session's events, and without a condition its sum, which stays as long as the session has one event left.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from engine.store.event import Event
from engine.store.rows import EQUAL, KNOWN_USD, Filter

Spent = list[tuple[tuple[str, ...], float]]
"""Values of what is gone by, and US dollars."""

_REMEMBERED = frozenset({"since", "project", "client", "key", "budget"})
"""What of a filter can be asked of deleted events."""


def spent_in_all(connection: sqlite3.Connection, where: Filter) -> float:
    """USD spent on the requests that `where` wants, as far as costs are known. Raises sqlite3.Error."""
    if where.session is not None and where == Filter(session=where.session):
        row = connection.execute("SELECT total(cost_usd) FROM sessions WHERE id = ?", (where.session,)).fetchone()
        return float(row[0])
    return float(sum(usd for _, usd in spent_by(connection, (), where, 1)))


def spent_by(connection: sqlite3.Connection, by: Sequence[str], where: Filter, limit: int) -> Spent:
    """The same for each of the values of `by`, the largest first; requests without one of them are left out."""
    columns = [EQUAL[name] for name in by]
    named = "".join(f"{column}, " for column in columns)
    clause, values = _clause(where)
    source = f"SELECT {named}{KNOWN_USD} AS usd FROM events{clause}"  # noqa: S608 - our own words
    given = [*values]
    if "session" not in by and _asked(where) <= _REMEMBERED:
        clause, values = _clause(where, time="slot")
        source += f" UNION ALL SELECT {named}cost_usd AS usd FROM forgotten{clause}"  # noqa: S608
        given += values
    groups = " GROUP BY " + ", ".join(columns) if columns else ""
    named_all = " AND ".join(f"{column} != ''" for column in columns)
    having = f" HAVING {named_all}" if columns else ""
    query = f"SELECT {named}total(usd) AS usd FROM ({source}){groups}{having} ORDER BY usd DESC LIMIT ?"  # noqa: S608
    return [(tuple(row[:-1]), float(row[-1])) for row in connection.execute(query, (*given, limit))]


def spent_of(events: Iterable[Event], by: Sequence[str], where: Filter) -> Spent:
    """The same over events in memory."""
    found: dict[tuple[str, ...], float] = {}
    for event in events:
        of = tuple(str(getattr(event, EQUAL[name])) for name in by)
        if all(of) and where.matches(event):
            found[of] = found.get(of, 0.0) + (event.total_usd or 0.0)
    return sorted(found.items(), key=lambda pot: -pot[1])


def _clause(where: Filter, time: str = "timestamp") -> tuple[str, list[str]]:
    conditions = where.conditions(time)
    text = " WHERE " + " AND ".join(condition for condition, _ in conditions) if conditions else ""
    return text, [value for _, given in conditions for value in given]


def _asked(where: Filter) -> set[str]:
    """What `where` asks about."""
    return {name for name in Filter.__slots__ if getattr(where, name) is not None}
