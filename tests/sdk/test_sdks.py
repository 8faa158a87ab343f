"""The official SDKs work through the gateway on every wire behind it: whole, streamed, with helpers and tools, without a warning.

pytest turns warnings into errors, so an SDK that only grumbles fails its test too. The emulated provider is strict and compares
what comes back with what it said.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anthropic
import openai
import orjson
import pytest

from tests.clients.places import CHAT, MESSAGES, PLACES, Place
from tests.emulator import Fault
from tests.sdk.through import CITIES, FIRST, LAST, SIDE, Through

pytestmark = pytest.mark.asyncio(loop_scope="module")
WEATHER = {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False,
}  # fmt: skip
BEHIND = pytest.mark.parametrize("place", PLACES, ids=lambda place: place.id, scope="module")
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@BEHIND
@STREAM
async def test_messages_loop(through: Through, claude: Callable, *, stream: bool) -> None:
    """The Anthropic SDK's tool loop: parallel calls with their arguments, results, final text, usage."""
    client: anthropic.AsyncAnthropic = claude(through)
    messages: list[Any] = [{"role": "user", "content": "Weather?"}]
    asked = {
        "model": "claude-opus-5-5", "max_tokens": 1000, "system": "Be short.",
        "tools": [{"name": "weather", "description": "Tells the weather.", "input_schema": WEATHER}],
    }  # fmt: skip
    first = await _message(client, stream=stream, messages=messages, **asked)
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [{"city": city} for city in CITIES] == [call.input for call in calls]
    assert "".join(block.text for block in first.content if block.type == "text") == FIRST
    assert first.stop_reason == "tool_use"
    assert first.usage.input_tokens > 0
    assert first.usage.output_tokens > 0
    results = [{"type": "tool_result", "tool_use_id": c.id, "content": f"rain in {c.input['city']}"} for c in calls]  # type: ignore[index]
    messages += [
        {"role": "assistant", "content": first.model_dump(exclude_none=True)["content"]},
        {"role": "user", "content": results},
    ]
    last = await _message(client, stream=stream, messages=messages, **asked)
    assert (last.content[-1].text, last.stop_reason) == (LAST, "end_turn")  # type: ignore[union-attr]
    through.check(2)


async def _message(client: anthropic.AsyncAnthropic, *, stream: bool, **asked: Any) -> anthropic.types.Message:
    if not stream:
        return await client.messages.create(**asked)
    async with client.messages.stream(**asked) as streamed:
        kinds = [event.type async for event in streamed]
        assert kinds[-1] == "message_stop"
        return await streamed.get_final_message()


@BEHIND
@STREAM
async def test_responses_loop(through: Through, gpt: Callable, *, stream: bool) -> None:
    """The OpenAI SDK's Responses loop, without stored state: items go back as they came."""
    client: openai.AsyncOpenAI = gpt(through)
    items: list[Any] = [{"role": "user", "content": "Weather?"}]
    asked = {
        "model": "gpt-5.5", "instructions": "Be short.", "store": False, "include": ["reasoning.encrypted_content"],
        "tools": [{"type": "function", "name": "weather", "description": "d", "parameters": WEATHER, "strict": True}],
    }  # fmt: skip
    first = await _response(client, stream=stream, input=items, **asked)
    calls = [item for item in first.output if item.type == "function_call"]
    assert [{"city": city} for city in CITIES] == [orjson.loads(call.arguments) for call in calls]
    assert first.output_text == FIRST
    assert first.usage is not None
    assert first.usage.total_tokens == first.usage.input_tokens + first.usage.output_tokens > 0
    items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
    items += [
        {"type": "function_call_output", "call_id": c.call_id, "output": f"rain in {orjson.loads(c.arguments)['city']}"}
        for c in calls
    ]
    last = await _response(client, stream=stream, input=items, **asked)
    assert (last.output_text, last.status) == (LAST, "completed")
    through.check(2)


async def _response(client: openai.AsyncOpenAI, *, stream: bool, **asked: Any) -> openai.types.responses.Response:
    if not stream:
        return await client.responses.create(**asked)
    async with client.responses.stream(**asked) as streamed:
        kinds = [event.type async for event in streamed]
        assert [kinds[0], kinds[-1]] == ["response.created", "response.completed"]
        return await streamed.get_final_response()


@BEHIND
@STREAM
async def test_chat_loop(through: Through, gpt: Callable, *, stream: bool) -> None:
    """The OpenAI SDK's chat loop."""
    client: openai.AsyncOpenAI = gpt(through)
    messages: list[Any] = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Weather?"}]
    tools = [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": WEATHER}}]
    for turn in range(2):
        completion = await _completion(client, stream=stream, model="gpt-4.1", messages=messages, tools=tools)
        choice = completion.choices[0]
        assert completion.usage is not None
        assert completion.usage.total_tokens > 0
        assert ("tool_calls", "stop")[turn] == choice.finish_reason
        calls = choice.message.tool_calls or []
        assert [{"city": city} for city in CITIES] == [orjson.loads(c.function.arguments) for c in calls] or turn  # type: ignore[union-attr]
        messages.append(_replayed(choice.message.model_dump(exclude_none=True)))
        for call in calls:
            call_city = orjson.loads(call.function.arguments)["city"]  # type: ignore[union-attr]
            messages.append({"role": "tool", "tool_call_id": call.id, "content": f"rain in {call_city}"})
    assert messages[-1]["content"] == LAST
    through.check(2)


def _replayed(message: dict[str, Any]) -> dict[str, Any]:
    """An answer's message as clients send it back: without what the SDK's helpers add, and without display-only reasoning."""
    kept = {key: message[key] for key in ("role", "content", "reasoning_content") if key in message}
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {key: call["function"][key] for key in ("name", "arguments")},
        }
        for call in message.get("tool_calls", ())
    ]
    return kept | ({"tool_calls": calls} if calls else {})


async def _completion(client: openai.AsyncOpenAI, *, stream: bool, **asked: Any) -> Any:
    if not stream:
        return await client.chat.completions.create(**asked)
    async with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as streamed:
        async for _ in streamed:
            pass
        return await streamed.get_final_completion()


@pytest.mark.parametrize("place", [MESSAGES, CHAT], ids=lambda place: place.id, scope="module")
async def test_plain_stream_events(through: Through, claude: Callable, gpt: Callable) -> None:
    """Raw streams of all three protocols say the same text."""
    anthropic_client, openai_client = claude(through), gpt(through)
    said: list[str] = []
    events = await anthropic_client.messages.create(
        model="claude-opus-5-5", max_tokens=100, messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    said.append(
        "".join(
            [e.delta.text async for e in events if e.type == "content_block_delta" and e.delta.type == "text_delta"]
        )
    )
    events = await openai_client.responses.create(model="gpt-5.5", input="Hi", stream=True)
    said.append("".join([e.delta async for e in events if e.type == "response.output_text.delta"]))
    events = await openai_client.chat.completions.create(
        model="gpt-4.1", messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    said.append("".join([c.choices[0].delta.content or "" async for c in events if c.choices]))
    assert said == [SIDE] * 3


@BEHIND
async def test_count_tokens_and_models(through: Through, claude: Callable, gpt: Callable, place: Place) -> None:
    """Token counts and model lists come in the shape of the SDK that asks, whatever is behind."""
    counted = await claude(through).messages.count_tokens(
        model="claude-opus-5-5", system="Be short.", messages=[{"role": "user", "content": "Hello " * 100}]
    )
    listed = [model.id async for model in claude(through).models.list()]
    openai_listed = [model.id async for model in gpt(through).models.list()]
    one = await gpt(through).models.retrieve(openai_listed[0])
    other = await claude(through).models.retrieve(listed[0])
    assert 50 < counted.input_tokens < 2000
    assert place.model in " ".join(listed)
    assert place.model in " ".join(openai_listed)
    assert openai_listed[0] == one.id
    assert listed[0] == other.id


@pytest.mark.parametrize("place", [MESSAGES], ids=lambda place: place.id, scope="module")
async def test_wrong_key(through: Through) -> None:
    """A wrong key for the gateway is the SDK's authentication error, and nothing is sent on."""
    async with anthropic.AsyncAnthropic(base_url=through.gate.url, api_key="wrong") as client:
        with pytest.raises(anthropic.AuthenticationError):
            await client.messages.create(
                model="claude-opus-5-5", max_tokens=10, messages=[{"role": "user", "content": "x"}]
            )
    async with openai.AsyncOpenAI(base_url=through.gate.url + "/v1", api_key="wrong") as client2:
        with pytest.raises(openai.AuthenticationError):
            await client2.responses.create(model="gpt-5.5", input="x")
    assert through.emu.requests == []


@pytest.mark.slow
@BEHIND
@pytest.mark.parametrize(("kind", "error"), [
    ("400", (anthropic.BadRequestError, openai.BadRequestError)),
    ("429", (anthropic.RateLimitError, openai.RateLimitError)),
    ("context", (anthropic.BadRequestError, openai.BadRequestError)),
    ("quota", (anthropic.APIStatusError, openai.APIStatusError)),
    ("529", (anthropic.APIStatusError, openai.APIStatusError)),
    ("drop-before-headers", (anthropic.APIStatusError, openai.APIStatusError)),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
async def test_provider_errors(
    fresh: Through, claude: Callable, gpt: Callable, kind: str, error: tuple[type[Exception], type[Exception]]
) -> None:
    """A provider's failure with nobody behind it is the SDK's own kind of error, with a message, in every protocol."""
    fresh.emu.fail_next(Fault(kind, times=50))  # type: ignore[arg-type]
    with pytest.raises(error[0]) as one:
        await claude(fresh).messages.create(
            model="claude-opus-5-5", max_tokens=10, messages=[{"role": "user", "content": "x"}]
        )
    with pytest.raises(error[1]) as two:
        await gpt(fresh).responses.create(model="gpt-5.5", input="x")
    with pytest.raises(error[1]) as three:
        await gpt(fresh).chat.completions.create(
            model="gpt-4.1", messages=[{"role": "user", "content": "x"}], stream=True
        )
    for caught in (one, two, three):
        assert caught.value.message.strip()  # type: ignore[attr-defined]
        assert caught.value.response.headers["x-sbgw-event"]  # type: ignore[attr-defined]


@pytest.mark.slow
@BEHIND
@pytest.mark.parametrize("kind", ["error-mid-stream", "drop-mid-stream", "truncated"])
async def test_broken_streams_end_in_an_error(fresh: Through, claude: Callable, gpt: Callable, kind: str) -> None:
    """A stream that breaks after content has been sent ends in the protocol's error, never in a seemingly whole answer."""
    fresh.emu.fail_next(Fault(kind, times=50))  # type: ignore[arg-type]
    with pytest.raises(anthropic.APIError):
        async with claude(fresh).messages.stream(
            model="claude-opus-5-5", max_tokens=1000, messages=[{"role": "user", "content": "x"}]
        ) as streamed:
            await streamed.get_final_message()
    kinds: list[str] = []
    with suppress(openai.APIError):  # what an `error` event becomes
        kinds += [
            event.type async for event in await gpt(fresh).responses.create(model="gpt-5.5", input="x", stream=True)
        ]
    assert kinds in ([], [*kinds[:-1], "response.failed"])
    with pytest.raises(openai.APIError):
        async for _ in await gpt(fresh).chat.completions.create(
            model="gpt-4.1", messages=[{"role": "user", "content": "x"}], stream=True
        ):
            pass
