"""`GET /events/stream`: requests as they finish, as server-sent events.

Rules kept here:

- `request` for each finished request, `violation` for each rule that it broke, each with its id.
- A listener who names the last id that it got (`Last-Event-ID`, as browsers do when they connect anew) is first told what ended
  since. So near that moment an event may come twice; its id says so.
- A listener who is too slow is told how many it missed (`missed`), and slows nobody down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import orjson
from aiohttp import web

from engine.exports import Listener
from engine.gateway import Gateway
from engine.llm.errors import GatewayError
from engine.routes.events import FILTERS, filter_of, known
from engine.store.ended import ended_after
from engine.store.event import Event, end_of
from engine.store.protocol import EventStore
from engine.store.rows import Filter
from engine.store.sums import violation_events

HEARTBEAT = 15.0
"""Quiet seconds after which a stream says that it is alive, and finds out whether its listener is."""

REACH = 1_000
"""Events that are looked through for what a listener missed."""


class Busy(GatewayError):
    status = 503
    code = "too_many_listeners"
    retryable = True


class EventStream:
    """The route `/events/stream`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Takes the filters of `/events/recent`, and `Last-Event-ID`."""
        services = self._gateway.services
        where = filter_of(known(request.query, *FILTERS), services.now())
        listener = services.exports.listen()
        if listener is None:
            raise Busy("too many listen already; close one of the streams")
        try:
            # Whoever listens already misses nothing while what was missed before is read.
            last = request.headers.get("last-event-id", "").partition("-")[0]
            before = await asyncio.to_thread(_missed, services.ledger, last, where) if last else ()
            response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-store"})
            await response.prepare(request)
            await _tell(response, listener, before, where)
        except ConnectionError:
            pass
        finally:
            services.exports.leave(listener)
        return response


def _missed(store: EventStore, last: str, where: Filter) -> list[Event]:
    """What ended after the event `last` did; nothing when that is not known."""
    known_last = store.get(last)
    if known_last is None:
        return []
    found = ended_after(store, end_of(known_last), where=where, limit=REACH)
    return [event for event in found if event.status != "interrupted" or event.id > known_last.id]


async def _tell(response: web.StreamResponse, listener: Listener, before: Iterable[Event], where: Filter) -> None:
    await response.write(b"".join(map(_frames, before)) + b": from now on\n\n")
    told = {event.id for event in before}
    while (event := await _next(listener)) is not None:
        data = b""
        if listener.missed:
            data = b'event: missed\ndata: {"events":%d}\n\n' % listener.missed
            listener.missed = 0
        if not isinstance(event, Event):
            data += b": alive\n\n"
        elif where.matches(event) and event.id not in told:
            data += _frames(event)
        if data:
            await response.write(data)
    await response.write_eof()


async def _next(listener: Listener) -> Event | bool | None:
    """The next event; True when it is time for a sign of life, None when the gateway ends."""
    try:
        async with asyncio.timeout(HEARTBEAT):
            return await listener.next()
    except TimeoutError:
        return True


def _frames(event: Event) -> bytes:
    out = b"event: request\nid: %b\ndata: %b\n\n" % (event.id.encode(), orjson.dumps(event.to_json(), default=str))
    for said in violation_events(event):
        out += b"event: violation\nid: %b\ndata: %b\n\n" % (said["id"].encode(), orjson.dumps(said))
    return out
