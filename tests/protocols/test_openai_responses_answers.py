"""Whole answers: a provider's in neutral words, neutral ones for a client, and what the tap hears of a preserved one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.llm.catalogue import Quirks
from engine.llm.errors import ProviderError
from engine.llm.messages import (
    Block,
    LLMRequest,
    LLMResponse,
    Opaque,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    Usage,
)
from tests.protocols.responses_kit import WIRE, completed, function_call, message, output_text

NAME = WIRE.name
REASONING = {"type": "reasoning", "id": "rs_1", "summary": []}


def answer(*output: dict[str, Any], **members: Any) -> dict[str, Any]:
    response: dict[str, Any] = completed(*output)["response"]
    return response | members


def decode(*output: dict[str, Any], **members: Any) -> LLMResponse:
    return WIRE.decode_response(answer(*output, **members), quirks=Quirks())


def encode(*content: Block, stop: Any = "end_turn", usage: Usage | None = None) -> dict[str, Any]:
    response = LLMResponse("a1", "upstream", content, stop, usage=usage or Usage())
    return WIRE.encode_response(response, model="client-model")


@pytest.mark.parametrize(
    ("item", "blocks"),
    [
        (message(output_text("a"), output_text("b")), [Text("a"), Text("b")]),
        (message(output_text("")), []),
        (message({"type": "refusal", "refusal": "no"}), [Refusal("no")]),
        (message(output_text("a", annotations=[{"type": "url_citation"}])), [Text("a", {"annotations": [{"type": "url_citation"}]})]),
        (REASONING, [Thinking(id="rs_1", origin=NAME)]),
        (REASONING | {"encrypted_content": "E"}, [Thinking(opaque="E", id="rs_1", origin=NAME)]),
        (REASONING | {"content": [{"type": "reasoning_text", "text": "raw"}]}, [Thinking("raw", id="rs_1", origin=NAME)]),
        (
            REASONING | {"summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]},
            [Thinking("a\n\nb", summary=True, id="rs_1", origin=NAME, extra={"summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]})],
        ),
        (function_call(""), [ToolCall("call_1", "read", "{}", item_id="fc_1")]),
        (function_call('{"a":1}', namespace="n"), [ToolCall("call_1", "read", '{"a":1}', namespace="n", item_id="fc_1")]),
        ({"type": "custom_tool_call", "call_id": "c", "name": "p", "input": ""}, [ToolCall("c", "p", "", kind="custom")]),
        ({"type": "web_search_call", "id": "ws"}, [Opaque(NAME, {"type": "web_search_call", "id": "ws"})]),
    ],
)  # fmt: skip
def test_items(item: dict[str, Any], blocks: list[Block]) -> None:
    """Every item has its blocks; one that only this protocol has stays whole."""
    assert blocks == list(decode(item).content)


def test_a_call_without_an_id_gets_one() -> None:
    """The id is bound to the answer and the place, so it is the same every time."""
    item = function_call(call_id=None)
    (first,), (second,) = decode(item).content, decode(item).content
    assert isinstance(first, ToolCall)
    assert first.id.startswith("call_")
    assert first == second


@pytest.mark.parametrize(
    ("output", "members", "stop"),
    [
        ([message(output_text("x"))], {}, "end_turn"),
        ([function_call()], {}, "tool_use"),
        ([message({"type": "refusal", "refusal": "no"})], {}, "refusal"),
        (
            [function_call()],
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            "max_tokens",
        ),
        ([], {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ([], {"status": "complete"}, "end_turn"),
    ],
)
def test_stop_reasons(output: list[dict[str, Any]], members: dict[str, Any], stop: str) -> None:
    """A call means tool_use, unless the answer was cut off."""
    assert stop == decode(*output, **members).stop
    assert stop == WIRE.tap_response(answer(*output, **members), quirks=Quirks()).stop


def test_usage() -> None:
    """Counts go to their fields, a router's real charge too; xAI's way of counting is put right."""
    raw = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 15,
        "cost": 0.5,
        "num_sources_used": 1,
    }
    expected = Usage(10, 5, 4, 2, reasoning_tokens=3, cost_usd=0.5, extra={"num_sources_used": 1})
    assert expected == decode(usage=raw).usage
    outside = WIRE.decode_response(answer(usage=raw), quirks=Quirks(reasoning_outside_output=True))
    assert outside.usage.output_tokens == 8
    assert Usage() == decode(usage=None).usage


@pytest.mark.parametrize(
    ("body", "meaning"),
    [
        ({"error": {"message": "quota", "code": "insufficient_quota"}}, "quota"),
        ({"status": "failed", "error": {"code": "server_error", "message": "oops"}, "output": []}, "server_error"),
        ({"status": "failed", "output": []}, "server_error"),
        ({"code": "x", "error": "Rate limit reached, too many requests"}, "rate_limit"),
        ({"status": "queued", "output": []}, "broken"),
        ({"hello": "world"}, "broken"),
        ({}, "broken"),
    ],
)
def test_what_is_no_answer(body: dict[str, Any], meaning: str) -> None:
    """An error inside a 200, an unfinished answer or another document is an error with a meaning."""
    with pytest.raises(ProviderError) as error:
        WIRE.decode_response(body, quirks=Quirks())
    assert meaning == error.value.meaning
    assert error.value.in_stream


def test_a_whole_answer_for_a_client() -> None:
    """Text blocks in a row are one message; reasoning always has a summary list; usage is always there."""
    body = encode(
        Thinking("hm", "sbgw1.m.h.sig", origin="sbgw"),
        Text("a"),
        Text(
            "b", {"annotations": [{"type": "url_citation", "url_citation": {"url": "https://x"}}], "cache_control": {}}
        ),
        Thinking(opaque="E", id="rs_9", origin=NAME),
        ToolCall("c1", "read", '{"a":1}', namespace="n"),
        ToolCall("c2", "patch", "raw", kind="custom", item_id="ctc_1"),
        Opaque("anthropic-messages", {"type": "server_tool_use"}),
        Opaque(NAME, {"type": "web_search_call", "id": "ws_1"}),
        stop="tool_use",
        usage=Usage(10, 5, 4, 2, reasoning_tokens=3),
    )
    assert (
        body["id"],
        body["model"],
        body["status"],
        body["incomplete_details"],
    ) == ("resp_a1", "client-model", "completed", None)
    assert body["output"] == [
        {
            "type": "reasoning",
            "id": "rs_sbgw_a1_0",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "sbgw1.m.h.sig",
        },
        {
            "type": "message",
            "id": "msg_a1_1",
            "status": "completed",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "a", "annotations": [], "logprobs": []},
                {
                    "type": "output_text",
                    "text": "b",
                    "annotations": [{"type": "url_citation", "url": "https://x"}],
                    "logprobs": [],
                },
            ],
        },
        {"type": "reasoning", "id": "rs_9", "summary": [], "encrypted_content": "E"},
        {
            "type": "function_call",
            "id": "fc_a1_3",
            "status": "completed",
            "call_id": "c1",
            "name": "read",
            "namespace": "n",
            "arguments": '{"a":1}',
        },
        {
            "type": "custom_tool_call",
            "id": "ctc_1",
            "status": "completed",
            "call_id": "c2",
            "name": "patch",
            "input": "raw",
        },
        {"type": "web_search_call", "id": "ws_1"},
    ]
    assert body["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 15,
    }


@pytest.mark.parametrize(
    ("stop", "status", "reason"),
    [
        ("end_turn", "completed", None),
        ("pause_turn", "completed", None),
        ("refusal", "completed", None),
        ("stop_sequence", "completed", None),
        ("max_tokens", "incomplete", "max_output_tokens"),
        ("context_exceeded", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_status(stop: str, status: str, reason: str | None) -> None:
    """Only a cut-off answer is incomplete, which agents take for fatal."""
    body = encode(Text("x"), stop=stop)
    assert status == body["status"]
    assert reason == (body["incomplete_details"] or {}).get("reason")
    assert body["usage"]["total_tokens"] == 0


def test_a_function_for_a_custom_tool_comes_back() -> None:
    """A vendor that answers a custom tool with a function call is understood."""
    request = LLMRequest("m", (), tools=(Tool("patch", kind="custom"),))
    body = answer(function_call('{"input":"raw"}', name="patch"))
    (call,) = WIRE.decode_response(body, quirks=Quirks(), request=request).content
    assert isinstance(call, ToolCall)
    assert (call.kind, call.arguments) == ("custom", "raw")


def test_answers_survive_the_way_to_the_client() -> None:
    """An answer in this protocol's own words decodes to itself after encoding."""
    content = (
        Thinking("s", "E", summary=True, id="rs_1", origin=NAME),
        Text("a"),
        ToolCall("c", "read", '{"a":1}', item_id="fc_1", extra={"status": "completed"}),
        Opaque(NAME, {"type": "web_search_call", "id": "ws"}),
    )
    again = WIRE.decode_response(
        encode(*content, stop="tool_use", usage=Usage(3, 2, 1, 0, reasoning_tokens=0)), quirks=Quirks()
    )
    assert (content, "tool_use", Usage(3, 2, 1, 0, reasoning_tokens=0)) == (again.content, again.stop, again.usage)


def test_tap_of_an_error() -> None:
    """An error body in place of an answer is heard."""
    tapped = WIRE.tap_response({"error": {"message": "x", "code": "insufficient_quota"}}, quirks=Quirks())
    assert tapped.error is not None
    assert (tapped.error.meaning, tapped.started) == ("quota", False)


def test_recorded_answers(shared: Path) -> None:
    """Every recorded whole answer decodes, is heard alike by the tap, and encodes for a client."""
    seen = 0
    for path in sorted((shared / "corpus").glob("*/openai-responses.*.json")):
        case = orjson.loads(path.read_bytes())
        body = case["response"].get("body")
        if case["response"]["status"] != 200 or not isinstance(body, dict):
            continue
        seen += 1
        tapped = WIRE.tap_response(body, quirks=Quirks())
        if tapped.error is not None:
            assert "queued" in tapped.error.message, path
            continue
        response = WIRE.decode_response(body, quirks=Quirks())
        assert (tapped.stop, tapped.usage, tapped.id) == (response.stop, response.usage, response.id), path
        again = WIRE.decode_response(WIRE.encode_response(response, model="m"), quirks=Quirks())
        said = [block for block in response.content if not isinstance(block, Thinking | ToolCall)]
        assert [b.text for b in said if isinstance(b, Text)] == [
            b.text for b in again.content if isinstance(b, Text)
        ], path
        assert response.stop == again.stop, path
        assert len(response.content) == len(again.content), path
    assert seen > 100
