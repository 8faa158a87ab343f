"""What clients saw go wrong with recorded answers and requests, each as a test named after the symptom."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from engine.llm.catalogue import Quirks
from engine.llm.messages import LLMRequest, LLMResponse, Text, Thinking, Tool, ToolCall, Usage
from engine.llm.replay import replay
from engine.protocols.registry import PROTOCOLS
from engine.protocols.sse import SSEParser
from tests.fidelity.clients import Sdks
from tests.fidelity.read import chat
from tests.protocols.order import whole

MESSAGES, CHAT, RESPONSES = (PROTOCOLS[n] for n in ("anthropic-messages", "openai-chat", "openai-responses"))
NOTE = {"type": "url_citation", "url": "https://example.org", "title": "t", "start_index": 0, "end_index": 2}


def streamed(client: Any, *content: Any, usage: Usage | None = None) -> bytes:
    """The answer as a client of a streaming protocol gets it."""
    encoder = client.stream_encoder(model="m", answer_id="a")
    answer = LLMResponse("a", "m", content, "end_turn", usage=usage or Usage(5, 3), protocol="openai-responses")
    return b"".join(encoder.feed(event) for event in replay(answer))


def decoded(wire: Any, raw: bytes) -> LLMResponse:
    """A provider's stream, read to its end."""
    parser, decoder = SSEParser(), wire.stream_decoder(quirks=Quirks())
    events = [out for event in parser.feed(raw) + parser.close() for out in decoder.feed(event)]
    return whole(events + decoder.close())


def sse(*values: Any) -> bytes:
    return b"".join(b"data: " + orjson.dumps(value) + b"\n\n" for value in values)


def test_the_sdk_fails_on_a_second_sealed_thought_in_a_chat_stream() -> None:
    """List entries that come in several deltas have an index from the second one on."""
    thoughts = [Thinking("a", "sbgw1.m.h.x1", origin="sbgw"), Thinking("b", "sbgw1.m.h.x2", origin="sbgw")]
    raw = streamed(
        CHAT, thoughts[0], Text("1", {"annotations": [NOTE]}), thoughts[1], Text("2", {"annotations": [NOTE]})
    )
    read = Sdks().stream("openai-chat", raw)
    assert (["sbgw1.m.h.x1", "sbgw1.m.h.x2"], [NOTE["url"]] * 2) == (read.state, read.sources)


def test_citations_of_responses_answers_break_chat_clients() -> None:
    """Chat nests what a citation says and knows none of files."""
    notes = [NOTE, {"type": "file_citation", "file_id": "f", "filename": "x", "index": 0}]
    answer = LLMResponse("a", "m", (Text("hi", {"annotations": notes}),), "end_turn", protocol="openai-responses")
    read = Sdks().whole("openai-chat", CHAT.encode_response(answer, model="m"))
    assert [NOTE["url"]] == read.sources


def test_a_chat_servers_own_annotation_breaks_responses_clients() -> None:
    """Annotations of kinds that Responses does not have stay out."""
    notes = [{"type": "file", "file": {"hash": "x"}}, {"type": "url_citation", "url_citation": {**NOTE}}]
    answer = LLMResponse("a", "m", (Text("hi", {"annotations": notes}),), "end_turn", protocol="openai-chat")
    read = Sdks().whole("openai-responses", RESPONSES.encode_response(answer, model="m"))
    assert [NOTE["url"]] == read.sources


def test_citations_before_the_text_are_lost() -> None:
    """A server that searches first names its sources before it says anything."""
    delta = {"content": "", "annotations": [{"type": "url_citation", "url_citation": {"url": "https://example.org"}}]}
    chunks = [{"choices": [{"index": 0, "delta": d}]} for d in (delta, delta, {"content": "hi"})]
    answer = decoded(CHAT, sse(*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
    assert answer.content == (Text("hi", {"annotations": delta["annotations"] * 2}),)  # type: ignore[operator]


def test_strict_responses_clients_miss_cache_writes() -> None:
    """All token counts that the SDK's model requires are there, known or not."""
    answer = LLMResponse("a", "m", (Text("hi"),), "end_turn", usage=Usage(1, 1))
    assert Sdks().whole("openai-responses", RESPONSES.encode_response(answer, model="m")).usage["written"] == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_free_text_of_a_custom_call_crashes_messages_clients(stream: bool) -> None:
    """Where all input is JSON, a custom call's text is the one argument of a function."""
    call = ToolCall("c", "patch", "*** Begin", kind="custom")
    if stream:
        read = Sdks().stream("anthropic-messages", streamed(MESSAGES, call))
    else:
        answer = LLMResponse("a", "m", (call,), "tool_use")
        read = Sdks().whole("anthropic-messages", MESSAGES.encode_response(answer, model="m"))
    assert [c.arguments for c in read.calls] == [{"input": "*** Begin"}]


def test_a_compacted_prompt_is_billed_as_it_was_before() -> None:
    """The usage at the end of a stream counts, also where it is smaller."""
    raw = sse(
        {"type": "message_start", "message": {"usage": {"input_tokens": 100, "cache_read_input_tokens": 55000, "output_tokens": 7}}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"input_tokens": 181, "cache_read_input_tokens": 0, "output_tokens": 8}},
        {"type": "message_stop"},
    )  # fmt: skip
    usage = decoded(MESSAGES, raw).usage
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens) == (181, 0, 8)


def test_more_cached_than_the_prompt_has() -> None:
    """Cached tokens are part of the prompt, whatever a server counts; so no client reads more input than there was."""
    body = {
        "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 154, "completion_tokens": 2, "total_tokens": 156, "prompt_tokens_details": {"cached_tokens": 164}},
    }  # fmt: skip
    told = MESSAGES.encode_response(CHAT.decode_response(body, quirks=Quirks()), model="m")["usage"]
    assert told["input_tokens"] + told["cache_read_input_tokens"] == chat.whole(body).usage["input"] == 154


def test_a_searched_tool_comes_back_under_a_name_nobody_offered() -> None:
    """A namespace that the client never made is no part of the name of its tool; one that it made is."""
    item = {"type": "function_call", "call_id": "c", "name": "read", "namespace": "read", "arguments": "{}"}
    body = {"id": "resp_1", "status": "completed", "output": [item]}
    for tools, expected in (
        ((Tool("read"),), ("read", "")),
        ((Tool("read", kind="namespace", members=(Tool("read"),)),), ("read", "read")),
    ):
        request = LLMRequest("m", (), tools=tools)
        (call,) = RESPONSES.decode_response(body, quirks=Quirks(), request=request).content
        assert isinstance(call, ToolCall)
        assert expected == (call.name, call.namespace)
