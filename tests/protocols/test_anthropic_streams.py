"""Anthropic Messages streams: decoding what providers send, encoding what clients need, listening without touching."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Quirks
from engine.llm.errors import ProviderError
from engine.llm.messages import LLMRequest, LLMResponse, Opaque, Refusal, Text, Thinking, Tool, ToolCall, Usage
from engine.llm.protocol import SSEEvent, Tapped
from engine.llm.replay import replay
from engine.llm.stream import (
    ArgumentsDelta,
    BlockStart,
    BlockStop,
    Failure,
    Finish,
    Progress,
    Start,
    StreamEvent,
    TextDelta,
)
from engine.protocols.anthropic_messages import AnthropicMessages
from engine.protocols.sse import SSEParser
from tests.protocols.generate import answers
from tests.protocols.order import check, whole

WIRE = AnthropicMessages()
QUIRKS = Quirks()

MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None}
START = {"type": "message_start", "message": {**MESSAGE, "usage": {"input_tokens": 10, "output_tokens": 1}}}
DELTA = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 7},
}
STOP = {"type": "message_stop"}


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


TEXT = block(
    0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "hel"}, {"type": "text_delta", "text": "lo"}
)


def events(*values: dict[str, Any]) -> list[SSEEvent]:
    return [SSEEvent(str(value.get("type", "")), orjson.dumps(value).decode()) for value in values]


def decode(stream: list[SSEEvent], request: LLMRequest | None = None) -> list[StreamEvent]:
    decoder = WIRE.stream_decoder(quirks=QUIRKS, request=request)
    said = [said for event in stream for said in decoder.feed(event)] + decoder.close()
    check(said)
    return said


def failure(said: list[StreamEvent]) -> ProviderError:
    assert isinstance(said[-1], Failure)
    return said[-1].error


def encode(said: list[StreamEvent]) -> bytes:
    encoder = WIRE.stream_encoder(model="shown", answer_id="msg_x")
    return b"".join(encoder.feed(event) for event in said)


def frames(raw: bytes) -> list[dict[str, Any]]:
    parser = SSEParser()
    parsed = parser.feed(raw) + parser.close()
    values = [orjson.loads(event.data) for event in parsed]
    assert [event.name for event in parsed] == [value["type"] for value in values]
    return values


def tap(stream: list[SSEEvent]) -> Tapped:
    listener = WIRE.stream_tap(quirks=QUIRKS)
    for event in stream:
        listener.feed(event)
    return listener.close()


def test_an_answer_in_events() -> None:
    """Start, text, a call and the end, with usage merged from both places."""
    call = block(
        1, {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {}},
        {"type": "input_json_delta", "partial_json": ""}, {"type": "input_json_delta", "partial_json": '{"a"'},
        {"type": "input_json_delta", "partial_json": ":1}"},
    )  # fmt: skip
    said = decode(events(START, {"type": "ping"}, *TEXT, *call, DELTA, STOP))
    assert said == [
        Start("msg_1", "m", Usage(10, 1)),
        Progress(),
        BlockStart(0, Text("")),
        TextDelta(0, "hel"),
        TextDelta(0, "lo"),
        BlockStop(0, Text("hello")),
        BlockStart(1, ToolCall("toolu_1", "read", "")),
        ArgumentsDelta(1, '{"a"'),
        ArgumentsDelta(1, ":1}"),
        BlockStop(1, ToolCall("toolu_1", "read", '{"a":1}')),
        Progress(),
        Finish("tool_use", Usage(10, 7)),
    ]


def test_blocks_without_a_neutral_word_stay_whole() -> None:
    """Server tools, citations, redacted thinking, signatures and compaction survive the decoder."""
    stream = events(
        START,
        *block(0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "hm"},
               {"type": "signature_delta", "signature": "c2ln"}),
        *block(1, {"type": "redacted_thinking", "data": "ZGF0YQ=="}),
        *block(2, {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}},
               {"type": "input_json_delta", "partial_json": '{"query":'}, {"type": "input_json_delta", "partial_json": '"q"}'}),
        *block(3, {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []}),
        *block(4, {"type": "text", "text": ""}, {"type": "text_delta", "text": "found"},
               {"type": "citations_delta", "citation": {"url": "u"}}),
        *block(5, {"type": "compaction", "content": None}, {"type": "compaction_delta", "content": "so far"}),
        DELTA, STOP,
    )  # fmt: skip
    said = decode(stream)
    answer = whole(said)
    assert answer.content == (
        Thinking("hm", "c2ln", origin=WIRE.name),
        Thinking(opaque="ZGF0YQ==", redacted=True, origin=WIRE.name),
        Opaque(WIRE.name, {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "q"}}),
        Opaque(WIRE.name, {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []}),
        Text("found", {"citations": [{"url": "u"}]}),
        Opaque(WIRE.name, {"type": "compaction", "content": "so far"}),
    )
    assert answer.stop == "end_turn"
    again = whole(decode([SSEEvent(value["type"], orjson.dumps(value).decode()) for value in frames(encode(said))]))
    assert again.content == answer.content


LOOSE = {
    "no names": [SSEEvent("", event.data) for event in events(START, *TEXT, DELTA, STOP)],
    "no types": [
        SSEEvent(event.name, orjson.dumps({k: v for k, v in orjson.loads(event.data).items() if k != "type"}).decode())
        for event in events(START, *TEXT, DELTA, STOP)
    ],
    "no start": events(*TEXT, DELTA, STOP),
    "no block start": events(START, *TEXT[1:], DELTA, STOP),
    "no block stop": events(START, *TEXT[:-1], DELTA, STOP),
    "no index": events(START, *({k: v for k, v in value.items() if k != "index"} for value in TEXT), DELTA, STOP),
    "no message_delta": events(START, *TEXT, STOP),
    "no message_stop": events(START, *TEXT, DELTA),
    "done mark": [*events(START, *TEXT, DELTA, STOP), SSEEvent("", "[DONE]")],
    "unknown events": events(START, {"type": "novelty"}, *TEXT, DELTA, STOP),
    "two starts": events(START, START, *TEXT, DELTA, STOP),
    "text in the start": events(START, *block(0, {"type": "text", "text": "hello"}), DELTA, STOP),
    "padded": [SSEEvent(event.name, event.data[:-1] + "   }") for event in events(START, *TEXT, DELTA, STOP)],
}


@pytest.mark.parametrize("case", LOOSE)
def test_loose_vendors_are_understood(case: str) -> None:
    """What other vendors of this protocol leave out does not lose the answer."""
    answer = whole(decode(LOOSE[case]))
    assert (Text("hello"),) == answer.content
    assert answer.stop == "end_turn"


@pytest.mark.parametrize(
    ("stream", "meaning"),
    [
        ([], "broken"),
        (events(START), "broken"),
        (events(START, *TEXT), "broken"),
        ([*events(START), SSEEvent("", "<html>")], "broken"),
        ([*events(START), SSEEvent("", "[1]")], "broken"),
        (events({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), "overloaded"),
        (events(START, *TEXT, {"type": "error", "error": {"type": "api_error", "message": "oops"}}), "server_error"),
        ([SSEEvent("", '{"error":{"message":"prompt is too long","type":"invalid_request_error"}}')], "context_length"),
    ],
)
def test_a_broken_stream_fails(stream: list[SSEEvent], meaning: str) -> None:
    """A stream without its end, with garbage, or with an error event is never taken for an answer; the tap agrees."""
    assert failure(decode(stream)).meaning == meaning
    error = tap(stream).error
    assert error is not None
    assert error.meaning == meaning


def test_nothing_follows_the_end() -> None:
    """Events after the end, a second answer included, are not heard."""
    assert decode(events(START, *TEXT, DELTA, STOP)) == decode(
        events(START, *TEXT, DELTA, STOP, START, *TEXT, DELTA, STOP)
    )


def test_usage_never_falls_back_to_zero() -> None:
    """A vendor that repeats known counts as zeros does not erase them; cache counts belong to the input."""
    start = {
        **START,
        "message": {**MESSAGE, "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1}},
    }
    delta = {**DELTA, "usage": {"input_tokens": 0, "output_tokens": 7, "cache_creation_input_tokens": 2}}
    stream = events(start, *TEXT, delta, STOP)
    expected = Usage(17, 7, cached_tokens=5, cache_write_tokens=2)
    assert expected == whole(decode(stream)).usage
    assert expected == tap(stream).usage


def test_a_custom_tool_is_restored() -> None:
    """Given the request, a function that stood for a custom tool comes back as one, its text in one piece."""
    request = LLMRequest(
        "m", (), tools=(Tool("patch", kind="custom"), Tool("fs", kind="namespace", members=(Tool("read"),)))
    )
    stream = events(
        START,
        *block(0, {"type": "tool_use", "id": "t", "name": "patch", "input": {}},
               {"type": "input_json_delta", "partial_json": '{"inp'}, {"type": "input_json_delta", "partial_json": 'ut":"a\\nb"}'}),
        *block(1, {"type": "tool_use", "id": "u", "name": "fs__read", "input": {}}, {"type": "input_json_delta", "partial_json": "{}"}),
        STOP,
    )  # fmt: skip
    said = decode(stream, request)
    assert [ArgumentsDelta(0, "a\nb"), ArgumentsDelta(1, "{}")] == [e for e in said if isinstance(e, ArgumentsDelta)]
    patch, read = whole(said).content
    assert patch == ToolCall("t", "patch", "a\nb", kind="custom")
    assert read == ToolCall("u", "read", "{}", namespace="fs")


def test_the_tap_listens() -> None:
    """Model, id, usage, stop reason and the commit point are known without decoding the deltas."""
    listener = WIRE.stream_tap(quirks=QUIRKS)
    stream = events(START, *TEXT, DELTA, STOP)
    seen = [listener.feed(event) for event in stream]
    assert [known.started for known in seen] == [False, True, True, True, True, True, True]
    assert [known.finished for known in seen] == [False] * 6 + [True]
    last = listener.close()
    assert ("msg_1", "m", "end_turn", Usage(10, 7), None) == (last.id, last.model, last.stop, last.usage, last.error)


TRANSCRIPT = Path(__file__).parent / "golden" / "anthropic" / "stream.txt"


def test_what_a_client_reads() -> None:
    """The byte form of an answer that another protocol gave, pinned as a transcript."""
    answer = LLMResponse(
        "chatcmpl-1",
        "other",
        (
            Thinking("let me see", "sealed", origin="openai-responses"),
            Thinking("", "sealed", origin="openai-responses"),
            Text(""),
            Text("héllo"),
            Refusal("no"),
            ToolCall("functions.read:0", "read", '{"path":"a"}'),
            ToolCall("t2", "now", "{}"),
            Opaque("openai-responses", {"type": "web_search_call"}),
        ),
        "tool_use",
        usage=Usage(120, 30, cached_tokens=100, reasoning_tokens=12),
        protocol="openai-chat",
    )
    said = replay(answer)
    said.insert(1, Progress())
    assert TRANSCRIPT.read_bytes() == encode(said)


def test_an_error_ends_a_stream() -> None:
    """A failure is the last thing said, in the protocol's own terminal event."""
    error = ProviderError("the provider is full", meaning="overloaded")
    raw = encode([Start("a", "m"), BlockStart(0, Text("")), TextDelta(0, "x"), Failure(error), Progress()])
    assert frames(raw)[-1] == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "the provider is full"},
    }


def test_keepalive_is_a_ping() -> None:
    """Clients reset their idle timers on it."""
    assert frames(WIRE.keepalive()) == [{"type": "ping"}]


@given(answers)
@settings(deadline=None, max_examples=100)
def test_streamed_is_whole(answer: LLMResponse) -> None:
    """An answer streamed to a client of this protocol and read back is the answer told whole and read back."""
    streamed = frames(encode(replay(answer)))
    told = WIRE.decode_response(WIRE.encode_response(answer, model="shown"), quirks=QUIRKS)
    said = decode(events(*streamed))
    read = whole(said, protocol=WIRE.name)
    assert (told.content, told.stop, told.usage, told.model) == (read.content, read.stop, read.usage, read.model)
    assert told.usage.input_tokens == answer.usage.input_tokens


@given(answers, st.lists(st.integers(0, 3000), max_size=10))
@settings(deadline=None, max_examples=60)
def test_chunks_change_nothing(answer: LLMResponse, cuts: list[int]) -> None:
    """All at once, byte by byte and randomly cut give the same events."""
    raw = encode(replay(answer))
    edges = sorted({0, len(raw), *(min(cut, len(raw)) for cut in cuts)})
    outcomes = []
    for bounds in ([0, len(raw)], list(range(len(raw) + 1)), edges):
        parser, decoder = SSEParser(), WIRE.stream_decoder(quirks=QUIRKS)
        parsed = [event for a, b in pairwise(bounds) for event in parser.feed(raw[a:b])] + parser.close()
        outcomes.append([said for event in parsed for said in decoder.feed(event)] + decoder.close())
    assert outcomes[0] == outcomes[1] == outcomes[2]
    check(outcomes[0])


VALUES = st.sampled_from([START, *TEXT, DELTA, STOP, {"type": "ping"}, {"type": "error", "error": {}}, {}, {"type": "content_block_start"},
                          {"type": "content_block_delta", "index": 9, "delta": {"type": "thinking_delta", "thinking": "x"}},
                          {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{"}},
                          {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": 3}},
                          {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t", "name": "n", "input": {"a": 1}}},
                          {"type": "content_block_start", "index": 1, "content_block": {"type": "image", "source": {"type": "url", "url": "u"}}},
                          {"type": "message_delta", "delta": None, "usage": [1]}])  # fmt: skip


@given(st.lists(VALUES, max_size=14))
@settings(deadline=None, max_examples=200)
def test_any_order_of_events_gives_ordered_events(values: list[dict[str, Any]]) -> None:
    """Nothing that a provider sends makes the decoder raise or break its promise. The tap finishes exactly when it does, but
    for calls that nobody could answer: those pass where nothing is translated.
    """
    stream = events(*values)
    said = decode(stream)
    frames(encode(said))
    if tap(stream).error is None:
        assert isinstance(said[-1], Finish) or " call " in said[-1].error.message


def test_the_official_sdk_reads_our_stream() -> None:
    """The SDK's accumulator puts the same answer together."""
    answer = LLMResponse("msg_1", "m", (Thinking("hm", "x", origin="openai-responses"), Text("hello"), ToolCall("a:b", "read", '{"p":1}')),
                         "tool_use", usage=Usage(20, 5, cached_tokens=15))  # fmt: skip
    message: Any = None
    buffers: dict[int, bytes] = {}
    for value in frames(encode(replay(answer))):
        message = accumulate_event(event=value, current_snapshot=message, json_bufs=buffers)
    assert [part.type for part in message.content] == ["thinking", "text", "tool_use"]
    assert message.content[2].input == {"p": 1}
    assert (message.stop_reason, message.usage.input_tokens, message.usage.cache_read_input_tokens) == (
        "tool_use",
        5,
        15,
    )
