"""Is an answer one that its protocol's clients accept? Official SDKs read it; what they forgive is checked by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import anthropic
import httpx2
import openai
import orjson

from tests.spine import Answer, body


@dataclass(slots=True, frozen=True)
class Verdict:
    """What a client gets out of an answer: its text, or what the failure is called."""

    text: str = ""
    error: str = ""
    """The SDK's message; empty for an answer."""
    status: int = 200


def frames(data: bytes) -> list[tuple[str, str]]:
    """(event name, data) of every frame of a stream that has data. Raises AssertionError for a frame that is cut off."""
    assert not data or data.endswith((b"\n\n", b"\r\n\r\n")), f"the stream ends inside a frame: {data[-200:]!r}"
    found = []
    for frame in data.decode("utf-8", "replace").replace("\r\n", "\n").split("\n\n"):
        fields = [line.partition(":") for line in frame.split("\n") if line and not line.startswith(":")]
        told = {name: value.removeprefix(" ") for name, _, value in fields}
        if "data" in told:
            found.append((told.get("event", ""), told["data"]))
    return found


def judged(answer: Answer) -> Verdict:
    """Reads `answer` as its client would. Raises AssertionError for anything but one whole answer or one whole error."""
    if answer.status == 200 and answer.stream:
        assert answer.streamed, answer.headers
        _one_end(answer)
    else:
        assert answer.headers["content-type"].startswith("application/json"), answer.headers
        assert isinstance(answer.json, dict)
    if answer.status != 200:
        _envelope(answer)
    try:
        return Verdict(_read(answer))
    except (anthropic.APIStatusError, openai.APIStatusError) as error:
        return Verdict(error=error.message, status=error.status_code)
    except (anthropic.APIError, openai.APIError) as error:
        return Verdict(error=error.message)


def _envelope(answer: Answer) -> None:
    told = answer.json
    assert told["error"]["message"], told
    if answer.protocol == "anthropic-messages":
        assert told["type"] == "error", told
        assert told["error"]["type"], told
    else:
        assert "type" in told["error"], told


def _one_end(answer: Answer) -> None:
    """Exactly one terminal event, and nothing after it."""
    told = frames(answer.body)
    assert told, f"nothing was streamed: {answer.body!r}"
    if answer.protocol == "openai-chat":
        kinds = ["end" if data == "[DONE]" else "error" if "error" in orjson.loads(data) else "" for _, data in told]
    else:
        kinds = [str(orjson.loads(data)["type"]) for _, data in told]
    match answer.protocol:
        case "anthropic-messages":
            ends = {"message_stop", "error"}
        case "openai-responses":
            ends = {"response.completed", "response.incomplete", "response.failed"}
        case _:
            ends = {"end", "error"}
    assert [kinds[-1]] == [kind for kind in kinds if kind in ends], kinds


def _read(answer: Answer) -> str:
    asked = body(answer.protocol, stream=answer.stream)
    match answer.protocol:
        case "anthropic-messages":
            return _messages(_claude(answer), asked)
        case "openai-responses":
            return _responses(gpt(answer), asked)
        case _:
            return _chat(gpt(answer), asked)


def _messages(client: anthropic.Anthropic, asked: dict[str, Any]) -> str:
    if not asked.pop("stream", False):
        return "".join(b.text for b in client.messages.create(**asked).content if b.type == "text")
    with client.messages.stream(**asked) as stream:
        message = stream.get_final_message()
        assert message.stop_reason
        return "".join(b.text for b in message.content if b.type == "text")


def _responses(client: openai.OpenAI, asked: dict[str, Any]) -> str:
    if not asked.get("stream"):
        response = client.responses.create(**asked)
        assert response.status == "completed"
        return response.output_text
    final: Any = None
    said, sequence = "", -1
    for event in client.responses.create(**asked):
        number = getattr(event, "sequence_number", None)
        if event.type == "response.failed":
            raise openai.APIError(str(event.response.error and event.response.error.message), _REQUEST, body=None)
        assert number is None or number > sequence, f"{event.type}: {number} after {sequence}"
        sequence = sequence if number is None else number
        if event.type == "response.output_text.delta":
            said += event.delta
        if event.type == "response.completed":
            final = event.response
    assert final is not None
    assert final.output_text in ("", said)
    return said


def _chat(client: openai.OpenAI, asked: dict[str, Any]) -> str:
    if not asked.get("stream"):
        return str(client.chat.completions.create(**asked).choices[0].message.content)
    said, finish = "", ""
    for chunk in client.chat.completions.create(**asked):
        for choice in chunk.choices:
            said += choice.delta.content or ""
            finish = choice.finish_reason or finish
    assert finish
    return said


_REQUEST = httpx2.Request("POST", "http://gateway")
_CURRENT: dict[str, Answer] = {}


def _claude(answer: Answer) -> anthropic.Anthropic:
    _CURRENT["anthropic"] = answer
    return _clients()[0]


def gpt(answer: Answer) -> openai.OpenAI:
    _CURRENT["openai"] = answer
    return _clients()[1]


@cache
def _clients() -> tuple[anthropic.Anthropic, openai.OpenAI]:
    """SDK clients whose transport gives back the answer that is being judged."""
    made = [
        httpx2.Client(transport=httpx2.MockTransport(lambda _, name=name: _replayed(name)))
        for name in ("anthropic", "openai")
    ]
    return (
        anthropic.Anthropic(api_key="k", base_url="http://gateway", max_retries=0, http_client=made[0]),
        openai.OpenAI(api_key="k", base_url="http://gateway/v1", max_retries=0, http_client=made[1]),
    )


def _replayed(name: str) -> httpx2.Response:
    answer = _CURRENT[name]
    dropped = ("content-length", "transfer-encoding", "content-encoding")
    headers = {k: v for k, v in answer.headers.items() if k not in dropped}
    return httpx2.Response(answer.status, headers=headers, content=_pieces(answer.body))


def _pieces(data: bytes) -> Iterator[bytes]:
    yield data.decode("utf-8", "replace").encode()  # as the SSE standard has clients read; one SDK stops at it instead
