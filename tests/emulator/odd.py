"""Answers that are wrong, or merely odd, in ways that need more than a status or a cut: ordered as faults like the others.

Each takes what the emulator would have answered. Where a way is about streams only, a whole answer goes out as it is.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from itertools import count
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from tests.emulator.faults import HTML, Fault
from tests.emulator.wires import Reply

if TYPE_CHECKING:
    from tests.emulator.delivery import Delivery

Way = Callable[["Delivery", Reply, Fault], Awaitable[web.StreamResponse]]

TERMINAL = (b'"message_delta"', b'"message_stop"', b'"response.completed"', b'"finish_reason":"stop"')
"""What the frames hold that end an answer; the first of them and all behind it are its end."""

BOMB = 256 * 1024 * 1024
"""Bytes that a bomb would inflate to."""

FRAME = 9 * 1024 * 1024
"""Bytes of a frame that nobody needs to take."""


def end_of(frames: list[bytes]) -> int:
    """Index of the first frame of the answer's end."""
    return next(at for at, frame in enumerate(frames) if any(mark in frame for mark in TERMINAL))


async def whole(d: Delivery, reply: Reply) -> web.StreamResponse:
    """The answer as it should be."""
    return await (d._stream(reply.frames) if reply.frames else d._whole(reply))


async def missing_terminal(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """All of the content, and nothing that says it is over."""
    if not reply.frames:
        return await whole(d, reply)
    return await d._stream(reply.frames[: end_of(reply.frames)])


async def duplicate_terminal(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """The end twice."""
    if not reply.frames:
        return await whole(d, reply)
    return await d._stream([*reply.frames, *reply.frames[end_of(reply.frames) :]])


async def oversized_frame(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """One frame of megabytes in the middle."""
    if not reply.frames:
        return await whole(d, reply)
    half = max(2, len(reply.frames) // 2)
    return await d._stream([*reply.frames[:half], b"data: {" + b"x" * FRAME, *reply.frames[half:]])


async def invalid_utf8(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """Bytes that are no text, in a frame or in the body."""
    if not reply.frames:
        body = orjson.dumps(reply.whole).replace(b"first", b"fi\xff\xferst")
        return web.Response(body=body, content_type="application/json")
    half = max(2, len(reply.frames) // 2)
    odd = b'{"choices":[],"id":"\xff\xfe"}' if d.wire.name == "openai-chat" else b'{"type":"\xff\xfe"}'
    return await d._stream([*reply.frames[:half], b"data: " + odd + b"\n\n", *reply.frames[half:]])


async def wrong_type(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """A good answer that calls itself plain text."""
    body = b"".join(reply.frames) if reply.frames else orjson.dumps(reply.whole)
    return web.Response(body=body, headers={"content-type": "text/plain; charset=utf-8"})


async def no_type(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """A good answer that doesn't say what it is."""
    body = b"".join(reply.frames) if reply.frames else orjson.dumps(reply.whole)
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
    return raw(d, head + body)


async def json_for_stream(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """The whole answer as one JSON document although a stream was asked for."""
    return await d._whole(reply)


async def error_json(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """An error's JSON with status 200, whatever was asked for."""
    body = d.wire.envelope(d._overload(fault), d.state, d.wire.request_id())
    return web.Response(body=orjson.dumps(body), content_type="application/json")


async def array_json(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """JSON, but no object."""
    return web.Response(body=b"[1, 2, 3]", content_type="application/json")


async def html_for_stream(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """A web page that calls itself an event stream."""
    return web.Response(body=HTML.encode(), headers={"content-type": "text/event-stream"})


async def empty_stream(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """Headers of a stream, then its clean end."""
    if not reply.frames:
        return web.Response(body=b"", content_type="application/json")
    return await d._stream([])


async def comments_only(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """Signs of life, then the end."""
    return await d._stream([b": alive\n\n"] * 5)


async def endless_pings(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """Signs of life and never anything else."""
    response = await d._open()
    while True:
        await d._write(response, [b": alive\n\n"])
        await asyncio.sleep(0.02)


async def endless_text(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """The answer's middle over and over."""
    response = await d._open()
    if not reply.frames:
        while True:
            await response.write(b" " * 1000)
            await asyncio.sleep(0.02)
    end = end_of(reply.frames)
    text = next(frame for frame in reply.frames if b"several" in frame or b"first" in frame or b"Said" in frame)
    await d._write(response, reply.frames[: end // 2 + 1])
    for number in count(10_000):
        await d._write(response, [re.sub(rb'("sequence_number":)\d+', rb"\g<1>%d" % number, text)])
        await asyncio.sleep(0.02)
    return response


async def left_open(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """The whole answer, and the connection stays open behind it."""
    if not reply.frames:
        return await whole(d, reply)
    response = await d._open()
    await d._write(response, reply.frames)
    await asyncio.sleep(fault.seconds)
    return response


async def slow_drip(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """A few bytes at a time."""
    body = b"".join(reply.frames) if reply.frames else orjson.dumps(reply.whole)
    response = await d._open() if reply.frames else web.StreamResponse(headers={"content-type": "application/json"})
    if not reply.frames:
        await response.prepare(d.request)
    for at in range(0, len(body), 97):
        await response.write(body[at : at + 97])
        await asyncio.sleep(0.001)
    await response.write_eof()
    return response


async def gzip_bomb(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """A quarter of a megabyte that inflates to a quarter of a gigabyte."""
    kind = "text/event-stream" if reply.frames else "application/json"
    return raw(d, _head(kind, bomb(), "content-encoding: gzip\r\n") + bomb())


async def unknown_encoding(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """A compression that was not asked for and that nobody here can read."""
    body = orjson.dumps(reply.whole)
    return raw(d, _head("application/json", body, "content-encoding: zstd\r\n") + body)


async def garbage(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """Not HTTP at all."""
    return raw(d, b"SSH-2.0-OpenSSH_9.2\r\n")


async def cut_headers(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """The connection ends within the headers."""
    return raw(d, b"HTTP/1.1 200 OK\r\ncontent-ty")


async def short_body(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """A length that ends the body in its middle."""
    if reply.frames:
        return await d._broken_stream(reply, Fault("truncated"))
    body = orjson.dumps(reply.whole)
    return raw(d, _head("application/json", body[: len(body) // 2]) + body)


async def unknown_events(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """Events of a kind that nobody knows between the known ones."""
    if not reply.frames:
        return await whole(d, reply)
    half = max(2, len(reply.frames) // 2)
    odd = b": comment\n\n" if d.wire.name == "openai-chat" else b'event: novelty\ndata: {"type":"novelty","new":1}\n\n'
    return await d._stream([*reply.frames[:half], odd, *reply.frames[half:]])


async def skipped_frame(d: Delivery, reply: Reply, fault: Fault) -> web.StreamResponse:
    """One frame from the middle of the text never comes."""
    if not reply.frames:
        return await whole(d, reply)
    lost = (2 + end_of(reply.frames)) // 2
    return await d._stream([*reply.frames[:lost], *reply.frames[lost + 1 :]])


def raw(d: Delivery, data: bytes) -> web.StreamResponse:
    """Bytes to the connection, which is closed behind them."""
    transport = d.request.transport
    if transport is not None:
        transport.write(data)
        transport.close()
    return web.Response()


def _head(kind: str, body: bytes, more: str = "") -> bytes:
    return (
        f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{more}content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    ).encode()


@cache
def bomb() -> bytes:
    """Made once: it takes a second."""
    squeeze = zlib.compressobj(level=1, wbits=31)
    piece = b"\0" * (1 << 20)
    return b"".join(squeeze.compress(piece) for _ in range(BOMB >> 20)) + squeeze.flush()


ODD: Mapping[str, Way] = {
    "missing-terminal": missing_terminal,
    "duplicate-terminal": duplicate_terminal,
    "oversized-frame": oversized_frame,
    "invalid-utf8": invalid_utf8,
    "wrong-type": wrong_type,
    "no-type": no_type,
    "json-for-stream": json_for_stream,
    "error-json": error_json,
    "array-json": array_json,
    "html-for-stream": html_for_stream,
    "empty-stream": empty_stream,
    "comments-only": comments_only,
    "endless-pings": endless_pings,
    "endless-text": endless_text,
    "left-open": left_open,
    "slow-drip": slow_drip,
    "gzip-bomb": gzip_bomb,
    "unknown-encoding": unknown_encoding,
    "garbage": garbage,
    "cut-headers": cut_headers,
    "short-body": short_body,
    "unknown-events": unknown_events,
    "skipped-frame": skipped_frame,
}
