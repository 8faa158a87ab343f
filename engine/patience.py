"""How long an open connection may keep us waiting, and how many there may be.

aiohttp waits for ever for the end of a request's headers (measured: 200 of 200 half-sent requests were open after 25 s), and
accepts as many connections as come. So:

1. a connection that has not sent a whole header within HEADERS_WITHIN seconds is closed; between two requests the server's own
   keep-alive time holds, half-sent headers included;
2. beyond MOST connections the newest silent ones are closed, then the ones served longest ago are told to close, which an
   idle one does at once and a busy one after its answer; until that helps, new requests are refused with 503.

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


class Connection(Protocol):
    """What is used of aiohttp's side of a connection."""

    def force_close(self) -> None: ...

    def close(self) -> None: ...


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
        self._served: dict[Connection, None] = {}
        """Those that have sent a whole header, the latest to do so last."""

    async def run(self, every: float = LOOK) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(every)
            self.look()

    def heard(self, connection: Connection) -> None:
        """A whole header has come. Raises Crowded when there are too many connections to answer on this one."""
        self._served.pop(connection, None)
        self._served[connection] = None
        if len(self._served) > self._most and self.look() > self._most:
            raise Crowded("too many connections to this gateway; close some", retry_after=1)

    def look(self) -> int:
        """Close what waits too long or is too much; how many there are that have sent a request."""
        now = self._clock()
        current = list(self._connections())
        self._seen = {connection: self._seen.get(connection, now) for connection in current}
        self._served = {connection: None for connection in self._served if connection in self._seen}
        silent = [connection for connection in current if connection not in self._served]
        late = sum(now - self._seen[connection] >= self._headers_within for connection in silent)
        surplus = max(0, len(current) - late - self._most)
        kept = max(late, len(silent) - surplus)
        for connection in (*silent[:late], *silent[kept:]):
            connection.force_close()
        for connection in list(self._served)[: max(0, len(self._served) - self._most)]:
            connection.close()
        return len(self._served)
