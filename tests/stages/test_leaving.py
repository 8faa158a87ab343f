"""A client that leaves: the provider's work ends within a second, and the event says who left."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from tests.spine import KEY, PATHS, PROTOCOLS, Behind, Call, Play, Wire, body, policy, spine
from tests.stages.test_odd_streams import EACH, START


async def leave(
    play: Play, client: str, wire: str, *, stream: bool, after: asyncio.Event
) -> tuple[dict[str, Any], bool]:
    """Ask, wait for `after`, go away; the event, and whether the provider saw its caller go within a second."""
    async with (
        Wire(play) as provider,
        spine(policy(Behind("first", provider.url, (wire,))), env={"FIRST_KEY": "k"}) as gate,
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        asked = orjson.dumps(body(client, stream=stream))
        writer.write(
            f"POST {PATHS[client]} HTTP/1.1\r\nHost: localhost:{gate.port}\r\nx-sbgw-key: {KEY}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(asked)}\r\n\r\n".encode()
            + asked
        )
        await asyncio.wait_for(after.wait(), 5)
        writer.transport.abort()
        try:
            await asyncio.wait_for(provider.calls[0].gone.wait(), 1)
            gone = True
        except TimeoutError:
            gone = False
        event = await gate.newest()
        assert gate.gateway.services.metrics.in_flight == 0
        return event, gone


@EACH
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_leaving_before_the_answer(client: str, wire: str, *, stream: bool) -> None:
    """While the provider thinks."""
    asked = asyncio.Event()

    async def play(call: Call) -> None:
        asked.set()
        await asyncio.wait_for(call.gone.wait(), 5)

    event, gone = await leave(play, client, wire, stream=stream, after=asked)
    assert gone
    assert (event["status"], event["errorClass"]) == ("cancelled", "client_left")
    assert event["attempts"][0]["meaning"] == "cancelled"


@EACH
async def test_leaving_mid_stream(client: str, wire: str) -> None:
    """After some content."""
    sent = asyncio.Event()

    async def play(call: Call) -> None:
        await call.open()
        await call.write(START[wire].encode())
        await asyncio.sleep(0.05)
        sent.set()
        while not call.gone.is_set():
            await call.write(b": alive\n\n")
            await asyncio.sleep(0.01)

    event, gone = await leave(play, client, wire, stream=True, after=sent)
    assert gone
    assert event["status"] == "cancelled"
    assert event["attempts"][0]["status"] == 200


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_leaving_in_the_middle_of_a_whole_answer(protocol: str) -> None:
    """While its body comes."""
    sent = asyncio.Event()

    async def play(call: Call) -> None:
        await call.open("application/json")
        await call.write(b'{"x": "')
        sent.set()
        await asyncio.wait_for(call.gone.wait(), 5)

    event, gone = await leave(play, protocol, protocol, stream=False, after=sent)
    assert gone
    assert event["status"] == "cancelled"


async def test_leaving_while_the_gateway_waits_between_attempts() -> None:
    """No further attempt is made for nobody."""

    asked = asyncio.Event()

    async def play(call: Call) -> None:
        asked.set()
        await call.open("application/json", "429 Wait", retry_after="3")
        await call.write(b'{"error": {"message": "wait"}}')

    async with Wire(play) as provider:
        text = policy(Behind("first", provider.url, ("openai-chat",)))
        async with spine(text, env={"FIRST_KEY": "k"}, patient=True) as gate:
            asking = asyncio.create_task(gate.ask("openai-chat"))
            await asyncio.wait_for(asked.wait(), 5)
            await asyncio.sleep(0.1)
            asking.cancel()
            event = await gate.newest()
            assert event["status"] == "cancelled"
            assert len(provider.calls) == len(event["attempts"]) == 1


async def test_a_client_that_does_not_read_holds_the_provider_back() -> None:
    """Bytes that a client does not take are not read from the provider either, so memory stays bounded."""
    sent = 0
    block = b": " + b"x" * 8_000 + b"\n\n"

    async def play(call: Call) -> None:
        nonlocal sent
        await call.open()
        await call.write(START["openai-chat"].encode())
        for _ in range(10_000):
            await call.write(block)
            sent += len(block)

    async with Wire(play) as provider:
        text = policy(Behind("first", provider.url, ("openai-chat",)))
        async with spine(text, env={"FIRST_KEY": "k"}) as gate:
            _, writer = await asyncio.open_connection("127.0.0.1", gate.port, limit=1024)
            asked = orjson.dumps(body("openai-chat", stream=True))
            writer.write(
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:{gate.port}\r\nx-sbgw-key: {KEY}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(asked)}\r\n\r\n".encode()
                + asked
            )
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.3)
            assert 0 < sent < 30_000_000
            writer.transport.abort()
            assert (await gate.newest())["status"] == "cancelled"
