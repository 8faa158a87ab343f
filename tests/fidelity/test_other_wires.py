"""What was recorded of other wires and other endpoints than the three: served where one of ours is due, and sent to us.

A provider that answers in a form that was not asked for gives an error in the caller's own protocol: never a crash, never its
bytes as if they were an answer. Its refusals keep their words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache

import orjson
import pytest

from engine.llm.errors import ProviderError
from engine.protocols.model_catalogue import read_models
from tests.fidelity.answers import READ
from tests.fidelity.corpus import PROTOCOLS, Exchange, exchanges, others
from tests.fidelity.test_errors import said, without_query
from tests.judge import judged
from tests.spine import Answer, Behind, Call, Wire, policy, spine

pytestmark = pytest.mark.usefixtures("shared")

TAKEN = {("openai-responses-retrieve", "openai-responses")}
"""(kind, wire) whose recorded answers are answers of that wire: a response that is fetched later is a response."""

COUNTING = {
    "anthropic-count-tokens": "/v1/messages/count_tokens",
    "openai-responses-input-tokens": "/v1/responses/input_tokens",
}


@cache
def recorded() -> list[tuple[Exchange, str]]:
    """Everything of other wires."""
    return [*others()]


def test_every_recording_is_in_one_of_the_suites() -> None:
    """All of them: those of the three protocols go through the suites beside this one, the rest through this."""
    kinds = Counter(exchange.protocol for exchange, _ in recorded())
    ours = sum(1 for wire in PROTOCOLS for _ in exchanges(wire))
    assert (ours, kinds.total()) == (1164, 235)
    assert kinds.keys().isdisjoint(PROTOCOLS)


class Vendor:
    """A provider that answers every request with one recording."""

    def __init__(self) -> None:
        self.exchange: Exchange | None = None

    async def __call__(self, call: Call) -> None:
        assert self.exchange is not None
        kind = self.exchange.headers.get("content-type", "application/json")
        await call.open(kind, f"{self.exchange.status} Recorded")
        await call.write(self.exchange.raw)


def asked(*, every: bool) -> Iterator[tuple[Exchange, str, bool]]:
    """(recording, client, whether it asks for a stream). Not `every`: one client each, asking as was recorded."""
    for number, (exchange, _) in enumerate(recorded()):
        for place, client in enumerate(PROTOCOLS):
            for stream in (False, True):
                if every or (place == number % 3 and stream == exchange.streamed):
                    yield exchange, client, stream


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["some", "every"])
@pytest.mark.parametrize("wire", PROTOCOLS)
async def test_an_answer_of_another_wire_is_an_error(wire: str, *, every: bool) -> None:
    """Whole and streamed, for each client; a refusal is told in the vendor's words."""
    vendor, failed = Vendor(), []
    async with Wire(vendor) as provider:
        text = policy(Behind("first", provider.url, (wire,)), fallback={"attempts": 1})
        async with spine(text, env={"FIRST_KEY": "k"}) as gate:
            for exchange, client, stream in asked(every=every):
                vendor.exchange = exchange
                gate.heal()
                answer = await gate.ask(client, stream=stream)
                if line := _amiss(exchange, wire, answer):
                    failed.append(f"{exchange.protocol} {exchange.short} to {client}, stream={stream}: {line}")
    assert failed == []


def _amiss(exchange: Exchange, wire: str, answer: Answer) -> str:
    """What is wrong with what the client got, empty for nothing."""
    if exchange.status == 200:
        verdict = judged(answer)
        if (exchange.protocol, wire) in TAKEN:
            told = READ[wire].whole(orjson.loads(exchange.raw))
            return "" if told.error or verdict.text == told.text else f"{verdict} instead of {told.text[:100]!r}"
        return "" if answer.status == 502 and verdict.error else f"{answer.status} {verdict}"
    body = orjson.loads(exchange.raw)
    if answer.protocol == wire and isinstance(body, dict):  # as it came
        return (
            "" if (answer.status, answer.json) == (exchange.status, body) else f"{answer.status} {answer.body[:200]!r}"
        )
    words = [without_query(word) for word in said(body)] + ["rejected the gateway's credential", "prompt is too long"]
    shown = judged(answer).error
    return "" if answer.status >= 400 and any(word[:300] in shown for word in words) else f"{answer.status} {shown!r}"


async def test_requests_of_other_wires_are_refused_in_words() -> None:
    """At the path that they were sent to: JSON with a message, and no provider asked; counts are answered."""
    vendor = Vendor()
    async with Wire(vendor) as provider:
        async with spine(policy(Behind("first", provider.url, PROTOCOLS)), env={"FIRST_KEY": "k"}) as gate:
            for exchange, path in recorded():
                if exchange.request is None or exchange.protocol in COUNTING or path == "/v1/responses/compact":
                    continue  # those are served
                answer = await gate.send("POST", path or "/", orjson.dumps(exchange.request))
                assert answer.status in (404, 405), (path, answer.status)
                assert answer.json["error"]["message"], path
            assert (provider.calls, gate.events()) == ([], [])


@pytest.mark.parametrize("kind", COUNTING)
async def test_a_recorded_count_arrives(kind: str) -> None:
    """As the provider said it, marked as its own; where it refused, an estimate, marked as one."""
    vendor, seen = Vendor(), 0
    wire = "anthropic-messages" if kind.startswith("anthropic") else "openai-responses"
    async with Wire(vendor) as provider:
        async with spine(policy(Behind("first", provider.url, (wire,))), env={"FIRST_KEY": "k"}) as gate:
            for exchange, _ in recorded():
                if exchange.protocol != kind or exchange.request is None:
                    continue
                vendor.exchange, seen = exchange, seen + 1
                answer = await gate.send("POST", COUNTING[kind], orjson.dumps(exchange.request))
                refused = exchange.status != 200
                assert answer.headers["x-sbgw-count"] == ("estimate" if refused else "provider")
                assert answer.json["input_tokens"] > 0 if refused else answer.json == orjson.loads(exchange.raw)
                assert orjson.loads(provider.calls[-1].body) == {**exchange.request, "model": "m"}
    assert seen >= 2


def test_recorded_lists_of_models_are_read() -> None:
    """Every vendor's list gives its models' names, but one that lists voices."""
    for exchange, _ in recorded():
        if exchange.protocol != "models-list":
            continue
        if exchange.provider == "other:deepgram.com":
            with pytest.raises(ProviderError):
                read_models(orjson.loads(exchange.raw))
        else:
            assert all(model.name for model in read_models(orjson.loads(exchange.raw))), exchange.short
