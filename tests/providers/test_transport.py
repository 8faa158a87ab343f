"""The HTTP transport: what it sends, what it refuses, and that every wait ends with the connection let go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import closing
from typing import Any

import pytest

from engine.llm.catalogue import Timeouts
from engine.llm.errors import ProviderError
from engine.providers import transport as module
from engine.providers.transport import Transport
from tests.spine import Call, Play, Wire

CALM = Timeouts(connect=2, first_event=5, idle=5, total=10)


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    made = Transport()
    await made.start()
    yield made
    await made.close()


async def meaning(doing: Coroutine[Any, Any, object]) -> str:
    """How it fails."""
    with pytest.raises(ProviderError) as caught:
        await doing
    return caught.value.meaning


async def read(transport: Transport, play: Play, timeouts: Timeouts = CALM, **headers: str) -> bytes:
    """A whole answer through the transport."""
    async with Wire(play) as wire:
        upstream = await transport.send(
            f"http://127.0.0.1:{wire.port}/x", headers=headers, body=b"{}", timeouts=timeouts
        )
        with closing(upstream):
            return await upstream.read()


def answers(data: bytes, **headers: str) -> Play:
    async def play(call: Call) -> None:
        await call.open("application/json", **headers)
        await call.write(data)

    return play


async def test_only_what_was_given_is_sent(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """No user agent, cookie or proxy of its own; compression is declined; proxies in the environment are not used."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    heads: list[dict[str, str]] = []

    async def play(call: Call) -> None:
        heads.append(call.headers)
        await call.open("application/json", set_cookie="c=1; path=/")
        await call.write(b"{}")

    async with Wire(play) as wire:
        for _ in range(2):
            url = f"http://127.0.0.1:{wire.port}/x"
            upstream = await transport.send(url, headers={"x-api-key": "k"}, body=b"{}", timeouts=CALM)
            await upstream.read()
    for head in heads:
        assert sorted(head) == ["accept", "accept-encoding", "content-length", "content-type", "host", "x-api-key"]
        assert head["accept-encoding"] == "identity"


async def test_a_large_body_goes_out_whole(transport: Transport) -> None:
    """With its length, without a warning."""
    got: list[Call] = []

    async def play(call: Call) -> None:
        got.append(call)
        await call.open("application/json")
        await call.write(b"{}")

    large = b"x" * 3_000_000
    async with Wire(play) as wire:
        headers = {"content-type": "application/json"}
        url = f"http://127.0.0.1:{wire.port}/"
        upstream = await transport.send(url, headers=headers, body=large, timeouts=CALM)
        assert await upstream.read() == b"{}"
    assert got[0].body == large
    assert (got[0].headers["content-length"], got[0].headers["content-type"]) == ("3000000", "application/json")


async def test_connections_are_used_again(transport: Transport) -> None:
    """A body read to its end leaves its connection to the next request."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            while await reader.readuntil(b"{}"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for _ in range(3):
        upstream = await transport.send(f"http://127.0.0.1:{port}/", headers={}, body=b"{}", timeouts=CALM)
        assert await upstream.read() == b"{}"
    server.close()
    assert connections == 1


async def test_closing_early_closes_the_connection(transport: Transport) -> None:
    """An answer that is let go unread does not go on behind our back."""
    gone = asyncio.Event()

    async def play(call: Call) -> None:
        await call.open()
        await call.write(b"data: 1\n\n")
        await call.gone.wait()
        gone.set()

    async with Wire(play) as wire:
        upstream = await transport.send(f"http://127.0.0.1:{wire.port}/", headers={}, body=b"{}", timeouts=CALM)
        upstream.close()
        upstream.close()
        await asyncio.wait_for(gone.wait(), 1)


async def test_nobody_there_is_unreachable(transport: Transport) -> None:
    """A closed port, a name that is none."""
    for url in ("http://127.0.0.1:1/", "http://name.invalid:80/"):
        assert await meaning(transport.send(url, headers={}, body=b"", timeouts=CALM)) == "unreachable"


@pytest.mark.parametrize(
    "url", ["", "nonsense", "http://", "ftp://127.0.0.1/x", "http://[::1", "http://127.0.0.1:99999/"]
)
async def test_a_url_that_is_none_is_unreachable(transport: Transport, url: str) -> None:
    """A row's mistake fails this provider, not the gateway."""
    assert await meaning(transport.send(url, headers={}, body=b"", timeouts=CALM)) == "unreachable"


async def test_dropped_before_headers_is_unreachable(transport: Transport) -> None:
    """Closed without a word."""

    async def play(call: Call) -> None:
        call.writer.transport.abort()

    assert await meaning(read(transport, play)) == "unreachable"


@pytest.mark.parametrize("said", [b"SSH-2.0-x\r\n\r\n", b"\x15\x03\x01\x00\x02\x02F", b"HTTP/1.1 banana\r\n\r\n"])
async def test_no_http_is_broken(transport: Transport, said: bytes) -> None:
    """Another protocol on that port."""

    async def play(call: Call) -> None:
        await call.write(said)

    assert await meaning(read(transport, play)) in ("broken", "unreachable")


async def test_a_flood_of_headers_is_broken(transport: Transport) -> None:
    """Headers beyond the client's limit end the attempt."""

    async def play(call: Call) -> None:
        await call.write(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n")

    assert await meaning(read(transport, play)) == "broken"


@pytest.mark.parametrize("code", [300, 301, 302, 303, 307, 308])
async def test_a_redirect_is_broken(transport: Transport, code: int) -> None:
    """And its connection is closed, its body unread."""
    gone = asyncio.Event()

    async def play(call: Call) -> None:
        await call.write(f"HTTP/1.1 {code} Go\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 5\r\n\r\n".encode())
        await asyncio.wait_for(call.gone.wait(), 2)
        gone.set()

    async with Wire(play) as wire:
        url = f"http://127.0.0.1:{wire.port}/"
        assert await meaning(transport.send(url, headers={}, body=b"{}", timeouts=CALM)) == "broken"
        await asyncio.wait_for(gone.wait(), 1)


async def timed(doing: Coroutine[Any, Any, object]) -> tuple[str, float]:
    began = time.monotonic()
    found = await meaning(doing)
    return found, time.monotonic() - began


async def test_headers_that_do_not_come_time_out(transport: Transport) -> None:
    """Connect and first event together."""

    async def play(call: Call) -> None:
        await call.gone.wait()

    found, took = await timed(read(transport, play, Timeouts(connect=0.1, first_event=0.2, idle=9, total=9)))
    assert found == "timeout"
    assert 0.25 <= took < 1.5


async def test_a_body_that_stops_times_out(transport: Transport) -> None:
    """Idle time, counted from the last bytes, and the connection is closed."""
    gone = asyncio.Event()

    async def play(call: Call) -> None:
        await call.open("application/json")
        for _ in range(4):
            await call.write(b" ")
            await asyncio.sleep(0.1)
        await call.gone.wait()
        gone.set()

    async with Wire(play) as wire:
        url = f"http://127.0.0.1:{wire.port}/"
        upstream = await transport.send(
            url, headers={}, body=b"{}", timeouts=Timeouts(connect=1, first_event=1, idle=0.3, total=9)
        )
        found, took = await timed(upstream.read())
        await asyncio.wait_for(gone.wait(), 1)
    assert found == "timeout"
    assert 0.4 <= took < 1.6


async def test_a_body_that_drips_meets_the_total_time(transport: Transport) -> None:
    """However often something comes."""

    async def play(call: Call) -> None:
        await call.open("application/json")
        while not call.gone.is_set():
            await call.write(b" ")
            await asyncio.sleep(0.02)

    found, took = await timed(read(transport, play, Timeouts(connect=1, first_event=1, idle=5, total=0.3)))
    assert found == "timeout"
    assert took < 1.2


async def test_a_slow_reader_is_not_the_providers_fault(transport: Transport) -> None:
    """Time that we take between two reads does not count as the provider's silence."""

    async def play(call: Call) -> None:
        await call.open()
        await call.write(b"one")
        await asyncio.sleep(0.1)
        await call.write(b"two")
        await asyncio.sleep(0.5)
        await call.write(b"three")

    async with Wire(play) as wire:
        url = f"http://127.0.0.1:{wire.port}/"
        upstream = await transport.send(
            url, headers={}, body=b"{}", timeouts=Timeouts(connect=1, first_event=1, idle=0.3, total=9)
        )
        got = b""
        async for chunk in upstream.chunks():
            got += chunk
            await asyncio.sleep(0.7)
    assert got == b"onetwothree"


async def test_a_body_that_breaks_off_is_an_error(transport: Transport) -> None:
    """Less than the declared length, or no end of the chunks."""
    for head, data in ((b"content-length: 10", b"12345"), (b"transfer-encoding: chunked", b"5\r\n12345\r\n")):

        async def play(call: Call, head: bytes = head, data: bytes = data) -> None:
            await call.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + data)

        assert await meaning(read(transport, play)) == "unreachable"


async def test_a_whole_answer_has_a_cap(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes as they come, and inflated."""
    monkeypatch.setattr(module, "MAX_ANSWER", 1_000)
    assert await read(transport, answers(b"x" * 1_000)) == b"x" * 1_000
    assert await meaning(read(transport, answers(b"x" * 1_001))) == "broken"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_damaged_compression_is_broken(transport: Transport, encoding: str) -> None:
    """Not an exception of the decompressor."""
    assert await meaning(read(transport, answers(b"no such thing", content_encoding=encoding))) == "broken"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "rot13"])
async def test_other_encodings_are_broken(transport: Transport, encoding: str) -> None:
    """They were declined."""
    assert await meaning(read(transport, answers(b"x", content_encoding=encoding))) == "broken"


async def test_messages_name_no_address(transport: Transport) -> None:
    """What is said of a failure holds no URL: it may hold an account."""
    with pytest.raises(ProviderError) as caught:
        await transport.send("http://127.0.0.1:1/secret-account?key=1", headers={}, body=b"", timeouts=CALM)
    assert [word for word in ("secret-account", "127.0.0.1", "key=") if word in str(caught.value)] == []
