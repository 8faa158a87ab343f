"""count_tokens: the provider's own count where it has one, else an estimate, and never an error of the provider's."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest

from engine.routes import tokens
from tests.emulator import Emulator
from tests.emulator.models import Model
from tests.spine import KEY, Behind, Call, Spine, Wire, body, policy, spine
from tests.stages.test_preserve import WHOLE

ROWS = {"m": Model()}
ASKED: dict[str, Any] = {k: v for k, v in body("anthropic-messages", text="word " * 400).items() if k != "max_tokens"}
PATH = "/v1/messages/count_tokens"


async def count(gate: Spine, **headers: str) -> Any:
    answer = await gate.send("POST", PATH, orjson.dumps(ASKED), {"anthropic-version": "2023-06-01", **headers})
    assert answer.status == 200, answer.body
    return answer.json


async def test_a_provider_that_counts_is_asked() -> None:
    """Its number, its key, the client's beta headers; nothing is recorded."""
    async with Emulator(models=ROWS) as emu:
        text = policy(Behind("first", emu.url, ("anthropic-messages",)))
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            told = await count(gate, **{"anthropic-beta": "token-counting-2024-11-01"})
            assert gate.events() == []
            marked = await gate.send("POST", PATH, orjson.dumps(ASKED))
    assert marked.headers["x-sbgw-count"] == "provider"
    seen, _ = emu.requests
    assert (seen.wire, seen.verdict, seen.model) == ("count_tokens", "ok", "m")
    assert seen.headers["anthropic-beta"] == "token-counting-2024-11-01"
    assert told == {"input_tokens": told["input_tokens"]}
    assert emu.saw(KEY) == []


@pytest.mark.parametrize("wire", ["openai-chat", "openai-responses"])
async def test_others_are_estimated(wire: str) -> None:
    """By size, without asking anybody."""
    async with (
        Emulator(models=ROWS) as emu,
        spine(policy(Behind("first", emu.url, (wire,))), env={"FIRST_KEY": emu.key}) as gate,
    ):
        told = await count(gate)
        marked = await gate.send("POST", PATH, orjson.dumps(ASKED))
    assert 200 < told["input_tokens"] < 1200
    assert emu.requests == []
    assert marked.headers["x-sbgw-count"] == "estimate"


@pytest.mark.parametrize(
    "said",
    [b'{"input_tokens": "many"}', b"[1]", b"<html>", b"", b'{"type":"error","error":{"type":"x","message":"y"}}'],
)
@pytest.mark.parametrize("status", ["200 OK", "404 Gone", "429 Wait"])
async def test_a_provider_that_cannot_say_is_estimated(said: bytes, status: str) -> None:
    """Whatever it answers instead of a number."""

    async def play(call: Call) -> None:
        await call.open("application/json", status)
        await call.write(said)

    async with Wire(play) as provider:
        text = policy(Behind("first", provider.url, ("anthropic-messages",)))
        async with spine(text, env={"FIRST_KEY": "k"}) as gate:
            assert (await count(gate))["input_tokens"] > 200


async def test_a_provider_that_is_slow_to_count_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate comes in time, and the provider's connection is let go."""
    monkeypatch.setattr(tokens, "_PATIENCE", 0.2)
    gone = asyncio.Event()

    async def play(call: Call) -> None:
        await call.gone.wait()
        gone.set()

    async with Wire(play) as provider:
        text = policy(Behind("first", provider.url, ("anthropic-messages",)))
        async with spine(text, env={"FIRST_KEY": "k"}) as gate:
            began = time.monotonic()
            assert (await count(gate))["input_tokens"] > 200
            assert time.monotonic() - began < 2
            await asyncio.wait_for(gone.wait(), 1)


async def test_responses_has_its_own_count() -> None:
    """`/v1/responses/input_tokens`, estimated."""
    async with spine(
        policy(Behind("first", lambda _: "http://127.0.0.1:1", ("openai-responses",))), env={"FIRST_KEY": "k"}
    ) as gate:
        answer = await gate.send("POST", "/v1/responses/input_tokens", orjson.dumps(body("openai-responses")))
    assert answer.status == 200
    assert answer.json["input_tokens"] > 0


async def test_a_request_that_is_none_is_refused() -> None:
    """400 in Anthropic's envelope."""
    async with spine(
        policy(Behind("first", lambda _: "http://127.0.0.1:1", ("anthropic-messages",))), env={"FIRST_KEY": "k"}
    ) as gate:
        answer = await gate.send("POST", PATH, b'{"model": 7}')
    assert (answer.status, answer.json["type"]) == (400, "error")


class Counting:
    """A provider that counts or not, and answers messages."""

    def __init__(self, status: str = "200 OK", said: bytes = b'{"input_tokens": 321}') -> None:
        self.status = status
        self.said = said
        self.asked: list[str] = []

    async def play(self, call: Call) -> None:
        path = call.head.split(b" ")[1].decode()
        self.asked.append("count" if path.endswith("count_tokens") else "answer")
        await call.open("application/json", self.status if path.endswith("count_tokens") else "200 OK")
        await call.write(self.said if path.endswith("count_tokens") else WHOLE["anthropic-messages"])


async def state(gate: Spine, model: str = "") -> tuple[bool, str]:
    """(healthy, reason) of the provider, or of a model of it."""
    [row] = (await gate.send("GET", "/providers")).json["providers"][-1:]
    found = next(m for m in row["models"] if m["model"] == model) if model else row
    return found["healthy"], found["reason"]


@pytest.mark.parametrize(("status", "meaning"), [("404 Gone", "not_found"), ("429 Wait", "rate_limit")])
async def test_who_cannot_count_is_not_asked_again_and_answers_as_before(status: str, meaning: str) -> None:
    """Counting has limits of its own, and many vendors have none: the model is none the worse."""
    provider = Counting(status, b'{"type": "error", "error": {"type": "x", "message": "y"}}')
    async with Wire(provider.play) as wire:
        text = policy(Behind("first", wire.url, ("anthropic-messages",)))
        async with spine(text, env={"FIRST_KEY": "k"}) as gate:
            for _ in range(3):
                assert (await count(gate))["input_tokens"] > 200
            assert provider.asked == ["count"]
            assert (await gate.ask("anthropic-messages")).status == 200
            assert await state(gate) == (True, "")
            assert await state(gate, "count_tokens") == (False, meaning)


async def test_a_key_that_may_not_count_may_nothing() -> None:
    """A refused key is refused for messages as well, so a spare one is used."""
    keys: list[str] = []

    async def play(call: Call) -> None:
        keys.append(call.headers["x-api-key"])
        await call.open("application/json", "401 No" if keys[-1] == "bad" else "200 OK")
        await call.write(b'{"input_tokens": 321}')

    async with Wire(play) as wire:
        text = policy(Behind("first", wire.url, ("anthropic-messages",), row={"spare_key_env": ["FIRST_KEY_2"]}))
        async with spine(text, env={"FIRST_KEY": "bad", "FIRST_KEY_2": "good"}) as gate:
            assert (await count(gate))["input_tokens"] > 200
            assert await count(gate) == {"input_tokens": 321}
    assert keys == ["bad", "good"]


async def test_counting_takes_its_share_of_the_limits() -> None:
    """Two requests a minute: the third count is an estimate, and the limit is told as full."""
    provider = Counting()
    async with Wire(provider.play) as wire:
        row = {"limits": {"requests_per_minute": 2}}
        text = policy(Behind("first", wire.url, ("anthropic-messages",), row=row))
        async with spine(text, env={"FIRST_KEY": "k"}) as gate:
            told = [(await count(gate))["input_tokens"] for _ in range(3)]
            [listed] = (await gate.send("GET", "/providers")).json["providers"][-1:]
    assert told[:2] == [321, 321]
    assert told[2] != 321
    assert provider.asked == ["count", "count"]
    assert listed["limits"]["requestsPerMinute"] == {"used": 2, "limit": 2}


async def test_the_time_to_count_is_no_models_latency() -> None:
    """Nor is anything else of it told as the provider's."""
    provider = Counting()
    async with Wire(provider.play) as wire:
        text = policy(Behind("first", wire.url, ("anthropic-messages",)))
        async with spine(text, env={"FIRST_KEY": "k"}) as gate:
            await count(gate)
            [listed] = (await gate.send("GET", "/providers")).json["providers"][-1:]
    assert (listed["latencyMs"], listed["errorRate"]) == (0.0, 0.0)
