"""The client's half of a streamed answer: headers once, bytes as they come, a sign of life when nothing came for a while.

Headers are held back until there is an answer, so that an error can still be a proper HTTP error. A provider that thinks
for long makes them go out early, with a comment that every SSE reader skips: agents give up on a silent connection (measured:
300 s after headers, about 340 s before them).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from engine.exchange import Responder

EARLY_AFTER = 30.0
"""Seconds without an answer before headers go out without one. From then on an error can only be told in the stream."""


class ClientStream:
    """One streamed reply. One timer for all of it; a chunk costs a clock reading."""

    __slots__ = ("_early", "_idle", "_interval", "_last", "_loop", "_responder", "_sign", "_timer", "_writing", "tail")

    def __init__(self, responder: Responder, interval: float, headers: Mapping[str, str] | None = None) -> None:
        """`interval` in seconds; `headers` go out beside the usual ones if that has to be before the answer is there."""
        self._responder = responder
        self._early = {**(headers or {}), **STREAM_HEADERS}
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._idle = True
        self._sign: Callable[[], bytes] = lambda: b": waiting for the provider\n\n"
        self._writing: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(max(EARLY_AFTER, interval), self._watch)
        self.tail = b""
        """The end of the answer, to be sent after the record."""

    async def begin(self, headers: Mapping[str, str], sign: Callable[[], bytes]) -> None:
        """The answer is there: send headers unless they are out, and let `sign` say that we live from now on."""
        await self._settle()
        if not self._responder.started:
            await self._responder.start(200, headers)
        self._sign = sign
        self._last = self._loop.time()
        self._timer.cancel()
        self._timer = self._loop.call_later(self._interval, self._watch)

    async def write(self, data: bytes) -> None:
        """Send `data`, whole events."""
        self._idle = False
        await self._responder.write(data)
        self._last = self._loop.time()
        self._idle = True

    async def end(self) -> None:
        """No more signs of life. Safe to call twice."""
        self._timer.cancel()
        await self._settle()

    async def _settle(self) -> None:
        if self._writing is not None and not self._writing.done():
            await asyncio.wait([self._writing])

    def _watch(self) -> None:
        now = self._loop.time()
        due = self._last + self._interval
        if now >= due and self._idle and not self.tail:
            self._writing = self._loop.create_task(self._say())
            due = now + self._interval
        self._timer = self._loop.call_at(max(due, now + 0.05), self._watch)

    async def _say(self) -> None:
        try:
            if not self._responder.started:
                await self._responder.start(200, self._early)
            if self._idle:  # still: the answer may have come since the timer saw silence
                await self.write(self._sign())
        except ConnectionError:
            return  # the stream's own next write tells


STREAM_HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
"""What every streamed answer says of itself."""
