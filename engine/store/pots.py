"""What the ledger knows to be spent, by what budgets go by.

Rules kept here:

- It is read from sums of its own (`spending`), which a trigger keeps in the event's transaction, by quarters of an hour: asking
  takes milliseconds however many events there are, and deleting events changes nothing about it.
- Of an older file, events that are not in those sums yet are read beside them; both in one statement, so none is counted twice.
- What is older than any period is kept without its time, and with its session as far as it counted for a budget.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from engine.store.event import Event
from engine.store.rows import EQUAL, KNOWN_USD, Filter

Spent = list[tuple[tuple[str, ...], float]]
"""Values of what is gone by, and US dollars."""

_SUMMED = frozenset({"since", "project", "session", "client", "key", "budget"})
"""What of a filter the sums can be asked."""


def spent_in_all(connection: sqlite3.Connection, where: Filter) -> float:
    """USD spent on the requests that `where` wants, as far as costs are known. Raises sqlite3.Error."""
    usd = float(sum(usd for _, usd in spent_by(connection, (), where, 1)))
    if where.session is not None and where == Filter(session=where.session):
        # Longer ago than any period it may have counted for no budget; the session's own sum has it, while there is one.
        row = connection.execute("SELECT total(cost_usd) FROM sessions WHERE id = ?", (where.session,)).fetchone()
        usd = max(usd, float(row[0]))
    return usd


def spent_by(connection: sqlite3.Connection, by: Sequence[str], where: Filter, limit: int) -> Spent:
    """The same for each of the values of `by`, the largest first; requests without one of them are left out."""
    columns = [EQUAL[name] for name in by]
    named = "".join(f"{column}, " for column in columns)
    clause, values = _clause(where)
    source = f"SELECT {named}{KNOWN_USD} AS usd FROM events{clause}"  # noqa: S608 - our own words
    given = [*values]
    if _asked(where) <= _SUMMED and (where.since is None or whole_slot(where.since)):
        uncounted = "rowid <= (SELECT undone FROM upgrades WHERE name = 'spending')"
        source += f"{' AND' if clause else ' WHERE'} {uncounted}"
        clause, values = _clause(where, time="slot")
        if where.session is not None:  # the index holds only those that have one
            clause += " AND session_id != ''"
        source += f" UNION ALL SELECT {named}cost_usd AS usd FROM spending{clause}"  # noqa: S608
        given += values
    groups = " GROUP BY " + ", ".join(columns) if columns else ""
    named_all = " AND ".join(f"{column} != ''" for column in columns)
    having = f" HAVING {named_all}" if columns else ""
    query = f"SELECT {named}total(usd) AS usd FROM ({source}){groups}{having} ORDER BY usd DESC LIMIT ?"  # noqa: S608
    return [(tuple(row[:-1]), float(row[-1])) for row in connection.execute(query, (*given, limit))]


def whole_slot(moment: datetime) -> bool:
    """Whether a quarter of an hour begins at `moment`."""
    utc = moment.astimezone(UTC)
    return utc.minute % 15 == 0 and (utc.second, utc.microsecond) == (0, 0)


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
