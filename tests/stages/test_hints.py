"""What is added for providers' prompt caches, from the client's request to the event, against the emulated vendors' caches."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.emulator import Emulator
from tests.emulator.models import Model
from tests.spine import Behind, Call, Wire, policy, spine

MARKS = {"kind": "marks", "minimum": 1024, "long_seconds": 3600}
SYSTEM = "Follow the house rules. " * 400
TOOL = {"name": "bash", "description": "run", "parameters": {"type": "object", "properties": {}}}
SESSION = {"x-session-id": "ses-1"}


def chat(turns: int) -> dict[str, Any]:
    """A conversation of another protocol's client, which knows no breakpoints."""
    said: list[dict[str, Any]] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "start"}]
    for turn in range(turns):
        said += [{"role": "assistant", "content": f"done {turn}"}, {"role": "user", "content": f"go on {turn} " * 50}]
    return {"model": "m", "messages": said, "tools": [{"type": "function", "function": TOOL}]}


def messages(turns: int, *, mark: str = "") -> dict[str, Any]:
    """The same from a Messages client; `mark`: it marks its system text."""
    asked = chat(turns)
    tool = {"name": "bash", "description": "run", "input_schema": TOOL["parameters"]}
    system: dict[str, Any] = {"type": "text", "text": SYSTEM}
    if mark:
        system["cache_control"] = {"type": "ephemeral"}
    return {"model": "m", "max_tokens": 50, "system": [system], "messages": asked["messages"][1:], "tools": [tool]}


@pytest.mark.parametrize(
    ("protocol", "ask", "hints"),
    [
        ("openai-chat", chat, [["marks"]] * 3),
        ("anthropic-messages", messages, [["marks"]] * 3),
        ("anthropic-messages", lambda turns: messages(turns, mark="system"), [None, ["newest"], ["newest"]]),
    ],
    ids=["translated", "preserved", "marked before the conversation only"],
)
async def test_breakpoints_make_the_next_turn_cheap(protocol: str, ask: Any, hints: list[Any]) -> None:
    """The second turn reads the first from the vendor's cache, as was expected of it, and the event says what was added."""
    async with Emulator(models={"m": Model(context=200_000)}) as emu:
        text = policy(Behind("first", emu.url, ("anthropic-messages",), {"cache": MARKS}))
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            events = []
            for turn in range(3):
                answer = await gate.ask(protocol, ask(turn), headers=SESSION)
                assert answer.status == 200, answer.body
                events.append(await gate.event(answer.headers["x-sbgw-event"]))
    assert [event["attempts"][0].get("hints") for event in events] == hints
    assert not events[0].get("cachedInputTokens")
    for event in events[1:]:
        expected = event["facts"]["session"]["warm"]["first/m"]
        assert event["cachedInputTokens"] == pytest.approx(expected, rel=0.02)
    assert events[2]["cachedInputTokens"] > 0.8 * events[1]["inputTokens"]


def parallel(turns: int, calls: int) -> dict[str, Any]:
    """As Claude Code marks it: system and newest message. The newest turn has so many calls and their results."""
    asked = messages(turns, mark="system")
    said = asked["messages"]
    if turns:
        said[-2]["content"] = [{"type": "tool_use", "id": f"c{n}", "name": "bash", "input": {}} for n in range(calls)]
        said[-1]["content"] = [{"type": "tool_result", "tool_use_id": f"c{n}", "content": "r"} for n in range(calls)]
    newest = said[-1]["content"] if turns else [{"type": "text", "text": "start " * 900}]
    said[-1]["content"] = [*newest[:-1], {**newest[-1], "cache_control": {"type": "ephemeral"}}]
    if turns:
        said[0]["content"] = [{"type": "text", "text": "start " * 900}]
    return asked


@pytest.mark.parametrize(("calls", "hints"), [(8, None), (15, ["bridge"])])
async def test_many_parallel_calls_do_not_lose_the_prompt_before_them(calls: int, hints: Any) -> None:
    """A breakpoint where the request before ended finds it; the client's own stay, and are enough for few calls."""
    async with Emulator(models={"m": Model(context=200_000)}) as emu:
        text = policy(Behind("first", emu.url, ("anthropic-messages",), {"cache": MARKS}))
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            events = []
            for turn in range(2):
                answer = await gate.ask("anthropic-messages", parallel(turn, calls), headers=SESSION)
                assert answer.status == 200, answer.body
                events.append(await gate.event(answer.headers["x-sbgw-event"]))
    first, second = events
    assert second["attempts"][0].get("hints") == hints
    assert second["cachedInputTokens"] == first["cacheWriteTokens"]
    assert second["facts"]["session"]["warm"]["first/m"] == pytest.approx(second["cachedInputTokens"], rel=0.02)
    marked = [b for m in emu.requests[-1].body["messages"] for b in m["content"] if "cache_control" in b]
    assert len(marked) == (2 if hints else 1)


async def test_a_question_that_does_not_come_again_is_not_marked() -> None:
    """Nor is anything under a policy that keeps off prompt caches."""
    async with Emulator(models={"m": Model(context=200_000)}) as emu:
        row = Behind("first", emu.url, ("anthropic-messages",), {"cache": MARKS})
        async with spine(policy(row), env={"FIRST_KEY": emu.key}) as gate:
            alone = {"model": "m", "messages": [{"role": "user", "content": SYSTEM}]}
            event = await gate.event((await gate.ask("openai-chat", alone)).headers["x-sbgw-event"])
            assert "hints" not in event["attempts"][0]
            assert not event.get("cacheWriteTokens")
        async with spine(policy(row, cache={"prefix": "off"}), env={"FIRST_KEY": emu.key}) as gate:
            event = await gate.event((await gate.ask("openai-chat", chat(2))).headers["x-sbgw-event"])
            assert "hints" not in event["attempts"][0]
            assert event["facts"]["session"]["warm"] == {}


async def test_a_session_keeps_to_one_cache() -> None:
    """Its name goes out as the field and header that the row names, and never in place of the client's own."""
    answer = {"id": "c", "object": "chat.completion", "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}]}  # fmt: skip

    async def play(call: Call) -> None:
        await call.open("application/json")
        await call.write(orjson.dumps(answer))
        call.writer.close()

    async with Wire(play) as wire:
        cache = {"kind": "automatic", "key_field": "prompt_cache_key", "key_header": "x-session-affinity"}
        text = policy(Behind("first", wire.url, ("openai-chat",), {"cache": cache}))
        async with spine(text, env={"FIRST_KEY": "k"}) as gate:
            event = await gate.event((await gate.ask("openai-chat", chat(0), headers=SESSION)).headers["x-sbgw-event"])
            await gate.ask("openai-chat", {**chat(0), "prompt_cache_key": "mine"}, headers=SESSION)
            await gate.ask("openai-chat", chat(0))
    first, second, third = wire.calls
    assert event["attempts"][0]["hints"] == ["key", "affinity"]
    assert (orjson.loads(first.body)["prompt_cache_key"], first.headers["x-session-affinity"]) == ("ses-1", "ses-1")
    assert orjson.loads(second.body)["prompt_cache_key"] == "mine"
    assert "prompt_cache_key" not in orjson.loads(third.body)
    assert "x-session-affinity" not in third.headers
