"""Stream events as a Responses client reads them."""

from __future__ import annotations

import os
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Quirks
from engine.llm.errors import ClientError, InternalError, PolicyError, ProviderError
from engine.llm.meanings import Meaning
from engine.llm.messages import (
    Block,
    LLMRequest,
    LLMResponse,
    Opaque,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    Usage,
)
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
    ThinkingDelta,
)
from engine.protocols.sse import SSEParser
from tests.protocols.responses_kit import ANSWER_ID, GOLDEN, WIRE, decode, encode, parsed

NAME = WIRE.name
TURN: list[StreamEvent] = [
    Start("upstream", "m"),
    BlockStart(0, Thinking("", origin="sbgw")),
    ThinkingDelta(0, "hm"),
    ThinkingDelta(0, " so"),
    BlockStop(0, Thinking("hm so", "sbgw1.m.h.sig", origin="sbgw")),
    BlockStart(1, Text("")),
    TextDelta(1, "I "),
    Progress(),
    TextDelta(1, "look."),
    BlockStop(1, Text("I look.")),
    BlockStart(2, Text("")),
    TextDelta(2, "Cited."),
    BlockStop(2, Text("Cited.", {"annotations": [{"type": "url_citation", "url": "https://x"}]})),
    BlockStart(3, ToolCall("call_1", "read", "")),
    ArgumentsDelta(3, '{"a"'),
    ArgumentsDelta(3, ":1}"),
    BlockStop(3, ToolCall("call_1", "read", '{"a":1}')),
    BlockStart(4, ToolCall("call_2", "patch", "", kind="custom")),
    ArgumentsDelta(4, "raw"),
    BlockStop(4, ToolCall("call_2", "patch", "raw", kind="custom")),
    Finish("tool_use", Usage(10, 5, 4, reasoning_tokens=2)),
]


def test_the_full_sequence() -> None:
    """Every event that any known client needs, in order (SBGW_WRITE_GOLDEN=1 writes the file anew)."""
    path = GOLDEN / "turn.sse"
    data = encode(TURN)
    if os.environ.get("SBGW_WRITE_GOLDEN"):
        path.write_bytes(data)
    assert path.read_bytes() == data


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_one_answer_one_id() -> None:
    """The id is the same everywhere and numbers run without gaps; the time is that of the gateway's own id."""
    events = parsed(encode(TURN))
    assert {f"resp_{ANSWER_ID}"} == {event["response"]["id"] for event in events if "response" in event}
    assert list(range(len(events))) == [event["sequence_number"] for event in events]
    assert int(ANSWER_ID[:12], 16) // 1000 == events[0]["response"]["created_at"]
    assert events[0]["type"] == "response.created"


def test_the_end_holds_all_items() -> None:
    """What each item ended with stands in the terminal event again."""
    events = parsed(encode(TURN))
    assert [e["item"] for e in events if e["type"] == "response.output_item.done"] == events[-1]["response"]["output"]
    assert events[-1]["response"]["status"] == "completed"
    assert events[-1]["response"]["usage"]["total_tokens"] == 15


def test_progress_before_the_start() -> None:
    """A sign of life may come first: the answer is then created, once."""
    assert kinds(parsed(encode([Progress(), Progress(), Start("a", "m"), Finish("end_turn", Usage())]))) == [
        "created",
        "in_progress",
        "in_progress",
        "completed",
    ]


def test_nothing_after_the_end() -> None:
    """A late sign of life says nothing."""
    encoder = WIRE.stream_encoder(model="m", answer_id="a")
    encoder.feed(Finish("end_turn", Usage()))
    assert encoder.feed(Progress()) == b""


def test_usage_is_always_there() -> None:
    """A provider that told no usage still gives a client its numbers."""
    (last,) = parsed(encode([Finish("end_turn", Usage())]))[-1:]
    assert last["response"]["usage"] == {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }


@pytest.mark.parametrize("stop", ["max_tokens", "context_exceeded", "content_filter"])
def test_a_cut_off_answer(stop: Any) -> None:
    """It ends as incomplete, with a reason."""
    last = parsed(encode([Finish(stop, Usage())]))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"]["reason"] in ("max_output_tokens", "content_filter")


def test_hidden_thinking() -> None:
    """Thinking without text is an item with an empty summary list."""
    thinking = Thinking(opaque="E", id="rs_7", origin=NAME)
    events = parsed(encode([BlockStart(0, Thinking(id="rs_7", origin=NAME)), BlockStop(0, thinking)]))
    assert kinds(events)[2:] == ["output_item.added", "output_item.done"]
    assert events[-1]["item"] == {"type": "reasoning", "id": "rs_7", "summary": [], "encrypted_content": "E"}


def test_blocks_without_deltas_are_told() -> None:
    """What came whole is said in one delta."""
    blocks: list[Block] = [Thinking("t"), Text("x"), Refusal("no"), ToolCall("c", "read", '{"a":1}')]
    events: list[StreamEvent] = []
    for index, block in enumerate(blocks):
        events += [BlockStart(index, block), BlockStop(index, block)]
    deltas = [e["delta"] for e in parsed(encode(events)) if e["type"].endswith(".delta")]
    assert deltas == ["t", "x", "no", '{"a":1}']


def test_opaque_items() -> None:
    """Items of this protocol pass whole; those of another can't be said."""
    own = Opaque(NAME, {"type": "web_search_call", "id": "ws_1"})
    other = Opaque("anthropic-messages", {"type": "server_tool_use"})
    events = parsed(encode([BlockStart(0, own), BlockStop(0, own), BlockStart(1, other), BlockStop(1, other)]))
    assert [own.value, own.value] == [event["item"] for event in events[2:]]


TOOLS = (
    Tool("read"),
    Tool("patch", kind="custom"),
    Tool("agents", kind="namespace", members=(Tool("spawn"), Tool("exec", kind="custom"))),
)


@pytest.mark.parametrize(
    ("wire", "item"),
    [
        (ToolCall("c", "read", '{"a":1}'), {"type": "function_call", "name": "read", "arguments": '{"a":1}'}),
        (ToolCall("c", "agents__spawn"), {"type": "function_call", "name": "spawn", "namespace": "agents", "arguments": "{}"}),
        (ToolCall("c", "spawn"), {"type": "function_call", "name": "spawn", "namespace": "agents", "arguments": "{}"}),
        (ToolCall("c", "patch", '{"input":"*** a\\n"}'), {"type": "custom_tool_call", "name": "patch", "input": "*** a\n"}),
        (ToolCall("c", "agents__exec", '{"input":"x"}'), {"type": "custom_tool_call", "name": "exec", "namespace": "agents", "input": "x"}),
        (ToolCall("c", "patch", '{"input":"x"}', kind="custom"), {"type": "custom_tool_call", "name": "patch", "input": '{"input":"x"}'}),
        (ToolCall("c", "spawn", "{}", namespace="agents"), {"type": "function_call", "name": "spawn", "namespace": "agents", "arguments": "{}"}),
        (ToolCall("c", "unknown", "{}"), {"type": "function_call", "name": "unknown", "arguments": "{}"}),
    ],
)  # fmt: skip
def test_calls_come_back_as_they_were_offered(wire: ToolCall, item: dict[str, str]) -> None:
    """Flattened names and custom tools that a provider of another protocol called are restored, exactly once."""
    start = ToolCall(wire.id, wire.name, "", wire.kind, wire.namespace)
    pieces = [wire.arguments[:3], wire.arguments[3:]]
    events = parsed(
        encode(
            [BlockStart(0, start), *(ArgumentsDelta(0, p) for p in pieces if p), BlockStop(0, wire)],
            request=LLMRequest("m", (), tools=TOOLS),
        )
    )
    last = events[-1]["item"]
    assert item == {name: value for name, value in last.items() if name not in ("id", "call_id", "status")}
    told = "".join(event["delta"] for event in events if event["type"].endswith(".delta"))
    assert last.get("input", last.get("arguments")) == told


def test_the_request_is_echoed() -> None:
    """Its settings stand in the response, as clients expect."""
    request = LLMRequest(
        "m",
        (),
        tool_choice=ToolChoice("required"),
        parallel_tool_calls=False,
        max_output_tokens=9,
        temperature=0.5,
        reasoning=Reasoning(effort="low"),
        extra={"metadata": {"a": "b"}},
    )
    response = parsed(encode([Start("a", "m", extra={"created_at": 7})], request=request))[0]["response"]
    assert tuple(
        response[name]
        for name in ("created_at", "model", "tool_choice", "parallel_tool_calls", "max_output_tokens", "temperature", "reasoning", "metadata")
    ) == (7, "client-model", "required", False, 9, 0.5, {"effort": "low", "summary": None}, {"a": "b"})  # fmt: skip


@pytest.mark.parametrize(
    ("meaning", "code"),
    [
        ("context_length", "context_length_exceeded"),
        ("rate_limit", "rate_limit_exceeded"),
        ("quota", "insufficient_quota"),
        ("overloaded", "server_is_overloaded"),
        ("invalid_request", "invalid_prompt"),
        ("content_policy", "invalid_prompt"),
        ("not_found", "invalid_prompt"),
        ("authentication", "invalid_prompt"),
        ("broken", "server_error"),
        ("timeout", "server_error"),
    ],
)
def test_failures(meaning: Meaning, code: str) -> None:
    """`response.failed` with a code that agents act upon; what was told before stays in it."""
    error = ProviderError("the words", meaning=meaning)
    last = parsed(encode([*TURN[:10], Failure(error)]))[-1]
    words = "the words. Please try again in 5s." if meaning == "rate_limit" else "the words"
    assert ("response.failed", "failed", code, words) == (
        last["type"],
        last["response"]["status"],
        last["response"]["error"]["code"],
        last["response"]["error"]["message"],
    )
    assert len(last["response"]["output"]) == 1


def test_a_wait_is_told_in_words() -> None:
    """Agents read the wait out of the message, where it is not there already."""
    error = ProviderError("Slow down.", meaning="rate_limit", retry_after=2.5)
    assert (
        parsed(encode([Failure(error)]))[-1]["response"]["error"]["message"] == "Slow down. Please try again in 2.5s."
    )
    told = ProviderError("Please try again in 9s.", meaning="rate_limit", retry_after=9)
    assert parsed(encode([Failure(told)]))[-1]["response"]["error"]["message"] == "Please try again in 9s."


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ClientError("no"), "invalid_prompt"),
        (PolicyError("denied"), "invalid_prompt"),
        (InternalError("a defect"), "server_error"),
        (ProviderError("full", meaning="overloaded"), "server_is_overloaded"),
    ],
)
def test_stream_errors_that_stand_alone(error: Any, code: str) -> None:
    """After a preserved part, the same terminal event."""
    (event,) = parsed(WIRE.encode_stream_error(error))
    assert ("response.failed", code) == (event["type"], event["response"]["error"]["code"])


def test_keepalive_is_a_comment() -> None:
    """It is no event for any reader."""
    parser = SSEParser()
    assert parser.feed(WIRE.keepalive()) + parser.close() == []


ANSWERS = st.builds(
    LLMResponse,
    st.just("a"),
    st.just("m"),
    st.lists(
        st.sampled_from(
            [
                Text("hi"),
                Text("é😀"),
                Refusal("no"),
                Thinking("s", "E", summary=True, id="rs_1", origin=NAME),
                Thinking(opaque="E", id="rs_2", origin=NAME),
                ToolCall("c1", "read", '{"a":1}', item_id="fc_1", extra={"status": "completed"}),
                ToolCall("c2", "patch", "raw", kind="custom", item_id="ctc_1", extra={"status": "completed"}),
                ToolCall("c3", "spawn", "{}", namespace="agents", item_id="fc_2", extra={"status": "completed"}),
                Opaque(NAME, {"type": "web_search_call", "id": "ws_1"}),
            ]
        ),
        max_size=6,
        unique_by=lambda block: block.id if isinstance(block, ToolCall) else object(),
    ).map(tuple),
    st.just("end_turn"),
    usage=st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), reasoning_tokens=st.integers(0, 9)),
)


@settings(max_examples=150, deadline=None)
@given(ANSWERS)
def test_streamed_is_whole(answer: LLMResponse) -> None:
    """An answer told as a stream reads the same as the whole one, and both decode to what was said."""
    data = encode(replay(answer), request=LLMRequest("m", (), tools=TOOLS))
    whole = WIRE.encode_response(answer, model="client-model")
    terminal = parsed(data)[-1]["response"]
    assert _without_made_ids(whole) == _without_made_ids(terminal)
    parser = SSEParser()
    told = decode(parser.feed(data))
    assert list(answer.content) == [event.block for event in told if isinstance(event, BlockStop)]
    assert answer.content == WIRE.decode_response(whole, quirks=Quirks()).content


def _without_made_ids(response: dict[str, Any]) -> Any:
    text = orjson.dumps({name: response[name] for name in ("status", "output", "usage", "incomplete_details")}).decode()
    return text.replace(ANSWER_ID, "a")


def _client(data: bytes) -> Any:
    import httpx2
    import openai

    def serve(request: Any) -> Any:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=data)

    http = httpx2.Client(transport=httpx2.MockTransport(serve))
    return openai.OpenAI(api_key="k", base_url="http://127.0.0.1", http_client=http, max_retries=0)


def test_the_vendors_own_client_reads_it() -> None:
    """The official SDK's streaming helper accepts the sequence and puts the answer together."""
    with _client(encode([Progress(), *TURN])).responses.stream(model="m", input="x") as stream:
        events = list(stream)
        answer = stream.get_final_response()
    assert events[-1].type == "response.completed"
    assert [item.type for item in answer.output] == ["reasoning", "message", "function_call", "custom_tool_call"]
    assert answer.output_text == "I look.Cited."
    assert answer.usage is not None
    assert answer.usage.total_tokens == 15
