"""Tool calls of models that are not proven: a broken one never reaches an agent that could have had a sound one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest

from engine.stages.answer_check import AnswerCheck
from tests.emulator import Emulator, Fault, Raw, Script, Tool, Turn
from tests.emulator.models import Model
from tests.judge import frames, judged
from tests.spine import PATHS, PROTOCOLS, Answer, Behind, Call, Spine, Wire, body, policy, spine

ROWS = {"m": Model()}
THINKS = {"m": Model(always_thinks=True)}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
SOUND = {"city": "Oslo"}
BROKEN = {
    "unknown": Tool("launch_rocket", SOUND),
    "not-json": Tool("get_weather", Raw('{"city": "Os')),
    "schema": Tool("get_weather", {"city": "Oslo", "days": "three"}),
    "missing": Tool("get_weather", {"days": 3}),
    "invented-field": Tool("get_weather", {"city": "Oslo", "mood": "fine"}),
}
SLIPS = {
    "case": Tool("Get_Weather", SOUND),
    "prefix": Tool("functions.get_weather:0", SOUND),
    "token": Tool("get_weather<|channel|>json", SOUND),
    "comma": Tool("get_weather", Raw('{"city": "Oslo",}')),
    "fence": Tool("get_weather", Raw('```json\n{"city": "Oslo"}\n```')),
    "twice": Tool("get_weather", Raw('{"city": "Oslo"}{"city": "Oslo"}')),
}
UNPROVEN = {"claude_code_safe": "experimental", "codex_safe": "experimental"}


def asked(protocol: str, *, stream: bool, **more: Any) -> dict[str, Any]:
    """A request that offers one tool."""
    function = {"name": "get_weather", "description": "Weather of a city."}
    match protocol:
        case "anthropic-messages":
            tool: dict[str, Any] = {**function, "input_schema": SCHEMA}
        case "openai-responses":
            tool = {"type": "function", **function, "parameters": SCHEMA, "strict": False}
        case _:
            tool = {"type": "function", "function": {**function, "parameters": SCHEMA}}
    return body(protocol, stream=stream, text="Weather in Oslo?", tools=[tool], **more)


def calls(answer: Answer) -> list[tuple[str, Any]]:
    """(name, arguments) of every call that the client reads; arguments that are no JSON stay text."""
    if not answer.streamed:
        told = answer.json
        if answer.protocol == "anthropic-messages":
            return [(b["name"], b["input"]) for b in told["content"] if b["type"] == "tool_use"]
        if answer.protocol == "openai-responses":
            return [(i["name"], _parsed(i["arguments"])) for i in told["output"] if i["type"] == "function_call"]
        said = told["choices"][0]["message"].get("tool_calls") or []
        return [(c["function"]["name"], _parsed(c["function"]["arguments"])) for c in said]
    names: dict[Any, str] = {}
    texts: dict[Any, str] = {}
    for _, data in frames(answer.body):
        if data == "[DONE]":
            continue
        event = orjson.loads(data)
        if answer.protocol == "anthropic-messages":
            block = event.get("content_block") or {}
            if block.get("type") == "tool_use":
                names[event["index"]] = block["name"]
            if (event.get("delta") or {}).get("type") == "input_json_delta":
                texts[event["index"]] = texts.get(event["index"], "") + event["delta"]["partial_json"]
        elif answer.protocol == "openai-responses":
            if event["type"] == "response.output_item.done" and event["item"]["type"] == "function_call":
                names[event["output_index"]] = event["item"]["name"]
                texts[event["output_index"]] = event["item"]["arguments"]
        else:
            for choice in event["choices"]:
                for piece in choice["delta"].get("tool_calls") or ():
                    function = piece["function"]
                    names[piece["index"]] = names.get(piece["index"]) or function["name"]
                    texts[piece["index"]] = texts.get(piece["index"], "") + (function.get("arguments") or "")
    return [(names[key], _parsed(texts.get(key) or "{}")) for key in names]


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


@asynccontextmanager
async def two(
    wire: str, first: Turn, *, model: dict[str, Any] | None = None, rows: Any = None, **sections: Any
) -> AsyncIterator[tuple[Spine, Emulator, Emulator]]:
    """An unproven model that says `first`, and behind it one that calls soundly; both on `wire`."""
    sound = Script((Turn("", calls=(Tool("get_weather", SOUND),)),))
    rows = rows or ROWS
    async with Emulator(Script((first,)), models=rows) as bad, Emulator(sound, models=rows) as good:
        behind = (
            Behind("first", bad.url, (wire,), model=UNPROVEN if model is None else model),
            Behind("second", good.url, (wire,)),
        )
        keys = {"FIRST_KEY": bad.key, "SECOND_KEY": good.key}
        async with spine(policy(*behind, **{"settings": {"experimental": True}, **sections}), env=keys) as gate:
            yield gate, bad, good


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("wire", PROTOCOLS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("broken", BROKEN)
async def test_a_broken_call_falls_back(protocol: str, wire: str, broken: str, *, stream: bool) -> None:
    """Whatever the client, the wire and the flaw: the agent reads the sound call of the next model, and only that."""
    async with two(wire, Turn(calls=(BROKEN[broken],))) as (gate, bad, good):
        answer = await gate.ask(protocol, asked(protocol, stream=stream))
        event = await gate.event(answer.headers["x-sbgw-event"])
    judged(answer)
    assert answer.headers["x-sbgw-model"] == "second/m"
    assert calls(answer) == [("get_weather", SOUND)]
    assert event["status"] == "fallback_success"
    assert [attempt.get("meaning") for attempt in event["attempts"]] == ["incompatible", None]
    assert event["invalidCalls"] == 1
    assert event["wastedUsd"] > 0
    assert len(bad.served) == len(good.served) == 1
    assert "launch_rocket" not in repr(event)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("wire", PROTOCOLS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("slip", SLIPS)
async def test_a_slip_is_brought_right(protocol: str, wire: str, slip: str, *, stream: bool) -> None:
    """What can only mean one thing reaches the agent as that, from the model that said it."""
    async with two(wire, Turn(calls=(SLIPS[slip],))) as (gate, _, good):
        answer = await gate.ask(protocol, asked(protocol, stream=stream))
        event = await gate.event(answer.headers["x-sbgw-event"])
    judged(answer)
    assert calls(answer) == [("get_weather", SOUND)]
    assert event["status"] == "success"
    assert (event["repairedCalls"], event["invalidCalls"]) == (1, 0)
    assert good.requests == []


@pytest.mark.parametrize("wire", PROTOCOLS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_text_that_is_out_cannot_be_taken_back(protocol: str, wire: str) -> None:
    """With `hold: calls` text passes at once; the bad call after it goes out as it is, once, and is counted."""
    turn = Turn("Let me look.", calls=(Tool("launch_rocket", SOUND),))
    async with two(wire, turn) as (gate, bad, good):
        bad.pace = 0.05  # else text and call come in one read, and nothing of it is out
        answer = await gate.ask(protocol, asked(protocol, stream=True))
        event = await gate.event(answer.headers["x-sbgw-event"])
    assert judged(answer).text == "Let me look."
    assert calls(answer) == [("launch_rocket", SOUND)]
    assert (event["status"], event["invalidCalls"]) == ("success", 1)
    assert good.requests == []


@pytest.mark.parametrize("wire", PROTOCOLS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_held_answer_can_be_given_up_with_its_text(protocol: str, wire: str) -> None:
    """With `hold: answer` the first model's text is never seen when its call is bad."""
    turn = Turn("Let me look.", calls=(Tool("launch_rocket", SOUND),))
    async with two(wire, turn, answers={"hold": "answer"}) as (gate, _, _good):
        answer = await gate.ask(protocol, asked(protocol, stream=True))
    assert judged(answer).text == ""
    assert calls(answer) == [("get_weather", SOUND)]
    assert b"Let me look" not in answer.body


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("wire", PROTOCOLS)
async def test_holding_back_is_no_slowness_of_the_provider(
    monkeypatch: pytest.MonkeyPatch, wire: str, *, stream: bool
) -> None:
    """Half a minute until the end has been judged: the client waited for it, the provider's latency knows nothing of it."""
    settle = AnswerCheck.settle
    async with two(wire, Turn("Look.", calls=(Tool("get_weather", SOUND),)), answers={"hold": "answer"}) as (
        gate,
        _,
        _two,
    ):
        services, late = gate.gateway.services, [0.0]
        clock = services.monotonic
        services.monotonic = lambda: clock() + late[0]

        async def held(*given: Any) -> None:
            await settle(*given)
            late[0] += 30.0

        monkeypatch.setattr(AnswerCheck, "settle", held)
        answer = await gate.ask("anthropic-messages", asked("anthropic-messages", stream=stream))
        event = await gate.event(answer.headers["x-sbgw-event"])
        row = next(r for r in (await gate.send("GET", "/providers")).json["providers"] if r["provider"] == "first")
    [tried] = event["attempts"]
    assert 0 < tried["firstEventMs"] < 30_000 <= min(tried["latencyMs"], event["firstEventMs"])
    assert row["latencyMs"] == pytest.approx(tried["firstEventMs"], abs=0.1)  # each is rounded in its own way


@pytest.mark.parametrize("hold", ["calls", "answer"])
@pytest.mark.parametrize("wire", PROTOCOLS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_sound_answer_passes_whole(protocol: str, wire: str, hold: str) -> None:
    """Text, two calls, usage and end arrive as without the check; a preserved answer to the byte."""
    turn = Turn("Let me look.", calls=(Tool("get_weather", SOUND), Tool("get_weather", {"city": "Rome"})))
    async with two(wire, turn, answers={"hold": hold}) as (gate, _, good):
        answer = await gate.ask(protocol, asked(protocol, stream=True))
        event = await gate.event(answer.headers["x-sbgw-event"])
    assert judged(answer).text == "Let me look."
    assert calls(answer) == [("get_weather", SOUND), ("get_weather", {"city": "Rome"})]
    assert (event["repairedCalls"], event["invalidCalls"], event["stopReason"]) == (0, 0, "tool_use")
    assert protocol == wire == "openai-chat" or event["outputTokens"] > 0  # that client did not ask for usage
    assert good.requests == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_reasoning_waits_for_what_it_leads_to(protocol: str) -> None:
    """A model that thinks before a bad call has said nothing yet that could not be given up."""
    turn = Turn("", "I shall launch a rocket.", calls=(Tool("launch_rocket", SOUND),))
    async with two("openai-chat", turn, rows=THINKS) as (gate, _, _good):
        answer = await gate.ask(protocol, asked(protocol, stream=True))
    assert calls(answer) == [("get_weather", SOUND)]
    assert b"rocket" not in answer.body


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("broken", ["unknown", "schema"])
async def test_the_last_model_is_taken_as_it_is(protocol: str, broken: str, *, stream: bool) -> None:
    """With nobody left the call goes to the agent, whose own validation tells the model; an error would only end the turn."""
    tool = BROKEN[broken]
    async with Emulator(Script((Turn(calls=(tool,)),)), models=ROWS) as emu:
        text = policy(Behind("first", emu.url, ("openai-chat",), model=UNPROVEN), settings={"experimental": True})
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            answer = await gate.ask(protocol, asked(protocol, stream=stream))
            event = await gate.event(answer.headers["x-sbgw-event"])
    assert answer.status == 200
    assert calls(answer) == [(tool.name, tool.input)]
    assert (event["status"], event["invalidCalls"]) == ("success", 1)


@pytest.mark.parametrize(
    ("model", "answers", "checked"),
    [
        ({}, {}, False),
        ({}, {"check": "all"}, True),
        (UNPROVEN, {"check": "off"}, False),
        (UNPROVEN, {}, True),
        ({"claude_code_safe": "experimental", "codex_safe": True}, {}, False),
    ],
)
async def test_the_policy_says_who_is_checked(model: dict[str, Any], answers: dict[str, str], *, checked: bool) -> None:
    """Proven models and those that the policy leaves alone are not looked at: the event knows of no check."""
    async with two("openai-chat", Turn(calls=(BROKEN["unknown"],)), model=model, answers=answers) as (gate, _, _good):
        answer = await gate.ask("openai-chat", asked("openai-chat", stream=True))
        event = await gate.event(answer.headers["x-sbgw-event"])
    assert (calls(answer) == [("get_weather", SOUND)]) == checked
    assert ("invalidCalls" in event) == checked


async def test_proven_for_one_agent_is_not_proven_for_the_other() -> None:
    """Claude Code's answers are checked where only Codex may depend on the model."""
    model = {"claude_code_safe": "experimental", "codex_safe": True}
    agents = {"claude-code": "claude-cli/2.1.330 (external, cli)", "codex": "codex_cli_rs/0.169.0"}
    found = {}
    for agent, named in agents.items():
        async with two("openai-chat", Turn(calls=(BROKEN["unknown"],)), model=model) as (gate, _, _good):
            headers = {"user-agent": named}
            answer = await gate.ask("anthropic-messages", asked("anthropic-messages", stream=True), headers=headers)
            event = await gate.event(answer.headers["x-sbgw-event"])
        assert event["client"] == agent
        found[agent] = "invalidCalls" in event
    assert found == {"claude-code": True, "codex": False}


async def test_an_answer_that_was_cut_is_not_judged() -> None:
    """Half a call at the output limit is the limit's doing."""
    turn = Turn(calls=(BROKEN["not-json"],), stop="max_tokens")
    async with two("openai-chat", turn) as (gate, _, good):
        answer = await gate.ask("openai-chat", asked("openai-chat", stream=True))
        event = await gate.event(answer.headers["x-sbgw-event"])
    assert calls(answer) == [("get_weather", '{"city": "Os')]
    assert event["invalidCalls"] == 0
    assert good.requests == []


async def test_a_session_remembers_its_models_bad_calls() -> None:
    """`session.invalid_calls` counts those that fell back too, and a rule can act on it."""
    rule = [{"id": "stumbled", "class": "deep_reasoning", "when": "session.invalid_calls >= 2"}]
    async with two("openai-chat", Turn(calls=(BROKEN["unknown"],)), classify=rule) as (gate, _, _good):
        events = []
        for _ in range(3):
            headers = {"x-session-id": "one"}
            answer = await gate.ask(
                "openai-chat", asked("openai-chat", stream=True, prompt_cache_key="one"), headers=headers
            )
            events.append(await gate.event(answer.headers["x-sbgw-event"]))
        counted = gate.gateway.services.metrics.prometheus()
    assert 'outcome="invalid"} 3' in counted
    assert [event["facts"]["session"]["invalid_calls"] for event in events] == [0, 1, 2]
    assert [event["routeClass"] for event in events] == ["fallback_safe", "fallback_safe", "deep_reasoning"]


async def test_nothing_is_checked_without_tools() -> None:
    """A request that offers none streams on as it comes, whatever the policy holds back."""
    async with two("openai-chat", Turn("Hello."), answers={"check": "all", "hold": "answer"}) as (gate, _, _good):
        answer = await gate.ask("anthropic-messages", stream=True)
        event = await gate.event(answer.headers["x-sbgw-event"])
    assert judged(answer).text == "Hello."
    assert "invalidCalls" not in event


@pytest.mark.parametrize("broken", [False, True], ids=["sound", "broken"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_client_that_waits_hears_that_we_live(
    protocol: str, monkeypatch: pytest.MonkeyPatch, *, broken: bool
) -> None:
    """While an answer is held its client gets signs of life, and after them one whole answer, the next model's if need be."""
    monkeypatch.setattr("engine.stages.client_stream.EARLY_AFTER", 0.0)
    turn = Turn("Let me look.", calls=(BROKEN["unknown"] if broken else Tool("get_weather", SOUND),))
    settings = {"settings": {"experimental": True, "keepalive_seconds": 1}}
    async with two("openai-chat", turn, answers={"hold": "answer"}, **settings) as (gate, bad, _good):
        bad.pace = 0.4
        answer = await gate.ask(protocol, asked(protocol, stream=True))
        event = await gate.event(answer.headers["x-sbgw-event"])
    assert answer.body.startswith(b": waiting for the provider")
    assert judged(answer).text == ("" if broken else "Let me look.")
    assert calls(answer) == [("get_weather", SOUND)]
    assert event["status"] == ("fallback_success" if broken else "success")


async def test_a_break_while_all_is_held_falls_back() -> None:
    """A connection that drops inside a held answer is one that never began."""
    turn = Turn("Let me look.", calls=(Tool("get_weather", SOUND),))
    for protocol in PROTOCOLS:
        async with two("openai-chat", turn, answers={"hold": "answer"}) as (gate, bad, _good):
            bad.fail_next(Fault("drop-mid-stream"))
            answer = await gate.ask(protocol, asked(protocol, stream=True))
        judged(answer)
        assert calls(answer) == [("get_weather", SOUND)]
        assert b"Let me" not in answer.body


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_reasoning_waits_for_nobody(protocol: str) -> None:
    """With no other model left, and a translation that can still mend a call, reasoning is shown as it comes."""
    turn = Turn("", "I shall look at the weather.", calls=(SLIPS["comma"],))
    async with Emulator(Script((turn,)), models=THINKS, profile="strict") as emu:
        text = policy(Behind("first", emu.url, ("openai-chat",), model=UNPROVEN), settings={"experimental": True})
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            check = []
            seen = AnswerCheck.settle

            async def settle(self: AnswerCheck, *given: Any) -> None:
                await seen(self, *given)
                check.append(self._calling)

            emu.pace = 0.02
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(AnswerCheck, "settle", settle)
                answer = await gate.ask(protocol, asked(protocol, stream=True))
    assert check == [protocol == "openai-chat"]
    assert calls(answer) == [("get_weather", SOUND)]


@pytest.mark.parametrize("cut", [1, 7, 1000])
@pytest.mark.parametrize("hold", ["calls", "answer"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_sound_preserved_answer_passes_to_the_byte(protocol: str, hold: str, cut: int) -> None:
    """However it is cut: what was held back is what came."""
    asked_of, sent = asked(protocol, stream=True), b""
    turn = Turn("Let me look.", calls=(Tool("get_weather", SOUND), Tool("get_weather", {"city": "Rome"})))
    async with Emulator(Script((turn,)), models=ROWS) as emu, aiohttp.ClientSession() as session:
        path = PATHS[protocol].removeprefix("/v1") if protocol != "anthropic-messages" else PATHS[protocol]
        headers = {"authorization": f"Bearer {emu.key}", "x-api-key": emu.key, "anthropic-version": "2023-06-01"}
        async with session.post(emu.url(protocol) + path, json=asked_of, headers=headers) as reply:
            sent = await reply.read()

    async def play(call: Call) -> None:
        await call.open()
        for at in range(0, len(sent), cut):
            await call.write(sent[at : at + cut])

    async with Wire(play) as wire, Wire(play) as other:
        behind = (Behind("first", wire.url, (protocol,), model=UNPROVEN), Behind("second", other.url, (protocol,)))
        text = policy(*behind, settings={"experimental": True}, answers={"hold": hold})
        async with spine(text, env={"FIRST_KEY": "k" * 10, "SECOND_KEY": "k" * 10}) as gate:
            answer = await gate.ask(protocol, asked_of)
            event = await gate.event(answer.headers["x-sbgw-event"])
    assert answer.body == sent
    assert (event["invalidCalls"], event["repairedCalls"]) == (0, 0)
