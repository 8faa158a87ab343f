"""Histories of tool calls on their way to a provider: accepted, no call or result lost, and mended only where it must be."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.protocols.registry import PROTOCOLS as CODECS
from tests.emulator import Emulator
from tests.emulator.refusal import Refusal
from tests.fidelity.requests import Tally, check, judge, target
from tests.fidelity.tool_requests import HISTORIES, MISSING, ORDER, ORPHAN, History, Step, asked, call, result, user
from tests.judge import judged
from tests.spine import CLASSES, PROTOCOLS, Behind, policy, spine

PAIRS = [(client, wire) for client, wire in product(PROTOCOLS, PROTOCOLS) if client != wire]
EACH = pytest.mark.parametrize(("client", "wire"), PAIRS, ids=[f"{c}-to-{w}" for c, w in PAIRS])
MODELS = {"anthropic-messages": "claude-haiku-4-5", "openai-chat": "gpt-4.1", "openai-responses": "gpt-4.1"}
ABLE = {"tools": True, "context": 200_000, "max_output": 16_000, "claude_code_safe": True, "codex_safe": True}


@EACH
@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.name.replace(" ", "-"))
def test_what_is_mended_is_named(history: History, client: str, wire: str) -> None:
    """A strict server takes it, everything that was said is there, and the codes are those of the table."""
    tally = Tally()
    judge(history.name, asked(client, history.steps), client, wire, tally)
    assert (tally.wrong, tally.refused) == ([], [])
    assert {code for code in tally.losses if code.startswith("tool_result.")} == history.mended.get(wire, set())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_mended_where_nothing_is_translated(protocol: str) -> None:
    """On the preserve path a broken history is the provider's to judge: its refusal is what the client has to read."""
    for history in HISTORIES:
        body = asked(protocol, history.steps)
        before = copy.deepcopy(body)
        assert CODECS[protocol].rewrite(body, target(protocol)) == before, history.name


@EACH
async def test_through_the_gateway(client: str, wire: str) -> None:
    """The same with everything in between, streamed: no refusal, and the header names what was mended."""
    async with Emulator() as provider:
        row, model = Behind("first", provider.url, (wire,)), MODELS[wire]
        routes = {name: [f"first/{model}"] for name in CLASSES}
        text = policy(row, models={f"first/{model}": ABLE}, routes=routes)
        async with spine(text, env={"FIRST_KEY": provider.key}) as gate:
            for history in HISTORIES:
                answer = await gate.ask(client, {**asked(client, history.steps), "stream": True})
                assert judged(answer).text == "Hello from the emulator.", history.name
                named = answer.headers.get("x-sbgw-loss", "").replace(",", " ").split()
                mended = history.mended.get(wire, set())
                assert mended <= set(named), history.name
        assert [received.verdict for received in provider.requests] == ["ok"] * len(HISTORIES)


IDS = st.sampled_from(["a", "b", "a:b", "call_b64_YSBi", "functions.f:0", "x" * 70, "é" * 30, "toolu_1", "\n"])
STEPS = st.one_of(
    st.builds(call, IDS | st.just(""), st.sampled_from(["f", "g"])),
    st.builds(call, IDS, st.sampled_from(["f", "g"])),
    st.builds(result, IDS),
    st.builds(result, IDS),
    st.builds(user, st.sampled_from(["go on", "wait"])),
    st.just(Step("assistant", "hm")),
    st.just(Step("system", "be brief")),
)


@EACH
@given(st.lists(STEPS, max_size=14))
@settings(max_examples=150, deadline=None)
def test_any_history_is_taken(client: str, wire: str, steps: list[Step]) -> None:
    """Whatever calls and results stand where, under whatever ids: accepted, each call there once, losses announced."""
    tally = Tally()
    judge("any", asked(client, [user("go"), *steps, user("well?")]), client, wire, tally)
    assert (tally.wrong, tally.refused) == ([], [])


@given(st.lists(STEPS, max_size=14))
@settings(max_examples=150, deadline=None)
def test_what_stands_well_is_not_mended(steps: list[Step]) -> None:
    """A history that a strict Messages server takes as it is needs no mending on any wire but for the order of results."""
    body: dict[str, Any] = asked("anthropic-messages", [user("go"), *steps, user("well?")])
    try:
        check(body, "anthropic-messages")
    except Refusal:
        return
    request = CODECS["anthropic-messages"].decode_request(body)
    for wire in PROTOCOLS[1:]:
        _, losses = CODECS[wire].encode_request(request, target(wire))
        assert {MISSING, ORPHAN}.isdisjoint(losses)
        assert ORDER not in losses or wire == "openai-chat"
