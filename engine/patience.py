"""How long an open connection may keep us waiting, and how many there may be.

aiohttp waits for ever for the end of a request's headers (measured: 200 of 200 half-sent requests were open after 25 s), and
accepts as many connections as come. So:

1. a connection that has not sent a whole header within HEADERS_WITHIN seconds is closed; between two requests the server's own
   keep-alive time holds, half-sent headers included;
2. beyond MOST connections the newest silent ones are closed, then those that have been idle longest; a request that comes
   while MOST others are being answered is refused with 503.

Half-sent bodies are `bodies`' business, slow readers are the transport's: bytes for them wait in a bounded buffer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from engine.llm.errors import GatewayError

MOST = 256
"""Connections at once. Agents hold a handful each; one of them asks for 28 token counts at a time."""

HEADERS_WITHIN = 10.0
"""Seconds from a connection's start to the end of its first request's headers. A client on this machine needs milliseconds."""

LOOK = 1.0
"""Seconds between two looks."""

SETTLED = 1.0
"""Seconds after a request until its connection counts as idle: the last bytes of the answer are on their way."""


class Connection(Protocol):
    """What is used of aiohttp's side of a connection."""

    def force_close(self) -> None: ...


class Crowded(GatewayError):
    status = 503
    code = "too_many_connections"
    retryable = True


class Patience:
    """Watches the connections of a server."""

    def __init__(
        self,
        connections: Callable[[], Iterable[Connection]],
        clock: Callable[[], float],
        *,
        most: int = MOST,
        headers_within: float = HEADERS_WITHIN,
    ) -> None:
        """`connections` lists the open ones, oldest first; `clock` gives seconds."""
        self._connections = connections
        self._clock = clock
        self._most = most
        self._headers_within = headers_within
        self._seen: dict[Connection, float] = {}
        """When each was first seen."""
        self._busy: set[Connection] = set()
        self._idle: dict[Connection, float] = {}
        """When each had been answered, the latest last."""

    async def run(self, every: float = LOOK) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(every)
            self.look()

    def heard(self, connection: Connection) -> None:
        """A whole header has come. Raises Crowded when too many others are being answered. Follow it with `done` either way."""
        self._idle.pop(connection, None)
        self._busy.add(connection)
        if len(self._busy) > self._most:
            raise Crowded("too many requests to this gateway at once", retry_after=1)

    def done(self, connection: Connection) -> None:
        """The request has been answered, or its client has left."""
        self._busy.discard(connection)
        self._idle[connection] = self._clock()

    def look(self) -> None:
        """Close what waits too long or is too much."""
        now = self._clock()
        current = list(self._connections())
        self._seen = {connection: self._seen.get(connection, now) for connection in current}
        self._idle = {connection: since for connection, since in self._idle.items() if connection in self._seen}
        silent = [connection for connection in current if connection not in self._busy and connection not in self._idle]
        late = sum(now - self._seen[connection] >= self._headers_within for connection in silent)
        surplus = max(0, len(current) - late - self._most)
        kept = max(late, len(silent) - surplus)
        idle = [connection for connection, since in self._idle.items() if now - since >= SETTLED]
        more = max(0, surplus - (len(silent) - kept))
        for connection in (*silent[:late], *silent[kept:], *idle[:more]):
            connection.force_close()
