"""The one place that talks HTTP to a provider.

Rules kept here: no redirect is followed (aiohttp would carry `x-api-key` to the new host), no proxy or netrc of the
environment is used, no cookie is kept, an answer is inflated under a cap, and every wait ends: connect, first read, idle
and total each have their own time. A failure is always a ProviderError that says what kind it is.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Mapping
from io import BytesIO
from typing import Protocol

import aiohttp

from engine.llm.catalogue import Timeouts
from engine.llm.errors import ProviderError
from engine.llm.meanings import Meaning

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of one whole answer, inflated. Twice the largest request body any vendor accepts (Anthropic: 32 MB)."""

MAX_STREAM = 256 * 1024 * 1024
"""Bytes of one streamed answer: 128,000 tokens with every token in its own 1 kB event are half of it."""

UNPACKED, RATIO = 4 * 1024 * 1024, 100
"""Bytes that any compressed answer may inflate to; beyond them, no more than so many times what was sent. Real answers shrink to
a fifth or a twentieth; a bomb is found out after milliseconds."""

_IN_PIECES = 1024 * 1024
"""Bytes from which a request is written piece by piece, so that a slow provider does not hold it in a socket's buffer."""


class Upstream(Protocol):
    """An answer under way."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Raises ProviderError when the connection breaks or a time runs out."""

    async def read(self) -> bytes:
        """The whole body, at most MAX_ANSWER bytes."""

    def close(self) -> None:
        """Let go of the connection; a body not read to its end closes it. Safe to call twice."""


class Transport:
    """A pool of connections to all providers."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._limits: dict[float, aiohttp.ClientTimeout] = {}
        """The client's own time limits, by a row's time to connect."""

    async def start(self) -> None:
        """Open the pool. Called in the event loop that will use it."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self, url: str, *, headers: Mapping[str, str], body: bytes, timeouts: Timeouts, method: str = "POST"
    ) -> Upstream:
        """Send one request; returns when the answer's headers are there.

        Raises ProviderError: `unreachable` (no connection, TLS or DNS failure, dropped before headers), `timeout`, or
        `broken` (a redirect, or bytes that are no HTTP).
        """
        try:
            async with asyncio.timeout(timeouts.connect + timeouts.first_event):
                return await self.send_untimed(url, headers=headers, body=body, timeouts=timeouts, method=method)
        except TimeoutError:
            raise ProviderError("the provider did not answer in time", meaning="timeout") from None

    async def send_untimed(
        self, url: str, *, headers: Mapping[str, str], body: bytes, timeouts: Timeouts, method: str = "POST"
    ) -> Upstream:
        """`send` without a time limit of its own, but that of connecting: for a caller that has one running."""
        assert self._session is not None, "the transport was not started"
        limits = self._limits.get(timeouts.connect)
        if limits is None:
            limits = aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect, sock_read=None)
            self._limits[timeouts.connect] = limits
        try:
            response = await self._session.request(
                method,
                url,
                data=(body if len(body) < _IN_PIECES else BytesIO(body)) if body else None,
                headers={**headers, "Accept-Encoding": "identity"},
                timeout=limits,
                allow_redirects=False,
            )
        except TimeoutError as error:
            if isinstance(error, aiohttp.ConnectionTimeoutError):  # nothing was sent: as if it had refused
                raise ProviderError("the provider did not connect in time", meaning="unreachable") from None
            raise ProviderError("the provider did not answer in time", meaning="timeout") from None
        except aiohttp.InvalidURL:
            raise ProviderError("the provider's base URL is not a URL", meaning="unreachable") from None
        except aiohttp.ClientResponseError:
            raise ProviderError("the provider answered something that is not HTTP", meaning="broken") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ProviderError(
                f"no connection to the provider ({type(error).__name__})", meaning="unreachable"
            ) from None
        if 300 <= response.status < 400:
            response.close()
            raise ProviderError(f"the provider answered with a redirect ({response.status})", meaning="broken")
        try:
            return HTTPUpstream(response, timeouts)
        except ProviderError:
            response.close()
            raise


class HTTPUpstream:
    """An HTTP answer. One timer per answer watches its idle and total time; a chunk costs no timer of its own."""

    __slots__ = (
        "_deadline",
        "_expired",
        "_inflate",
        "_last",
        "_loop",
        "_packed",
        "_reading",
        "_response",
        "_timeouts",
        "_timer",
        "_unpacked",
        "headers",
        "status",
    )

    def __init__(self, response: aiohttp.ClientResponse, timeouts: Timeouts) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
        self._response = response
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._deadline = self._last + timeouts.total
        self._expired: str = ""
        self._reading = False
        self._packed = self._unpacked = 0
        self._inflate = _inflater(self.headers.get("content-encoding", ""))
        self._timer: asyncio.TimerHandle | None = None
        if not response.content.is_eof():
            self._timer = self._loop.call_at(min(self._deadline, self._last + timeouts.idle), self._watch)

    def _watch(self) -> None:
        """Close the answer when a time has run out, else look again when it could."""
        now = self._loop.time()
        # The time while the client is slow to take the last chunk is not the provider's.
        due = min(self._deadline, (self._last if self._reading else now) + self._timeouts.idle)
        if now < due:
            self._timer = self._loop.call_at(due, self._watch)
            return
        self._expired = "took longer than its total time" if now >= self._deadline else "stopped sending"
        self._response.close()
        # A reader that waits for the next bytes is woken by this; closing alone leaves it waiting.
        self._response.content.set_exception(TimeoutError(self._expired))

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        content, total = self._response.content, 0
        while True:
            self._last = self._loop.time()
            self._reading = True
            try:
                data = await content.readany()
            except (aiohttp.ClientError, OSError) as error:
                raise self._broken(error) from None
            self._reading = False
            if not data:
                break
            if self._inflate is not None:
                data = self._inflated(data)
            total += len(data)
            if total > MAX_STREAM:
                raise ProviderError("the provider's answer does not end", meaning="broken")
            if data:
                yield data

    async def read(self) -> bytes:
        content = self._response.content
        # A short answer is there at once.
        if self._inflate is None and content.is_eof() and content.exception() is None:
            data = content.read_nowait()
            self.close()
            return data
        parts, total = [], 0
        async for chunk in self.chunks():
            total += len(chunk)
            if total > MAX_ANSWER:
                raise ProviderError(f"the provider's answer is larger than {MAX_ANSWER >> 20} MiB", meaning="broken")
            parts.append(chunk)
        self.close()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._response.close() if not self._response.content.is_eof() else self._response.release()

    def _inflated(self, data: bytes) -> bytes:
        assert self._inflate is not None
        self._packed += len(data)
        room = max(UNPACKED, RATIO * self._packed) - self._unpacked
        try:
            out = self._inflate.decompress(data, room)
        except zlib.error:
            raise ProviderError("the provider's compressed answer is damaged", meaning="broken") from None
        self._unpacked += len(out)
        if self._inflate.unconsumed_tail or self._unpacked >= max(UNPACKED, RATIO * self._packed):
            raise ProviderError("the provider's compressed answer is too large", meaning="broken")
        return out

    def _broken(self, error: BaseException) -> ProviderError:
        if self._expired:
            return ProviderError(f"the provider {self._expired}", meaning="timeout")
        meaning: Meaning = "unreachable"
        return ProviderError(f"the provider's connection broke ({type(error).__name__})", meaning=meaning)


def _inflater(encoding: str) -> zlib._Decompress | None:
    """A decoder for an answer that is compressed although identity was asked for; None for a plain one."""
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip" | "deflate":
            return zlib.decompressobj(wbits=47)
        case _:
            raise ProviderError("the provider's answer has an encoding that was not asked for", meaning="broken")
