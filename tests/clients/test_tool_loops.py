"""Claude Code and Codex finish a session of four tool turns through the gateway, whatever their provider speaks.

The provider is strict, so a session that ends well also says that nothing wrong was sent; and the emulated model compares what
comes back to it with what it said, so nothing was bent on the way either.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.clients.gateway import Gateway
from tests.clients.install import Clients
from tests.clients.places import CHAT, DEEPSEEK, MESSAGES, PLACES, RESPONSES, STRICT, Place, keys, policy
from tests.clients.run import Agent, Finished
from tests.emulator import Emulator, Scenario

pytestmark = pytest.mark.clients
Start = Callable[..., Awaitable[Gateway]]

AGENTS = {"claude-code": ("claude-opus-5-5", "anthropic-messages"), "codex": ("stackbilt-auto", "openai-responses")}
"""Each agent's model name, as `sbgw setup` gives it, and the protocol it speaks."""


def check_session(scenario: Scenario, emulators: list[Emulator], ended: Finished) -> None:
    """The session ended well: files, final text, exit code, nothing refused, nothing bent."""
    assert [seen.verdict for emu in emulators for seen in emu.refused] == [], ended.told()
    assert [text for emu in emulators for text in emu.surprises] == [], ended.told()
    assert scenario.after == scenario.left(), ended.told()
    assert scenario.final in ended.out, ended.told()
    assert ended.code == 0, ended.told()


def check_events(events: list[dict[str, Any]], name: str, version: str) -> None:
    """Every event says who asked, what it was, who answered and what it cost; all of one session."""
    for event in events:
        assert name == event["client"]
        assert version == event["clientVersion"]
        assert AGENTS[name][1] == event["protocol"]
        assert AGENTS[name][0] == event["requestedModel"]
        assert event["routeClass"]
        assert event["inputTokens"] > 100
        assert event["outputTokens"] > 0
        assert event["costEstimateUsd"] > 0
        assert event["status"] in ("success", "fallback_success")
        assert event["httpStatus"] == 200
    (session,) = {event["sessionId"] for event in events}
    assert re.fullmatch(r"[0-9a-f-]{36}", session)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.id)
@pytest.mark.parametrize("name", AGENTS)
async def test_tool_loop(agents: Clients, scenario: Scenario, gateway: Start, name: str, place: Place) -> None:
    """The agent's session leaves the expected files and prints the final text; the ledger has one complete event a request."""
    async with Emulator(scenario.script, place.profile) as emu:
        behind = (place, emu)
        gate = await gateway(policy(behind), **keys(behind))
        ended = await Agent(name, agents, gate.url, gate.key, AGENTS[name][0]).run(scenario.prompt, scenario.folder)
        check_session(scenario, [emu], ended)
        events = await gate.events(at_least=len(emu.served))
        assert emu.saw(gate.key) == [], "the gateway's own key must not travel"
    check_events(events, name, agents.versions[name])
    assert [(place.provider, place.model)] * len(emu.served) == [
        (e["selectedProvider"], e["selectedModel"]) for e in events
    ]
    assert [seen.step for seen in emu.served] == [0, 1, 2, 3, 6]
    assert [[place.ref]] * 5 == [event["fallbackChain"] for event in events]
    preserved = AGENTS[name][1] == place.wire
    assert {preserved} == {attempt["preserve"] for event in events for attempt in event["attempts"]}


@pytest.mark.parametrize("place", [MESSAGES, RESPONSES, CHAT], ids=lambda place: place.id)
async def test_codex_with_a_model_it_knows(agents: Clients, scenario: Scenario, gateway: Start, place: Place) -> None:
    """For a model that Codex knows it offers more kinds of tools, a free-text patch tool among them: they work everywhere."""
    async with Emulator(scenario.script, place.profile) as emu:
        gate = await gateway(policy((place, emu)), **keys((place, emu)))
        ended = await Agent("codex", agents, gate.url, gate.key, "gpt-5.5").run(scenario.prompt, scenario.folder)
        check_session(scenario, [emu], ended)


@pytest.mark.parametrize("name", AGENTS)
async def test_tool_loop_over_a_changing_provider(
    agents: Clients, scenario: Scenario, gateway: Start, name: str
) -> None:
    """A session that goes to another vendor with every turn, and back to the first one, ends as if there were one."""
    places = (MESSAGES, RESPONSES, STRICT, DEEPSEEK)
    async with AsyncExitStack() as stack:
        emulators = [await stack.enter_async_context(Emulator(scenario.script, place.profile)) for place in places]
        behind = list(zip(places, emulators, strict=True))
        gate = await gateway(policy(*behind, extra=turns_over(places)), **keys(*behind))
        ended = await Agent(name, agents, gate.url, gate.key, AGENTS[name][0]).run(scenario.prompt, scenario.folder)
        check_session(scenario, emulators, ended)
        events = await gate.events(at_least=5)
    assert [*(place.provider for place in places), MESSAGES.provider] == [event["selectedProvider"] for event in events]
    check_events(events, name, agents.versions[name])


def turns_over(places: tuple[Place, ...]) -> str:
    """Overrides that send each turn of a session to another place."""
    rules = "".join(
        f"  - {{id: turn-{n}, when: request.turns % {len(places)} == {n}, use: [{place.ref}]}}\n"
        for n, place in enumerate(places)
    )
    return f"overrides:\n{rules}"
