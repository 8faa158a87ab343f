"""What was spent by what only the events themselves say: sub-agent, key, policy, repository, tag; and by anything of some of them.

The sums that a ledger keeps (`engine.store.costs`) know projects, clients, classes, models and sessions. Here each event is looked
at, three seconds for a hundred thousand of them, and what retention has deleted is not counted. Rules kept here:

- An event with several tags counts for each of them, so groups by tag are no parts of the whole: that is summed by itself.
- A cost that nobody knows is in no sum; how many there were stands beside it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, get_args

from engine.store.costs import Spent
from engine.store.detail import Details
from engine.store.rows import ESTIMATED_USD, KNOWN_USD, Filter

Source = Literal["agent", "key", "policy", "repository", "tag"]
"""What the sums of the ledger do not know."""

SOURCES: tuple[Source, ...] = get_args(Source)

_COLUMNS: Mapping[str, str] = {
    "agent": "agent", "key": "key_name", "project": "project", "session": "session_id", "client": "client",
    "class": "route_class", "day": "timestamp", "model": "iif(selected_model = '', '', selected_provider || '/' || selected_model)",
}  # fmt: skip
"""What a column says → SQL of our own."""

_KEYS: Mapping[str, str] = {"policy": "policy", "repository": "repoPath", "tag": "tags"}
"""What is packed → its key in the event's JSON."""

_SUMS = (
    "status IN ('error', 'interrupted'), "
    "status IN ('success', 'fallback_success') AND NOT cache_hit AND coalesce(cost_reported_usd, cost_estimate_usd) IS NULL, "
    "coalesce(input_tokens, 0), coalesce(output_tokens, 0), coalesce(cached_input_tokens, 0), coalesce(cache_write_tokens, 0), "
    f"{KNOWN_USD}, {ESTIMATED_USD}"
)
"""What an event adds to each field of `Spent` behind `requests`, in their order."""


def attributed(connection: sqlite3.Connection, by: str, where: Filter) -> tuple[list[Spent], Spent]:
    """(sums by group, the dearest first, days in the order of time; all of it) for events that `where` wants and that have ended.

    `by` is a `Source` or what `costs.spent` takes. Raises sqlite3.Error.
    """
    names = _names(connection, by)
    groups: dict[str, Spent] = {}
    whole = Spent("total")
    for said, *sums in _rows(connection, by, where):
        _count(whole, sums)
        for name in names(said):
            _count(groups.setdefault(name, Spent(name)), sums)
    if by == "day":
        return sorted(groups.values(), key=lambda group: group.name), whole
    return sorted(groups.values(), key=lambda group: (-group.cost_usd, -group.requests, group.name)), whole


def _rows(connection: sqlite3.Connection, by: str, where: Filter) -> Iterator[tuple[Any, ...]]:
    conditions = [("status != ?", ("open",)), *where.conditions()]
    query = (
        f"SELECT {_COLUMNS.get(by, 'detail')}, {_SUMS} FROM events WHERE {' AND '.join(sql for sql, _ in conditions)}"  # noqa: S608
    )
    return connection.execute(query, [value for _, values in conditions for value in values])


def _names(connection: sqlite3.Connection, by: str) -> Callable[[Any], list[str]]:
    """How the groups of an event are read from what was selected of it."""
    if by == "day":
        return lambda moment: [datetime.fromisoformat(moment).astimezone().date().isoformat()]
    if by in _COLUMNS:
        return lambda name: [name or ""]
    details, key = Details(connection), _KEYS[by]

    def packed(detail: bytes) -> list[str]:
        said = details.unpack(detail).get(key) or ""
        return list(said) if isinstance(said, list) else [said]

    return packed


def _count(group: Spent, sums: list[Any]) -> None:
    failed, unknown, read, written, cached, kept, usd, guessed = sums
    group.requests += 1
    group.failed += failed
    group.unknown += unknown
    group.input_tokens += read
    group.output_tokens += written
    group.cached_input_tokens += cached
    group.cache_write_tokens += kept
    group.cost_usd += usd
    group.estimated_usd += guessed
