"""Answers no emulator gives: too large, endless, compressed, of another kind, left open, ended twice.

Each is sent to the byte by a bare provider, behind every client protocol, on the client's own wire and on another one.
"""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import orjson
import pytest

from engine.protocols import sse
from engine.providers import transport
from engine.stages import provider_stream
from tests.judge import frames, judged
from tests.spine import PROTOCOLS, Answer, Behind, Call, Play, Wire, policy, spine
from tests.stages.test_preserve import STREAMS, WHOLE

PAIRS = [(client, wire) for client in PROTOCOLS for wire in PROTOCOLS if client == wire or wire != "openai-responses"]
EACH = pytest.mark.parametrize(("client", "wire"), PAIRS, ids=[f"{c}-on-{w}" for c, w in PAIRS])

START = {
    "anthropic-messages": STREAMS["anthropic-messages"].split("event: content_block_stop")[0],
    "openai-responses": STREAMS["openai-responses"].split("event: response.completed")[0],
    "openai-chat": STREAMS["openai-chat"].split(": still here")[0],
}
"""A stream up to its first content."""


async def through(
    play: Play, client: str, wire: str, *, stream: bool = True, timeouts: dict[str, float] | None = None
) -> tuple[Answer, dict[str, Any], Wire]:
    """One request to a gateway before a provider that plays `play`; the answer and its event."""
    async with Wire(play) as provider:
        row = {"timeouts": timeouts} if timeouts else {}
        text = policy(Behind("first", provider.url, (wire,), row=row), fallback={"attempts": 1})
        async with spine(text, env={"FIRST_KEY": "k"}) as gate:
            answer = await gate.ask(client, stream=stream)
            return answer, await gate.event(answer.headers["x-sbgw-event"]), provider


def plays(data: bytes, kind: str = "text/event-stream", **headers: str) -> Play:
    async def play(call: Call) -> None:
        await call.open(kind, **headers)
        await call.write(data)

    return play


@EACH
async def test_a_whole_answer_where_a_stream_was_asked_is_told_as_one(client: str, wire: str) -> None:
    """One JSON document becomes a complete stream."""
    answer, event, _ = await through(plays(WHOLE[wire], "application/json"), client, wire)
    assert judged(answer).text == "ä"
    assert event["status"] == "success"


@EACH
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_error_inside_a_200_is_an_error(client: str, wire: str, *, stream: bool) -> None:
    """A JSON error body with status 200 is told as the error it is."""
    told = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded", "code": None}}
    answer, event, _ = await through(plays(orjson.dumps(told), "application/json"), client, wire, stream=stream)
    assert answer.status in (503, 529)
    assert "verloaded" in judged(answer).error
    assert event["attempts"][0]["meaning"] == "overloaded"


@EACH
async def test_a_stream_left_open_after_its_end_is_not_waited_for(
    client: str, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client has its answer soon after the terminal event, though the provider never closes."""
    monkeypatch.setattr(provider_stream, "LINGER", 0.1)

    async def play(call: Call) -> None:
        await call.open()
        await call.write(STREAMS[wire].encode())
        await asyncio.wait_for(call.gone.wait(), 5)

    answer, event, _ = await through(play, client, wire)
    assert judged(answer).text == "ä 🟢"
    assert (answer.took < 2, event["status"]) == (True, "success")


@EACH
async def test_a_second_end_is_not_passed_on(client: str, wire: str) -> None:
    """What follows the terminal event is no second answer; a preserved vendor's own bytes are its own."""
    twice = STREAMS[wire].encode() + STREAMS[wire].encode()
    answer, event, _ = await through(plays(twice), client, wire)
    assert event["status"] == "success"
    if client != wire:
        assert judged(answer).text == "ä 🟢"


@EACH
async def test_an_oversized_frame_is_an_error(client: str, wire: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame beyond the cap ends the attempt; before any content that is an HTTP error."""
    monkeypatch.setattr(sse, "MAX_FRAME", 10_000)
    monkeypatch.setattr(sse.SSEParser.__init__, "__defaults__", (10_000,))
    answer, event, _ = await through(plays(b"data: " + b"x" * 50_000), client, wire)
    assert (answer.status, event["attempts"][0]["meaning"]) == (502, "broken")
    assert judged(answer).error


@EACH
async def test_an_oversized_frame_after_content_ends_the_stream(
    client: str, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After content the client reads the failure as the stream's end; nothing of the huge frame is passed."""
    monkeypatch.setattr(sse.SSEParser.__init__, "__defaults__", (10_000,))

    async def play(call: Call) -> None:
        await call.open()
        await call.write(START[wire].encode())
        await asyncio.sleep(0.05)
        await call.write(b"data: " + b"x" * 50_000)

    answer, event, _ = await through(play, client, wire)
    assert (answer.status, event["status"]) == (200, "error")
    assert judged(answer).error
    assert b"xxxx" not in answer.body


@EACH
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_endless_answer_ends(client: str, wire: str, monkeypatch: pytest.MonkeyPatch, *, stream: bool) -> None:
    """The cap on an answer's size holds, and the provider's connection is closed."""
    monkeypatch.setattr(transport, "MAX_STREAM", 300_000)
    monkeypatch.setattr(transport, "MAX_ANSWER", 200_000)
    left = asyncio.Event()

    async def play(call: Call) -> None:
        await call.open("text/event-stream" if stream else "application/json")
        await call.write(START[wire].encode() if stream else b'{"x": "')
        try:
            for _ in range(5_000):
                await call.write(b": alive\n\n" * 100 if stream else b"x" * 900)
        except ConnectionError:
            left.set()
            raise

    answer, event, _ = await through(play, client, wire, stream=stream)
    assert judged(answer).error
    assert event["attempts"][0]["meaning"] == "broken"
    await asyncio.wait_for(left.wait(), 2)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("client", PROTOCOLS)
async def test_a_bomb_is_not_inflated(client: str, monkeypatch: pytest.MonkeyPatch, *, stream: bool) -> None:
    """A compressed answer is inflated up to the cap, no further."""
    monkeypatch.setattr(transport, "MAX_ANSWER", 1_000_000)
    bomb = gzip.compress(b"\0" * 8_000_000)
    kind = "text/event-stream" if stream else "application/json"
    answer, event, _ = await through(plays(bomb, kind, content_encoding="gzip"), client, client, stream=stream)
    assert (answer.status, event["attempts"][0]["meaning"]) == (502, "broken")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_compressed_answer_is_read(protocol: str, *, stream: bool) -> None:
    """A vendor that compresses though identity was asked for is understood, and its bytes pass plain."""
    data = STREAMS[protocol].encode() if stream else WHOLE[protocol]
    kind = "text/event-stream" if stream else "application/json"
    packed = plays(gzip.compress(data), kind, content_encoding="gzip")
    answer, event, _ = await through(packed, protocol, protocol, stream=stream)
    assert (answer.body, event["status"], "content-encoding" in answer.headers) == (data, "success", False)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_encoding_nobody_asked_for_is_an_error(protocol: str) -> None:
    """Brotli can't be read, so it is no answer; the connection is closed."""
    answer, event, _ = await through(plays(b"\x0b\x02", "application/json", content_encoding="br"), protocol, protocol)
    assert (answer.status, event["attempts"][0]["meaning"]) == (502, "broken")


@EACH
async def test_bytes_that_are_no_text_do_not_stop_a_stream(client: str, wire: str) -> None:
    """Invalid UTF-8 passes to a client of the same protocol, and is replaced in a translation."""
    data = STREAMS[wire].encode().replace("🟢".encode(), b"\xff\xfe")
    answer, event, _ = await through(plays(data), client, wire)
    assert event["status"] == "success"
    if client == wire:
        assert answer.body == data
    else:
        assert judged(answer).text == "ä \ufffd\ufffd"


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_something_that_is_not_http_is_an_error(protocol: str) -> None:
    """Another service on the port: the client hears that the provider is broken."""

    async def play(call: Call) -> None:
        await call.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    answer, event, _ = await through(play, protocol, protocol)
    assert (answer.status, event["attempts"][0]["meaning"]) == (502, "broken")


@pytest.mark.parametrize(("client", "wire"), PAIRS[:2])
async def test_a_slow_drip_meets_the_total_time(client: str, wire: str) -> None:
    """Something every now and then keeps the idle time from running out; the total time ends it."""

    async def play(call: Call) -> None:
        await call.open()
        await call.write(START[wire].encode())
        while not call.gone.is_set():
            await call.write(b": alive\n\n")
            await asyncio.sleep(0.05)

    times = {"connect": 2, "first_event": 2, "idle": 2, "total": 0.4}
    answer, event, _ = await through(play, client, wire, timeouts=times)
    assert judged(answer).error
    assert (event["attempts"][0]["meaning"], answer.took < 2) == ("timeout", True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_half_a_frame_never_reaches_the_client(protocol: str) -> None:
    """A preserved stream that breaks inside a frame ends cleanly: whole frames, then the error."""

    async def play(call: Call) -> None:
        await call.open()
        await call.write(START[protocol].encode())
        await asyncio.sleep(0.05)
        await call.write(b'event: content_block_delta\ndata: {"type":"content_block_de')

    answer, event, _ = await through(play, protocol, protocol)
    assert answer.body.startswith(START[protocol].encode())
    assert len(frames(answer.body)) == len(frames(START[protocol].encode())) + 1
    assert judged(answer).error
    assert event["errorClass"] == "broken"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_errors_body_that_breaks_off_keeps_its_status(*, stream: bool) -> None:
    """A 429 whose body is lost is still a rate limit with its waiting time."""

    async def play(call: Call) -> None:
        await call.write(
            b"HTTP/1.1 429 Too Many\r\ncontent-type: application/json\r\nretry-after: 90\r\ncontent-length: 500\r\n\r\n{"
        )

    answer, event, _ = await through(play, "openai-chat", "openai-chat", stream=stream)
    assert (answer.status, answer.headers["retry-after"]) == (429, "90")
    assert event["attempts"][0]["meaning"] == "rate_limit"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("auth", ["bearer", "x-api-key"])
async def test_redirects_are_not_followed(code: int, auth: str) -> None:
    """The second host is never asked, so no key gets there."""
    asked: list[Call] = []

    async def elsewhere(call: Call) -> None:
        asked.append(call)
        await call.open("application/json")

    async with Wire(elsewhere) as second:

        async def play(call: Call) -> None:
            await call.open(status=f"{code} Moved", location=f"http://localhost:{second.port}/v1/messages")

        async with Wire(play) as first:
            behind = Behind("first", first.url, ("anthropic-messages",), row={"auth": auth})
            async with spine(policy(behind, fallback={"attempts": 1}), env={"FIRST_KEY": "k"}) as gate:
                answers = [await gate.ask("anthropic-messages", stream=stream) for stream in (False, True)]
    assert [answer.status for answer in answers] == [502, 502]
    assert asked == []


@pytest.mark.parametrize("client", ["anthropic-messages", "openai-chat"])
@pytest.mark.parametrize("lost", [1, 2], ids=["middle", "last"])
async def test_a_delta_that_never_comes(client: str, lost: int) -> None:
    """A translated answer with a hole ends as the failure it is; what the text's last word can make good is an answer."""
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "resp_1", "model": "m"}},
        *({"type": "response.output_text.delta", "output_index": 0, "delta": piece} for piece in ("one ", "two ", "three")),
        {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "one two three"},
        {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": [], "usage": {}}},
    ]  # fmt: skip
    sent = [
        f"event: {event['type']}\ndata: {orjson.dumps({**event, 'sequence_number': at}).decode()}\n\n".encode()
        for at, event in enumerate(events)
    ]
    del sent[1 + lost]

    async def play(call: Call) -> None:
        await call.open()
        await call.write(b"".join(sent[:2]))
        await asyncio.sleep(0.05)
        await call.write(b"".join(sent[2:]))

    answer, event, _ = await through(play, client, "openai-responses")
    if lost == 2:
        assert (judged(answer).text, event["status"]) == ("one two three", "success")
    else:
        assert "never came" in judged(answer).error
        assert (answer.status, event["status"], event["attempts"][0]["meaning"]) == (200, "error", "broken")


async def test_nothing_of_the_first_answer_is_in_the_second() -> None:
    """A provider that opens its stream and dies before any content leaves no trace in the answer of the next."""

    async def first(call: Call) -> None:
        await call.open()
        await call.write(STREAMS["anthropic-messages"].split("event: content_block_start")[0].encode())

    async with Wire(first) as one, Wire(plays(STREAMS["anthropic-messages"].encode())) as two:
        behind = [Behind(n, w.url, ("anthropic-messages",)) for n, w in (("first", one), ("second", two))]
        async with spine(policy(*behind), env={"FIRST_KEY": "k", "SECOND_KEY": "k"}) as gate:
            answer = await gate.ask("anthropic-messages", stream=True)
    assert answer.body == STREAMS["anthropic-messages"].encode()
