"""A load generator: keeps connections open, sends one request after another on each, and times the answers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class Load:
    """What came back. Seconds."""

    first: list[float] = field(default_factory=list)
    """Until the first bytes of the body."""
    total: list[float] = field(default_factory=list)
    bytes: int = 0
    failures: list[str] = field(default_factory=list)


async def run(
    url: str, body: bytes, headers: Mapping[str, str], *, requests: int, connections: int, contains: bytes
) -> Load:
    """`requests` POSTs of `body` over `connections`. An answer is good if it is a 200 that has `contains` in it."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    message = "\r\n".join([*lines, "", ""]).encode() + body
    load, left = Load(), iter(range(requests))

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 22)
        try:
            for _ in left:
                start = time.perf_counter()
                writer.write(message)
                status, first, data = await _answer(reader)
                load.first.append(first - start)
                load.total.append(time.perf_counter() - start)
                load.bytes += len(data)
                if status != 200 or contains not in data:
                    load.failures.append(f"{status}: {data[:300]!r}")
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    await asyncio.gather(*(connection() for _ in range(connections)))
    return load


async def _answer(reader: asyncio.StreamReader) -> tuple[int, float, bytes]:
    """(status, when the body began, body)."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head.split(b" ", 2)[1])
    if b"transfer-encoding: chunked" not in head:
        at = head.find(b"content-length:")
        body = await reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0])) if at >= 0 else b""
        return status, time.perf_counter(), body
    parts: list[bytes] = []
    first = 0.0
    while True:
        size = int(await reader.readline(), 16)
        data = await reader.readexactly(size + 2)
        first = first or time.perf_counter()
        if not size:
            return status, first, b"".join(parts)
        parts.append(data[:-2])
