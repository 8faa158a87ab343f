"""A streamed answer as the strictest Chat clients want it."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx
import orjson
import pytest
from openai import APIError, OpenAI

from engine.llm.errors import ProviderError
from engine.llm.messages import LLMRequest, LLMResponse, Opaque, Refusal, Text, Thinking, ToolCall, Usage
from engine.llm.replay import replay
from engine.llm.stream import Failure, Progress, Start, StreamEvent
from tests.protocols.chat_kit import WIRE, encoded, golden, request, user

ANSWER = LLMResponse(
    "msg_1",
    "claude",
    (
        Thinking("I look.", "sbgw1.m.h.sig", origin="sbgw"),
        Text("Two files.\n"),
        ToolCall("toolu_1", "read", '{"path":"a"}'),
        ToolCall("toolu_2", "list", "{}"),
        ToolCall("toolu_3", "apply", "*** Begin", kind="custom"),
        Opaque("anthropic-messages", {"type": "server_tool_use"}),
    ),
    "tool_use",
    usage=Usage(10, 5, cached_tokens=4),
)


def lines(raw: bytes) -> list[Any]:
    """The data of each frame, parsed; `[DONE]` as text."""
    frames = raw.decode().split("\n\n")
    assert frames.pop() == ""
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames)
    return [frame[6:] if frame == "data: [DONE]" else orjson.loads(frame[6:]) for frame in frames]


def test_every_chunk_is_complete() -> None:
    """Id, object, created, model in each; the role first; the finish, the usage and `[DONE]` last."""
    *chunks, usage, done = lines(encoded(replay(ANSWER)))
    assert all(c["id"] == "chatcmpl-1" and c["object"] == "chat.completion.chunk" for c in chunks)
    assert all(c["model"] == "asked" and isinstance(c["created"], int) for c in chunks)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [c["choices"][0]["finish_reason"] for c in chunks[-2:]] == [None, "tool_calls"]
    assert (usage["choices"], usage["usage"]["total_tokens"], done) == ([], 15, "[DONE]")
    golden("answer.sse", encoded(replay(ANSWER)).decode())


def test_a_calls_first_delta_says_what_it_is() -> None:
    """Index, id, type and name at once; arguments are JSON even when there are none."""
    events = replay(LLMResponse("a", "m", (ToolCall("t1", "f", ""), ToolCall("t2", "g", "{}")), "tool_use"))
    events = [e for e in events if getattr(e, "text", None) is None]
    deltas = [c["choices"][0]["delta"] for c in lines(encoded(events))[1:-3]]
    first = deltas[0]["tool_calls"][0]
    assert first == {"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}}
    assert deltas[-1] == {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]}


@pytest.mark.parametrize(
    ("extra", "sent"),
    [({}, False), ({"stream_options": {"include_usage": True}}, True), ({"stream_options": None}, False)],
)
def test_usage_only_for_who_asks(extra: dict[str, Any], *, sent: bool) -> None:
    """Clients that did not ask may fail at a chunk without choices."""
    asked: LLMRequest = request(user("hi"), extra=extra)
    assert any(c["choices"] == [] for c in lines(encoded(replay(ANSWER), asked))[:-1]) == sent


def test_a_refusal_has_its_own_field() -> None:
    """And ends with `stop`, as OpenAI's do."""
    chunks = lines(encoded(replay(LLMResponse("a", "m", (Refusal("no"),), "refusal"))))
    assert chunks[1]["choices"][0]["delta"] == {"refusal": "no"}
    assert chunks[-3]["choices"][0]["finish_reason"] == "stop"


def test_a_failure_is_a_data_line_and_nothing_after_it() -> None:
    """No `[DONE]`: it would say that the answer is whole."""
    error = ProviderError("the provider is overloaded", meaning="overloaded", status=529)
    raw = encoded([Start("a", "m"), Failure(error)])
    assert lines(raw)[-1] == {
        "error": {
            "message": "the provider is overloaded",
            "type": "server_error",
            "param": None,
            "code": "server_is_overloaded",
        }
    }
    assert WIRE.encode_stream_error(error) == raw[raw.index(b'data: {"error"') :]


def test_signs_of_life_are_comments() -> None:
    """Every client skips them; an event would be a chunk."""
    assert WIRE.keepalive() == b": keepalive\n\n"
    assert WIRE.stream_encoder(model="m", answer_id="a").feed(Progress()) == b""


def sdk(
    body: bytes, status: int = 200, kind: str = "text/event-stream", headers: dict[str, str] | None = None
) -> OpenAI:
    def reply(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"content-type": kind, **(headers or {})}, content=body)

    client = httpx.Client(transport=httpx.MockTransport(reply))
    return OpenAI(api_key="k", base_url="http://127.0.0.1/v1", http_client=client, max_retries=0)


def test_the_official_sdk_reads_the_stream() -> None:
    """Its helper puts the answer together: text, calls, usage."""
    events: list[StreamEvent] = replay(
        LLMResponse(ANSWER.id, ANSWER.model, ANSWER.content[:4], "tool_use", usage=ANSWER.usage)
    )
    with sdk(encoded(events)).chat.completions.stream(
        model="m", messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        final = stream.get_final_completion()
    message = final.choices[0].message
    assert (message.content, final.choices[0].finish_reason) == ("Two files.\n", "tool_calls")
    assert message.tool_calls
    assert [(c.id, c.function.name, c.function.arguments) for c in message.tool_calls] == [
        ("toolu_1", "read", '{"path":"a"}'),
        ("toolu_2", "list", "{}"),
    ]
    assert final.usage
    assert final.usage.total_tokens == 15


def test_the_official_sdk_reads_the_whole_answer() -> None:
    """Every field its model requires is there."""
    body = orjson.dumps(WIRE.encode_response(ANSWER, model="asked"))
    read = sdk(body, kind="application/json").chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hi"}]
    )
    assert (read.choices[0].message.content, read.usage and read.usage.prompt_tokens) == ("Two files.\n", 10)


def test_the_official_sdk_raises_what_a_stream_reports() -> None:
    """With the message."""
    raw = encoded([Start("a", "m"), Failure(ProviderError("it broke", meaning="server_error"))])
    with (
        pytest.raises(APIError, match="it broke"),
        sdk(raw).chat.completions.stream(model="m", messages=[{"role": "user", "content": "hi"}]) as stream,
    ):
        stream.until_done()


def test_the_official_sdk_lists_models() -> None:
    """The list shape."""
    body = orjson.dumps(
        WIRE.encode_models([{"id": "a/b", "created": 5, "owned_by": "a", "context": 1000, "max_output": 10}])
    )
    assert [(m.id, m.created, m.owned_by) for m in sdk(body, kind="application/json").models.list()] == [
        ("a/b", 5, "a")
    ]
