"""Streams that go on and on: the largest frames that may come, signs of life without an answer, an end that is never said."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from engine.llm.errors import ProviderError
from engine.protocols.registry import PROTOCOLS as WIRES
from engine.protocols.sse import MAX_FRAME, SSEEvent, SSEParser
from engine.providers.heard import Heard
from engine.stages import provider_stream
from engine.stages.provider_stream import RelayedFrames, Silence
from tests.fidelity.answers import QUIRKS, READ
from tests.judge import judged
from tests.spine import PROTOCOLS, Answer, Behind, Call, Play, Wire, body, policy, spine
from tests.stages.test_odd_streams import EACH, START, plays, through
from tests.stages.test_preserve import STREAMS, WHOLE

DELTAS = {
    "anthropic-messages": 'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}\n\n',
    "openai-responses": 'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"%s"}\n\n',
    "openai-chat": 'data: {"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"%s"}}]}\r\n\r\n',
}  # fmt: skip
"""One more piece of the answer that `START` begins."""


def with_frame(wire: str, size: int) -> bytes:
    """The wire's stream with one more delta, whose frame is `size` bytes up to its last line feed."""
    told, frame = STREAMS[wire].encode(), DELTAS[wire].encode()
    end = b"\n\r\n" if frame.endswith(b"\r\n") else b"\n\n"
    frame = frame % (b"x" * (size - len(frame) + len(b"%s") + len(end)))
    assert len(frame) - len(end) == size
    at = len(START[wire].encode())
    return told[:at] + frame + told[at:]


@pytest.mark.parametrize("client", PROTOCOLS)
@pytest.mark.parametrize("wire", PROTOCOLS)
async def test_a_frame_of_eight_mib_passes(client: str, wire: str) -> None:
    """The largest frame there may be arrives whole: to the byte on its own wire, with all of its text on another."""
    sent = with_frame(wire, MAX_FRAME)
    answer, event, _ = await through(plays(sent), client, wire)
    assert event["status"] == "success", str(event["attempts"])
    if client == wire:
        assert answer.body == sent
    else:
        assert READ[client].stream(answer.body.decode()).text.count("x") > MAX_FRAME - 400


@pytest.mark.parametrize("client", PROTOCOLS)
@pytest.mark.parametrize("wire", PROTOCOLS)
async def test_a_frame_over_eight_mib_ends_the_answer(client: str, wire: str) -> None:
    """One byte more is told as the failure it is, in the caller's own terminal event."""
    answer, event, _ = await through(plays(with_frame(wire, MAX_FRAME + 1)), client, wire)
    assert f"more than {MAX_FRAME} bytes" in judged(answer).error
    assert (event["status"], event["attempts"][0]["meaning"]) == ("error", "broken")
    assert len(answer.body) < 10_000


def test_a_large_frame_in_small_pieces_is_copied_once() -> None:
    """What is held back of a frame does not grow dearer with every piece."""
    sent = with_frame("anthropic-messages", MAX_FRAME // 4)
    frames, passed, held = RelayedFrames(WIRES["anthropic-messages"].stream_tap(quirks=QUIRKS), Heard()), b"", set()
    for at in range(0, len(sent), 100):
        passed += frames.feed(sent[at : at + 100])
        held.add(id(frames._held))
    assert passed + frames.close() == sent
    assert len(held) == 1


# ── signs of life ──

LIFE = {
    "anthropic-messages": 'event: ping\ndata: {"type": "ping"}\n\n',
    "openai-responses": 'event: response.in_progress\ndata: {"type":"response.in_progress","response":{"id":"r"}}\n\n',
    "openai-chat": 'data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{}}]}\n\n',
}
NAMELESS = {
    "anthropic-messages": 'data: {"type": "ping"}\n\n',
    "openai-responses": 'data: {"type":"keepalive","sequence_number":4}\n\n',
    "openai-chat": 'data: {"id":"c1","model":"m","choices":[]}\n\n',
}


EMPTY = {
    "anthropic-messages": [
        DELTAS["anthropic-messages"] % "",
        'data: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ""}}\n\n',
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":""}}\n\n',
        "data: \n\n",
    ],
    "openai-responses": [
        DELTAS["openai-responses"] % "",
        'event: response.reasoning_summary_text.delta\ndata: {"type": "response.reasoning_summary_text.delta", "delta": "", "item_id": "r"}\n\n',
        "data: \n\n",
    ],
    "openai-chat": [
        'data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n',
        'data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"reasoning_content":""}}]}\n\n',
        'data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"reasoning_details":[{"type":"reasoning.text","text":"","index":0}]}}]}\n\n',
        'data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":""}}]}}]}\n\n',
        "data: \n\n",
    ],
}  # fmt: skip
"""Deltas and lines that hold nothing."""


@pytest.mark.parametrize("who", ["tap", "decoder"])
@pytest.mark.parametrize("wire", PROTOCOLS)
def test_what_is_a_sign_of_life(wire: str, who: str) -> None:
    """Pings and their kin, with or without an event's name; everything that says something of the answer is none."""
    for text in (LIFE[wire], NAMELESS[wire], *EMPTY[wire]):
        listener = WIRES[wire].stream_tap(quirks=QUIRKS) if who == "tap" else WIRES[wire].stream_decoder(quirks=QUIRKS)
        for event in SSEParser().feed(START[wire].encode()):
            listener.feed(event)
        assert not listener.quiet
        for word in ("x", r"\"\""):
            listener.feed(_event(DELTAS[wire].replace("\r", "") % word))
            assert not listener.quiet, word
        listener.feed(_event(text))
        assert listener.quiet, text


@pytest.mark.parametrize("wire", PROTOCOLS)
def test_what_a_decoder_keeps_back_is_no_sign_of_life(wire: str) -> None:
    """A call behind one that is not whole is not told yet; its pieces are words of the answer all the same."""
    decoder = WIRES[wire].stream_decoder(quirks=QUIRKS)
    silent = []
    for event in SSEParser().feed(BEHIND[wire].encode()):
        silent.append(not decoder.feed(event))
        assert not decoder.quiet or "_progress" in event.data or "created" in event.data or "_start" in event.data, (
            event
        )
    assert silent[-1]


BEHIND = {
    "anthropic-messages": "".join(
        f"data: {text}\n\n"
        for text in (
            '{"type":"message_start","message":{"id":"m1"}}',
            '{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}',
            '{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"b","name":"f","input":{}}}',
            '{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{"}}',
        )
    ),
    "openai-responses": "".join(
        f"data: {text}\n\n"
        for text in (
            '{"type":"response.created","response":{"id":"r"}}',
            '{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","call_id":"a","name":"f"}}',
            '{"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","call_id":"b","name":"f"}}',
            '{"type":"response.function_call_arguments.delta","output_index":1,"delta":"{"}',
        )
    ),
    "openai-chat": "".join(
        'data: {"id":"c1","model":"m","choices":[{"index":0,"delta":{"tool_calls":[' + text + "]}}]}\n\n"
        for text in (
            '{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}',
            '{"index":1,"id":"b","function":{"name":"f","arguments":""}}',
            '{"index":1,"function":{"arguments":"{"}}',
        )
    ),
}  # fmt: skip
"""Two calls at once, the first of them never whole."""


def _event(frame: str) -> SSEEvent:
    fields = dict(line.split(": ", 1) for line in frame.strip("\r\n").split("\n"))
    return SSEEvent(fields.get("event", ""), fields["data"])


async def test_only_signs_of_life_in_a_row_are_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock starts with the first of them, and anew after every word."""
    now = [0.0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
    silence = Silence(10)
    for at in (0.0, 9.0):
        now[0] = at
        silence.goes_on()
    silence.broken()
    for at in (12.0, 21.0, 22.0):
        now[0] = at
        silence.goes_on()
    now[0] = 22.1
    with pytest.raises(ProviderError, match="for 10 seconds") as raised:
        silence.goes_on()
    assert raised.value.meaning == "timeout"


def warm(first: str, beat: str) -> Play:
    """A provider that sends `first`, then `beat` until its caller leaves."""

    async def play(call: Call) -> None:
        await call.open()
        await call.write(first.encode())
        while not call.gone.is_set():
            await call.write(beat.encode())
            await asyncio.sleep(0.02)

    return play


PATIENT = {"connect": 30, "first_event": 30, "idle": 30, "total": 60, "progress": 0.3}


@EACH
@pytest.mark.parametrize("beat", ["comment", "event", "empty", "blank", "mixed"])
async def test_an_answer_that_died_behind_heartbeats_is_given_up(client: str, wire: str, beat: str) -> None:
    """After the row's time for progress the client hears of it in its own words, and the provider is left."""
    beats = {
        "comment": ": heartbeat\n\n",
        "event": LIFE[wire],
        "empty": "".join(EMPTY[wire][:-1]),
        "blank": "   \n\n \n\n",
    }
    play = warm(START[wire], "".join(beats.values()) if beat == "mixed" else beats[beat])
    answer, event, _ = await through(play, client, wire, timeouts=PATIENT)
    assert "without a word of its answer" in judged(answer).error
    assert (event["status"], event["attempts"][0]["meaning"]) == ("error", "timeout")


@EACH
async def test_heartbeats_between_words_are_fine(client: str, wire: str) -> None:
    """However many there are, a word among them in time keeps the answer going."""

    async def play(call: Call) -> None:
        await call.open()
        await call.write(START[wire].encode())
        for _ in range(6):
            for _ in range(5):
                await call.write(LIFE[wire].encode())
                await asyncio.sleep(0.002)
            await call.write((DELTAS[wire] % "x").encode())
        await call.write(STREAMS[wire].encode()[len(START[wire].encode()) :])

    answer, event, _ = await through(play, client, wire, timeouts={**PATIENT, "progress": 20})
    assert event["status"] == "success"
    assert judged(answer).text == "ä 🟢xxxxxx"


# ── an end that is not said ──

UNSAID = STREAMS["anthropic-messages"].split("event: message_stop")[0]


@pytest.mark.parametrize("end", ["closed", "warm", "cut"])
async def test_the_last_word_is_said_for_a_vendor_that_leaves_it_out(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents ask again, or for ever, without `message_stop`; the answer was whole with its reason to stop."""
    monkeypatch.setattr(provider_stream, "LINGER", 0.1)
    play = {
        "closed": plays(UNSAID.encode()),
        "cut": plays(UNSAID.encode() + b"event: message_st"),
        "warm": warm(UNSAID, ": heartbeat\n\n"),
    }[end]
    answer, event, _ = await through(play, "anthropic-messages", "anthropic-messages")
    assert (judged(answer).text, event["status"], event["stopReason"]) == ("ä 🟢", "success", "end_turn")
    assert answer.body.startswith(UNSAID.encode())
    assert (answer.body.count(b"event: message_stop"), answer.body[-2:]) == (1, b"\n\n")


# ── one document where a stream was asked for ──

BARE: dict[str, tuple[dict[str, Any], str]] = {
    "anthropic-messages": (
        {"type": "message", "id": "m1", "role": "assistant", "model": "m", "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 7},
         "content": [{"type": "thinking", "thinking": "hm", "signature": "c2VhbA=="}, {"type": "text", "text": "ä"}]},
        "c2VhbA==",
    ),
    "openai-responses": (
        {"id": "r1", "object": "response", "status": "completed", "model": "m", "usage": {"input_tokens": 3, "output_tokens": 7},
         "output": [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2VhbA=="},
                    {"type": "message", "id": "i", "role": "assistant", "content": [{"type": "output_text", "text": "ä", "annotations": []}]}]},
        "c2VhbA==",
    ),
    "openai-chat": (
        {"id": "c1", "object": "chat.completion", "model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 7},
         "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ä", "reasoning_details": [{"type": "reasoning.encrypted", "data": "c2VhbA==", "index": 0}]}}]},
        "c2VhbA==",
    ),
}  # fmt: skip
"""Answers with reasoning state as their own vendor gives it, and that state."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_state_in_a_document_told_as_a_stream_is_remembered(protocol: str) -> None:
    """Who made it is known afterwards, as after a real stream: another vendor of the same protocol never gets it."""
    whole, state = BARE[protocol]
    async with Wire(plays(orjson.dumps(whole), "application/json")) as provider:
        async with spine(policy(Behind("first", provider.url, (protocol,))), env={"FIRST_KEY": "k"}) as gate:
            answer: Answer = await gate.ask(protocol, body(protocol, stream=True))
            assert judged(answer).text == "ä"
            makers = gate.gateway.services.seals.makers
            assert (makers.of(state), makers.foreign(state, "second")) == ("first", True)
            event = await gate.event(answer.headers["x-sbgw-event"])
    assert (event["inputTokens"], event["outputTokens"], event["stopReason"]) == (3, 7, "end_turn")
    assert WHOLE.keys() == BARE.keys()
