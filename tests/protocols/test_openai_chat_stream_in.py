"""Streamed Chat answers as events, whatever way providers stream them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Quirks
from engine.llm.messages import Opaque, Refusal, Text, Thinking, Tool, ToolCall, Usage
from engine.llm.protocol import SSEEvent
from engine.llm.stream import ArgumentsDelta, BlockStart, BlockStop, Failure, Finish, Start, TextDelta
from tests.protocols.chat_kit import WIRE, call, calls, chunk, decode, decode_bytes, golden, request, user
from tests.protocols.order import check, whole

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def content(*chunks: Any, **options: Any) -> Any:
    events = decode(chunks, **options)
    check(events)
    return whole(events).content


def failure(*chunks: Any, **options: Any) -> Any:
    events = decode(chunks, **options)
    check(events)
    assert isinstance(events[-1], Failure)
    return events[-1].error


def thought(text: str) -> Thinking:
    return Thinking(text, origin="openai-chat")


def test_a_plain_answer_event_by_event() -> None:
    """The order that encoders rely on; an empty first delta opens nothing."""
    chunks = [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
    ]
    assert decode(chunks) == [
        Start("c1", "m", extra={"created": 7}),
        BlockStart(0, Text("")),
        TextDelta(0, "Hel"),
        TextDelta(0, "lo"),
        BlockStop(0, Text("Hello")),
        Finish("end_turn", Usage(), extra={"created": 7}),
    ]


def test_arguments_stream_as_they_come() -> None:
    """The first call is not held back, and an answer's stop is its content's."""
    chunks = [
        chunk(calls(call("", "f", "a", index=0, type="function"))),
        chunk(calls(call('{"x"', index=0))),
        chunk(calls(call(":1}", index=0)), "stop"),
    ]
    events = decode(chunks)
    assert [e.text for e in events if isinstance(e, ArgumentsDelta)] == ['{"x"', ":1}"]
    assert isinstance(events[-1], Finish)
    assert events[-1].stop == "tool_use"


A, B = ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", '{"y":2}')


@pytest.mark.parametrize(
    "deltas",
    [
        [calls(call('{"x":1}', "f", "a", index=0), call('{"y":2}', "g", "b", index=1))],
        [calls(call('{"x":1}', "f", "a", index=0)), calls(call('{"y":2}', "g", "b", index=1))],
        [calls(call('{"x":1}', "f", "a")), calls(call('{"y":2}', "g", "b"))],
        [calls(call('{"x":1}', "f", "a", index=1)), calls(call('{"y":2}', "g", "b", index=2))],
        [calls(call('{"x":1}', "f", "a", index=0)), calls(call('{"y":2}', "g", "b", index=0))],
        [calls(call("", "f", "a", index=0)), calls(call('{"x":1}', "", "", index=0)), calls(call('{"y":2}', "g", "b", index=1))],
        [calls(call("", "f", "a", index=0)), calls(call('{"x":', "f", "a", index=0)), calls(call("1}", "f", "a", index=0)),
         calls(call('{"y":2}', "g", "b", index=1))],
        [calls(call(None, "f", "a", index=0)), calls({"index": 0, "id": None, "function": {"name": None, "arguments": '{"x":1}'}}),
         calls(call('{"y":2}', "g", "b", index=1))],
        [calls(call('{"x"', "f", "a", index=0), call('{"y"', "g", "b", index=1)), calls(call(":2}", index=1)),
         calls(call(":1}", index=0))],
        [calls(call("", "f", "a", index=0), call("", "g", "b", index=1)), calls(call('{"y":2}', index=1)),
         calls(call('{"x":1}', index=0))],
        [calls(call('{"x":', "f", "a")), calls(call("1}")), calls(call('{"y":', "g", "b")), calls(call("2}"))],
        [calls(call({"x": 1}, "f", "a", index=0), call({"y": 2}, "g", "b", index=1))],
    ],
)  # fmt: skip
def test_parallel_calls_in_every_form(deltas: list[Any]) -> None:
    """Whole, in pieces, interleaved; indices missing, shifted or all the same; ids and names repeated or empty."""
    assert content(*(chunk(d) for d in deltas), chunk({}, "tool_calls")) == (A, B)


def test_bare_calls_get_ids_of_their_own() -> None:
    """Without ids and indices, a new name begins a new call; the ids made up differ and are the same every time."""
    chunks = [chunk(calls(call("{}", "f", "", index=0), call("{}", "f", "", index=0))), chunk({}, "tool_calls")]
    first, second = content(*chunks)
    assert (first.name, second.name, first.arguments) == ("f", "f", "{}")
    assert len({first.id, second.id, ""}) == 3
    assert content(*chunks) == (first, second)
    same = content(chunk(calls(call("{}", "f", "a", index=0), call("{}", "g", "a", index=1))), chunk({}, "tool_calls"))
    assert len({block.id for block in same}) == 2


@pytest.mark.parametrize("arguments", ["", None, " "])
def test_no_arguments_are_an_empty_object(arguments: Any) -> None:
    """A block without deltas is legal; its whole says `{}`."""
    assert content(chunk(calls(call(arguments, "f", "a", index=0))), chunk({}, "stop")) == (ToolCall("a", "f", "{}"),)


def test_a_legacy_function_call_is_a_call() -> None:
    """`function_call` deltas, before tools had a list."""
    deltas = [{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}}]
    (made,) = content(*(chunk(d) for d in deltas), chunk({}, "function_call"))
    assert (made.name, made.arguments, bool(made.id)) == ("f", "{}", True)


@pytest.mark.parametrize(
    "deltas",
    [
        [{"reasoning_content": "a", "content": ""}, {"reasoning_content": "b", "content": None}],
        [{"reasoning": "a"}, {"reasoning": "b"}],
        [{"reasoning": "a", "reasoning_content": "a"}, {"reasoning": "b", "reasoning_content": "b"}],
        [{"reasoning": "a", "reasoning_details": [{"type": "reasoning.text", "text": "a"}]}, {"reasoning": "b"}],
        [{"reasoning_details": [{"type": "reasoning.text", "text": "a"}, {"type": "reasoning.text", "text": "b"}]}],
        [{"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "ab"}]}]}],
        [{"reasoning": "ab", "content": [{"type": "thinking", "thinking": "ab"}]}],
    ],
)
def test_reasoning_in_every_form(deltas: list[Any]) -> None:
    """Four names, told once; empty text deltas beside it open no block."""
    said = content(*(chunk(d) for d in deltas), chunk({"content": "x"}), chunk({}, "stop"))
    assert said == (thought("ab"), Text("x"))


def test_sealed_details_are_put_together() -> None:
    """Pieces of one detail become one, its signature with it, bound to the model."""
    pieces = [
        {"type": "reasoning.text", "text": "a", "index": 0, "format": "anthropic-claude-v1"},
        {"type": "reasoning.text", "text": "b", "index": 0},
        {"type": "reasoning.text", "signature": "s", "index": 0},
        {"type": "reasoning.encrypted", "data": "d", "index": 1},
    ]
    thinking, text = content(*(chunk({"reasoning_details": [p]}) for p in pieces), chunk({"content": "x"}, "stop"))
    assert (thinking.text, text) == ("ab", Text("x"))
    assert thinking.opaque == (
        '{"model":"m","reasoning_details":[{"type":"reasoning.text","text":"ab","index":0,"format":"anthropic-claude-v1",'
        '"signature":"s"},{"type":"reasoning.encrypted","data":"d","index":1}]}'
    )


def test_state_of_a_call_goes_before_it() -> None:
    """A call's `extra_content` becomes a thinking block that opens no text."""
    held = {"google": {"thought_signature": "s"}}
    thinking, made = content(chunk(calls(call("{}", "f", "a", index=0, extra_content=held))), chunk({}, "tool_calls"))
    assert (thinking.text, made) == ("", ToolCall("a", "f", "{}"))
    assert "thought_signature" in thinking.opaque


def test_text_between_and_after_calls_keeps_its_place() -> None:
    """Blocks come in the order in which they began."""
    assert content(
        chunk({"content": "before"}),
        chunk(calls(call('{"x"', "f", "a", index=0))),
        chunk({"content": "after"}),
        chunk(calls(call(":1}", index=0))),
        chunk({"reasoning": "late"}),
        chunk({}, "tool_calls"),
    ) == (Text("before"), A, Text("after"), thought("late"))


def test_refusals_and_made_images() -> None:
    """A refusal is a block of its own; what only this protocol has is kept whole."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    events = decode(
        [chunk({"refusal": "I "}), chunk({"refusal": "won't"}), chunk({"images": [image]}), chunk({}, "stop")]
    )
    check(events)
    assert whole(events).content == (Refusal("I won't"), Opaque("openai-chat", image))
    assert whole(events).stop == "refusal"


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk({"content": "x"}), chunk({}, "stop"), {"choices": [], "usage": USAGE}],
        [chunk({"content": "x"}), chunk({}, "stop", usage=USAGE)],
        [chunk({"content": "x"}), chunk({}, "stop"), chunk({"content": ""}, "stop", usage=USAGE)],
        [chunk({"content": "x"}, usage={"prompt_tokens": 1, "completion_tokens": 1}), chunk({}, "stop", usage=USAGE)],
        [chunk({"content": "x"}), chunk({}, "stop", usage=USAGE), {"choices": [], "usage": USAGE}],
        [chunk({"content": "x"}), chunk({}, "stop", x_groq={"usage": USAGE})],
        [chunk({"content": "x"}, usage=USAGE), chunk({}, "stop", usage=None)],
    ],
)
def test_the_last_usage_counts(chunks: list[Any]) -> None:
    """Six places, never added up."""
    events = decode(chunks)
    check(events)
    assert whole(events).usage == Usage(3, 2)


@pytest.mark.parametrize(
    ("chunks", "done"),
    [
        ([chunk({"content": "x"}), chunk({}, "stop")], False),
        ([chunk({"content": "x"}), chunk({}, "stop"), chunk({}, "stop")], True),
        ([chunk({"content": "x"}, "stop")], True),
        ([chunk({}, "stop"), chunk({"content": "x"})], True),
        ([chunk({"content": "x"}, "")], True),
        ([{"choices": [{"delta": {"content": "x"}}], "object": ""}], True),
        (
            [
                {"id": "", "model": "", "object": "", "choices": [], "prompt_filter_results": []},
                chunk({"content": "x"}, "stop"),
            ],
            True,
        ),
        ([{"choices": [{"message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]}], True),
        (
            [
                chunk({"content": "x"}),
                {"choices": [{"delta": {}, "message": {"content": "x"}, "finish_reason": "stop"}]},
            ],
            False,
        ),
        ([chunk({"content": "x"}), {"type": "ping"}, chunk({}, "stop")], True),
    ],
)
def test_answers_end_in_many_ways(chunks: list[Any], *, done: bool) -> None:
    """No `[DONE]`, a finish reason twice, early, empty or never, a whole answer as one event."""
    assert content(*chunks, done=done) == (Text("x"),)


def test_the_id_is_the_first_answering_chunks() -> None:
    """A chunk without choices does not start the answer."""
    events = decode([{"id": "", "model": "", "choices": []}, chunk({"content": "x"}, "stop")])
    assert isinstance(events[0], Start)
    assert (events[0].id, events[0].model) == ("c1", "m")


@pytest.mark.parametrize(
    ("chunks", "meaning"),
    [
        ([chunk({"content": "x"})], "broken"),
        ([chunk(calls(call('{"x', "f", "a", index=0)))], "broken"),
        ([], "broken"),
        ([{"error": {"code": 502, "message": "Upstream error"}, "user_id": "u"}], "server_error"),
        ([chunk({"content": "x"}), {"error": {"message": "Rate limit", "code": "rate_limit_exceeded"}}], "rate_limit"),
        ([chunk({"content": "x"}, error={"code": 400, "message": "Token limit reached"})], "context_length"),
        ([chunk({}, "error")], "server_error"),
        ([chunk({}, "insufficient_system_resource")], "overloaded"),
        ([{"choices": [{"delta": {}, "error": {"code": 502, "message": "x"}}]}], "server_error"),
        ([SSEEvent("error", '{"error":{"message":"m","code":"tool_use_failed","status_code":400}}')], "broken"),
        ([SSEEvent("error", "overloaded")], "overloaded"),
        ([SSEEvent("", "<html>502 Bad Gateway</html>")], "broken"),
        ([SSEEvent("", '{"choices":')], "broken"),
        ([SSEEvent("", "[1, 2]")], "broken"),
        ([SSEEvent("", '[{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}]')], "overloaded"),
        ([{"object": "error", "message": "x", "code": 500}], "server_error"),
        ([{"detail": "x"}], "server_error"),
        ([chunk(calls(call("{}", None, "a", index=0)), "tool_calls"), SSEEvent("", "[DONE]")], "broken"),
    ],
)
def test_a_failure_is_never_an_answer(chunks: list[Any], meaning: str) -> None:
    """A cut stream, an error in any envelope, a page, half JSON: each ends in a failure that says what it means."""
    error = failure(*chunks, done=False)
    assert (error.meaning, error.in_stream) == (meaning, True)
    tap = WIRE.stream_tap(quirks=Quirks())
    for value in chunks:
        tap.feed(value if isinstance(value, SSEEvent) else SSEEvent("", orjson.dumps(value).decode()))
    if chunks and isinstance(chunks[-1], SSEEvent) and chunks[-1].data == "[DONE]":
        return  # a nameless call is no business of a tap
    tapped = tap.close()
    assert tapped.error is not None
    assert tapped.error.meaning == meaning


def test_done_alone_is_no_answer() -> None:
    """Neither for the decoder nor for the tap."""
    assert failure().meaning == "broken"
    tap = WIRE.stream_tap(quirks=Quirks())
    assert tap.feed(SSEEvent("", "[DONE]")).error is not None


def test_nothing_follows_the_end() -> None:
    """After the end, decoder and close are silent."""
    decoder = WIRE.stream_decoder(quirks=Quirks())
    assert isinstance(decoder.feed(SSEEvent("", "oops"))[-1], Failure)
    assert decoder.feed(SSEEvent("", "[DONE]")) == []
    assert decoder.close() == []


def test_custom_calls_are_restored_when_the_request_is_known() -> None:
    """Their text comes as one delta, unpacked; a namespace's function gets its own name back."""
    tools = (Tool("apply", kind="custom"), Tool("team", kind="namespace", members=(Tool("spawn"),)))
    chunks = [
        chunk(calls(call('{"inp', "apply", "a", index=0))),
        chunk(calls(call('ut":"*** Begin\\n"}', index=0))),
        chunk(calls(call("{}", "team__spawn", "b", index=1)), "tool_calls"),
    ]
    events = decode(chunks, asked=request(user("hi"), tools=tools))
    check(events)
    assert whole(events).content == (
        ToolCall("a", "apply", "*** Begin\n", kind="custom"),
        ToolCall("b", "spawn", "{}", namespace="team"),
    )


def test_a_native_custom_call() -> None:
    """The vendor's own custom tool calls are plain text from the start."""
    deltas = [
        calls({"index": 0, "id": "a", "type": "custom", "custom": {"name": "p", "input": ""}}),
        calls({"index": 0, "custom": {"input": " x"}}),
    ]
    assert content(*(chunk(d) for d in deltas), chunk({}, "tool_calls")) == (ToolCall("a", "p", " x", kind="custom"),)


def test_annotations_and_citations_ride_along() -> None:
    """On their text, and beside the answer."""
    note = {"type": "url_citation", "url_citation": {"url": "https://e.org"}}
    chunks = [chunk({"content": "x"}), chunk({"annotations": [note]}), chunk({}, "stop", citations=["https://e.org"])]
    answer = whole(decode(chunks))
    assert answer.content == (Text("x", extra={"annotations": [note]}),)
    assert answer.extra["citations"] == ["https://e.org"]


def test_the_tap_tells_what_the_decoder_tells() -> None:
    """Commit point, stop, usage, id and model, without touching the bytes."""
    tap = WIRE.stream_tap(quirks=Quirks())
    chunks = [
        chunk({"role": "assistant", "content": ""}),
        chunk(calls(call("", "f", "a", index=0))),
        chunk({}, "stop"),
        {"choices": [], "usage": USAGE},
    ]
    seen = [tap.feed(SSEEvent("", orjson.dumps(value).decode())) for value in chunks]
    assert [t.started for t in seen] == [False, True, True, True]
    assert [t.finished for t in seen] == [False, False, True, True]
    final = tap.feed(SSEEvent("", "[DONE]"))
    assert (final.stop, final.usage, final.id, final.model, final.error) == ("tool_use", Usage(3, 2), "c1", "m", None)
    assert tap.close() == final


TRANSCRIPT = b"""\
: OPENROUTER PROCESSING

data: {"id":"","object":"","created":0,"model":"","choices":[],"prompt_filter_results":[]}\r
\r
data: {"id":"gen-1","object":"chat.completion.chunk","created":9,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning":"I look.","reasoning_details":[{"type":"reasoning.text","text":"I look.","index":0}]},"finish_reason":null}]}

data: {"id":"gen-1","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_details":[{"type":"reasoning.text","signature":"sig","index":0}]},"finish_reason":null}]}

data: {"id":"gen-1","choices":[{"index":0,"delta":{"content":"Two files.\\n"},"finish_reason":""}]}

data: {"id":"gen-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"functions.read:0","type":"function","function":{"name":"read","arguments":""}}]}}]}

data: {"id":"gen-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"path\\":"}},{"index":1,"id":"functions.read:1","function":{"name":"read","arguments":"{\\"pa"}}]}}]}

data: {"id":"gen-1","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"th\\":\\"b\\"}"}},{"index":0,"function":{"arguments":"\\"a\\"}"}}]}}]}

data: {"id":"gen-1","choices":[{"index":0,"delta":{"content":""},"finish_reason":"tool_calls","native_finish_reason":"completed"}]}

data: {"id":"gen-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30,"cost":0.002,"completion_tokens_details":{"reasoning_tokens":5}}}

data: [DONE]

"""


@pytest.mark.parametrize("size", [0, 1, 7, 100])
def test_a_transcript(size: int) -> None:
    """Many habits in one stream, the same events however its bytes are cut."""
    events = decode_bytes(TRANSCRIPT, size=size)
    check(events)
    golden("transcript.events", [repr(event) for event in events])


TOOL_DELTAS = st.lists(
    st.builds(
        lambda i, n, k, a: calls(call(a, n, k, index=i)),
        st.sampled_from([0, 1, 2, None]),
        st.sampled_from([None, "", "f", "g"]),
        st.sampled_from([None, "", "a", "b"]),
        st.sampled_from([None, "", "{}", '{"x"', ":1}", "}"]),
    ),
    max_size=6,
)
ANY_DELTAS = st.lists(
    st.one_of(
        TOOL_DELTAS.flatmap(lambda d: st.sampled_from(d) if d else st.just({})),
        st.sampled_from(
            [{"content": "t"}, {"content": ""}, {"reasoning": "r"}, {"refusal": "n"}, {"content": None}, {}, None]
        ),
    ),
    max_size=10,
)


@settings(max_examples=200, deadline=None)
@given(ANY_DELTAS, st.sampled_from([None, "", "stop", "tool_calls", "error"]), st.booleans())
def test_any_deltas_keep_the_order(deltas: list[Any], finish: Any, done: bool) -> None:
    """However broken the deltas, the events are in order, and end exactly once."""
    events = decode([*(chunk(d) for d in deltas), chunk({}, finish)], done=done)
    check(events)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.sampled_from([b"data: {}\n\n", b"data: [DONE]\n\n", b"data: [", b'"choices":', b"null", b"\n\n"]),
        ),
        max_size=8,
    )
)
def test_any_bytes_end_in_order(pieces: list[bytes]) -> None:
    """Nothing a provider sends makes a decoder raise."""
    check(decode_bytes(b"".join(pieces)))


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["", "x", "stop", "f"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.sampled_from(["choices", "delta", "message", "content", "tool_calls", "function", "name", "arguments", "usage",
                             "error", "index", "id", "finish_reason", "reasoning", "reasoning_details", "text", "type"]),
            inner, max_size=3,
        ),
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(JSON, max_size=3), JSON)
def test_any_json_is_survived(values: list[Any], delta: Any) -> None:
    """Wrong types in every place: decoder and tap answer with events, never with an exception."""
    chunks = [*values, {"choices": [{"delta": delta, "finish_reason": "stop"}]}, {"choices": [{"message": delta}]}]
    check(decode(chunks))
    tap = WIRE.stream_tap(quirks=Quirks())
    for value in chunks:
        tap.feed(SSEEvent("", orjson.dumps(value).decode()))
    tap.close()
    for value in chunks:
        WIRE.tap_response(value, quirks=Quirks())
