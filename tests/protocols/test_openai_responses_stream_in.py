"""A provider's streamed answer as stream events, and what the tap hears of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Quirks
from engine.llm.messages import LLMRequest, LLMResponse, Opaque, Refusal, Text, Thinking, Tool, ToolCall
from engine.llm.protocol import SSEEvent, Tapped
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
    ThinkingDelta,
)
from engine.protocols.sse import SSEParser, encode
from tests.protocols import order
from tests.protocols.responses_kit import (
    WIRE,
    added,
    completed,
    created,
    decode,
    delta,
    done,
    frames,
    function_call,
    message,
    output_text,
)

NAME = WIRE.name


def whole(*events: dict[str, Any], request: LLMRequest | None = None) -> LLMResponse:
    told = decode(frames(*events), request=request)
    order.check(told)
    return order.whole(told)


def failure(*events: dict[str, Any]) -> Failure:
    told = decode(frames(*events))
    order.check(told)
    assert isinstance(told[-1], Failure)
    return told[-1]


def tap(events: list[SSEEvent]) -> Tapped:
    listener = WIRE.stream_tap(quirks=Quirks())
    for event in events:
        listener.feed(event)
    return listener.close()


def test_a_plain_answer() -> None:
    """Text is told as it comes, usage at the end."""
    said = message(output_text("Hello"))
    told = decode(
        frames(
            created(created_at=5),
            {"type": "response.in_progress", "response": {}},
            added(message()),
            {"type": "response.content_part.added", "output_index": 0, "content_index": 0, "part": output_text("")},
            delta("output_text", "Hel", content_index=0),
            delta("output_text", "lo", content_index=0),
            {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "Hello"},
            {"type": "response.content_part.done", "output_index": 0, "content_index": 0, "part": output_text("Hello")},
            done(said),
            completed(said),
        )
    )
    usage = WIRE.decode_response(completed(said)["response"], quirks=Quirks()).usage
    assert [
        Start("resp_1", "m", extra={"created_at": 5}),
        Progress(),
        BlockStart(0, Text("")),
        TextDelta(0, "Hel"),
        TextDelta(0, "lo"),
        BlockStop(0, Text("Hello")),
        Finish("end_turn", usage),
    ] == told


def test_hidden_reasoning_keeps_its_last_seal() -> None:
    """A reasoning item without text is a block; of several seals the last one counts."""
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "first"}
    response = whole(created(), added(item), done({**item, "encrypted_content": "last"}), completed())
    assert (Thinking(opaque="last", id="rs_1", origin=NAME),) == response.content


def test_a_seal_told_only_at_the_start_is_kept() -> None:
    """An end without the seal does not take it away."""
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "E"}
    (thinking,) = whole(created(), added(item), done({**item, "encrypted_content": None}), completed()).content
    assert isinstance(thinking, Thinking)
    assert thinking.opaque == "E"


def test_summary_parts_are_paragraphs() -> None:
    """Parts of a summary are set apart, and kept for the replay."""
    item = {"type": "reasoning", "id": "rs_1"}
    parts = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]
    response = whole(
        created(),
        added({**item, "summary": []}),
        delta("reasoning_summary_text", "a", summary_index=0),
        delta("reasoning_summary_text", "b", summary_index=1),
        done({**item, "summary": parts}),
        completed(),
    )
    expected = Thinking("a\n\nb", summary=True, id="rs_1", origin=NAME, extra={"summary": parts})
    assert (expected,) == response.content


def test_reasoning_itself_is_no_summary() -> None:
    """`reasoning_text` is the reasoning; a summary that comes after it would say it twice."""
    item = {"type": "reasoning", "id": "rs_1", "summary": []}
    (thinking,) = whole(
        created(),
        added(item),
        delta("reasoning_text", "raw", content_index=0),
        delta("reasoning_summary_text", "short", summary_index=0),
        {"type": "response.reasoning_text.done", "output_index": 0, "content_index": 0, "text": "raw"},
        done(item),
        completed(),
    ).content
    assert Thinking("raw", id="rs_1", origin=NAME) == thinking


@pytest.mark.parametrize(
    "events",
    [
        [delta("function_call_arguments", '{"a"'), delta("function_call_arguments", ":1}")],
        [delta("function_call_arguments", '{"a":1}')],
        [delta("function_call_arguments", '{"a"')],
        [{"type": "response.function_call_arguments.done", "output_index": 0, "arguments": '{"a":1}'}],
        [],
    ],
)
def test_arguments_in_any_pieces(events: list[dict[str, Any]]) -> None:
    """Fragments, one piece, a part of them, or none at all: the end says what was left out."""
    call = function_call('{"a":1}')
    response = whole(created(), added({**call, "arguments": ""}), *events, done(call), completed(call))
    assert (ToolCall("call_1", "read", '{"a":1}', item_id="fc_1"),) == response.content
    assert response.stop == "tool_use"


def test_a_call_without_arguments() -> None:
    """No arguments at all are an empty object, told without a delta."""
    call = function_call("", id=None, call_id=None)
    told = decode(frames(created(), added(call), done(call), completed(call)))
    order.check(told)
    (block,) = order.whole(told).content
    assert isinstance(block, ToolCall)
    assert block.arguments == "{}"
    assert block.id.startswith("call_")
    assert not [event for event in told if isinstance(event, ArgumentsDelta)]


def test_ids_that_change_between_events() -> None:
    """Events belong to their item by index, whatever id they name."""
    call = function_call('{"a":1}')
    response = whole(
        created(),
        added({**call, "id": "x1", "arguments": ""}),
        delta("function_call_arguments", '{"a":1}', item_id="x2"),
        done({**call, "id": "x3"}),
        completed({**call, "id": "x4"}),
    )
    (block,) = response.content
    assert isinstance(block, ToolCall)
    assert block.arguments == '{"a":1}'


def test_items_without_an_index() -> None:
    """Without an index the item's id decides."""
    said = message(output_text("hi"))
    opened, piece, closed = added(message()), delta("output_text", "hi", item_id="msg_1"), done(said)
    for event in (opened, piece, closed):
        del event["output_index"]
    assert (Text("hi"),) == whole(created(), opened, piece, closed, completed(said)).content


def test_interleaved_items_come_out_in_order() -> None:
    """Two calls told alternately become two blocks, one after the other."""
    first, second = function_call('{"a":1}'), function_call('{"b":2}', id="fc_2", call_id="call_2")
    response = whole(
        created(),
        added({**first, "arguments": ""}, 0),
        added({**second, "arguments": ""}, 1),
        delta("function_call_arguments", '{"b"', 1),
        delta("function_call_arguments", '{"a":', 0),
        delta("function_call_arguments", ":2}", 1),
        done(second, 1),
        delta("function_call_arguments", "1}", 0),
        done(first, 0),
        completed(first, second),
    )
    assert [b.arguments for b in response.content if isinstance(b, ToolCall)] == ['{"a":1}', '{"b":2}']


@pytest.mark.parametrize("announced", [True, False])
def test_items_told_only_at_their_end(announced: bool) -> None:
    """One event per item, or none but the terminal one, is enough."""
    items = [message(output_text("hi")), function_call('{"a":1}')]
    ends = [done(item, index) for index, item in enumerate(items)] if announced else []
    response = whole(created(), *ends, completed(*items))
    assert (Text("hi"), ToolCall("call_1", "read", '{"a":1}', item_id="fc_1")) == response.content


def test_items_are_not_told_twice() -> None:
    """The terminal event repeats the items; they are the same ones."""
    said = message(output_text("hi"))
    told = decode(frames(created(), added(message()), delta("output_text", "hi"), completed(said)))
    assert len([event for event in told if isinstance(event, BlockStop)]) == 1


def test_deltas_of_an_unannounced_message() -> None:
    """Text without an item before it is told all the same."""
    assert (Text("hi"),) == whole(created(), delta("output_text", "hi"), completed(message(output_text("hi")))).content


def test_refusals_and_annotations() -> None:
    """A refusal is a part of its own; annotations come with the end of their text."""
    cited = output_text("see", annotations=[{"type": "url_citation"}])
    refusal = {"type": "refusal", "refusal": "no"}
    response = whole(
        created(),
        added(message()),
        delta("output_text", "see", content_index=0),
        {"type": "response.output_text.annotation.added", "output_index": 0, "annotation": {"type": "url_citation"}},
        delta("refusal", "no", content_index=1),
        done(message(cited, refusal)),
        completed(),
    )
    assert (Text("see", {"annotations": [{"type": "url_citation"}]}), Refusal("no")) == response.content
    assert response.stop == "refusal"


def test_tools_of_the_provider_are_opaque() -> None:
    """Their items stay whole, and their progress is a sign of life."""
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "x"}}
    told = decode(
        frames(
            created(),
            added({**search, "status": "in_progress"}),
            {"type": "response.web_search_call.searching", "output_index": 0},
            {"type": "response.code_interpreter_call_code.delta", "output_index": 0, "delta": "x"},
            done(search),
            completed(search),
        )
    )
    order.check(told)
    assert len([event for event in told if isinstance(event, Progress)]) == 1
    assert (Opaque(NAME, search),) == order.whole(told).content


def test_custom_tools() -> None:
    """Free text comes as it is; one that was called as a function is unpacked when it is whole."""
    call = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "patch", "input": "raw"}
    native = whole(
        created(), added({**call, "input": ""}), delta("custom_tool_call_input", "raw"), done(call), completed()
    )
    assert (ToolCall("c", "patch", "raw", kind="custom", item_id="ctc_1"),) == native.content
    function = function_call('{"input":"raw"}', name="patch")
    request = LLMRequest("m", (), tools=(Tool("patch", kind="custom"),))
    restored = whole(
        created(),
        added({**function, "arguments": ""}),
        delta("function_call_arguments", '{"input":"raw"}'),
        done(function),
        completed(),
        request=request,
    )
    assert (ToolCall("call_1", "patch", "raw", kind="custom", item_id="fc_1"),) == restored.content


def test_a_cut_off_answer() -> None:
    """An incomplete answer ends, with what it has and why."""
    end = completed(kind="incomplete", incomplete_details={"reason": "max_output_tokens"})
    response = whole(created(), added(message()), delta("output_text", "hi"), end)
    assert ((Text("hi"),), "max_tokens") == (response.content, response.stop)


FAILED = {
    "type": "response.failed",
    "response": {"id": "r", "status": "failed", "error": {"code": "insufficient_quota", "message": "q"}},
}


@pytest.mark.parametrize(
    ("events", "meaning"),
    [
        ([{"type": "error", "error": {"type": "insufficient_quota", "message": "q"}}, FAILED], "quota"),
        ([{"type": "error", "code": "server_is_overloaded", "message": "full"}], "overloaded"),
        ([{"type": "error", "message": "Rate limit reached"}], "rate_limit"),
        ([FAILED], "quota"),
        ([{"type": "response.failed", "response": {}}], "server_error"),
        ([{"type": "response.failed"}], "server_error"),
        ([{"error": {"message": "x", "code": 502}}], "server_error"),
        ([{"type": "response.completed"}], "broken"),
        (
            [completed(kind="completed", status="failed", error={"code": "rate_limit_exceeded", "message": "x"})],
            "rate_limit",
        ),
        ([added(message()), delta("output_text", "hi")], "broken"),
        ([], "broken"),
    ],
)
def test_failures(events: list[dict[str, Any]], meaning: str) -> None:
    """Every way to fail is one Failure with a meaning, and the tap hears it too."""
    error = failure(created(), *events).error
    assert meaning == error.meaning
    assert error.in_stream
    heard = tap(frames(created(), *events)).error
    assert heard is not None
    assert meaning == heard.meaning or {meaning, heard.meaning} == {"server_error", "broken"}


@pytest.mark.parametrize("data", ["{", "[]", "3", '{"type":"response.completed","response":{"id"'])
def test_a_broken_frame(data: str) -> None:
    """What is no JSON object ends the answer."""
    told = decode([*frames(created()), SSEEvent("response.completed", data)])
    order.check(told)
    assert isinstance(told[-1], Failure)
    assert told[-1].error.meaning == "broken"


def test_noise_is_tolerated() -> None:
    """`[DONE]`, unknown events, events without a name and pings mean nothing."""
    said = message(output_text("hi"))
    events = frames(
        created(),
        {"type": "ping"},
        {"type": "response.brand_new.event", "output_index": 7},
        {"hello": "world"},
        added(message()),
        delta("output_text", "hi"),
        done(said),
        completed(said),
    )
    nameless = [SSEEvent("", event.data) for event in events]
    told = decode([*nameless, SSEEvent("", "[DONE]")])
    order.check(told)
    assert (Text("hi"),) == order.whole(told).content
    heard = tap([*nameless, SSEEvent("", "[DONE]")])
    assert (heard.started, heard.finished, heard.error, heard.stop) == (True, True, None, "end_turn")


def test_the_tap_tells_the_commit_point() -> None:
    """An answer has begun with its first item; an end after that is not an error."""
    listener = WIRE.stream_tap(quirks=Quirks())
    heard = [listener.feed(event).started for event in frames(created(), added(message()), completed())]
    assert heard == [False, True, True]
    known = listener.close()
    assert (known.id, known.model, known.usage.output_tokens if known.usage else None) == ("resp_1", "m", 5)


PIECES = st.lists(
    st.sampled_from(
        [
            created(),
            added(message()),
            added(function_call("")),
            added({"type": "reasoning", "id": "rs_1", "summary": []}, 1),
            added({"type": "web_search_call"}, 2),
            delta("output_text", "hi", content_index=0),
            delta("output_text", "ho", content_index=1),
            delta("refusal", "no"),
            delta("function_call_arguments", '{"a"'),
            delta("reasoning_summary_text", "s", 1, summary_index=0),
            delta("reasoning_text", "r", 1, content_index=0),
            {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "hi there"},
            {"type": "response.content_part.done", "output_index": 0, "content_index": 0, "part": output_text("hi")},
            done(message(output_text("hi"), {"type": "refusal", "refusal": "no"})),
            done(function_call('{"a":1}')),
            done({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "E"}, 1),
            done({"type": "web_search_call"}, 2),
            completed(message(output_text("hi")), function_call('{"a":1}')),
            completed(kind="incomplete"),
            FAILED,
            {"type": "response.output_item.added"},
            {"type": "response.output_item.done", "output_index": "x", "item": {}},
            {"type": None, "response": 3},
        ]
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(PIECES)
def test_any_events_keep_the_order(events: list[dict[str, Any]]) -> None:
    """Whatever a provider sends, blocks are in order and there is one end."""
    order.check(decode(frames(*events)))
    tap(frames(*events))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_chunks_change_nothing(sizes: list[int]) -> None:
    """However the bytes are cut, the same events come out."""
    said = message(output_text("héllo"))
    events = frames(created(), added(message()), delta("output_text", "héllo"), done(said), completed(said))
    data = b"".join(encode(event.name, event.data.encode()) for event in events)
    parser, position, cut = SSEParser(), 0, []
    for size in sizes:
        cut += parser.feed(data[position : position + size])
        position += size
    cut += parser.feed(data[position:]) + parser.close()
    assert decode(events) == decode(cut)


def test_recorded_streams(shared: Path) -> None:
    """Every recorded stream decodes in order; its blocks are those of its terminal event; the tap hears the same end."""
    seen = 0
    for path in sorted((shared / "corpus").glob("*/openai-responses.*.json")):
        case = orjson.loads(path.read_bytes())
        if not case["stream"]:
            continue
        seen += 1
        parser = SSEParser()
        events = parser.feed(case["response"]["raw"].encode()) + parser.close()
        told = decode(events)
        order.check(told)
        heard = tap(events)
        if isinstance(told[-1], Failure):
            assert case["capture"] == "fixture-edited" or "error_in_200_stream" in case["features"], path
            assert heard.error is not None, path
            continue
        streamed = order.whole(told)
        assert (streamed.stop, streamed.usage) == (heard.stop, heard.usage), path
        assert heard.started
        assert heard.finished
        assert heard.error is None
        terminal = next(value for value in map(_json, reversed(events)) if "response" in value)["response"]
        if terminal["output"] and case["capture"].startswith("recorded"):
            expected = WIRE.decode_response(terminal, quirks=Quirks())
            assert [_words(b) for b in expected.content] == [_words(b) for b in streamed.content], path
    assert seen > 100


def _json(event: SSEEvent) -> dict[str, Any]:
    value = orjson.loads(event.data) if event.data.startswith("{") else {}
    return value if isinstance(value, dict) else {}


def _words(block: Any) -> Any:
    """What a block says; seals and ids are made anew for every event."""
    match block:
        case Text(text) | Refusal(text) | Thinking(text):
            return type(block), text
        case ToolCall():
            return block.id, block.name, block.arguments, block.kind, block.namespace
    return block.type


def test_no_delta_is_empty() -> None:
    """Empty deltas say nothing and open nothing."""
    told: list[StreamEvent] = decode(
        frames(created(), added(message()), delta("output_text", ""), delta("reasoning_text", "", 1), completed())
    )
    assert not [event for event in told if isinstance(event, TextDelta | ThinkingDelta | ArgumentsDelta)]
