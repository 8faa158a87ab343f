"""Token probabilities between Chat and Responses: asked for in the provider's words, told in the client's, read by its SDK."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.judge import gpt
from tests.spine import Answer, Behind, Call, Play, Wire, body, policy, spine

CHAT, RESPONSES = "openai-chat", "openai-responses"
TOKENS = [
    {"token": word, "logprob": -0.25, "bytes": list(word.encode()), "top_logprobs": [{"token": word, "logprob": -0.25, "bytes": None}]}
    for word in ("one", " two")
]  # fmt: skip
ASKED: dict[str, dict[str, Any]] = {
    CHAT: {"logprobs": True, "top_logprobs": 1},
    RESPONSES: {"include": ["message.output_text.logprobs"], "top_logprobs": 1},
}
PAIRS = pytest.mark.parametrize(
    ("client", "wire"), [(CHAT, RESPONSES), (RESPONSES, CHAT), (CHAT, CHAT), (RESPONSES, RESPONSES)]
)


def sse(*values: dict[str, Any]) -> bytes:
    """Events as both wires send them; their names are those of Responses."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (v.get("type", "message").encode(), orjson.dumps(v)) for v in values)


def whole(wire: str) -> bytes:
    if wire == CHAT:
        message = {"role": "assistant", "content": "one two"}
        choice = {"index": 0, "message": message, "logprobs": {"content": TOKENS}, "finish_reason": "stop"}
        return orjson.dumps({"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})
    return orjson.dumps({**RESPONSE, "status": "completed", "output": [item()]})


RESPONSE: dict[str, Any] = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [], "tools": [], "tool_choice": "auto",
    "parallel_tool_calls": True, "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
}  # fmt: skip


def item() -> dict[str, Any]:
    part = {"type": "output_text", "text": "one two", "annotations": [], "logprobs": TOKENS}
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part]}


def streamed(wire: str) -> bytes:
    if wire == CHAT:
        head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        said = [
            {"index": 0, "delta": {"content": token["token"]}, "logprobs": {"content": [token]}, "finish_reason": None}
            for token in TOKENS
        ]
        end = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
        return sse(*({**head, "choices": [choice]} for choice in (*said, end))).replace(b"event: message\n", b"")
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    kind = "response.output_text"
    values = [
        {"type": "response.created", "response": {**RESPONSE, "status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item(), "content": []}},
        {"type": "response.content_part.added", **at, "part": part},
        *({"type": f"{kind}.delta", **at, "delta": token["token"], "logprobs": [token]} for token in TOKENS),
        {"type": f"{kind}.done", **at, "text": "one two", "logprobs": TOKENS},
        {"type": "response.content_part.done", **at, "part": item()["content"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": item()},
        {"type": "response.completed", "response": {**RESPONSE, "status": "completed", "output": [item()]}},
    ]
    return sse(*({**value, "sequence_number": number} for number, value in enumerate(values)))


def plays(wire: str, asked: list[dict[str, Any]], *, stream: bool) -> Play:
    async def play(call: Call) -> None:
        asked.append(orjson.loads(call.body))
        await call.open("text/event-stream" if stream else "application/json")
        await call.write(streamed(wire) if stream else whole(wire))

    return play


def tokens(answer: Answer) -> list[Any]:
    """What the client's SDK reads, streamed through its own helper."""
    sdk: Any = gpt(answer)
    if answer.protocol == CHAT:
        asked = {"model": "m", "messages": [{"role": "user", "content": "q"}], **ASKED[CHAT]}
        if not answer.stream:
            return list(sdk.chat.completions.create(**asked).choices[0].logprobs.content)
        with sdk.chat.completions.stream(**asked) as stream:
            return list(stream.get_final_completion().choices[0].logprobs.content)
    asked = {"model": "m", "input": "q", **ASKED[RESPONSES]}
    if not answer.stream:
        return list(sdk.responses.create(**asked).output[0].content[0].logprobs)
    with sdk.responses.stream(**asked) as stream:
        done = [event for event in stream if event.type == "response.output_text.done"]
        assert [token.token for token in done[0].logprobs] == ["one", " two"]
        return list(stream.get_final_response().output[0].content[0].logprobs)


@PAIRS
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_probabilities_arrive(client: str, wire: str, *, stream: bool) -> None:
    """The provider is asked for them in its own words, the client's SDK reads every one of them, and nothing is lost."""
    asked: list[dict[str, Any]] = []
    async with Wire(plays(wire, asked, stream=stream)) as provider:
        async with spine(policy(Behind("first", provider.url, (wire,))), env={"FIRST_KEY": "k"}) as gate:
            answer = await gate.ask(client, body(client, stream=stream, **ASKED[client]), stream=stream)
            event = await gate.event(answer.headers["x-sbgw-event"])
    assert (answer.status, event["status"], event.get("losses", [])) == (200, "success", [])
    assert {name: asked[0][name] for name in ASKED[wire] if name != "include"}.items() <= ASKED[wire].items()
    assert wire == CHAT or "message.output_text.logprobs" in asked[0]["include"]
    read = tokens(answer)
    assert [(t.token, t.logprob, list(t.bytes), t.top_logprobs[0].token) for t in read] == [
        (t["token"], t["logprob"], t["bytes"], t["token"]) for t in TOKENS
    ]


@pytest.mark.parametrize(("client", "wire"), [(CHAT, "anthropic-messages"), (CHAT, CHAT), (RESPONSES, CHAT)])
async def test_who_cannot_tell_them_is_not_asked(client: str, wire: str) -> None:
    """Messages has no word for them, and some vendors refuse it: the candidate drops out, the caller is told why."""
    asked: list[dict[str, Any]] = []
    async with Wire(plays(wire, asked, stream=False)) as provider:
        row = {"quirks": {"drop": ["logprobs", "top_logprobs"]}} if wire == CHAT else {}
        text = policy(Behind("first", provider.url, (wire,), row=row))
        async with spine(text, env={"FIRST_KEY": "k"}) as gate:
            answer = await gate.ask(client, body(client, **ASKED[client]))
    assert answer.status in (400, 403)
    assert asked == []
    assert "logprobs" in answer.json["error"]["message"]
