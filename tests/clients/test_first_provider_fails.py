"""The first provider fails in the ways providers fail; with a second one the session ends well, and the record says what happened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.clients.gateway import Gateway
from tests.clients.install import Clients
from tests.clients.places import CHAT, MESSAGES, RESPONSES, keys, policy
from tests.clients.run import Agent
from tests.clients.test_tool_loops import AGENTS, check_events, check_session
from tests.emulator import Emulator, Fault, Scenario

pytestmark = pytest.mark.clients
Start = Callable[..., Awaitable[Gateway]]

FAULTS = {
    "429": (Fault("429", retry_after=1, times=20), "rate_limit"),
    "529": (Fault("529", times=20), "overloaded"),
    "error-first-frame": (Fault("error-first-frame", times=20), "overloaded"),
    "drop": (Fault("drop-before-headers", times=20), "unreachable"),
    "drop-after-headers": (Fault("drop-after-headers", times=20), None),
    "html": (Fault("html502", times=20), None),
}
"""What the first provider does, and what the record calls it where that is settled."""
PAIRS = {"claude-code": (MESSAGES, CHAT), "codex": (RESPONSES, MESSAGES)}
"""First the agent's own protocol, then another, so a fallback also changes the protocol."""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", AGENTS)
async def test_second_provider_answers(
    agents: Clients, scenario: Scenario, gateway: Start, name: str, fault: str
) -> None:
    """The first provider fails every time: the session ends well on the second, and each event holds the chain."""
    first, second = PAIRS[name]
    async with Emulator(scenario.script, first.profile) as bad, Emulator(scenario.script, second.profile) as good:
        bad.fail_next(_copy(FAULTS[fault][0]))
        behind = ((first, bad), (second, good))
        gate = await gateway(policy(*behind), **keys(*behind))
        ended = await Agent(name, agents, gate.url, gate.key, AGENTS[name][0]).run(scenario.prompt, scenario.folder)
        check_session(scenario, [bad, good], ended)
        events = await gate.events(at_least=5)
    check_events(events, name, agents.versions[name])
    assert len(events) == 5
    assert {second.provider} == {event["selectedProvider"] for event in events}
    assert [first.ref, second.ref] == events[0]["fallbackChain"]
    assert events[0]["status"] == "fallback_success"
    meaning = FAULTS[fault][1]
    assert meaning in (None, events[0]["attempts"][0]["meaning"])
    assert "meaning" not in events[0]["attempts"][-1]


@pytest.mark.parametrize("name", AGENTS)
async def test_a_failure_in_the_middle_of_a_session(
    agents: Clients, scenario: Scenario, gateway: Start, name: str
) -> None:
    """The provider fails once, after two tool turns: the session goes over to the second and back without a seam."""
    first, second = PAIRS[name]
    async with Emulator(scenario.script, first.profile) as bad, Emulator(scenario.script, second.profile) as good:
        bad.fail_next(Fault("529", at=2, times=3))
        behind = ((first, bad), (second, good))
        gate = await gateway(policy(*behind), **keys(*behind))
        ended = await Agent(name, agents, gate.url, gate.key, AGENTS[name][0]).run(scenario.prompt, scenario.folder)
        check_session(scenario, [bad, good], ended)
        events = await gate.events(at_least=5)
    assert [first.provider, first.provider, second.provider] == [event["selectedProvider"] for event in events[:3]]


def _copy(fault: Fault) -> Fault:
    """A fault counts itself down, so each test orders its own."""
    return Fault(fault.kind, fault.retry_after, fault.times)
