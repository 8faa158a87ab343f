"""Requests in: headers as text, bodies read under a cap and a clock and inflated under the same cap.

aiohttp would go on inflating a bomb after it refused it (measured: 35 → 385 MiB for a 1 MiB body), so it hands us raw bytes
and the inflating is done here, in pieces.
"""

from __future__ import annotations

import asyncio
import zlib

import zstandard
from aiohttp import web

from engine.llm.errors import ClientError

GAP = 30.0
"""Seconds a body may pause."""

WHOLE = 120.0
"""Seconds a body may take: one that drips is no body."""

_PIECE = 64 * 1024


def lowered(request: web.BaseRequest) -> dict[str, str]:
    """The request's headers, names in lower case. Lines of one name are joined as a list; bytes that are no UTF-8 are `?`."""
    given = request.headers
    headers = {
        name.lower(): value if value.isascii() else value.encode(errors="replace").decode()
        for name, value in given.items()
    }
    if len(headers) < len(given):
        return {name: ", ".join(v.encode(errors="replace").decode() for v in given.getall(name)) for name in headers}
    return headers


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """The request's body, inflated, at most `limit` bytes. Raises ClientError (413, 415, 408, 400)."""
    declared = request.content_length
    if declared is not None and declared > limit:
        raise _too_large(limit)
    raw = request.content.read_nowait() if request.content.is_eof() else await _read(request, limit)
    if len(raw) > limit:
        raise _too_large(limit)
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    return raw if encoding in ("", "identity") else inflate(raw, encoding, limit)


async def _read(request: web.BaseRequest, limit: int) -> bytes:
    """A body that is still coming."""
    parts: list[bytes] = []
    total = 0
    loop = asyncio.get_running_loop()
    deadline = loop.time() + WHOLE
    while True:
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + GAP)):
                chunk = await request.content.readany()
        except TimeoutError:
            raise ClientError("the request's body stopped coming", code="body_timeout", status=408) from None
        if not chunk:
            break
        total += len(chunk)
        if total > limit:
            raise _too_large(limit)
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def inflate(raw: bytes, encoding: str, limit: int) -> bytes:
    """`raw` decoded from `encoding` (gzip, deflate, zstd), at most `limit` bytes. Raises ClientError."""
    try:
        match encoding:
            case "gzip" | "x-gzip" | "deflate":
                inflater = zlib.decompressobj(wbits=47)
                out = inflater.decompress(raw, limit + 1)
                whole = inflater.eof or len(out) > limit
            case "zstd":
                reader = zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(raw)
                pieces, size = [], 0
                while size <= limit and (piece := reader.read(_PIECE)):
                    pieces.append(piece)
                    size += len(piece)
                out, whole = b"".join(pieces), True
            case _:
                raise ClientError(
                    "that content-encoding is not supported; send the body plain, gzip, deflate or zstd",
                    code="unsupported_encoding",
                    status=415,
                )
    except (zlib.error, zstandard.ZstdError):
        raise ClientError("the request's compressed body is damaged", code="bad_encoding") from None
    if len(out) > limit:
        raise _too_large(limit)
    if not whole:
        raise ClientError("the request's compressed body is cut off", code="bad_encoding")
    return out


def _too_large(limit: int) -> ClientError:
    return ClientError(f"the request is larger than {limit >> 20} MiB", code="request_too_large", status=413)
