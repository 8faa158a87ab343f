"""The ledger's tables, as the list of steps that made them.

Append only: what a released step makes of the tables never changes. The number of steps taken is kept in the file
(`user_version`), and each step and its number are committed together, so an interrupted migration goes on where it stopped.

A step is quick however many events there are: what has to be worked out for each of them, and indexes over all of them, it puts
off by a row in `upgrades`. The gateway serves meanwhile, and the ledger's writer does it bit by bit (`engine.store.upgrades`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from engine.store.detail import plain


class LedgerTooNew(Exception):
    """The file was written by a newer version of the gateway, whose tables this one does not know."""


def _events(connection: sqlite3.Connection) -> None:
    connection.execute(
        """
        CREATE TABLE events (
            id TEXT PRIMARY KEY,
            timestamp TEXT NOT NULL,
            client TEXT NOT NULL,
            protocol TEXT NOT NULL,
            session_id TEXT NOT NULL DEFAULT '',
            repo_path TEXT NOT NULL DEFAULT '',
            route_class TEXT NOT NULL DEFAULT '',
            requested_model TEXT NOT NULL DEFAULT '',
            selected_provider TEXT NOT NULL DEFAULT '',
            selected_model TEXT NOT NULL DEFAULT '',
            fallback_chain TEXT NOT NULL DEFAULT '[]',
            input_tokens INTEGER,
            output_tokens INTEGER,
            cached_input_tokens INTEGER,
            cost_estimate_usd REAL,
            latency_ms REAL NOT NULL DEFAULT 0,
            cache_hit INTEGER NOT NULL DEFAULT 0,
            status TEXT NOT NULL,
            error_class TEXT NOT NULL DEFAULT '',
            client_version TEXT NOT NULL DEFAULT '',
            agent TEXT NOT NULL DEFAULT '',
            project TEXT NOT NULL DEFAULT '',
            stream INTEGER NOT NULL DEFAULT 0,
            http_status INTEGER,
            class_rule TEXT NOT NULL DEFAULT '',
            facts TEXT NOT NULL DEFAULT '{}',
            decision TEXT NOT NULL DEFAULT '{}',
            losses TEXT NOT NULL DEFAULT '[]',
            attempts TEXT NOT NULL DEFAULT '[]',
            policy TEXT NOT NULL DEFAULT '',
            cache_write_tokens INTEGER,
            reasoning_tokens INTEGER,
            cost_reported_usd REAL,
            cost_provenance TEXT NOT NULL DEFAULT '',
            price_table TEXT NOT NULL DEFAULT '',
            stop_reason TEXT NOT NULL DEFAULT '',
            first_event_ms REAL,
            request_digest TEXT NOT NULL DEFAULT '',
            gateway_version TEXT NOT NULL DEFAULT ''
        )
        """
    )
    # With the costs in it, what was spent since a moment is read from the index alone.
    connection.execute("CREATE INDEX events_timestamp ON events (timestamp, cost_estimate_usd, cost_reported_usd)")
    connection.execute("CREATE INDEX events_session ON events (session_id, timestamp)")
    connection.execute("CREATE INDEX events_status ON events (status, timestamp)")


def _inputs(connection: sqlite3.Connection) -> None:
    """What a decision depended on beside the facts, and the way it took."""
    connection.execute("ALTER TABLE events ADD COLUMN availability TEXT NOT NULL DEFAULT '{}'")
    connection.execute("ALTER TABLE events ADD COLUMN path TEXT NOT NULL DEFAULT '[]'")


def _shadow(connection: sqlite3.Connection) -> None:
    """What a watching policy would have done."""
    connection.execute("ALTER TABLE events ADD COLUMN shadow TEXT NOT NULL DEFAULT '{}'")


def _money(connection: sqlite3.Connection) -> None:
    """What a cost rests on, what was paid for nothing, and what the model asked for would have cost."""
    connection.execute("ALTER TABLE events ADD COLUMN cost_basis TEXT NOT NULL DEFAULT ''")
    connection.execute("ALTER TABLE events ADD COLUMN wasted_usd REAL")
    connection.execute("ALTER TABLE events ADD COLUMN requested_usd REAL")
    connection.execute("DROP INDEX events_timestamp")
    connection.execute(
        "CREATE INDEX events_timestamp ON events (timestamp, cost_estimate_usd, cost_reported_usd, wasted_usd)"
    )


def _packed(connection: sqlite3.Connection) -> None:
    """Own columns only for what is asked for, the rest of an event packed into one; sums by session and by time.

    The sums are kept by triggers: whoever writes an event, and however often, it is counted once, when it stops being open.
    """
    connection.execute(
        "CREATE TABLE dictionaries (number INTEGER PRIMARY KEY AUTOINCREMENT, content BLOB NOT NULL, until TEXT)"
    )
    connection.execute("ALTER TABLE events RENAME TO events_unpacked")
    for name in ("events_timestamp", "events_session", "events_status"):
        connection.execute(f"DROP INDEX {name}")
    _packed_events(connection)
    _sums(connection)
    _pack(connection)
    connection.execute("DROP TABLE events_unpacked")


def _packed_events(connection: sqlite3.Connection) -> None:
    connection.execute(
        """
        CREATE TABLE events (
            id TEXT PRIMARY KEY,
            timestamp TEXT NOT NULL,
            client TEXT NOT NULL,
            session_id TEXT NOT NULL DEFAULT '',
            agent TEXT NOT NULL DEFAULT '',
            project TEXT NOT NULL DEFAULT '',
            route_class TEXT NOT NULL DEFAULT '',
            requested_model TEXT NOT NULL DEFAULT '',
            selected_provider TEXT NOT NULL DEFAULT '',
            selected_model TEXT NOT NULL DEFAULT '',
            input_tokens INTEGER,
            output_tokens INTEGER,
            cached_input_tokens INTEGER,
            cache_write_tokens INTEGER,
            cost_estimate_usd REAL,
            cost_reported_usd REAL,
            cost_basis TEXT NOT NULL DEFAULT '',
            wasted_usd REAL,
            requested_usd REAL,
            latency_ms REAL NOT NULL DEFAULT 0,
            cache_hit INTEGER NOT NULL DEFAULT 0,
            status TEXT NOT NULL,
            error_class TEXT NOT NULL DEFAULT '',
            detail BLOB NOT NULL
        )
        """
    )
    connection.execute(
        "CREATE INDEX events_timestamp ON events (timestamp, cost_estimate_usd, cost_reported_usd, wasted_usd)"
    )
    connection.execute("CREATE INDEX events_session ON events (session_id, timestamp)")
    connection.execute("CREATE INDEX events_project ON events (project, timestamp)")
    connection.execute("CREATE INDEX events_model ON events (selected_model, timestamp)")
    connection.execute("CREATE INDEX events_status ON events (status, timestamp)")


def _sums(connection: sqlite3.Connection) -> None:
    connection.execute(
        """
        CREATE TABLE usage (
            slot TEXT NOT NULL, project TEXT NOT NULL, client TEXT NOT NULL, route_class TEXT NOT NULL,
            provider TEXT NOT NULL, model TEXT NOT NULL,
            requests INTEGER NOT NULL, failed INTEGER NOT NULL, unpriced INTEGER NOT NULL,
            input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
            cached_input_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL, cost_usd REAL NOT NULL,
            PRIMARY KEY (slot, project, client, route_class, provider, model)
        ) WITHOUT ROWID
        """
    )
    connection.execute(
        """
        CREATE TABLE sessions (
            id TEXT PRIMARY KEY, started TEXT NOT NULL, last TEXT NOT NULL,
            client TEXT NOT NULL, project TEXT NOT NULL, model TEXT NOT NULL,
            requests INTEGER NOT NULL, failed INTEGER NOT NULL, unpriced INTEGER NOT NULL,
            input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
            cached_input_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL, cost_usd REAL NOT NULL
        ) WITHOUT ROWID
        """
    )
    connection.execute("CREATE INDEX sessions_last ON sessions (last)")
    for when in (
        "INSERT ON events WHEN NEW.status != 'open'",
        "UPDATE OF status ON events WHEN OLD.status = 'open' AND NEW.status != 'open'",
    ):
        connection.execute(f"CREATE TRIGGER events_{when[:6].lower()} AFTER {when} BEGIN {_ADD} END")


def _pack(connection: sqlite3.Connection) -> None:
    columns = ", ".join(_COLUMNS)
    reading = f"SELECT {', '.join(_KEPT)}, {columns} FROM events_unpacked ORDER BY timestamp, id"  # noqa: S608
    writing = f"INSERT INTO events ({columns}, detail) VALUES ({', '.join('?' * (len(_COLUMNS) + 1))})"  # noqa: S608
    for row in connection.execute(reading):
        connection.execute(writing, (*row[len(_KEPT) :], plain(_rest(row))))


_COLUMNS = (
    "id", "timestamp", "client", "session_id", "agent", "project", "route_class", "requested_model", "selected_provider",
    "selected_model", "input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "cost_estimate_usd",
    "cost_reported_usd", "cost_basis", "wasted_usd", "requested_usd", "latency_ms", "cache_hit", "status", "error_class",
)  # fmt: skip

_COUNTED = """
    NEW.cost_reported_usd IS NULL AND NEW.cost_estimate_usd IS NULL
        AND NEW.status IN ('success', 'fallback_success') AND NOT NEW.cache_hit,
    coalesce(NEW.input_tokens, 0), coalesce(NEW.output_tokens, 0), coalesce(NEW.cached_input_tokens, 0),
    coalesce(NEW.cache_write_tokens, 0), coalesce(NEW.cost_reported_usd, NEW.cost_estimate_usd, 0) + coalesce(NEW.wasted_usd, 0)
"""

_ADDED = """
    requests = requests + 1, failed = failed + excluded.failed, unpriced = unpriced + excluded.unpriced,
    input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens,
    cached_input_tokens = cached_input_tokens + excluded.cached_input_tokens,
    cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens, cost_usd = cost_usd + excluded.cost_usd
"""

SLOT = """
    substr(NEW.timestamp, 1, 14) || CASE
        WHEN substr(NEW.timestamp, 15, 2) < '15' THEN '00' WHEN substr(NEW.timestamp, 15, 2) < '30' THEN '15'
        WHEN substr(NEW.timestamp, 15, 2) < '45' THEN '30' ELSE '45' END
"""

_ADD = f"""
    INSERT INTO usage VALUES (
        {SLOT},
        NEW.project, NEW.client, NEW.route_class, NEW.selected_provider, NEW.selected_model,
        1, NEW.status IN ('error', 'interrupted'), {_COUNTED}
    ) ON CONFLICT DO UPDATE SET {_ADDED};
    INSERT INTO sessions SELECT
        NEW.session_id, NEW.timestamp, NEW.timestamp, NEW.client, NEW.project, NEW.selected_model,
        1, NEW.status IN ('error', 'interrupted'), {_COUNTED}
    WHERE NEW.session_id != '' ON CONFLICT DO UPDATE SET
        started = min(started, excluded.started), last = max(last, excluded.last), client = excluded.client,
        project = CASE WHEN excluded.project = '' THEN project ELSE excluded.project END,
        model = CASE WHEN excluded.model = '' THEN model ELSE excluded.model END, {_ADDED};
"""  # noqa: S608 - our own words

_KEPT = {
    "protocol": "protocol", "repo_path": "repoPath", "fallback_chain": "fallbackChain", "client_version": "clientVersion",
    "stream": "stream", "http_status": "httpStatus", "class_rule": "classRule", "facts": "facts", "decision": "decision",
    "losses": "losses", "attempts": "attempts", "policy": "policy", "reasoning_tokens": "reasoningTokens",
    "cost_provenance": "costProvenance", "price_table": "priceTable", "stop_reason": "stopReason",
    "first_event_ms": "firstEventMs", "request_digest": "requestDigest", "gateway_version": "gatewayVersion",
    "availability": "availability", "path": "path", "shadow": "shadow",
}  # fmt: skip
"""Columns of before that were packed → their names in an event's JSON."""

_AS_JSON = frozenset({"fallbackChain", "facts", "decision", "losses", "attempts", "availability", "path", "shadow"})


def _rest(row: tuple[Any, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in zip(_KEPT.values(), row, strict=False):
        if key in _AS_JSON:
            value = orjson.loads(value)
        if key == "stream":
            value = bool(value)
        if key in {"stream", "fallbackChain"} or value not in (None, "", [], {}):
            found[key] = value
    return found


def _budgets(connection: sqlite3.Connection) -> None:
    """Which budgets a request counted for, their names joined by commas."""
    connection.execute("ALTER TABLE events ADD COLUMN budgets TEXT NOT NULL DEFAULT ''")


def _violations(connection: sqlite3.Connection) -> None:
    """Where violations are found: the events themselves say what they are."""
    connection.execute(
        """
        CREATE TABLE violations (
            timestamp TEXT NOT NULL, event_id TEXT NOT NULL, kind TEXT NOT NULL, rule TEXT NOT NULL,
            PRIMARY KEY (timestamp, event_id, kind, rule)
        ) WITHOUT ROWID
        """
    )


def _days(connection: sqlite3.Connection) -> None:
    """The same sums by whole days (UTC), and by quarters of an hour over everything: a busy month has half a million of the
    finest sums, which is too many to add up while somebody waits.
    """
    sums = (
        "requests INTEGER NOT NULL, failed INTEGER NOT NULL, unpriced INTEGER NOT NULL, input_tokens INTEGER NOT NULL, "
        "output_tokens INTEGER NOT NULL, cached_input_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL, "
        "cost_usd REAL NOT NULL"
    )
    added = (
        "sum(requests), sum(failed), sum(unpriced), sum(input_tokens), sum(output_tokens), sum(cached_input_tokens), "
        "sum(cache_write_tokens), sum(cost_usd)"
    )
    groups = "project, client, route_class, provider, model"
    connection.execute(
        "CREATE TABLE usage_days (day TEXT NOT NULL, project TEXT NOT NULL, client TEXT NOT NULL, route_class TEXT NOT NULL, "
        f"provider TEXT NOT NULL, model TEXT NOT NULL, {sums}, PRIMARY KEY (day, {groups})) WITHOUT ROWID"
    )
    connection.execute(f"CREATE TABLE usage_slots (slot TEXT PRIMARY KEY, {sums}) WITHOUT ROWID")
    connection.execute(
        f"INSERT INTO usage_days SELECT substr(slot, 1, 10), {groups}, {added} FROM usage GROUP BY substr(slot, 1, 10), {groups}"  # noqa: S608
    )
    connection.execute(f"INSERT INTO usage_slots SELECT slot, {added} FROM usage GROUP BY slot")  # noqa: S608
    for when in (
        "INSERT ON events WHEN NEW.status != 'open'",
        "UPDATE OF status ON events WHEN OLD.status = 'open' AND NEW.status != 'open'",
    ):
        connection.execute(f"CREATE TRIGGER events_{when[:6].lower()}_days AFTER {when} BEGIN {_ADD_DAYS} END")


_ADD_DAYS = f"""
    INSERT INTO usage_days VALUES (
        substr(NEW.timestamp, 1, 10),
        NEW.project, NEW.client, NEW.route_class, NEW.selected_provider, NEW.selected_model,
        1, NEW.status IN ('error', 'interrupted'), {_COUNTED}
    ) ON CONFLICT DO UPDATE SET {_ADDED};
    INSERT INTO usage_slots VALUES ({SLOT}, 1, NEW.status IN ('error', 'interrupted'), {_COUNTED})
    ON CONFLICT DO UPDATE SET {_ADDED};
"""  # noqa: S608 - our own words


def _searched(connection: sqlite3.Connection) -> None:
    """One index in the order of time that holds all that lists are filtered by: a filter that fits nothing, whatever it joins,
    is answered from it alone, without reading a million rows.
    """
    put_off(connection, "index_timestamp")


def _keys(connection: sqlite3.Connection) -> None:
    """Which of the gateway's keys a request presented."""
    connection.execute("ALTER TABLE events ADD COLUMN key_name TEXT NOT NULL DEFAULT ''")


SUMS = ("usage", "usage_days", "usage_slots", "sessions")
"""Tables of sums."""

SAVED = (
    "compared", "uncompared", "requested_usd", "downgrades", "downgraded_usd", "cached", "cached_usd", "refused", "refused_usd",
    "fallbacks", "fallback_usd", "dearer", "dearer_usd", "wasted", "wasted_usd",
)  # fmt: skip
"""Sums of the comparison with the model asked for; those in US dollars end so, the others are counts."""

CUBE = "project, client, route_class, provider, model"

_SPENT = (
    "requests", "failed", "unpriced", "input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "cost_usd",
)  # fmt: skip


def comparison(row: str) -> tuple[str, ...]:
    """What one event adds to each of `SAVED`, in SQL; `row` stands before its columns."""
    cost = f"coalesce({row}cost_reported_usd, {row}cost_estimate_usd)"
    asked = f"{row}requested_usd"
    served = f"(NOT {row}cache_hit AND {row}selected_provider != '' AND {cost} IS NOT NULL AND {asked} IS NOT NULL)"
    hit, refused = f"({row}cache_hit)", f"(NOT {row}cache_hit AND {row}selected_provider = '')"
    dearer = f"({served} AND {cost} > {asked})"
    fallback = f"({dearer} AND {row}status = 'fallback_success')"
    chosen = f"({dearer} AND {row}status != 'fallback_success')"
    cheaper = f"({served} AND {cost} < {asked})"
    compared = f"(({served} OR {hit} OR {refused}) AND {asked} IS NOT NULL)"
    answered = f"{row}status IN ('success', 'fallback_success')"
    return (
        compared,
        f"(NOT {compared} AND NOT {row}cache_hit AND {answered})",
        f"iif({compared}, {asked}, 0)",
        cheaper,
        f"iif({cheaper}, {asked} - {cost}, 0)",
        f"({hit} AND {asked} IS NOT NULL)",
        f"iif({hit}, coalesce({asked}, 0), 0)",
        f"({refused} AND {asked} IS NOT NULL)",
        f"iif({refused}, coalesce({asked}, 0), 0)",
        fallback,
        f"iif({fallback}, {cost} - {asked}, 0)",
        chosen,
        f"iif({chosen}, {cost} - {asked}, 0)",
        f"({row}wasted_usd IS NOT NULL)",
        f"coalesce({row}wasted_usd, 0)",
    )


def _savings(connection: sqlite3.Connection) -> None:
    """What was saved against the model asked for, in the same sums; one trigger for all of them."""
    _count_open(connection)
    for table in SUMS:
        for name in SAVED:
            kind = "REAL" if name.endswith("_usd") else "INTEGER"
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind} NOT NULL DEFAULT 0")
    put_off(connection, "savings")
    for name, when in _ENDS.items():
        for old in (name, f"{name}_days"):
            connection.execute(f"DROP TRIGGER {old}")
        connection.execute(f"CREATE TRIGGER {name} AFTER {when} BEGIN {_adding()} END")


def _count_open(connection: sqlite3.Connection) -> None:
    """What an earlier run left open ends now, by the triggers as they are: what is put off is about events that have ended."""
    connection.execute("UPDATE events SET status = 'interrupted' WHERE status = 'open'")


def put_off(connection: sqlite3.Connection, name: str) -> None:
    """Leave work on all events that are there for later: those whose row numbers are not above `undone`."""
    newest = connection.execute("SELECT max(rowid) FROM events").fetchone()[0] or 0
    if name.startswith("index_"):
        newest = max(newest, 1)  # is to be made in any case
    connection.execute(
        "CREATE TABLE IF NOT EXISTS upgrades (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, "
        "newest INTEGER NOT NULL, undone INTEGER NOT NULL)"
    )
    connection.execute("INSERT INTO upgrades (name, newest, undone) VALUES (?, ?, ?)", (name, newest, newest))


def _adding(more: Mapping[str, str] = {}) -> str:
    """The trigger's statements; `more` are further sums and what an event adds to them."""
    names = (*_SPENT, *SAVED, *more)
    values = ", ".join(("1, NEW.status IN ('error', 'interrupted')", _COUNTED, *comparison("NEW."), *more.values()))
    added = ", ".join(f"{name} = {name} + excluded.{name}" for name in names)
    keys = "NEW.project, NEW.client, NEW.route_class, NEW.selected_provider, NEW.selected_model"
    known = "project = iif(excluded.project = '', project, excluded.project), model = iif(excluded.model = '', model, excluded.model)"
    return f"""
        INSERT INTO usage (slot, {CUBE}, {", ".join(names)}) VALUES ({SLOT}, {keys}, {values})
            ON CONFLICT DO UPDATE SET {added};
        INSERT INTO usage_days (day, {CUBE}, {", ".join(names)}) VALUES (substr(NEW.timestamp, 1, 10), {keys}, {values})
            ON CONFLICT DO UPDATE SET {added};
        INSERT INTO usage_slots (slot, {", ".join(names)}) VALUES ({SLOT}, {values}) ON CONFLICT DO UPDATE SET {added};
        INSERT INTO sessions (id, started, last, client, project, model, {", ".join(names)})
            SELECT NEW.session_id, NEW.timestamp, NEW.timestamp, NEW.client, NEW.project, NEW.selected_model, {values}
            WHERE NEW.session_id != '' ON CONFLICT DO UPDATE SET started = min(started, excluded.started),
            last = max(last, excluded.last), client = excluded.client, {known}, {added};
    """  # noqa: S608 - our own words


def _found_by(connection: sqlite3.Connection) -> None:
    """Where sub-agents and named keys are found; most requests have neither, so they cost the others nothing."""
    put_off(connection, "index_agent")
    put_off(connection, "index_key")


def _forgotten(connection: sqlite3.Connection) -> None:
    """What was spent on requests whose events were deleted, by what budgets ask for: a budget for good counts them too."""
    connection.execute(
        """
        CREATE TABLE forgotten (
            slot TEXT NOT NULL, budgets TEXT NOT NULL, project TEXT NOT NULL, client TEXT NOT NULL, key_name TEXT NOT NULL,
            cost_usd REAL NOT NULL, PRIMARY KEY (slot, budgets, project, client, key_name)
        ) WITHOUT ROWID
        """
    )


def _estimates(connection: sqlite3.Connection) -> None:
    """How much of what was spent rests on counts that no provider told."""
    _count_open(connection)
    connection.execute("ALTER TABLE events ADD COLUMN estimated_usd REAL")
    for table in SUMS:
        connection.execute(f"ALTER TABLE {table} ADD COLUMN estimated_usd REAL NOT NULL DEFAULT 0")
    put_off(connection, "estimates")
    guessed = (
        "iif(NEW.cost_basis IN ('partial', 'sizes'), coalesce(NEW.cost_reported_usd, NEW.cost_estimate_usd, 0), 0)"
    )
    more = {"estimated_usd": f"coalesce(NEW.estimated_usd, {guessed} + coalesce(NEW.wasted_usd, 0))"}
    for name, when in _ENDS.items():
        connection.execute(f"DROP TRIGGER {name}")
        connection.execute(f"CREATE TRIGGER {name} AFTER {when} BEGIN {_adding(more)} END")


def _spending(connection: sqlite3.Connection) -> None:
    """What was spent by all that budgets go by, for good: nothing that is deleted makes a budget grow, and none is added up anew
    from a month of events. Takes the place of what was remembered of deleted events alone.
    """
    _count_open(connection)
    connection.execute(
        """
        CREATE TABLE spending (
            slot TEXT NOT NULL, budgets TEXT NOT NULL, project TEXT NOT NULL, client TEXT NOT NULL, key_name TEXT NOT NULL,
            session_id TEXT NOT NULL, cost_usd REAL NOT NULL,
            PRIMARY KEY (slot, budgets, project, client, key_name, session_id)
        ) WITHOUT ROWID
        """
    )
    connection.execute("CREATE INDEX spending_session ON spending (session_id) WHERE session_id != ''")
    connection.execute(
        "INSERT INTO spending SELECT slot, budgets, project, client, key_name, '', cost_usd FROM forgotten"
    )
    connection.execute("DROP TABLE forgotten")
    put_off(connection, "spending")
    cost = "coalesce(NEW.cost_reported_usd, NEW.cost_estimate_usd, 0) + coalesce(NEW.wasted_usd, 0)"
    for name, when in _ENDS.items():
        connection.execute(
            f"CREATE TRIGGER {name}_spending AFTER {when} AND {cost} != 0 BEGIN INSERT INTO spending VALUES ("  # noqa: S608
            f"{SLOT}, NEW.budgets, NEW.project, NEW.client, NEW.key_name, NEW.session_id, {cost}) "
            "ON CONFLICT DO UPDATE SET cost_usd = cost_usd + excluded.cost_usd; END"
        )


_ENDS = {
    "events_insert": "INSERT ON events WHEN NEW.status != 'open'",
    "events_update": "UPDATE OF status ON events WHEN OLD.status = 'open' AND NEW.status != 'open'",
}
"""Triggers, and when they count an event: once, when it ends."""

Step = Callable[[sqlite3.Connection], None]
"""One change of the tables."""

MIGRATIONS: tuple[Step, ...] = (
    _events,
    _inputs,
    _shadow,
    _money,
    _packed,
    _budgets,
    _violations,
    _days,
    _searched,
    _keys,
    _savings,
    _found_by,
    _forgotten,
    _estimates,
    _spending,
)


def migrate(connection: sqlite3.Connection) -> int:
    """Bring the tables up to date; the number of steps taken now. `connection` is in autocommit mode.

    Raises LedgerTooNew, or sqlite3.Error and then leaves the tables as the last whole step made them.
    """
    taken = 0
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            more = _step(connection)
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        if not more:
            return taken
        taken += 1


def _step(connection: sqlite3.Connection) -> bool:
    """Take the next step; False if there is none."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise LedgerTooNew(f"the ledger has format {version}, this gateway knows {len(MIGRATIONS)}")
    if version == len(MIGRATIONS):
        return False
    MIGRATIONS[version](connection)
    connection.execute(f"PRAGMA user_version = {version + 1}")
    return True
