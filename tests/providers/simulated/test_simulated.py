"""The simulated provider, judged by the official SDKs and by every captured request."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from jsonschema import Draft202012Validator

from engine.llm.errors import ProviderError
from engine.providers.simulated import SimulatedProvider

PATHS = {
    "/v1/messages": "anthropic-messages",
    "/v1/responses": "openai-responses",
    "/v1/chat/completions": "openai-chat",
}
CANARY = "zebra-quartz-9371"

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "unit"],
}
WRITE = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
    "required": ["path", "content"],
}
TITLE = {
    "type": "object", "properties": {"title": {"type": "string", "maxLength": 50}}, "required": ["title"], "additionalProperties": False,
}  # fmt: skip


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A server that is nothing but the simulated provider."""
    provider = SimulatedProvider(pace=0.0)

    async def serve(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        try:
            status, headers, chunks = await provider.respond(
                PATHS[request.path], body, body["model"], stream=bool(body.get("stream"))
            )
            response = web.StreamResponse(status=status, headers=headers)
            await response.prepare(request)
            async for chunk in chunks:
                await response.write(chunk)
        except ProviderError:
            assert request.transport is not None
            request.transport.abort()
            raise ConnectionResetError from None
        await response.write_eof()
        return response

    app = web.Application()
    for path in PATHS:
        app.router.add_post(path, serve)
    async with TestServer(app) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
async def claude(url: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def gpt(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def ask(**more: Any) -> dict[str, Any]:
    return {
        "model": "large",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": f"Explain {CANARY}."}],
        **more,
    }


async def test_messages_whole_and_streamed_say_the_same(claude: anthropic.AsyncAnthropic) -> None:
    """The SDK's assembled stream has the text, stop reason and usage of the whole answer."""
    whole = await claude.messages.create(**ask(thinking={"type": "adaptive"}))
    async with claude.messages.stream(**ask(thinking={"type": "adaptive"})) as stream:
        streamed = await stream.get_final_message()
    assert [block.type for block in whole.content] == ["thinking", "text"]
    assert [_said(block) for block in streamed.content] == [_said(block) for block in whole.content]
    assert (streamed.stop_reason, whole.stop_reason) == ("end_turn", "end_turn")
    assert (streamed.usage.output_tokens, streamed.usage.input_tokens > 0) == (whole.usage.output_tokens, True)


def _said(block: Any) -> Any:
    return {
        "text": lambda: block.text,
        "thinking": lambda: block.thinking,
        "tool_use": lambda: (block.name, block.input),
    }[block.type]()


@pytest.mark.parametrize("stream", [False, True])
async def test_messages_tool_loop(claude: anthropic.AsyncAnthropic, stream: bool) -> None:
    """One call, then two at once, then text; every call's input is valid and every id new."""
    tools = [{"name": "write_file", "input_schema": WRITE}, {"name": "get_weather", "input_schema": WEATHER}]
    messages = list(ask()["messages"])
    ids: list[str] = []
    calls: list[list[str]] = []
    for _ in range(3):
        request = ask(messages=messages, tools=tools, model="small")
        if stream:
            async with claude.messages.stream(**request) as running:
                message = await running.get_final_message()
        else:
            message = await claude.messages.create(**request)
        used = [block for block in message.content if block.type == "tool_use"]
        calls.append([block.name for block in used])
        assert message.stop_reason == ("tool_use" if used else "end_turn")
        for block in used:
            Draft202012Validator(WEATHER).validate(block.input)
        ids += [block.id for block in used]
        results = [{"type": "tool_result", "tool_use_id": block.id, "content": "20"} for block in used]
        messages += [
            {"role": "assistant", "content": message.to_dict()["content"]},
            {"role": "user", "content": results},
        ]
    assert (calls, len(set(ids))) == ([["get_weather"], ["get_weather", "get_weather"], []], 3)


@pytest.mark.parametrize("stream", [False, True])
async def test_chat_tool_loop(gpt: openai.AsyncOpenAI, stream: bool) -> None:
    """The same loop in Chat Completions, and usage in the stream's last chunk."""
    tools = [
        {"type": "function", "function": {"name": name, "parameters": WEATHER}} for name in ("read_weather", "list_weather")
    ]  # fmt: skip
    messages: list[Any] = list(ask()["messages"])
    calls = []
    for _ in range(3):
        request: dict[str, Any] = {"model": "large", "messages": messages, "tools": tools, "reasoning_effort": "high"}
        if stream:
            async with gpt.chat.completions.stream(**request, stream_options={"include_usage": True}) as running:
                completion: Any = await running.get_final_completion()
        else:
            completion = await gpt.chat.completions.create(**request)
        message = completion.choices[0].message
        used = message.tool_calls or []
        calls.append([call.function.name for call in used])
        for call in used:
            Draft202012Validator(WEATHER).validate(json.loads(call.function.arguments))
        assert completion.choices[0].finish_reason == ("tool_calls" if used else "stop")
        assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
        messages.append(
            {"role": "assistant", "content": message.content, "tool_calls": [call.to_dict() for call in used]}
        )
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "20"} for call in used]
    assert calls == [["read_weather"], ["read_weather", "list_weather"], []]


@pytest.mark.parametrize("stream", [False, True])
async def test_responses_tool_loop(gpt: openai.AsyncOpenAI, stream: bool) -> None:
    """The same loop in Responses, with sealed reasoning and a namespace."""
    tools = [
        {
            "type": "namespace",
            "name": "weather",
            "tools": [{"type": "function", "name": "get_now", "parameters": WEATHER, "strict": False}],
        }
    ]
    items: list[Any] = [{"role": "user", "content": CANARY}]
    calls = []
    for _ in range(3):
        request: dict[str, Any] = {
            "model": "large", "input": items, "extra_body": {"tools": tools}, "reasoning": {"effort": "high"},
            "include": ["reasoning.encrypted_content"], "store": False,
        }  # fmt: skip
        if stream:
            async with gpt.responses.stream(**request) as running:
                response: Any = await running.get_final_response()
        else:
            response = await gpt.responses.create(**request)
        output = response.to_dict()["output"]
        assert (output[0]["type"], bool(output[0]["encrypted_content"]), response.status) == (
            "reasoning",
            True,
            "completed",
        )
        used = [item for item in output if item["type"] == "function_call"]
        calls.append([(item["namespace"], item["name"]) for item in used])
        for item in used:
            Draft202012Validator(WEATHER).validate(json.loads(item["arguments"]))
        items += output + [
            {"type": "function_call_output", "call_id": item["call_id"], "output": "20"} for item in used
        ]
    assert calls == [[("weather", "get_now")], [("weather", "get_now")] * 2, []]


async def test_responses_events_are_complete(gpt: openai.AsyncOpenAI) -> None:
    """Every item is added and done, numbers run without gaps, deltas make up the done text."""
    events = [
        event
        async for event in await gpt.responses.create(
            model="large", input="x", stream=True, reasoning={"effort": "low"}
        )
    ]
    kinds = [event.type for event in events]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (kinds[:2], kinds[-1]) == (["response.created", "response.in_progress"], "response.completed")
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == 2
    for delta, done in (
        ("response.output_text.delta", "response.output_text.done"),
        ("response.reasoning_summary_text.delta", "response.reasoning_summary_text.done"),
    ):
        text = "".join(event.delta for event in events if event.type == delta)
        assert [text] == [event.text for event in events if event.type == done]


async def test_answers_in_a_wanted_form(claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI) -> None:
    """An answer by JSON Schema is valid in all three protocols."""
    form = {"type": "json_schema", "schema": TITLE}
    message = await claude.messages.create(**ask(output_config={"format": form}))
    completion = await gpt.chat.completions.create(
        model="small", messages=[{"role": "user", "content": "x"}],
        response_format={"type": "json_schema", "json_schema": {"name": "t", "schema": TITLE}},
    )  # fmt: skip
    response = await gpt.responses.create(model="small", input="x", text={"format": {**form, "name": "t"}})
    for text in (message.content[0].text, completion.choices[0].message.content, response.output_text):
        Draft202012Validator(TITLE).validate(json.loads(text))


async def test_custom_tools_get_text(gpt: openai.AsyncOpenAI) -> None:
    """A tool that takes free text is called with text."""
    tools: Any = [{"type": "custom", "name": "apply_patch", "format": {"type": "text"}}]
    events = [e async for e in await gpt.responses.create(model="small", input="x", tools=tools, stream=True)]
    item = next(e.item for e in events if e.type == "response.output_item.done" and e.item.type == "custom_tool_call")
    assert (item.name, item.input) == ("apply_patch", "example")


async def test_tool_choice_is_obeyed(claude: anthropic.AsyncAnthropic) -> None:
    """No call where none is allowed, the named tool where one is named, one call where parallel ones are off."""
    tools = [{"name": "get_weather", "input_schema": WEATHER}, {"name": "write_file", "input_schema": WRITE}]
    called = ask()["messages"] + [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "20"}]},
    ]
    seen = []
    for choice in (
        {"type": "none"},
        {"type": "tool", "name": "write_file"},
        {"type": "auto", "disable_parallel_tool_use": True},
        {"type": "auto"},
    ):
        message = await claude.messages.create(**ask(messages=called, tools=tools, tool_choice=choice))
        seen.append([block.name for block in message.content if block.type == "tool_use"])
    assert seen == [[], ["write_file"], ["get_weather"], ["get_weather", "get_weather"]]


async def test_output_limits_hold(claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI) -> None:
    """An answer longer than the limit is cut and says so."""
    message = await claude.messages.create(**ask(max_tokens=3))
    response = await gpt.responses.create(model="large", input="x", max_output_tokens=3)
    completion = await gpt.chat.completions.create(
        model="large", messages=[{"role": "user", "content": "x"}], max_completion_tokens=3
    )
    assert (message.stop_reason, len(message.content[0].text)) == ("max_tokens", 12)
    assert (response.status, response.incomplete_details and response.incomplete_details.reason) == (
        "incomplete",
        "max_output_tokens",
    )
    assert completion.choices[0].finish_reason == "length"


@pytest.mark.parametrize("stream", [False, True])
async def test_refusals_are_the_vendors(
    claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI, stream: bool
) -> None:
    """A rate limit and an overload raise what the SDKs raise for them; the limit says how long to wait."""
    with pytest.raises(anthropic.RateLimitError) as limited:
        await claude.messages.create(**ask(model="fault-429", stream=stream))
    with pytest.raises(openai.RateLimitError):
        await gpt.responses.create(model="small-fault-429", input="x", stream=stream)
    with pytest.raises(anthropic.APIStatusError) as overloaded:
        await claude.messages.create(**ask(model="fault-529", stream=stream))
    with pytest.raises(openai.APIStatusError):
        await gpt.chat.completions.create(model="fault-529", messages=[{"role": "user", "content": "x"}], stream=stream)
    assert (limited.value.response.headers["retry-after"], overloaded.value.status_code) == ("1", 529)


async def test_an_error_as_first_frame(claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI) -> None:
    """An error inside a 200 is read as an error by the SDKs."""
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        [e async for e in await claude.messages.create(**ask(model="fault-error-first", stream=True))]
    events = [e async for e in await gpt.responses.create(model="fault-error-first", input="x", stream=True)]
    assert [(e.type, e.code) for e in events if e.type == "error"] == [("error", "server_is_overloaded")]
    with pytest.raises(openai.APIError, match="overloaded"):
        [
            e
            async for e in await gpt.chat.completions.create(
                model="fault-error-first", messages=[{"role": "user", "content": "x"}], stream=True
            )
        ]


TERMINALS = {"anthropic-messages": b"message_stop", "openai-responses": b"response.completed", "openai-chat": b"[DONE]"}
BODIES: dict[str, dict[str, Any]] = {
    "anthropic-messages": ask(),
    "openai-responses": {"model": "large", "input": CANARY},
    "openai-chat": {"model": "large", "messages": [{"role": "user", "content": CANARY}]},
}


@pytest.mark.parametrize("protocol", TERMINALS)
@pytest.mark.parametrize("model", ["fault-drop", "fault-truncated"])
async def test_broken_streams_break_in_the_middle(protocol: str, model: str) -> None:
    """Content has begun and the terminal event is missing; a drop raises, a truncation ends quietly."""
    upstream = await SimulatedProvider()(protocol, BODIES[protocol], model=model, stream=True)
    got: list[bytes] = []
    try:
        async for chunk in upstream.chunks():
            got.append(chunk)  # noqa: PERF401  what came before the break counts
        raised = False
    except ProviderError as error:
        raised = error.meaning == "unreachable"
    data = b"".join(got)
    assert (raised, len(got) > 5, b"delta" in data, TERMINALS[protocol] in data) == (
        model == "fault-drop",
        True,
        True,
        False,
    )


@pytest.mark.parametrize("protocol", TERMINALS)
async def test_broken_whole_answers(protocol: str) -> None:
    """Whole answers: a drop raises before anything came, a truncation is cut JSON, a page is HTML with status 200."""
    provider = SimulatedProvider()
    with pytest.raises(ProviderError):
        await provider(protocol, BODIES[protocol], model="fault-drop", stream=False)
    cut = await (await provider(protocol, BODIES[protocol], model="fault-truncated", stream=False)).read()
    page = await provider(protocol, BODIES[protocol], model="fault-html", stream=True)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(cut)
    assert (page.status, page.headers["content-type"].split(";")[0], (await page.read())[:9]) == (
        200,
        "text/html",
        b"<!doctype",
    )


async def test_flaky_fails_each_request_once() -> None:
    """The first attempt fails, in one of two ways that the request's hash decides; the second succeeds, and all later ones."""
    provider, first, later = SimulatedProvider(), set(), set()
    for number in range(20):
        body = {**BODIES["anthropic-messages"], "metadata": {"n": number}}
        outcomes = []
        for _ in range(3):
            upstream = await provider("anthropic-messages", body, model="flaky", stream=True)
            data = await upstream.read()
            outcomes.append((upstream.status, b"overloaded_error" in data, b"message_stop" in data))
        first.add(outcomes[0])
        later.update(outcomes[1:])
    assert (first, later) == ({(529, True, False), (200, True, False)}, {(200, False, True)})


async def test_slow_paces_its_pieces() -> None:
    """Every piece of a slow answer waits its time, and no other model waits."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    provider = SimulatedProvider(pace=0.5, sleep=sleep)
    for model in ("large", "slow"):
        chunks = [
            c async for c in (await provider("openai-chat", BODIES["openai-chat"], model=model, stream=True)).chunks()
        ]
    assert waits == [0.5] * len(chunks)


async def test_a_conversation_finds_its_prompt_cached(claude: anthropic.AsyncAnthropic) -> None:
    """A first long prompt with breakpoints is written to the cache, a second turn reads it; parts add up to the prompt."""
    system = [{"type": "text", "text": "rules " * 4000, "cache_control": {"type": "ephemeral"}}]
    first = (await claude.messages.create(**ask(system=system))).usage
    turns = [*ask()["messages"], {"role": "assistant", "content": "ok"}, {"role": "user", "content": "go on"}]
    second = (await claude.messages.create(**ask(system=system, messages=turns))).usage
    plain = (await claude.messages.create(**ask())).usage
    assert (first.cache_creation_input_tokens or 0) > 1000
    assert first.cache_read_input_tokens == 0
    assert (second.cache_read_input_tokens or 0) > 1000
    assert (plain.cache_read_input_tokens, plain.cache_creation_input_tokens) == (0, 0)


async def test_every_captured_request_is_answered(shared: Path) -> None:
    """Requests of real agents get whole and streamed answers: the same again the second time, and none of their words."""
    served = dict.fromkeys(TERMINALS, 0)
    for path in sorted((shared / "captures").glob("*/*/*.json")):
        capture = json.loads(path.read_bytes())
        protocol = next((p for tail, p in PATHS.items() if capture["path"].endswith(tail.removeprefix("/v1"))), None)
        if protocol is None or not isinstance(capture.get("body"), dict):
            continue
        served[protocol] += 1
        for stream in (False, True):
            answers = [
                await (await SimulatedProvider()(protocol, capture["body"], model="large", stream=stream)).read() for _ in range(2)
            ]  # fmt: skip
            assert answers[0] == answers[1]
            if stream:
                assert TERMINALS[protocol] in answers[0] or b"response.incomplete" in answers[0]
            else:
                assert orjson.loads(answers[0])["usage"]
    assert min(served.values()) > 5


@pytest.mark.parametrize("protocol", TERMINALS)
@pytest.mark.parametrize("stream", [False, True])
async def test_words_are_never_repeated(protocol: str, stream: bool) -> None:
    """Text of prompt, system, history and results does not come back, with and without tools."""
    tool = {
        "name": "get_x",
        "description": CANARY,
        "input_schema": WEATHER,
        "parameters": WEATHER,
        "type": "function",
        "function": {"name": "get_x", "parameters": WEATHER},
    }
    for extra in ({}, {"tools": [tool]}, {"instructions": CANARY, "system": CANARY, "metadata": {"user_id": CANARY}}):
        data = await (
            await SimulatedProvider()(protocol, {**BODIES[protocol], **extra}, model="large", stream=stream)
        ).read()
        assert CANARY.encode() not in data


@pytest.mark.parametrize("protocol", TERMINALS)
@pytest.mark.parametrize(
    "body", [{}, {"messages": 3, "input": 3, "tools": "x"}, {"messages": [None, {"role": 1, "content": 2}], "tools": [{}, None], "input": [7], "tool_choice": 3, "thinking": [], "max_tokens": "many"}]
)  # fmt: skip
async def test_odd_requests_get_some_answer(protocol: str, body: dict[str, Any]) -> None:
    """The simulation does not judge requests: whatever it is given, it answers."""
    for stream in (False, True):
        upstream = await SimulatedProvider()(protocol, body, model="small", stream=stream)
        assert (upstream.status, len(await upstream.read()) > 100) == (200, True)
        upstream.close()
