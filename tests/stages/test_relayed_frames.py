"""Frames that nobody reads: what is known after them is what is known after reading every one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Quirks
from engine.llm.messages import LLMResponse, Text
from engine.llm.protocol import StreamTap, Tapped
from engine.llm.replay import replay
from engine.protocols.registry import PROTOCOLS
from engine.protocols.sse import SSEParser, encode
from engine.providers.heard import Heard
from engine.stages.provider_stream import RelayedFrames
from tests.protocols.generate import answers

ODD = {
    "anthropic-messages": [
        *(
            encode("content_block_delta", orjson.dumps({"type": "content_block_delta", "index": 0, "delta": delta}))
            for delta in (
                {"type": "signature_delta", "signature": "sealed"},
                {"type": "text_delta", "text": 'a \\"signature_delta\\" in words'},
                {"type": "text_delta", "text": ""},
                {"type": "text_delta", "text": '"'},
                {"type": "input_json_delta", "partial_json": ""},
            )
        ),
        b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}\n\n',
        b'event: ping\ndata: {"type":"ping"}\n\n',
        b'data: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n',
        b": a comment\n\n",
        b"event: content_block_delta\n\n",
    ],
    "openai-responses": [
        encode("response.output_text.delta", b'{"delta":"x"}'),
        encode("response.output_text.delta", b'{"type":"response.output_text.delta","delta":""}'),
        encode("response.function_call_arguments.delta", b'{"item_id": "f", "delta": "", "output_index": 0}'),
        encode("", b'{"type":"response.output_text.delta","delta":"x"}'),
        encode("error", b'{"type":"error","message":"m","code":"server_error"}'),
        encode("response.in_progress", b'{"type":"response.in_progress"}'),
        b"event: response.output_text.delta\n\n",
    ],
    "openai-chat": [
        *(
            encode("", orjson.dumps({"id": "c", "model": "m", **head, "choices": [{"index": 0, **choice}], **tail}))
            for head in ({}, {"error": "m"})
            for choice in (
                {"delta": {"content": 'a "b" \\'}, "finish_reason": None},
                {"delta": {"content": "}]"}, "logprobs": None, "finish_reason": None},
                {"delta": {"content": "x"}, "finish_reason": "length"},
                {"delta": {"content": "x", "tool_calls": [{"index": 0}]}, "finish_reason": None},
                {"delta": {"content": "x", "refusal": "no"}, "finish_reason": None},
                {"delta": {"content": ""}, "finish_reason": None},
            )
            for tail in ({"usage": None}, {"usage": {"prompt_tokens": 3, "completion_tokens": 4}})
        ),
        b'data: {"id": "c", "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": null}], "obfuscation": "aB1"}\n\n',
        b'event: error\ndata: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n',
        b"data: [DONE]\n\n",
    ],
}


class Everything:
    """A tap that is fed every frame."""

    def __init__(self, tap: StreamTap) -> None:
        self.feed, self.close, self._tap = tap.feed, tap.close, tap

    @property
    def quiet(self) -> bool:
        return self._tap.quiet

    def goes_on(self, frame: bytes) -> bool:
        return False


def relayed(tap: StreamTap, pieces: list[bytes]) -> tuple[list[tuple[bytes, bool, Any]], bytes, Any]:
    frames = RelayedFrames(tap, Heard())
    passed = [(frames.feed(piece), frames.quiet, shown(frames.tapped)) for piece in pieces]
    return passed, frames.close(), shown(frames.tapped)


def shown(tapped: Tapped) -> str:
    return repr((tapped, str(tapped.error)))


@pytest.mark.parametrize("wire", PROTOCOLS)
@given(st.data(), answers, st.lists(st.integers(0, 3000), max_size=12))
@settings(deadline=None, max_examples=150)
def test_what_is_not_read_changes_nothing(wire: str, data: st.DataObject, answer: LLMResponse, cuts: list[int]) -> None:
    """Whatever stands between the deltas, in whatever order, and however it is cut: the same bytes, the same knowledge."""
    protocol = PROTOCOLS[wire]
    encoder = protocol.stream_encoder(model="m", answer_id="a")
    said = [frame for event in replay(answer) if (frame := encoder.feed(event))]
    for frame in data.draw(st.lists(st.sampled_from(ODD[wire]), max_size=6)):
        said.insert(data.draw(st.integers(0, len(said))), frame)
    raw = b"".join(said)
    edges = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})
    for pieces in ([raw[a:b] for a, b in pairwise(edges)], said):
        tap, other = (protocol.stream_tap(quirks=Quirks()) for _ in range(2))
        assert relayed(tap, pieces) == relayed(Everything(other), pieces)


def test_an_end_is_no_sign_of_life() -> None:
    """Whatever came last, and whether that was read."""
    empty, plain = ODD["openai-chat"][10], ODD["openai-chat"][0]
    assert (b'"content":""' in empty, b'"usage":null' in plain) == (True, True)
    for pieces in ([plain, empty, plain, b"data: [DONE]\n\n"], [plain, empty, b"data: [DONE]\n\n"]):
        frames = RelayedFrames(PROTOCOLS["openai-chat"].stream_tap(quirks=Quirks()), Heard())
        assert [(frames.feed(piece), frames.quiet)[1] for piece in pieces] == [piece is empty for piece in pieces]


@pytest.mark.parametrize("wire", PROTOCOLS)
def test_plain_deltas_are_not_read(wire: str) -> None:
    """What each protocol's own encoder writes is known without being read."""
    encoder = PROTOCOLS[wire].stream_encoder(model="m", answer_id="a")
    said = b"".join(encoder.feed(event) for event in replay(LLMResponse("a", "m", (Text("a word"),), "end_turn")))
    goes_on = PROTOCOLS[wire].stream_tap(quirks=Quirks()).goes_on
    assert [b"a word" in frame for frame in said.split(b"\n\n") if goes_on(frame)] == [True]


@pytest.mark.parametrize(("wire", "frame"), [(wire, frame) for wire, frames in ODD.items() for frame in frames])
def test_a_frame_that_is_not_read_tells_nothing(wire: str, frame: bytes) -> None:
    """Of an answer that has begun, at least."""
    encoder, tap = PROTOCOLS[wire].stream_encoder(model="m", answer_id="a"), PROTOCOLS[wire].stream_tap(quirks=Quirks())
    begun = b"".join(encoder.feed(event) for event in replay(LLMResponse("a", "m", (Text("a word"),), "end_turn"))[:3])
    before = [tap.feed(event) for event in SSEParser().feed(begun)][-1]
    assert before.started
    if tap.goes_on(frame.removesuffix(b"\n\n")):
        event = SSEParser().read(frame.removesuffix(b"\n\n"))
        assert event is not None
        assert tap.feed(event) == before
        assert not tap.quiet
