"""Bills: told counts, broken answers, silent providers, what was given up, and the model that was asked for."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import orjson
import pytest

from engine.providers.heard import Heard
from tests.emulator import Emulator, Fault, Script, Turn, Usage
from tests.emulator.models import Model
from tests.spine import KEY, PATHS, PROTOCOLS, Behind, Spine, body, policy, spine

ROWS = {"m": Model()}
LONG = "one two three four five six seven eight nine ten " * 40
"""About 480 tokens."""
PRICE = {"input": 100, "output": 400, "cached_input": 10, "cache_write": 125}
"""USD per million, steep, so that a few tokens are seen."""


def emulator(text: str = "Hello.", usage: Usage | None = None, **more: Any) -> Emulator:
    return Emulator(Script((Turn(text, usage=usage),)), models=ROWS, **more)


def behind(emu: Emulator, *wires: str, name: str = "first", **more: Any) -> Behind:
    return Behind(name, emu.url, wires, model={"price": PRICE}, **more)


async def billed(gate: Spine, protocol: str, **sent: Any) -> dict[str, Any]:
    answer = await gate.ask(protocol, body(protocol, **sent))
    return await gate.event(answer.headers["x-sbgw-event"])


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("client", ["anthropic-messages", "openai-responses", "openai-chat"])
async def test_told_counts_are_what_is_billed(client: str, stream: bool) -> None:
    """Cached, written and plain tokens at their own rates, preserved or translated."""
    usage = Usage(input=1000, output=50, cached=600, cache_written=100)
    async with (
        emulator(usage=usage) as emu,
        spine(policy(behind(emu, "anthropic-messages")), env={"FIRST_KEY": emu.key}) as gate,
    ):
        event = await billed(gate, client, stream=stream)
    assert event["costBasis"] == "usage"
    assert "estimatedUsd" not in event
    expected = (1000 * 100 + 600 * 10 + 100 * 125 + 50 * 400) / 1e6  # this wire's input leaves out the cached
    assert event["costEstimateUsd"] == pytest.approx(expected)
    assert event["requestedUsd"] == event["costEstimateUsd"]


@pytest.mark.parametrize("wire", ["anthropic-messages", "openai-responses", "openai-chat"])
@pytest.mark.parametrize("client", ["anthropic-messages", "openai-chat"])
async def test_a_stream_that_breaks_off_is_billed_for_what_came(client: str, wire: str) -> None:
    """Half of the answer came: about half of its tokens are billed, and the bill says that it is an estimate."""
    async with emulator(LONG) as emu, spine(policy(behind(emu, wire)), env={"FIRST_KEY": emu.key}) as gate:
        emu.fail_next(Fault("truncated"))
        event = await billed(gate, client, stream=True, max_tokens=2000)
    prompt_told = wire == "anthropic-messages"
    assert (event["status"], event["costBasis"]) == ("error", "partial" if prompt_told else "sizes")
    prompt = event["inputTokens"] if prompt_told else event["facts"]["estimate"]["input_tokens"]
    output = (event["costEstimateUsd"] * 1e6 - 100 * prompt) / 400
    assert 200 <= output <= 300
    told = (100 * prompt + 400 * event["outputTokens"]) / 1e6 if prompt_told else 0.0
    assert event["estimatedUsd"] == pytest.approx(event["costEstimateUsd"] - told)
    assert "outputTokens" not in event or event["outputTokens"] < 20


async def test_a_silent_provider_is_estimated_and_marked() -> None:
    """A Chat client that does not ask for usage gets none, and the answer still has a price; its counts stay unknown."""
    async with emulator(LONG) as emu, spine(policy(behind(emu, "openai-chat")), env={"FIRST_KEY": emu.key}) as gate:
        event = await billed(gate, "openai-chat", stream=True)
    assert (event["status"], event["costBasis"]) == ("success", "sizes")
    assert event["estimatedUsd"] == event["costEstimateUsd"]
    assert not event.keys() & {"inputTokens", "outputTokens"}
    output = (event["costEstimateUsd"] * 1e6 - 100 * event["facts"]["estimate"]["input_tokens"]) / 400
    assert 470 <= output <= 510


async def test_leaving_early_is_billed() -> None:
    """The client leaves inside the answer: what came until then is paid for."""
    async with (
        emulator(LONG, pace=0.05) as emu,
        spine(policy(behind(emu, "anthropic-messages")), env={"FIRST_KEY": emu.key}) as gate,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        asked = orjson.dumps(body("anthropic-messages", stream=True))
        head = f"POST {PATHS['anthropic-messages']} HTTP/1.1\r\nHost: localhost:{gate.port}\r\nx-sbgw-key: {KEY}\r\n"
        writer.write(f"{head}content-type: application/json\r\ncontent-length: {len(asked)}\r\n\r\n".encode() + asked)
        await reader.readuntil(b"content_block_delta")
        writer.close()
        event = await gate.newest()
    assert (event["status"], event["costBasis"]) == ("cancelled", "partial")
    assert event["costEstimateUsd"] > event["inputTokens"] * 100 / 1e6


async def test_what_was_given_up_is_wasted_not_lost() -> None:
    """The first provider takes too long: its prompt is paid for, beside the answer of the second. A refusal costs nothing."""
    hurried = {"connect": 5, "first_event": 0.3, "idle": 5, "total": 30}
    async with emulator() as slow, emulator() as quick:
        first = Behind("first", slow.url, ["openai-chat"], {"timeouts": hurried}, {"price": PRICE})
        text = policy(first, behind(quick, "openai-chat", name="second"))
        async with spine(text, env={"FIRST_KEY": slow.key, "SECOND_KEY": quick.key}) as gate:
            slow.fail_next(Fault("stall", seconds=20))
            late = await billed(gate, "openai-chat")
            gate.heal()
            slow.fail_next(Fault("529"))
            refused = await billed(gate, "openai-chat")
    assert late["status"] == refused["status"] == "fallback_success"
    assert late["wastedUsd"] == pytest.approx(late["facts"]["estimate"]["input_tokens"] * 100 / 1e6)
    assert late["estimatedUsd"] == late["wastedUsd"]  # and nothing of the answer
    assert "wastedUsd" not in refused


async def test_the_model_asked_for_is_priced_too() -> None:
    """Another model serves: the event holds what the asked-for one would have cost for the same tokens."""
    usage = Usage(input=1000, output=100)
    async with emulator(usage=usage) as emu:
        text = orjson.loads(policy(behind(emu, "openai-chat")))
        text["models"]["first/dear"] = {**text["models"]["first/m"], "price": {"input": 1000, "output": 4000}}
        text["models"]["first/free-of-price"] = {k: v for k, v in text["models"]["first/m"].items() if k != "price"}
        async with spine(orjson.dumps(text).decode(), env={"FIRST_KEY": emu.key}) as gate:
            dear = await billed(gate, "openai-chat", model="dear")
            unpriced = await billed(gate, "openai-chat", model="free-of-price")
    assert dear["costEstimateUsd"] == pytest.approx(0.14)
    assert dear["requestedUsd"] == pytest.approx(1.4)
    assert "requestedUsd" not in unpriced


async def test_a_refusal_says_what_it_spared() -> None:
    """A request that the policy refuses is not billed; what it would have cost is recorded."""
    deny = {"deny": [{"id": "no", "when": "request.messages > 0"}]}
    async with emulator() as emu, spine(policy(behind(emu, "openai-chat"), gate=deny)) as gate:
        event = await billed(gate, "openai-chat", max_tokens=100)
    size = event["facts"]["estimate"]
    assert event["requestedUsd"] == pytest.approx((size["input_tokens"] * 100 + 100 * 400) / 1e6)
    assert not event.keys() & {"costEstimateUsd", "wastedUsd"}


async def test_a_reported_cost_stands_beside_the_estimate() -> None:
    """What the provider says it charges is the cost; the estimate stays."""
    usage = Usage(input=1000, output=100, cost=0.5)
    async with (
        emulator(usage=usage) as emu,
        spine(policy(behind(emu, "openai-chat")), env={"FIRST_KEY": emu.key}) as gate,
    ):
        event = await billed(gate, "openai-chat")
    assert (event["costReportedUsd"], event["costProvenance"]) == (0.5, "provider")
    assert event["costEstimateUsd"] == pytest.approx(0.14)


def delta(protocol: str, text: str) -> str:
    """A frame of a stream that carries `text`."""
    value: dict[str, Any] = {
        "anthropic-messages": {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}},
        "openai-responses": {"type": "response.output_text.delta", "delta": text, "obfuscation": "x" * 9},
        "openai-chat": {"object": "chat.completion.chunk", "choices": [{"delta": {"content": text}}]},
    }[protocol]
    return orjson.dumps(value).decode()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_came_is_measured_by_its_text(protocol: str) -> None:
    """Envelopes, padding and signs of life are no text; a long stream is measured by a part of it."""
    heard = Heard()
    for data in ('{"type": "ping"}', "[DONE]", '{"delta', delta(protocol, "ä" * 10)):
        heard.frame(data)
    assert heard.tokens in (5, 3)  # a broken frame counts as one without text
    for n in range(2000):
        heard.frame(delta(protocol, "x" * (4 + n % 9)))
    assert heard.tokens == pytest.approx(4000, rel=0.1)
    assert Heard().tokens == 0


def test_the_last_frame_is_no_delta_whatever_it_repeats() -> None:
    """A long answer told once more at its end is not counted twice."""
    heard, said = Heard(), '{"type":"response.output_text.delta","delta":"four"}'
    for _ in range(100):
        heard.frame(said)
    heard.frame('{"type":"response.completed","response":{"text":"%s","delta":"four"}}' % ("four " * 1000))
    assert heard.tokens == 100


def test_padding_by_chance_hardly_matters() -> None:
    """Frames that a vendor pads with up to twenty characters: what they say is told from it within a twentieth, on the mean."""
    chance, off = Random(5), 0.0
    for _ in range(200):
        heard = Heard()
        for _ in range(80):
            more = "p" * chance.randrange(20)
            heard.frame(f'{{"type":"content_block_delta","delta":{{"text":"a dozen word"}},"p":"{more}"}}')
        off += abs(heard.tokens - 240) / 240
    assert off / 200 < 0.06
