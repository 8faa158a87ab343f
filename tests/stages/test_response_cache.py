"""The response cache: the same question is answered once, in every protocol, whole and streamed; what may not is never kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.messages import JsonObject
from engine.llm.protocol import Survey
from engine.stages.cache import key_of
from engine.store import answer_file
from tests.emulator import Emulator, Fault
from tests.emulator.dialects import Shell
from tests.emulator.models import Model
from tests.emulator.script import Script, Turn
from tests.judge import judged
from tests.spine import PROTOCOLS, Behind, body, policy, spine

ROWS = {"m": Model()}
ALWAYS: JsonObject = {"response": "on", "rules": [{"id": "all", "when": "true"}]}
TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ012345"


def text(emu: Emulator, *wires: str, cache: JsonObject = ALWAYS, **more: Any) -> str:
    return policy(Behind("first", emu.url, wires or ("openai-chat",)), cache=cache, **more)


def asked_upstream(emu: Emulator) -> int:
    return len([request for request in emu.requests if request.body])


@pytest.mark.parametrize("wire", ["anthropic-messages", "openai-responses", "openai-chat"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("first", [False, True], ids=["whole-first", "stream-first"])
async def test_an_answer_is_told_again(wire: str, protocol: str, first: bool, tmp_path: Path) -> None:
    """As it was asked for, whichever way it came the first time; a client's parser reads the same."""
    async with Emulator(models=ROWS) as emu:
        async with spine(text(emu, wire), env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
            told = [
                judged(await gate.ask(protocol, body(protocol, stream=stream))) for stream in (first, first, not first)
            ]
            assert asked_upstream(emu) == 1
            assert {answer.text for answer in told} == {"Hello from the emulator."}
            events = gate.events()
            assert [event["cacheHit"] for event in events] == [True, True, False]
            assert {event["status"] for event in events} == {"success"}
            assert {event["selectedModel"] for event in events} == {"m"}
            assert "attempts" not in events[0]
            paid, saved = events[2]["costEstimateUsd"], events[0]["requestedUsd"]
            assert "costEstimateUsd" not in events[0]
            assert saved == pytest.approx(paid), "what it would have cost is what was saved"


async def test_a_hit_is_known_by_its_header_and_its_path(tmp_path: Path) -> None:
    async with Emulator(models=ROWS) as emu:
        async with spine(text(emu), env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
            assert "x-sbgw-cache" not in (await gate.ask("openai-chat")).headers
            again = await gate.ask("openai-chat")
            assert again.headers["x-sbgw-cache"] == "hit"
            assert gate.events()[0]["path"] == ["decode", "classify", "gate", "cache.hit", "encode"]


async def test_off_by_default(tmp_path: Path) -> None:
    """Without a policy's word nothing is kept and nothing is made."""
    async with Emulator(models=ROWS) as emu:
        for cache in ({}, {"response": "off", "rules": ALWAYS["rules"]}, {"response": "on"}):
            async with spine(text(emu, cache=cache), env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
                await gate.ask("openai-chat")
                await gate.ask("openai-chat")
        assert asked_upstream(emu) == 6
    assert not (tmp_path / "answers").exists()


async def test_a_hundred_at_once_ask_once(tmp_path: Path) -> None:
    """Whole and streamed mixed: one upstream call, a hundred answers."""
    async with Emulator(models=ROWS) as emu:
        async with spine(text(emu), env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
            emu.fail_next(Fault("slow", seconds=0.3))
            answers = await asyncio.gather(
                *(gate.ask("openai-chat", body("openai-chat", stream=bool(n % 2))) for n in range(100))
            )
            assert [answer.status for answer in answers] == [200] * 100
            assert {judged(answer).text for answer in answers} == {"Hello from the emulator."}
            assert asked_upstream(emu) == 1
            assert sum(event["cacheHit"] for event in gate.events()) == 99


async def test_those_who_wait_ask_themselves_when_the_first_fails(tmp_path: Path) -> None:
    """A failure is nobody else's answer."""
    async with Emulator(models=ROWS) as emu:
        async with spine(text(emu, fallback={"attempts": 1}), env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
            emu.fail_next(Fault("500"))
            answers = await asyncio.gather(*(gate.ask("openai-chat") for _ in range(5)))
            statuses = sorted(answer.status for answer in answers)
            assert statuses[:4] == [200] * 4
            assert statuses[4] >= 500


async def test_a_client_that_leaves_lets_the_others_go_on(tmp_path: Path) -> None:
    async with Emulator(models=ROWS) as emu:
        async with spine(text(emu), env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
            emu.fail_next(Fault("slow", seconds=5))
            first = asyncio.create_task(gate.ask("openai-chat"))
            await asyncio.sleep(0.3)
            assert emu.requests, "the first is under way"
            second = asyncio.create_task(gate.ask("openai-chat"))
            await asyncio.sleep(0.1)
            first.cancel()
            assert (await asyncio.wait_for(second, 4)).status == 200


async def test_a_kept_answer_outlives_the_gateway_and_ends_with_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Emulator(models=ROWS) as emu:
        for _ in range(2):
            async with spine(text(emu), env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
                await gate.ask("openai-chat")
        assert asked_upstream(emu) == 1
        import time

        later = time.time() + 3601
        monkeypatch.setattr("diskcache.core.time.time", lambda: later)
        async with spine(text(emu), env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
            await gate.ask("openai-chat")
        assert asked_upstream(emu) == 2


async def test_another_policy_caller_or_model_has_its_own_answers(tmp_path: Path) -> None:
    async with Emulator(models=ROWS) as emu:
        asked = orjson.dumps(body("openai-chat"))
        async with spine(text(emu), env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
            for headers in (
                {},
                {"x-sbgw-project": "a"},
                {"x-sbgw-project": "b"},
                {"openai-beta": "x=1"},
                {"x-api-key": "own-login-1"},
            ):
                given = {"content-type": "application/json", "x-sbgw-key": "sbgw-canary-gateway-key-5f0c", **headers}
                assert (await gate.send("POST", "/v1/chat/completions", asked, given)).status == 200
        assert asked_upstream(emu) == 5
        async with spine(text(emu, fallback={"attempts": 2}), env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
            await gate.ask("openai-chat")
        assert asked_upstream(emu) == 6


# ── what is never kept ──


def _tool_history(protocol: str) -> JsonObject:
    made = body(protocol)
    match protocol:
        case "anthropic-messages":
            made["messages"] += [
                {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "t", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "x"}]},
            ]
            made["tools"] = [{"name": "t", "input_schema": {"type": "object"}}]
        case "openai-responses":
            made["input"] += [
                {"type": "function_call", "call_id": "call_1", "name": "t", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "call_1", "output": "x"},
            ]
            made["tools"] = [{"type": "function", "name": "t", "parameters": {"type": "object", "properties": {}}}]
        case _:
            call = {"id": "call_1", "type": "function", "function": {"name": "t", "arguments": "{}"}}
            made["messages"] += [
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": "x"},
            ]
            made["tools"] = [{"type": "function", "function": {"name": "t", "parameters": {"type": "object"}}}]
    return made


EXCLUDED: dict[str, Callable[[str], JsonObject]] = {
    "tool results": _tool_history,
    "a secret": lambda protocol: body(protocol, text=f"what is {TOKEN}"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", EXCLUDED)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_excluded_questions(protocol: str, kind: str, stream: bool, tmp_path: Path) -> None:
    """Asked twice, they are sent twice, and nothing is on the disk."""
    async with Emulator(models=ROWS) as emu:
        async with spine(text(emu, protocol), env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
            for _ in range(2):
                answer = await gate.ask(protocol, {**EXCLUDED[kind](protocol), "stream": stream})
                assert answer.status == 200, answer.body
        assert asked_upstream(emu) == 2
    assert answer_file.count(tmp_path / "answers") == (0, 0)


SCRIPTS: dict[str, Turn] = {
    "tool": Turn("Let me look.", calls=(Shell("ls"),)),
    "cut": Turn("Hello, and", stop="max_tokens"),
    "refusal": Turn("I will not.", stop="refusal"),
    "secret": Turn(f"Your token is {TOKEN}."),
    "nothing": Turn(""),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "script",
    [*SCRIPTS, "400", "500", "error-first-frame", "error-mid-stream", "drop-mid-stream", "truncated", "bad-json"],
)
@pytest.mark.parametrize("protocol", ["anthropic-messages", "openai-chat"])
async def test_excluded_answers(protocol: str, script: str, stream: bool, tmp_path: Path) -> None:
    """Tool calls, cut ends, refusals, secrets and errors are never kept."""
    turns = (SCRIPTS[script],) if script in SCRIPTS else (Turn("Hello from the emulator."),)
    async with Emulator(Script(turns), models=ROWS) as emu:
        if script not in SCRIPTS:
            emu.fail_next(Fault(script))
        async with spine(
            text(emu, protocol, fallback={"attempts": 1}), env={"FIRST_KEY": emu.key}, state=tmp_path
        ) as gate:
            made = body(protocol, stream=stream)
            if script == "tool":
                schema = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
                offered = {"name": "Bash", "input_schema": schema}
                if protocol == "openai-chat":
                    offered = {"type": "function", "function": {"name": "Bash", "parameters": schema}}
                made["tools"] = [offered]
            await gate.ask(protocol, made)
    assert answer_file.count(tmp_path / "answers") == (0, 0)
    assert asked_upstream(emu) >= 1


# ── keys ──

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2, width=16) | st.text('ab"\\{}[],:é', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab:,", max_size=3), inner, max_size=3),
    max_leaves=8,
)


class Asked:
    """As much of an exchange and the services as a key needs."""

    def __init__(self, made: JsonObject, *, headers: JsonObject | None = None, protocol: str = "openai-chat", ref: str = "a/b",
                 digest: str = "d", project: str = "", key: str = "", credential: JsonObject | None = None, stream: bool = False) -> None:  # fmt: skip
        yes = SimpleNamespace(keeps=lambda _: True)
        self.exchange: Any = SimpleNamespace(
            survey=Survey(model="m", stream=stream),
            decision=SimpleNamespace(chain=[SimpleNamespace(ref=ref)]),
            policy=SimpleNamespace(cache=yes, digest=digest),
            case=SimpleNamespace(facts={}),
            body={**made, "stream": stream},
            headers=headers or {},
            caller_credential=credential or {},
            identity=SimpleNamespace(project=project, key=key),
            wire=SimpleNamespace(name=protocol),
        )

    @property
    def key(self) -> str:
        services: Any = SimpleNamespace(redactor=SimpleNamespace(count=lambda _: 0))
        found = key_of(self.exchange, services)
        assert found is not None
        return found


@given(
    st.dictionaries(st.text("abm", max_size=2), VALUES, max_size=4),
    st.dictionaries(st.text("abm", max_size=2), VALUES, max_size=4),
)
@settings(max_examples=2000, deadline=None)
def test_no_two_different_requests_share_a_key(one: JsonObject, other: JsonObject) -> None:
    """Different as JSON: 1 is not 1.0 and not true. The order of keys, and whether it is streamed, make no difference."""
    same = _spelled(one) == _spelled(other)
    assert (Asked(one).key == Asked(other).key) == same
    assert Asked(one).key == Asked(dict(reversed(one.items())), stream=True).key


def _spelled(value: Any) -> Any:
    """A value that is equal to another's exactly if both are the same JSON."""
    if isinstance(value, dict):
        return ("map", frozenset((name, _spelled(below)) for name, below in value.items() if name != "stream"))
    if isinstance(value, list):
        return ("list", tuple(_spelled(below) for below in value))
    return (type(value).__name__, repr(value))


def test_everything_around_a_request_is_in_its_key() -> None:
    """Moved from one place to another, the same words are another key too."""
    asked: JsonObject = {"model": "m"}
    others = [
        Asked(asked),
        Asked(asked, protocol="anthropic-messages"),
        Asked(asked, ref="a/c"),
        Asked(asked, digest="e"),
        Asked(asked, project="p"),
        Asked(asked, key="p"),
        Asked(asked, credential={"authorization": "p"}),
        Asked(asked, credential={"x-api-key": "p"}),
        Asked(asked, headers={"anthropic-beta": "p"}),
        Asked(asked, headers={"openai-beta": "p"}),
        Asked({**asked, "anthropic-beta": "p"}),
    ]
    assert len({made.key for made in others}) == len(others)
    assert Asked(asked, headers={"user-agent": "x", "date": "y"}).key == Asked(asked).key
