"""Anthropic Messages: whole answers, model lists, and the recorded traffic of real providers and clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.llm.catalogue import Model, Provider, Quirks
from engine.llm.errors import ClientError, ProviderError
from engine.llm.losses import LOSSES
from engine.llm.messages import (
    LLMRequest,
    LLMResponse,
    Opaque,
    Refusal,
    StopReason,
    Text,
    Thinking,
    Tool,
    ToolCall,
    Usage,
)
from engine.llm.protocol import Target
from engine.llm.stream import Failure, Finish
from engine.protocols.anthropic_messages import AnthropicMessages
from engine.protocols.sse import SSEParser
from tests.protocols.order import check, whole

WIRE = AnthropicMessages()
QUIRKS = Quirks()
TARGET = Target(Provider("p", {}), Model("p", "m", max_output=200_000), WIRE.name, QUIRKS)


def test_an_answer_of_another_protocol() -> None:
    """What this protocol's clients cannot use is left out; nothing becomes a call that the model did not make."""
    answer = LLMResponse(
        "resp_1",
        "theirs",
        (
            Thinking("hm", "sealed", origin="openai-responses", id="rs_1"),
            Thinking("", "sealed", origin="openai-responses"),
            Opaque("openai-responses", {"type": "web_search_call", "id": "ws_1"}),
            Text("hi", {"annotations": []}),
            Refusal("no"),
            ToolCall("functions.read:0", "read", '{"a": 1}', item_id="fc_1", extra={"status": "completed"}),
            ToolCall("t", "read", "oops"),
        ),
        "tool_use",
        usage=Usage(100, 9, cached_tokens=60, cache_write_tokens=10),
        protocol="openai-responses",
        extra={"store": False},
    )
    assert WIRE.encode_response(answer, model="shown") == {
        "id": "resp_1",
        "type": "message",
        "role": "assistant",
        "model": "shown",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sbgw:unsealed"},
            {"type": "text", "text": "hi"},
            {"type": "text", "text": "no"},
            {"type": "tool_use", "id": "call_b64_ZnVuY3Rpb25zLnJlYWQ6MA", "name": "read", "input": {"a": 1}},
            {"type": "tool_use", "id": "t", "name": "read", "input": {"raw_arguments": "oops"}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 30,
            "cache_creation_input_tokens": 10,
            "cache_read_input_tokens": 60,
            "output_tokens": 9,
        },
    }


def test_what_was_shown_comes_back_as_it_was() -> None:
    """An id that was wrapped for this protocol is unwrapped in the next request; unsealed thinking carries no signature."""
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "sbgw:unsealed"},
        {"type": "tool_use", "id": "call_b64_ZnVuY3Rpb25zLnJlYWQ6MA", "name": "read", "input": {"a": 1}},
    ]
    results = [{"type": "tool_result", "tool_use_id": "call_b64_ZnVuY3Rpb25zLnJlYWQ6MA", "content": "x"}]
    body = {"model": "m", "messages": [{"role": "assistant", "content": content}, {"role": "user", "content": results}]}
    request = WIRE.decode_request(body)
    assert (Thinking("hm"), ToolCall("functions.read:0", "read", '{"a":1}')) == request.messages[0].content
    assert request.messages[1].content[0].call_id == "functions.read:0"


@pytest.mark.parametrize(
    ("reason", "content", "stop"),
    [
        ("end_turn", [], "end_turn"),
        ("end_turn", [{"type": "tool_use", "id": "t", "name": "n", "input": {}}], "tool_use"),
        (None, [{"type": "tool_use", "id": "t", "name": "n", "input": {}}], "tool_use"),
        ("max_tokens", [{"type": "tool_use", "id": "t", "name": "n", "input": {}}], "max_tokens"),
        ("end_turn", [{"type": "server_tool_use", "id": "t", "name": "n", "input": {}}], "end_turn"),
        ("model_context_window_exceeded", [], "context_exceeded"),
        ("pause_turn", [], "pause_turn"),
        ("refusal", [], "refusal"),
        ("novelty", [], "end_turn"),
        (None, [], "end_turn"),
    ],
)
def test_stop_reasons(reason: str | None, content: list[dict[str, Any]], stop: StopReason) -> None:
    """A complete answer with a client tool call is `tool_use`; a cut one stays cut. The tap reads the same."""
    body = {"id": "a", "model": "m", "content": content, "stop_reason": reason, "usage": {}}
    assert stop == WIRE.decode_response(body, quirks=QUIRKS).stop
    assert stop == WIRE.tap_response(body, quirks=QUIRKS).stop


@pytest.mark.parametrize(
    ("body", "meaning"),
    [
        ({}, "broken"),
        ({"content": "hi"}, "broken"),
        ({"choices": []}, "broken"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "overloaded"),
        ({"error": {"message": "Provider returned error", "code": 502}}, "server_error"),
        ({"error": "model is loading"}, "overloaded"),
    ],
)
def test_no_answer_in_a_success(body: dict[str, Any], meaning: str) -> None:
    """An error inside a 200 is found, whole or tapped."""
    with pytest.raises(ProviderError) as caught:
        WIRE.decode_response(body, quirks=QUIRKS)
    assert (meaning, True) == (caught.value.meaning, caught.value.in_stream)
    error = WIRE.tap_response(body, quirks=QUIRKS).error
    assert error is not None
    assert error.meaning == meaning


def test_names_are_restored_for_the_client() -> None:
    """Given the request, flattened names and custom tools come back as the client knows them."""
    request = LLMRequest(
        "m", (), tools=(Tool("patch", kind="custom"), Tool("fs", kind="namespace", members=(Tool("read"),)))
    )
    body = {
        "content": [
            {"type": "tool_use", "id": "a", "name": "patch", "input": {"input": "text"}},
            {"type": "tool_use", "id": "b", "name": "fs__read", "input": {}},
        ]
    }
    answer = WIRE.decode_response(body, quirks=QUIRKS, request=request)
    assert answer.content == (
        ToolCall("a", "patch", "text", kind="custom"),
        ToolCall("b", "read", "{}", namespace="fs"),
    )


def test_model_list() -> None:
    """The shape of the vendor's own list, empty or not."""
    listed = WIRE.encode_models(
        [
            {
                "id": "a/b",
                "created": 1761955200,
                "display_name": "B",
                "owned_by": "a",
                "context": 200000,
                "max_output": 64000,
            },
            {"id": "c"},
        ]
    )
    assert listed == {
        "data": [
            {
                "type": "model",
                "id": "a/b",
                "display_name": "B",
                "created_at": "2025-11-01T00:00:00Z",
                "max_input_tokens": 200000,
                "max_tokens": 64000,
            },
            {"type": "model", "id": "c", "display_name": "c", "created_at": "1970-01-01T00:00:00Z"},
        ],
        "has_more": False,
        "first_id": "a/b",
        "last_id": "c",
    }
    assert WIRE.encode_models([]) == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def exchanges(shared: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((shared / "corpus").glob("*/anthropic-messages.*.json")):
        yield path.name, orjson.loads(path.read_bytes())


def answer_bytes(response: dict[str, Any]) -> bytes:
    return response["raw"].encode() if "raw" in response else orjson.dumps(response["body"])


def test_recorded_streams(shared: Path) -> None:
    """Every recorded stream decodes in order; the tap agrees; read back by a client it is the same answer."""
    seen = 0
    for name, exchange in exchanges(shared):
        if not exchange["stream"] or exchange["response"]["status"] != 200:
            continue
        parser, decoder, listener = SSEParser(), WIRE.stream_decoder(quirks=QUIRKS), WIRE.stream_tap(quirks=QUIRKS)
        parsed = parser.feed(answer_bytes(exchange["response"])) + parser.close()
        events = [event for frame in parsed for event in decoder.feed(frame)] + decoder.close()
        for frame in parsed:
            listener.feed(frame)
        known = listener.close()
        check(events)
        seen += 1
        if isinstance(events[-1], Failure):
            assert known.error is not None, name
            continue
        assert isinstance(events[-1], Finish), name
        answer = whole(events, protocol=WIRE.name)
        assert (answer.stop, answer.usage, answer.id, answer.model) == (
            known.stop,
            known.usage,
            known.id,
            known.model,
        ), name
        encoder, again = WIRE.stream_encoder(model=answer.model, answer_id="x"), WIRE.stream_decoder(quirks=QUIRKS)
        parser = SSEParser()
        sent = b"".join(encoder.feed(event) for event in events)
        back = whole([event for frame in parser.feed(sent) for event in again.feed(frame)], protocol=WIRE.name)
        assert bare(answer) == bare(back), name
    assert seen > 50


def bare(answer: LLMResponse) -> tuple[Any, ...]:
    """An answer without the fields beside a call, which a stream to a client leaves out."""
    content = [ToolCall(b.id, b.name, b.arguments) if isinstance(b, ToolCall) else b for b in answer.content]
    return content, answer.stop, answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.cached_tokens or 0


def test_recorded_answers(shared: Path) -> None:
    """Every recorded whole answer comes out of the neutral words as it went in."""
    seen = 0
    for name, exchange in exchanges(shared):
        response = exchange["response"]
        if exchange["stream"] or response["status"] != 200 or not isinstance(response.get("body"), dict):
            continue
        body = response["body"]
        if body.get("type") != "message":
            continue
        answer = WIRE.decode_response(body, quirks=QUIRKS)
        again = WIRE.encode_response(answer, model=answer.model)
        if any(isinstance(block, ToolCall) for block in answer.content):
            again["stop_reason"] = body["stop_reason"]  # one recording calls a tool and says end_turn
        assert body == again, name
        seen += 1
    assert seen > 80


def test_recorded_errors(shared: Path) -> None:
    """Every recorded error has a meaning, and goes out to a client of the same protocol exactly as it came."""
    for name, exchange in exchanges(shared):
        response = exchange["response"]
        if response["status"] < 400:
            continue
        raw = answer_bytes(response)
        error = WIRE.decode_error(response["status"], raw, dict(response["headers"]))
        status, body, _ = WIRE.encode_error(error)
        assert (response["status"], orjson.loads(raw)) == (status, body), name
        assert error.message, name


def requests(shared: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((shared / "captures").glob("*/*/*.json")):
        capture = orjson.loads(path.read_bytes())
        if capture["path"].endswith("/messages") and isinstance(capture.get("body"), dict):
            yield f"{path.parent.name}/{path.name}", capture["body"]
    for name, exchange in exchanges(shared):
        if isinstance(exchange["request"]["body"], dict):
            yield name, exchange["request"]["body"]


def test_recorded_requests(shared: Path) -> None:
    """Every recorded request surveys, decodes and encodes; losses stay within what the survey declared; twice is once."""
    seen = 0
    for name, body in requests(shared):
        before = orjson.dumps(body)
        found = WIRE.survey(body)
        assert found.requires <= LOSSES.keys(), name
        request = WIRE.decode_request(body)
        try:
            encoded, losses = WIRE.encode_request(request, TARGET)
        except ClientError:
            assert not found.newest_user_text, name
            continue
        assert set(losses) <= found.requires, name
        assert encoded == WIRE.encode_request(WIRE.decode_request(encoded), TARGET)[0], name
        assert WIRE.rewrite(body, TARGET) == {**body, "model": "m"}, name
        assert before == orjson.dumps(body), name
        seen += 1
    assert seen > 300


def test_recorded_sessions_are_known(shared: Path) -> None:
    """Every main call of the recorded coding agent tells its session."""
    for path in sorted((shared / "captures" / "claude").glob("long/*.json")):
        capture = orjson.loads(path.read_bytes())
        if isinstance(capture.get("body"), dict) and capture["path"].endswith("/messages"):
            headers = {key.lower(): value for key, value in capture["headers"]}
            assert headers["x-claude-code-session-id"] == WIRE.survey(capture["body"]).session
