"""Records over HTTP: lists with filters, one in full, sessions, violations."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Mapping
from datetime import datetime
from typing import get_args

from aiohttp import web

from engine.explained import with_explanation
from engine.gateway import Gateway
from engine.llm.errors import ClientError
from engine.llm.messages import JsonObject
from engine.policy.violations import Kind
from engine.routes.reply import json_response
from engine.store.event import Status
from engine.store.moments import moment
from engine.store.rows import Filter
from engine.store.sums import workflow_step

MAX_RECENT = 1000
_FIELDS: Mapping[str, str] = {
    "session": "session", "client": "client", "agent": "agent", "project": "project", "key": "key", "class": "route_class",
    "provider": "provider", "model": "model",
}  # fmt: skip
"""Query parameter → field of the filter."""

FILTERS = (*_FIELDS, "status", "since", "until")
"""Query parameters that choose events."""


class Events:
    """The routes below `/events` and `/sessions`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def recent(self, request: web.Request) -> web.StreamResponse:
        """`GET /events/recent?limit=50&status=error&project=…&since=1h`: the newest events first."""
        asked = known(request.query, "limit", *FILTERS)
        where = filter_of(asked, self._gateway.services.now())
        events = await to_thread(self._gateway.services.ledger.recent, limit_of(asked), where)
        return json_response({"events": [event.to_json() for event in events]})

    async def event(self, request: web.Request) -> web.StreamResponse:
        """`GET /events/{id}`: the event, and why it was decided so."""
        gateway = self._gateway
        event = gateway.services.ledger.get(request.match_info["id"])
        if event is None:
            raise ClientError("no event has that id", code="not_found", status=404)
        # In a thread: an old policy has to be read and compiled first.
        return json_response(await to_thread(with_explanation, event, gateway.policies, gateway.loaded.policy))

    async def violations(self, request: web.Request) -> web.StreamResponse:
        """`GET /events/violations?kind=denied&rule=…`: rules that were broken, each an event of its own, newest first."""
        asked = known(request.query, "limit", "kind", "rule")
        limit, kind = limit_of(asked), asked.get("kind")
        if kind is not None and kind not in get_args(Kind):
            raise ClientError(f"kind must be one of {', '.join(get_args(Kind))}", field="kind")
        found = await to_thread(self._gateway.services.ledger.violations, limit, kind=kind, rule=asked.get("rule"))
        return json_response({"violations": found})

    async def sessions(self, request: web.Request) -> web.StreamResponse:
        """`GET /sessions?project=…`: sums by session, the one with the newest request first."""
        asked = known(request.query, "limit", "project")
        limit, project = limit_of(asked), asked.get("project")
        found = await to_thread(self._gateway.services.ledger.sessions, limit, project=project)
        return json_response({"sessions": [one.to_json() for one in found]})

    async def session(self, request: web.Request) -> web.StreamResponse:
        """`GET /sessions/{id}`: the requests of one session, oldest first, as its agents' workflow."""
        name, limit = request.match_info["id"], limit_of(known(request.query, "limit"))
        found = await to_thread(self._gateway.services.ledger.recent, limit, Filter(session=name))
        if not found:
            raise ClientError("no session has that id", code="not_found", status=404)
        return json_response({"session": name, "requests": [workflow_step(event) for event in reversed(found)]})


def known(query: Mapping[str, str], *names: str) -> Mapping[str, str]:
    """`query`, all of whose parameters are among `names`: a filter with a slip in its name would want everything. Raises ClientError."""
    for name in query:
        if name not in names:
            raise ClientError(f"no parameter '{name}'; there are: {', '.join(names)}", field=name)
    return query


def limit_of(query: Mapping[str, str]) -> int:
    """`limit`. Raises ClientError."""
    limit = query.get("limit", "50")
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= MAX_RECENT:
        raise ClientError(f"limit must be a number from 1 to {MAX_RECENT}", field="limit")
    return int(limit)


def filter_of(query: Mapping[str, str], now: datetime) -> Filter:
    """The filter that query parameters ask for. Raises ClientError."""
    given: JsonObject = {field: query[name] for name, field in _FIELDS.items() if name in query}
    if "status" in query:
        if query["status"] not in get_args(Status):
            raise ClientError(f"status must be one of {', '.join(get_args(Status))}", field="status")
        given["status"] = query["status"]
    for name in ("since", "until"):
        if name in query:
            try:
                given[name] = moment(query[name], now)
            except ValueError as error:
                raise ClientError(str(error), field=name) from None
    return Filter(**given)
