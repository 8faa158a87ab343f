"""Signs of life: in each protocol's own way, never inside a frame, and errors told in a stream that had to begin early."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from engine.stages import client_stream
from engine.stages.client_stream import ClientStream
from tests.judge import frames, judged
from tests.spine import PROTOCOLS, Behind, Call, Wire, policy, spine
from tests.stages.test_odd_streams import EACH, START
from tests.stages.test_preserve import STREAMS, WHOLE

SIGN = 0.1
"""Seconds of silence in these tests after which a sign of life goes out."""


KEYS = {"FIRST_KEY": "k"}


def quick(*behind: Behind, **sections: Any) -> str:
    return policy(*behind, settings={"keepalive_seconds": 1}, **sections)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short times: the policy's shortest interval is a second."""
    monkeypatch.setattr(client_stream, "EARLY_AFTER", SIGN)
    init = ClientStream.__init__

    def hurried(self: ClientStream, responder: Any, interval: float, headers: Mapping[str, str] | None = None) -> None:
        init(self, responder, SIGN, headers)

    monkeypatch.setattr(ClientStream, "__init__", hurried)


@EACH
async def test_a_silent_provider_does_not_silence_the_stream(client: str, wire: str) -> None:
    """After the commit, silence is filled; the answer stays whole and valid for the client's SDK."""

    async def play(call: Call) -> None:
        await call.open()
        await call.write(START[wire].encode())
        await asyncio.sleep(3.5 * SIGN)
        await call.write(STREAMS[wire].removeprefix(START[wire]).encode())

    async with (
        Wire(play) as provider,
        spine(quick(Behind("first", provider.url, (wire,))), env=KEYS) as gate,
    ):
        answer = await gate.ask(client, stream=True)
    assert judged(answer).text == "ä 🟢"
    assert 2 <= signs(client, answer.body, whole=STREAMS[wire] if client == wire else "") <= 6


def signs(client: str, data: bytes, *, whole: str) -> int:
    """Signs of life in a stream, less those that the provider's own has."""
    mark = {
        "anthropic-messages": b"event: ping",
        "openai-responses": b"event: response.in_progress",
        "openai-chat": b": keepalive",
    }
    comments = data.count(b": keepalive") + data.count(b": keep-alive") if client == "openai-responses" else 0
    return data.count(mark[client]) + comments - whole.encode().count(mark[client])


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_nothing_is_written_into_a_frame(protocol: str) -> None:
    """A provider that pauses inside a frame: signs of life stand before and after it, its bytes stay together."""
    rest = STREAMS[protocol].removeprefix(START[protocol]).encode()

    async def play(call: Call) -> None:
        await call.open()
        await call.write(START[protocol].encode())
        for at in range(0, 60, 20):
            await call.write(rest[at : at + 20])
            await asyncio.sleep(1.5 * SIGN)
        await call.write(rest[60:])

    async with Wire(play) as provider, spine(quick(Behind("first", provider.url, (protocol,))), env=KEYS) as gate:
        answer = await gate.ask(protocol, stream=True)
    told, theirs = (
        [data for name, data in frames(stream) if name != "ping"]
        for stream in (answer.body, STREAMS[protocol].encode())
    )
    assert told == theirs
    assert signs(protocol, answer.body, whole=STREAMS[protocol]) >= 2
    assert judged(answer).text == "ä 🟢"


@EACH
async def test_headers_go_out_early_when_the_provider_thinks_for_long(client: str, wire: str) -> None:
    """Before any answer: headers with the event's id and comments, then the answer as if nothing had been."""

    async def play(call: Call) -> None:
        await asyncio.sleep(4.5 * SIGN)
        await call.open()
        await call.write(STREAMS[wire].encode())

    async with (
        Wire(play) as provider,
        spine(quick(Behind("first", provider.url, (wire,))), env=KEYS) as gate,
    ):
        answer = await gate.ask(client, stream=True)
        event = await gate.event(answer.headers["x-sbgw-event"])
    assert answer.body.startswith(b": ")
    assert judged(answer).text == "ä 🟢"
    assert event["status"] == "success"


@EACH
async def test_an_error_after_early_headers_is_told_in_the_stream(client: str, wire: str) -> None:
    """Too late for a status: the failure is the stream's terminal event."""

    async def play(call: Call) -> None:
        await asyncio.sleep(3 * SIGN)
        await call.open("application/json", "500 Oops")
        await call.write(b'{"error": {"message": "it broke", "type": "server_error"}}')

    once = {"attempts": 1}
    async with (
        Wire(play) as provider,
        spine(quick(Behind("first", provider.url, (wire,)), fallback=once), env=KEYS) as gate,
    ):
        answer = await gate.ask(client, stream=True)
        event = await gate.event(answer.headers["x-sbgw-event"])
    assert (answer.status, event["status"], event["httpStatus"]) == (200, "error", 200)
    assert "it broke" in judged(answer).error


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_second_provider_answers_after_early_headers(protocol: str) -> None:
    """Signs of life commit to nothing: the fallback still answers in the same stream."""

    async def fails(call: Call) -> None:
        await asyncio.sleep(3 * SIGN)

    async def serves(call: Call) -> None:
        await call.open()
        await call.write(STREAMS[protocol].encode())

    async with Wire(fails) as one, Wire(serves) as two:
        behind = [Behind(n, w.url, (protocol,)) for n, w in (("first", one), ("second", two))]
        async with spine(quick(*behind), env={"FIRST_KEY": "k", "SECOND_KEY": "k"}) as gate:
            answer = await gate.ask(protocol, stream=True)
    assert judged(answer).text == "ä 🟢"


async def test_a_whole_answer_gets_no_signs() -> None:
    """One JSON document is sent as such, however long it takes."""

    async def play(call: Call) -> None:
        await asyncio.sleep(3 * SIGN)
        await call.open("application/json")
        await call.write(WHOLE["openai-chat"])

    async with (
        Wire(play) as provider,
        spine(quick(Behind("first", provider.url, ("openai-chat",))), env=KEYS) as gate,
    ):
        answer = await gate.ask("openai-chat")
    assert answer.body == WHOLE["openai-chat"]


class Slow:
    """A client that reads when it is told to."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.started = False
        self.open = asyncio.Event()
        self.open.set()

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True

    async def write(self, data: bytes) -> None:
        self.got.append(data)
        await self.open.wait()


async def test_a_slow_client_gets_no_signs_while_it_reads() -> None:
    """While a write waits, nothing is added to what waits."""
    client = Slow()
    stream = ClientStream(client, SIGN)
    await stream.begin({}, lambda: b"sign")
    client.open.clear()
    writing = asyncio.create_task(stream.write(b"data"))
    await asyncio.sleep(3 * SIGN)
    assert client.got == [b"data"]
    client.open.set()
    await writing
    await asyncio.sleep(1.6 * SIGN)
    await stream.end()
    assert client.got == [b"data", b"sign"]


async def test_a_sign_that_was_due_is_not_said_beside_the_answer() -> None:
    """The timer saw silence, then the answer came first: the sign is dropped, not written beside it."""
    client = Slow()
    stream = ClientStream(client, SIGN)
    await stream.begin({}, lambda: b"sign")
    stream._last -= 1
    stream._watch()
    client.open.clear()
    writing = asyncio.create_task(stream.write(b"data"))
    writing_first = stream._writing
    assert writing_first is not None
    # Both tasks are due in this turn of the loop; let the answer's run first, as it does when its bytes woke the loop.
    await asyncio.sleep(0)
    client.open.set()
    await writing
    await stream.end()
    assert client.got in ([b"data"], [b"sign", b"data"])


async def test_no_sign_after_the_end() -> None:
    """Once the end is set aside for the record, the stream is silent."""
    client = Slow()
    stream = ClientStream(client, SIGN)
    await stream.begin({}, lambda: b"sign")
    stream.tail = b"end"
    await asyncio.sleep(2.5 * SIGN)
    await stream.end()
    assert client.got == []
