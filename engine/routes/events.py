"""Records over HTTP: lists with filters, one in full, a live stream, sessions, violations."""

from __future__ import annotations

import asyncio
from asyncio import to_thread
from collections.abc import Mapping
from datetime import datetime
from typing import get_args

import orjson
from aiohttp import web

from engine.explained import with_explanation
from engine.exports import Listener
from engine.gateway import Gateway
from engine.llm.errors import ClientError, GatewayError
from engine.llm.messages import JsonObject
from engine.routes.reply import json_response
from engine.store.event import Event, Status
from engine.store.moments import moment
from engine.store.rows import Filter
from engine.store.sums import violation_events, workflow_step

MAX_RECENT = 1000
HEARTBEAT = 15.0
"""Quiet seconds after which a stream says that it is alive, and finds out whether its listener is."""

_FIELDS: Mapping[str, str] = {
    "session": "session", "client": "client", "agent": "agent", "project": "project", "class": "route_class",
    "provider": "provider", "model": "model",
}  # fmt: skip
"""Query parameter → field of the filter."""


class Busy(GatewayError):
    status = 503
    code = "too_many_listeners"
    retryable = True


class Events:
    """The routes below `/events` and `/sessions`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def recent(self, request: web.Request) -> web.StreamResponse:
        """`GET /events/recent?limit=50&status=error&project=…&since=1h`: the newest events first."""
        where = filter_of(request.query, self._gateway.services.now())
        events = await to_thread(self._gateway.services.ledger.recent, limit_of(request.query), where)
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
        limit, asked = limit_of(request.query), request.query
        ledger = self._gateway.services.ledger
        found = await to_thread(ledger.violations, limit, kind=asked.get("kind"), rule=asked.get("rule"))
        return json_response({"violations": found})

    async def sessions(self, request: web.Request) -> web.StreamResponse:
        """`GET /sessions?project=…`: sums by session, the one with the newest request first."""
        limit, project = limit_of(request.query), request.query.get("project")
        found = await to_thread(self._gateway.services.ledger.sessions, limit, project=project)
        return json_response({"sessions": [one.to_json() for one in found]})

    async def session(self, request: web.Request) -> web.StreamResponse:
        """`GET /sessions/{id}`: the requests of one session, oldest first, as its agents' workflow."""
        name = request.match_info["id"]
        found = await to_thread(self._gateway.services.ledger.recent, limit_of(request.query), Filter(session=name))
        if not found:
            raise ClientError("no session has that id", code="not_found", status=404)
        return json_response({"session": name, "requests": [workflow_step(event) for event in reversed(found)]})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """`GET /events/stream`: server-sent events, `request` for each finished one and `violation` for each broken rule, from
        now on. Takes the filters of `/events/recent`.
        """
        where = filter_of(request.query, self._gateway.services.now())
        exports = self._gateway.services.exports
        queue = exports.listen()
        if queue is None:
            raise Busy("too many listen already; close one of the streams")
        try:
            response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-store"})
            await response.prepare(request)
            await response.write(b": from now on\n\n")
            while (event := await _next(queue)) is not None:
                data = _frames(event) if isinstance(event, Event) and where.matches(event) else b""
                if data or not isinstance(event, Event):
                    await response.write(data or b": alive\n\n")
            await response.write_eof()
        except ConnectionError:
            pass
        finally:
            exports.leave(queue)
        return response


async def _next(queue: Listener) -> Event | bool | None:
    """The next event; True when it is time for a sign of life, None when the gateway ends."""
    try:
        async with asyncio.timeout(HEARTBEAT):
            return await queue.get()
    except TimeoutError:
        return True


def _frames(event: Event) -> bytes:
    out = b"event: request\nid: %b\ndata: %b\n\n" % (event.id.encode(), orjson.dumps(event.to_json(), default=str))
    for said in violation_events(event):
        out += b"event: violation\nid: %b\ndata: %b\n\n" % (said["id"].encode(), orjson.dumps(said))
    return out


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
