"""The official SDKs accept what the emulator answers, whole and streamed, and its scripts and faults do what they say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import anthropic
import openai
import orjson
import pytest

from tests.emulator import AnyTool, Emulator, Fault, Script, Tool, Turn, tool_loop

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ANTHROPIC_TOOL = {"name": "weather", "description": "d", "input_schema": WEATHER}
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}
RESPONSES_TOOL = {"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}
LOOP = Script(
    (
        Turn(
            "Let me look.",
            "It depends on the city.",
            (Tool("weather", {"city": "Köln"}), Tool("weather", {"city": "東京"})),
        ),
        Turn("Rain in both. 🌧", "Both answers say rain."),
    )
)


@pytest.fixture
async def emu() -> AsyncIterator[Emulator]:
    """An emulator with a two-step script, cutting its writes at odd places."""
    async with Emulator(LOOP, cut=37) as emulator:
        yield emulator


@pytest.fixture
async def claude() -> AsyncIterator[Callable[[Emulator], anthropic.AsyncAnthropic]]:
    """Makes official Anthropic clients without retries; closes them afterwards."""
    async with AsyncExitStack() as opened:

        def make(emu: Emulator) -> anthropic.AsyncAnthropic:
            client = anthropic.AsyncAnthropic(base_url=emu.url("anthropic-messages"), api_key=emu.key, max_retries=0)
            opened.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
async def gpt() -> AsyncIterator[Callable[[Emulator], openai.AsyncOpenAI]]:
    """Makes official OpenAI clients without retries; closes them afterwards."""
    async with AsyncExitStack() as opened:

        def make(emu: Emulator) -> openai.AsyncOpenAI:
            client = openai.AsyncOpenAI(base_url=emu.url("openai-chat"), api_key=emu.key, max_retries=0)
            opened.push_async_callback(client.close)
            return client

        yield make


async def test_anthropic_loop_whole(claude: Callable, emu: Emulator) -> None:
    """The Anthropic SDK runs a tool loop with thinking, whole answers, replaying what it got."""
    client = claude(emu)
    messages: list = [{"role": "user", "content": "Weather?"}]
    first = await client.messages.create(
        model="claude-opus-5-5", max_tokens=1000, messages=messages, tools=[ANTHROPIC_TOOL]
    )
    assert [block.type for block in first.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert first.stop_reason == "tool_use"
    messages.append({"role": "assistant", "content": first.model_dump(exclude_none=True)["content"]})
    calls = [block for block in first.content if block.type == "tool_use"]
    messages.append(
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": c.id, "content": "rain"} for c in calls]}
    )
    last = await client.messages.create(
        model="claude-opus-5-5", max_tokens=1000, messages=messages, tools=[ANTHROPIC_TOOL]
    )
    assert last.content[-1].text == "Rain in both. 🌧"
    assert emu.refused == []
    assert emu.surprises == []


async def test_anthropic_stream_helper(claude: Callable, emu: Emulator) -> None:
    """The Anthropic stream helper rebuilds the message, with usage and parsed tool input."""
    client = claude(emu)
    async with client.messages.stream(
        model="claude-haiku-4-5",
        max_tokens=4000,
        thinking={"type": "enabled", "budget_tokens": 1024},
        messages=[{"role": "user", "content": "Weather?"}],
        tools=[ANTHROPIC_TOOL],
    ) as stream:
        kinds = [event.type async for event in stream]
        message = await stream.get_final_message()
    assert kinds[-1] == "message_stop"
    assert message.content[0].thinking == "It depends on the city."
    assert message.content[-1].input == {"city": "東京"}
    assert message.usage.output_tokens > 1


async def test_anthropic_lists_and_counts(claude: Callable, emu: Emulator) -> None:
    """Models and token counts come in the SDK's shapes."""
    client = claude(emu)
    listed = await client.models.list()
    counted = await client.messages.count_tokens(
        model="claude-opus-5-5", messages=[{"role": "user", "content": "Hello"}]
    )
    one = await client.models.retrieve("claude-opus-5-5")
    assert "claude-opus-5-5" in [model.id for model in listed.data]
    assert one.max_input_tokens == 1_000_000
    assert counted.input_tokens > 0


async def test_responses_loop_whole(gpt: Callable, emu: Emulator) -> None:
    """The OpenAI SDK runs a Responses tool loop, replaying reasoning items with their encrypted content."""
    client = gpt(emu)
    items: list = [{"role": "user", "content": "Weather?"}]
    wanted = {"model": "gpt-5.5", "tools": [RESPONSES_TOOL], "store": False, "include": ["reasoning.encrypted_content"]}
    first = await client.responses.create(input=items, **wanted)
    assert [item.type for item in first.output] == ["reasoning", "message", "function_call", "function_call"]
    items += [item.model_dump(exclude_none=True) for item in first.output]
    items += [
        {"type": "function_call_output", "call_id": i.call_id, "output": "rain"}
        for i in first.output
        if i.type == "function_call"
    ]
    last = await client.responses.create(input=items, **wanted)
    assert last.output_text == "Rain in both. 🌧"
    assert emu.refused == []
    assert emu.surprises == []


async def test_responses_stream_helper(gpt: Callable, emu: Emulator) -> None:
    """The Responses stream helper accepts every event and gives the final response."""
    client = gpt(emu)
    async with client.responses.stream(
        model="gpt-5.5", input="Weather?", tools=[RESPONSES_TOOL], reasoning={"summary": "auto"}
    ) as stream:
        kinds = [event.type async for event in stream]
        response = await stream.get_final_response()
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert response.output[0].summary[0].text == "It depends on the city."
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


async def test_responses_continue_a_stored_response(gpt: Callable, emu: Emulator) -> None:
    """A stored response is continued by its id, sending only the new items."""
    client = gpt(emu)
    first = await client.responses.create(model="gpt-5.5", input="Weather?", tools=[RESPONSES_TOOL])
    outputs = [
        {"type": "function_call_output", "call_id": i.call_id, "output": "rain"}
        for i in first.output
        if i.type == "function_call"
    ]
    last = await client.responses.create(
        model="gpt-5.5", input=outputs, previous_response_id=first.id, tools=[RESPONSES_TOOL]
    )  # type: ignore[arg-type]
    assert last.output_text == "Rain in both. 🌧"


async def test_chat_loop_streamed(gpt: Callable, emu: Emulator) -> None:
    """The chat stream helper runs a tool loop; usage comes in a chunk of its own when asked for."""
    client = gpt(emu)
    messages: list = [{"role": "user", "content": "Weather?"}]
    for _ in range(2):
        async with client.chat.completions.stream(
            model="gpt-4.1", messages=messages, tools=[CHAT_TOOL], stream_options={"include_usage": True}
        ) as stream:
            async for _event in stream:
                pass
            completion = await stream.get_final_completion()
        assert completion.usage is not None
        message = completion.choices[0].message
        calls = [
            {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}}
            for c in message.tool_calls or ()
        ]
        messages.append({"role": "assistant", "content": message.content} | ({"tool_calls": calls} if calls else {}))
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": "rain"} for call in calls]
    assert messages[-1]["content"] == "Rain in both. 🌧"
    assert emu.refused == []
    assert emu.surprises == []


@pytest.mark.parametrize(
    ("profile", "model", "field"),
    [("strict", "openai/gpt-oss-120b", "reasoning"), ("deepseek", "deepseek-flash", "reasoning_content")],
)
async def test_chat_reasoning_fields(gpt: Callable, profile: str, model: str, field: str) -> None:
    """Vendor kinds that show reasoning in chat carry it in their own field, whole and streamed alike."""
    async with Emulator(LOOP, profile) as emu:
        client = gpt(emu)
        asked = {"model": model, "messages": [{"role": "user", "content": "Weather?"}], "tools": [CHAT_TOOL]}
        whole = await client.chat.completions.create(**asked)
        streamed = [chunk async for chunk in await client.chat.completions.create(**asked, stream=True)]
    text = "".join(getattr(chunk.choices[0].delta, field, None) or "" for chunk in streamed if chunk.choices)
    assert (getattr(whole.choices[0].message, field), text) == ("It depends on the city.", "It depends on the city.")
    assert streamed[-1].usage is not None


@pytest.mark.parametrize("wire", ["anthropic", "responses", "chat"])
async def test_side_calls_do_not_move_the_script(claude: Callable, gpt: Callable, emu: Emulator, wire: str) -> None:
    """A request without tools gets a short plain answer, whatever the script says."""
    match wire:
        case "anthropic":
            answer = (
                (
                    await claude(emu).messages.create(
                        model="claude-haiku-4-5", max_tokens=20, messages=[{"role": "user", "content": "Title?"}]
                    )
                )
                .content[0]
                .text
            )
        case "responses":
            answer = (await gpt(emu).responses.create(model="gpt-4.1", input="Title?")).output_text
        case _:
            answer = (
                (
                    await gpt(emu).chat.completions.create(
                        model="gpt-4.1", messages=[{"role": "user", "content": "Title?"}]
                    )
                )
                .choices[0]
                .message.content
            )
    assert answer == "ok"


async def test_forced_tool_and_schema_are_honoured(gpt: Callable) -> None:
    """A named tool choice is called with arguments that fit; a response schema gets fitting JSON."""
    async with Emulator() as emu:
        client = gpt(emu)
        forced = await client.chat.completions.create(
            model="gpt-4.1",
            messages=[{"role": "user", "content": "x"}],
            tools=[CHAT_TOOL],
            tool_choice={"type": "function", "function": {"name": "weather"}},
        )
        shaped = await client.responses.create(
            model="gpt-4.1", input="x", text={"format": {"type": "json_schema", "name": "w", "schema": WEATHER}}
        )
    assert orjson.loads(forced.choices[0].message.tool_calls[0].function.arguments) == {"city": "example"}
    assert orjson.loads(shaped.output_text) == {"city": "example"}


async def test_text_turns_follow_the_conversation(gpt: Callable) -> None:
    """Turns without calls are told apart by how often the model has spoken."""
    async with Emulator(Script((Turn("one"), Turn("two")))) as emu:
        client = gpt(emu)
        first = await client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "x"}])
        second = await client.chat.completions.create(
            model="gpt-4.1",
            messages=[
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": "one"},
                {"role": "user", "content": "y"},
            ],
        )
    assert (first.choices[0].message.content, second.choices[0].message.content) == ("one", "two")


async def test_an_unparallel_caller_gets_the_calls_one_by_one(gpt: Callable) -> None:
    """With parallel calls off a turn's calls are spread over as many answers."""
    script = Script((Turn(calls=(AnyTool(), AnyTool())), Turn("done")))
    async with Emulator(script) as emu:
        client = gpt(emu)
        messages: list = [{"role": "user", "content": "x"}]
        for _ in range(2):
            answer = await client.chat.completions.create(
                model="gpt-4.1", messages=messages, tools=[CHAT_TOOL], parallel_tool_calls=False
            )
            (call,) = answer.choices[0].message.tool_calls or ()
            messages.append({"role": "assistant", "tool_calls": [call.model_dump(exclude_none=True)]})
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "r"})
        last = await client.chat.completions.create(model="gpt-4.1", messages=messages, tools=[CHAT_TOOL])
    assert last.choices[0].message.content == "done"


async def test_altered_calls_and_results_are_noticed(gpt: Callable, emu: Emulator) -> None:
    """A history whose calls were changed on the way shows up in `surprises`."""
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Koln"}'}}
    await gpt(emu).chat.completions.create(
        model="gpt-4.1",
        tools=[CHAT_TOOL],
        messages=[
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "r"},
        ],
    )
    assert len(emu.surprises) == 1


async def test_prompt_cache_counts(claude: Callable, tmp_path: Path) -> None:
    """Marked prefixes are written once and read afterwards."""
    async with Emulator() as emu:
        client = claude(emu)
        system = [{"type": "text", "text": "long " * 2000, "cache_control": {"type": "ephemeral"}}]
        usages = [
            (
                await client.messages.create(
                    model="claude-opus-5-5", max_tokens=50, system=system, messages=[{"role": "user", "content": "x"}]
                )
            ).usage  # type: ignore[arg-type]
            for _ in range(2)
        ]
    assert usages[0].cache_creation_input_tokens == usages[1].cache_read_input_tokens > 1024
    assert usages[1].cache_creation_input_tokens == 0


# ── faults ──


async def test_status_faults_in_the_vendors_envelope(claude: Callable, gpt: Callable, emu: Emulator) -> None:
    """A 429 has `retry-after` and raises the SDKs' rate-limit errors, then the answer comes."""
    emu.fail_next(Fault("429", retry_after=2, times=2))
    with pytest.raises(anthropic.RateLimitError) as limited:
        await claude(emu).messages.create(
            model="claude-haiku-4-5", max_tokens=20, messages=[{"role": "user", "content": "x"}]
        )
    with pytest.raises(openai.RateLimitError):
        await gpt(emu).chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "x"}])
    await gpt(emu).chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "x"}])
    assert limited.value.response.headers["retry-after"] == "2"
    assert [seen.verdict for seen in emu.requests] == ["fault: 429", "fault: 429", "ok"]


async def test_faults_of_one_wire_wait_for_it(claude: Callable, gpt: Callable, emu: Emulator) -> None:
    """A fault ordered for a wire and a step leaves other requests alone."""
    emu.fail_next(Fault("529"), wire="anthropic-messages")
    emu.fail_next(Fault("500", at=5))
    await gpt(emu).chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(anthropic.APIStatusError) as overloaded:
        await claude(emu).messages.create(
            model="claude-haiku-4-5", max_tokens=20, messages=[{"role": "user", "content": "x"}]
        )
    assert (overloaded.value.status_code, overloaded.value.body["error"]["type"]) == (529, "overloaded_error")  # type: ignore[index]


async def test_error_as_first_frame(claude: Callable, emu: Emulator) -> None:
    """An error event as the first frame inside a 200 is what the SDK sees before any content."""
    emu.fail_next(Fault("error-first-frame"))
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        async for _ in await claude(emu).messages.create(
            model="claude-haiku-4-5", max_tokens=20, messages=[{"role": "user", "content": "x"}], stream=True
        ):
            pass


async def post(emu: Emulator, path: str, body: dict) -> tuple[int, str]:
    """(status, text) of a bare request, redirects not followed."""
    headers = {"authorization": f"Bearer {emu.key}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(emu.url("openai-chat") + path, json=body, headers=headers, allow_redirects=False) as answer,
    ):
        return answer.status, await answer.text()


@pytest.mark.parametrize(
    "kind",
    [
        "drop-before-headers",
        "drop-after-headers",
        "drop-mid-stream",
        "stall",
        "stall-after-headers",
        "stall-mid-stream",
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_dropped_connections(emu: Emulator, kind: str, *, stream: bool) -> None:
    """Drops and stalls break the connection for whole and streamed answers."""
    emu.fail_next(Fault(kind, seconds=0.05))  # type: ignore[arg-type]
    with pytest.raises(aiohttp.ClientError):
        await post(
            emu,
            "/chat/completions",
            {"model": "gpt-4.1", "messages": [{"role": "user", "content": "x"}], "stream": stream},
        )


@pytest.mark.parametrize(
    ("kind", "status", "holds"),
    [
        ("html502", 502, "Bad Gateway"),
        ("html200", 200, "Bad Gateway"),
        ("empty200", 200, ""),
        ("quota", 429, "insufficient_quota"),
        ("context", 400, "context_length_exceeded"),
        ("truncated", 200, "response.created"),
        ("error-mid-stream", 200, "response.failed"),
        ("bad-json", 200, "content_bl"),
        ("redirect", 307, ""),
    ],
)
async def test_other_faults(emu: Emulator, kind: str, status: int, holds: str) -> None:
    """The remaining faults give what they promise, and never a complete answer."""
    emu.fail_next(Fault(kind, location="http://127.0.0.1:1/"))  # type: ignore[arg-type]
    got, text = await post(emu, "/responses", {"model": "gpt-5.5", "input": "x", "stream": True})
    assert status == got
    assert holds in text
    assert kind == "bad-json" or "response.completed" not in text


@pytest.mark.parametrize("kind", ["slow", "slow-after-headers", "slow-mid-stream"])
async def test_slow_answers_are_whole(emu: Emulator, kind: str) -> None:
    """A slow answer comes late, and complete."""
    emu.fail_next(Fault(kind, seconds=0.2))  # type: ignore[arg-type]
    begun = time.monotonic()
    status, text = await post(emu, "/responses", {"model": "gpt-5.5", "input": "x", "stream": True})
    assert time.monotonic() - begun >= 0.2
    assert status == 200
    assert "response.completed" in text


async def test_a_caller_who_leaves_is_noticed() -> None:
    """The log tells which requests were broken off by the caller."""
    async with Emulator(Script((Turn("word " * 400),)), pace=0.02) as emu:
        body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "x"}], "stream": True}
        headers = {"authorization": f"Bearer {emu.key}"}
        async with aiohttp.ClientSession() as session:
            answer = await session.post(emu.url("openai-chat") + "/chat/completions", json=body, headers=headers)
            await answer.content.readany()
            answer.close()
        for _ in range(100):
            if emu.requests[0].left:
                break
            await asyncio.sleep(0.02)
        assert emu.requests[0].left


async def test_secrets_are_found_in_the_log(gpt: Callable, emu: Emulator) -> None:
    """`saw` finds a text in headers and bodies."""
    await gpt(emu).chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "sesame"}])
    assert (len(emu.saw("sesame")), len(emu.saw(emu.key)), len(emu.saw("barley"))) == (1, 1, 0)


def test_scenario_states_its_files(tmp_path: Path) -> None:
    """A scenario writes its start and reads what is left."""
    scenario = tool_loop(tmp_path)
    scenario.prepare()
    assert scenario.left()["one.txt"] == "<missing>"
    assert scenario.before["notes.txt"] == scenario.left()["notes.txt"]
    assert len([turn for turn in scenario.script.turns if turn.calls]) >= 4
