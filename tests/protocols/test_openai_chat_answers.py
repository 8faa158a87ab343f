"""Whole Chat answers, read from providers and written for clients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Quirks
from engine.llm.errors import ProviderError
from engine.llm.messages import LLMResponse, Opaque, Refusal, Text, Thinking, ToolCall, Usage
from engine.llm.replay import replay
from engine.protocols.openai_chat.usage import read_usage, write_usage
from tests.protocols.chat_kit import WIRE, decode_bytes, encoded, request, user
from tests.protocols.order import check, whole

CHAT = "openai-chat"


def read(message: dict[str, Any], finish: Any = "stop", quirks: Quirks | None = None, **fields: Any) -> LLMResponse:
    body = {"id": "c1", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": finish}], **fields}
    return WIRE.decode_response(body, quirks=quirks or Quirks())


def thought(text: str) -> Thinking:
    return Thinking(text, origin=CHAT)


CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": "hi"}, (Text("hi"),)),
        ({"content": None}, ()),
        ({"content": ""}, ()),
        ({}, ()),
        ({"content": "x", "reasoning": "r"}, (thought("r"), Text("x"))),
        ({"content": "x", "reasoning_content": "r", "reasoning": "r"}, (thought("r"), Text("x"))),
        ({"content": "x", "reasoning": "r", "reasoning_details": [{"type": "reasoning.text", "text": "r"}]},
         (thought("r"), Text("x"))),
        ({"content": "x", "reasoning_details": [{"type": "reasoning.summary", "summary": "r"}]},
         (replace(thought("r"), summary=True), Text("x"))),
        ({"content": "<think>r</think>x"}, (Text("<think>r</think>x"),)),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "r"}]}, {"type": "text", "text": "x"}]},
         (thought("r"), Text("x"))),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, (Text("ab"),)),
        ({"content": "x", "tool_calls": []}, (Text("x"),)),
        ({"content": "x", "tool_calls": None, "function_call": {"name": "", "arguments": ""}}, (Text("x"),)),
        ({"content": "", "audio": {"id": "", "data": ""}, "refusal": ""}, ()),
        ({"refusal": "no"}, (Refusal("no"),)),
        ({"content": "x", "annotations": [{"type": "url_citation"}]},
         (Text("x", extra={"annotations": [{"type": "url_citation"}]}),)),
        ({"content": None, "audio": {"id": "a", "data": "x"}},
         (Opaque(CHAT, {"type": "audio", "audio": {"id": "a", "data": "x"}}),)),
        ({"content": None, "tool_calls": [CALL]}, (ToolCall("a", "f", '{"x":1}'),)),
        ({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": None}}]}, (ToolCall("a", "f", "{}"),)),
        ({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": " "}}]}, (ToolCall("a", "f", "{}"),)),
        ({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]},
         (ToolCall("a", "f", '{"x":1}'),)),
        ({"tool_calls": [{"id": "a", "type": "function", "custom": {"input": "", "name": ""}, "function": {"name": "f"}}]},
         (ToolCall("a", "f", "{}"),)),
        ({"tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "p", "input": "x"}}]},
         (ToolCall("a", "p", "x", kind="custom"),)),
    ],
)  # fmt: skip
def test_content_whatever_it_is_called(message: dict[str, Any], content: Any) -> None:
    """Reasoning once, no empty blocks, arguments always JSON text."""
    assert read(message).content == content


@pytest.mark.parametrize(
    ("finish", "message", "stop"),
    [
        ("stop", {"content": "x"}, "end_turn"),
        ("stop", {"tool_calls": [CALL]}, "tool_use"),
        ("tool_calls", {"tool_calls": [CALL]}, "tool_use"),
        ("tool_calls", {"content": "x"}, "end_turn"),
        ("function_call", {"function_call": {"name": "f", "arguments": "{}"}}, "tool_use"),
        ("", {"content": "x"}, "end_turn"),
        (None, {"content": "x"}, "end_turn"),
        ("eos", {"content": "x"}, "end_turn"),
        ("length", {"content": "x"}, "max_tokens"),
        ("length", {"tool_calls": [CALL]}, "max_tokens"),
        ("content_filter", {"content": ""}, "content_filter"),
        ("model_length", {"content": "x"}, "context_exceeded"),
        ("stop", {"refusal": "no"}, "refusal"),
    ],
)
def test_the_content_decides_why_it_ended(finish: Any, message: dict[str, Any], stop: str) -> None:
    """Providers say `stop` with a tool call, or nothing at all."""
    assert read(message, finish).stop == stop


def test_a_matched_stop_sequence_is_told() -> None:
    """Servers that name it, and only when the client asked for it."""
    choice = {"message": {"content": "x"}, "finish_reason": "stop", "stop_reason": "END"}
    answer = WIRE.decode_response({"choices": [choice]}, quirks=Quirks(), request=request(user("hi"), stop=("END",)))
    assert (answer.stop, answer.stop_sequence) == ("stop_sequence", "END")
    assert WIRE.decode_response({"choices": [choice]}, quirks=Quirks()).stop == "end_turn"


def test_calls_without_ids_get_some() -> None:
    """Made of the answer's id and the call's place: the same every time, and never twice in one answer."""
    bare = {"function": {"name": "f", "arguments": "{}"}}
    first, second = read({"tool_calls": [bare, bare]}).content
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert first.id
    assert first.id != second.id
    assert read({"tool_calls": [bare, bare]}).content == (first, second)
    twice = read({"tool_calls": [CALL, CALL]}).content
    assert len({block.id for block in twice if isinstance(block, ToolCall)}) == 2


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, (10, 5, None, None)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22, "completion_tokens_details": {"reasoning_tokens": 7}},
         (10, 12, None, 7)),
        ({"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19, "completion_tokens_details": {"reasoning_tokens": 7}},
         (10, 9, None, 7)),
        ({"prompt_tokens": 66, "completion_tokens": 6, "total_tokens": 100}, (66, 34, None, None)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 20, "prompt_tokens_details": {"audio_tokens": 9}},
         (18, 2, None, None)),
        ({"prompt_tokens": 154, "completion_tokens": 2, "total_tokens": 156, "prompt_tokens_details": {"cached_tokens": 164}},
         (154, 2, 154, None)),
        ({"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 7}},
         (4, 5, None, 5)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}, (10, 5, 4, None)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4}, (10, 5, 4, None)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": None, "num_cached_tokens": 4}, (10, 5, 4, None)),
        ({"prompt_tokens": None, "completion_tokens": "5", "total_tokens": True}, (None, None, None, None)),
    ],
)  # fmt: skip
def test_usage_has_one_meaning(held: dict[str, Any], expected: Any) -> None:
    """Output includes reasoning wherever it was counted, input includes what was cached."""
    usage = read_usage(held, Quirks())
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens) == expected


def test_the_quirk_decides_without_a_total() -> None:
    """A provider known to leave reasoning out of the output."""
    held = {"prompt_tokens": 1, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 7}}
    outside = read_usage(held, Quirks(reasoning_outside_output=True))
    assert outside is not None
    assert outside.output_tokens == 12


@pytest.mark.parametrize(
    ("held", "usd"),
    [
        ({"cost": 0.5}, 0.5),
        ({"cost": {"total_cost": 0.25}}, 0.25),
        ({"cost_in_usd_ticks": 2_073_250}, 0.000207325),
        ({"x": 1}, None),
    ],
)
def test_a_providers_own_price_is_kept(held: dict[str, Any], usd: float | None) -> None:
    """Three ways to state it."""
    usage = read_usage(held, Quirks())
    assert usage is not None
    assert usage.cost_usd == usd


@pytest.mark.parametrize(
    ("body", "meaning"),
    [
        ({"error": {"code": 502, "message": "Provider returned error"}, "user_id": "u"}, "server_error"),
        ({"error": {"code": 429, "message": "slow"}}, "rate_limit"),
        ({"choices": [{"error": {"code": 502, "message": "x"}, "message": {"content": "half"}}]}, "server_error"),
        ([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x"}}], "rate_limit"),
        ({"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}, "authentication"),
        ({"object": "error", "message": "maximum context length is 5", "code": 400}, "context_length"),
        ({"choices": []}, "broken"),
        ({"choices": [{"finish_reason": "stop"}]}, "broken"),
        ({"hello": "world"}, "broken"),
        ({"choices": [{"message": {"tool_calls": [{"id": "a", "function": {"arguments": "{}"}}]}}]}, "broken"),
        ({"choices": [{"message": {"content": "x"}, "finish_reason": "error"}]}, "server_error"),
        ({"choices": [{"message": {"content": "x"}, "finish_reason": "insufficient_system_resource"}]}, "overloaded"),
    ],
)
def test_an_error_inside_a_success_is_an_error(body: Any, meaning: str) -> None:
    """No answer is made of it, and its meaning is found."""
    with pytest.raises(ProviderError) as caught:
        WIRE.decode_response(body, quirks=Quirks())
    assert (caught.value.meaning, caught.value.in_stream) == (meaning, True)
    if isinstance(body, dict):
        tapped = WIRE.tap_response(body, quirks=Quirks())
        assert tapped.error is not None
        assert tapped.error.meaning == meaning


def test_a_preserved_answer_is_listened_to() -> None:
    """Usage, stop, model and id of bytes that pass unchanged."""
    body = {"id": "c", "model": "x", "choices": [{"message": {"tool_calls": [CALL]}, "finish_reason": "stop"}]}
    tapped = WIRE.tap_response({**body, "usage": {"prompt_tokens": 3, "completion_tokens": 2}}, quirks=Quirks())
    assert (tapped.id, tapped.model, tapped.stop, tapped.started, tapped.finished) == ("c", "x", "tool_use", True, True)
    assert tapped.usage == Usage(3, 2)


def test_an_answer_for_a_client() -> None:
    """Everything an answer holds, in OpenAI's words."""
    answer = LLMResponse(
        "msg_1",
        "claude",
        (
            Thinking("hm", "sbgw1.m.h.sig", origin="sbgw"),
            Text("a"),
            Text("b"),
            ToolCall("t1", "spawn", "", namespace="team"),
            ToolCall("t2", "apply", "x", kind="custom"),
            Opaque("anthropic-messages", {"type": "server_tool_use"}),
        ),
        "tool_use",
        usage=Usage(10, 5, cached_tokens=4, reasoning_tokens=2),
    )
    assert WIRE.encode_response(answer, model="asked") == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 0,
        "model": "asked",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "ab",
                    "refusal": None,
                    "reasoning_content": "hm",
                    "reasoning_details": [
                        {"type": "reasoning.text", "format": "sbgw", "text": "hm", "signature": "sbgw1.m.h.sig"}
                    ],
                    "tool_calls": [
                        {"id": "t1", "type": "function", "function": {"name": "team__spawn", "arguments": "{}"}},
                        {"id": "t2", "type": "custom", "custom": {"name": "apply", "input": "x"}},
                    ],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }


@pytest.mark.parametrize(
    ("stop", "content", "word"),
    [
        ("end_turn", (), "stop"),
        ("stop_sequence", (), "stop"),
        ("pause_turn", (), "stop"),
        ("max_tokens", (), "length"),
        ("context_exceeded", (), "length"),
        ("tool_use", (ToolCall("a", "f"),), "tool_calls"),
        ("content_filter", (), "content_filter"),
        ("refusal", (), "content_filter"),
        ("refusal", (Refusal("no"),), "stop"),
    ],
)
def test_every_stop_has_a_word(stop: Any, content: Any, word: str) -> None:
    """A client always reads one of OpenAI's own."""
    answer = LLMResponse("a", "m", content, stop)
    assert WIRE.encode_response(answer, model="m")["choices"][0]["finish_reason"] == word
    assert f'"finish_reason":"{word}"'.encode() in encoded(replay(answer))


def test_nothing_known_is_no_usage() -> None:
    """Unknown tokens are left out, never zero."""
    assert write_usage(Usage()) is None
    assert "usage" not in WIRE.encode_response(LLMResponse("a", "m", (), "end_turn"), model="m")


SAID = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
ANSWERS = st.builds(
    LLMResponse,
    st.just("chatcmpl-1"),
    st.just("asked"),
    st.builds(
        lambda thinking, text, refusal, made: (*thinking, *text, *refusal, *made),
        st.lists(st.builds(thought, SAID), max_size=1),
        st.lists(st.builds(Text, SAID), max_size=1),
        st.just([]),
        st.lists(
            st.builds(ToolCall, st.uuids().map(str), st.sampled_from(["f", "g"]), st.sampled_from(["{}", '{"a":"}"}', "no"])),
            max_size=3,
        ),
    ),
    st.sampled_from(["end_turn", "max_tokens", "content_filter"]),
    usage=st.builds(
        Usage, st.integers(9, 99), st.integers(50, 99), cached_tokens=st.integers(0, 9), reasoning_tokens=st.integers(0, 50)
    ),
    protocol=st.just(CHAT),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(ANSWERS, st.integers(1, 40))
def test_answers_survive_whole_and_streamed(answer: LLMResponse, size: int) -> None:
    """What a client is sent reads back as the same answer, whole or streamed, however the bytes are cut."""
    calls = any(isinstance(block, ToolCall) for block in answer.content)
    expected = replace(answer, stop="tool_use" if calls and answer.stop == "end_turn" else answer.stop)
    body = WIRE.encode_response(answer, model="asked")
    back = WIRE.decode_response(orjson.loads(orjson.dumps(body)), quirks=Quirks())
    assert replace(back, extra={}) == expected
    events = decode_bytes(encoded(replay(answer)), size=size)
    check(events)
    assert replace(whole(events, protocol=CHAT), extra={}) == expected


def test_another_protocols_thinking_travels_through_a_chat_client() -> None:
    """Enveloped thinking comes back from the history as it was, with its text or without, whole or streamed."""
    thinking = (
        Thinking("hm", "sbgw1.m.h.sig", origin="sbgw"),
        Thinking(opaque="sbgw1.m.h.data", origin="sbgw"),
    )
    answer = LLMResponse("a", "m", (*thinking, Text("x")), "end_turn")
    message = WIRE.encode_response(answer, model="m")["choices"][0]["message"]
    history = WIRE.decode_request({"model": "m", "messages": [{"role": "user", "content": "hi"}, message]})
    assert history.messages[1].content == (*thinking, Text("x"))
    streamed = whole(decode_bytes(encoded(replay(answer))))
    assert streamed.content == (*thinking, Text("x"))
