"""What ends streams wrongly elsewhere, each as a test named after the symptom."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import orjson
import pytest

from engine.protocols.sse import SSEParser
from engine.stages import provider_stream
from tests.emulator import Emulator, Fault, Script, Turn
from tests.fidelity.clients import Sdks
from tests.fidelity.read.events import objects
from tests.judge import judged
from tests.spine import KEY, PATHS, PROTOCOLS, Behind, Call, Wire, body, policy, spine
from tests.stages.test_odd_streams import EACH, START, STREAMS

TERMINAL = {"message_stop", "response.completed", "response.incomplete"}
SAID = Script((Turn("One sentence that is long enough to be cut in the middle of it, as streams are."),))
CHUNK = '{"id":"c","model":"m","object":"chat.completion.chunk","created":1,"choices":[{"index":0,"delta":%s,"finish_reason":%s}]}'


def chunks(*deltas: str, finish: str = "") -> bytes:
    """Chat chunks with these deltas, and a finish reason at the end if there is one."""
    told = [CHUNK % (delta, "null") for delta in deltas] + ([CHUNK % ("{}", f'"{finish}"')] if finish else [])
    return b"".join(b"data: " + chunk.encode() + b"\n\n" for chunk in told)


async def failing(client: str, wire: str, fault: str) -> tuple[Any, dict[str, Any], Emulator]:
    """(the client's stream, the event, a second provider that nobody should have asked) for a provider that fails so."""
    async with Emulator(SAID, pace=0.02) as first, Emulator(SAID) as second:
        first.fail_next(Fault(fault))  # type: ignore[arg-type]
        rows = [Behind(name, emu.url, (wire,)) for name, emu in (("first", first), ("second", second))]
        model = MODELS[wire]
        text = policy(*rows, models={f"{r.name}/{model}": dict(ABLE) for r in rows}, routes=_routes(rows, model))
        async with spine(text, env={"FIRST_KEY": first.key, "SECOND_KEY": second.key}) as gate:
            answer = await gate.ask(client, stream=True)
            return answer, await gate.newest(), second


MODELS = {"anthropic-messages": "claude-haiku-4-5", "openai-chat": "gpt-4.1", "openai-responses": "gpt-4.1"}
ABLE = {"tools": True, "context": 200_000, "max_output": 16_000, "claude_code_safe": True, "codex_safe": True}


def _routes(rows: list[Behind], model: str) -> dict[str, list[str]]:
    names = ("cheap_edit", "fast_code", "deep_reasoning", "tool_heavy", "long_context", "fallback_safe")
    return {name: [f"{row.name}/{model}" for row in rows] for name in names}


def kinds(raw: bytes) -> list[str]:
    """Event types of a stream."""
    return [str(event.get("type", "")) for _, event in objects(raw.decode())]


@pytest.mark.parametrize("client", PROTOCOLS)
async def test_15_response_failed_inside_a_200_becomes_end_turn(client: str) -> None:
    """A failed response is a failure, told as one."""
    failed = {"type": "response.failed", "response": {"id": "r", "status": "failed", "output": [], "error": {"code": "server_error", "message": "It broke."}}}  # fmt: skip

    async def play(call: Call) -> None:
        await call.open()
        await call.write(START["openai-responses"].encode())
        await call.write(b"event: response.failed\ndata: " + orjson.dumps(failed) + b"\n\n")

    async with Wire(play) as provider:
        row = Behind("first", provider.url, ("openai-responses",))
        async with spine(policy(row), env={"FIRST_KEY": "k"}) as gate:
            answer = await gate.ask(client, stream=True)
            event = await gate.newest()
    assert TERMINAL.isdisjoint(kinds(answer.body))
    assert "It broke." in judged(answer).error
    assert (event["status"], event["attempts"][-1]["meaning"]) == ("error", "server_error")


@pytest.mark.parametrize("wire", PROTOCOLS)
async def test_16_an_overload_in_mid_stream_is_logged_as_success(wire: str) -> None:
    """On every wire, preserved and translated."""
    for client in PROTOCOLS:
        answer, event, _ = await failing(client, wire, "error-mid-stream")
        assert (event["status"], event["attempts"][0]["meaning"]) == ("error", "overloaded"), client
        assert judged(answer).error, client


@pytest.mark.parametrize("wire", PROTOCOLS)
async def test_17_a_second_provider_is_asked_in_mid_stream(wire: str) -> None:
    """Once content has gone out, nobody else's answer is put behind it."""
    for client in PROTOCOLS:
        _, event, second = await failing(client, wire, "drop-mid-stream")
        assert (second.requests, len(event["attempts"])) == ([], 1), client


@pytest.mark.parametrize("client", PROTOCOLS)
async def test_18_content_block_not_found(client: str) -> None:
    """Two calls whose arguments come in turns are two whole calls in the client's own order of events."""

    def call(index: int, piece: str, name: str = "") -> str:
        named = f'"id":"call_{index}","type":"function",' if name else ""
        inner = f'"name":"{name}",' if name else ""
        return f'{{"tool_calls":[{{"index":{index},{named}"function":{{{inner}"arguments":{orjson.dumps(piece).decode()}}}}}]}}'

    told = chunks(call(0, "", "f"), call(1, "", "g"), call(0, '{"a"'), call(1, '{"b"'), call(0, ":1}"), call(1, ":2}"), finish="tool_calls")  # fmt: skip

    async def play(call: Call) -> None:
        await call.open()
        await call.write(told + b"data: [DONE]\n\n")

    async with Wire(play) as provider:
        async with spine(policy(Behind("first", provider.url, ("openai-chat",))), env={"FIRST_KEY": "k"}) as gate:
            answer = await gate.ask(client, stream=True)
    read = Sdks().stream(client, answer.body)
    assert [(c.name, c.arguments) for c in read.calls] == [("f", {"a": 1}), ("g", {"b": 2})]


ENDLESS = {
    "openai-chat": chunks('{"role":"assistant","content":"hi"}', finish="stop"),
    "anthropic-messages": STREAMS["anthropic-messages"].split("event: message_stop")[0].encode(),
}
"""Answers that are whole but for their wire's last word."""


@pytest.mark.parametrize(
    ("client", "wire"), [(c, w) for w in ENDLESS for c in PROTOCOLS if c != w or w == "openai-chat"]
)
async def test_19_it_hangs_after_finish_reason_while_heartbeats_go_on(
    client: str, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer whose reason to stop was told is over, with or without its last word, however long the line is kept warm."""
    monkeypatch.setattr(provider_stream, "LINGER", 0.05)

    async def play(call: Call) -> None:
        await call.open()
        await call.write(ENDLESS[wire])
        while not call.gone.is_set():
            await call.write(b": heartbeat\n\n")
            await asyncio.sleep(0.01)

    async with Wire(play) as provider:
        row = Behind(
            "first", provider.url, (wire,), row={"timeouts": {"connect": 5, "first_event": 5, "idle": 5, "total": 8}}
        )
        async with spine(policy(row), env={"FIRST_KEY": "k"}) as gate:
            answer = await asyncio.wait_for(gate.ask(client, stream=True), 20)
            event = await gate.newest()
    assert event["status"] == "success", event.get("errorMessage")
    if client != wire:  # a preserved stream has the end that its vendor gave it
        assert judged(answer).text


async def test_20_a_cancelled_stream_s_bytes_turn_up_in_another() -> None:
    """Streams that are left side by side with others leave them whole."""

    async def play(call: Call) -> None:
        said = orjson.loads(call.body)["messages"][-1]["content"]
        await call.open()
        for word in [said] * 20:
            await call.write(chunks(orjson.dumps({"content": word}).decode()))
            await asyncio.sleep(0.002)
        await call.write(chunks(finish="stop") + b"data: [DONE]\n\n")

    async with Wire(play) as provider:
        async with spine(policy(Behind("first", provider.url, ("openai-chat",))), env={"FIRST_KEY": "k"}) as gate:
            asked = [
                gate.ask("anthropic-messages", body("anthropic-messages", stream=True, text=f"<{n}>"))
                for n in range(12)
            ]
            tasks = [asyncio.ensure_future(one) for one in asked]
            await asyncio.sleep(0.03)
            for task in tasks[::2]:
                task.cancel()
            answers = await asyncio.gather(*tasks[1::2])
    assert [judged(answer).text for answer in answers] == [f"<{n}>" * 20 for n in range(1, 12, 2)]


@pytest.mark.parametrize("fault", ["truncated", "drop-mid-stream", "error-mid-stream"])
async def test_21_stream_closed_before_response_completed(fault: str) -> None:
    """A Responses client gets `response.failed` with a code that it tries again after, never a bare end."""
    for wire in PROTOCOLS:
        answer, _, _ = await failing("openai-responses", wire, fault)
        events = [event for _, event in objects(answer.body.decode())]
        told = [event for event in events if event["type"] in ("response.failed", "error")]
        assert len(told) == 1 or (told and wire == "openai-responses"), (wire, events[-1])  # a vendor says both itself
        error = told[-1].get("response", told[-1]).get("error") or told[-1]
        assert "invalid" not in str(error.get("code")), (wire, error)


@pytest.mark.parametrize("client", PROTOCOLS)
async def test_22_a_long_stream_ends_without_a_terminal_event(client: str) -> None:
    """A clean end of the connection is no end of an answer: the client is told that it broke off."""
    for wire in PROTOCOLS:
        answer, event, _ = await failing(client, wire, "truncated")
        assert (judged(answer).error != "", event["status"]) == (True, "error"), wire


@pytest.mark.parametrize("text", ["ä", "日本", "🟢", "e\u0301", "\u2028\u2029\x85"])
def test_23_characters_split_between_chunks_are_corrupted(text: str) -> None:
    """Byte by byte gives what the whole gives; no line end but CR and LF ends a line."""
    raw = f"data: {text}\n\n".encode()
    parser = SSEParser()
    found = [event for byte in raw for event in parser.feed(bytes([byte]))] + parser.close()
    assert [event.data for event in found] == [text]


@EACH
async def test_24_retries_go_on_after_the_client_has_left(client: str, wire: str) -> None:
    """Whoever has gone is owed nothing: the provider is left, and no other one is asked."""
    asked = asyncio.Event()

    async def play(call: Call) -> None:
        asked.set()
        await asyncio.wait_for(call.gone.wait(), 20)

    async with Wire(play) as first, Wire(play) as second:
        rows = [Behind("first", first.url, (wire,)), Behind("second", second.url, (wire,))]
        async with spine(policy(*rows), env={"FIRST_KEY": "k", "SECOND_KEY": "k"}) as gate:
            _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
            sent = orjson.dumps(body(client, stream=True))
            head = f"POST {PATHS[client]} HTTP/1.1\r\nHost: localhost:{gate.port}\r\nx-sbgw-key: {KEY}\r\n"
            writer.write(f"{head}content-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n".encode() + sent)
            await asyncio.wait_for(asked.wait(), 20)
            writer.transport.abort()
            event = await gate.newest()
    assert (event["status"], second.calls) == ("cancelled", [])


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_25_a_compressed_stream_is_cut_short(protocol: str) -> None:
    """Packed streams are read to their last byte wherever they are cut, and reach the client unpacked."""
    plain = STREAMS[protocol].encode()
    packed = gzip.compress(plain)

    async def play(call: Call) -> None:
        await call.open(content_encoding="gzip")
        for at in range(0, len(packed), 37):
            await call.write(packed[at : at + 37])
            await asyncio.sleep(0)

    async with Wire(play) as provider:
        async with spine(policy(Behind("first", provider.url, (protocol,))), env={"FIRST_KEY": "k"}) as gate:
            answer = await gate.ask(protocol, stream=True)
    assert answer.body == plain
