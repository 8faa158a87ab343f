"""A storm at the first provider, one thing after another in one session, with a healthy second behind it.

The agent finishes its work and shows no error; what happened stands in the record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.clients.gateway import Gateway
from tests.clients.install import Clients
from tests.clients.places import CHAT, MESSAGES, RESPONSES, keys, policy
from tests.clients.run import Agent
from tests.clients.test_tool_loops import AGENTS, check_session
from tests.emulator import Emulator, Fault, Scenario

pytestmark = pytest.mark.clients
Start = Callable[..., Awaitable[Gateway]]

PAIRS = {"claude-code": (MESSAGES, CHAT), "codex": (RESPONSES, MESSAGES)}
"""First the agent's own protocol, then another, so a fallback also changes the protocol."""


def storm() -> tuple[Fault, ...]:
    """By the tool results that a request holds: a rate limit that passes at once, an overload told inside a 200, a stream that
    breaks off, a quota that is used up for good."""
    return (
        Fault("429", retry_after=0, at=0),
        Fault("error-first-frame", at=1),
        Fault("drop-mid-stream", at=2),
        Fault("quota", at=3, times=50),
    )


@pytest.mark.parametrize("name", AGENTS)
async def test_a_storm_goes_by(agents: Clients, scenario: Scenario, gateway: Start, name: str) -> None:
    """Five requests, four of which meet a fault at the first provider: the work is done, and nobody was asked twice in vain."""
    first, second = PAIRS[name]
    async with Emulator(scenario.script, first.profile) as bad, Emulator(scenario.script, second.profile) as good:
        bad.fail_next(*storm())
        behind = ((first, bad), (second, good))
        gate = await gateway(policy(*behind), **keys(*behind))
        ended = await Agent(name, agents, gate.url, gate.key, AGENTS[name][0]).run(scenario.prompt, scenario.folder)
        check_session(scenario, [bad, good], ended)
        events = await gate.events(at_least=6)
        states = {row["provider"]: row for row in (await gate.get("/providers"))["providers"]}
    assert "API Error" not in ended.out + ended.err, ended.told()
    assert "stream disconnected" not in ended.out + ended.err, ended.told()
    met = [attempt["meaning"] for event in events for attempt in event["attempts"] if "meaning" in attempt]
    assert met == ["rate_limit", "overloaded", "unreachable", "quota"]
    # The one that broke off mid-way could not be replaced unseen: the agent asked again, and was answered.
    assert [event["status"] for event in events] == [
        "fallback_success",
        "fallback_success",
        "error",
        "success",
        "fallback_success",
        "success",
    ]
    assert (states[first.provider]["healthy"], states[first.provider]["reason"]) == (False, "quota")
    assert events[-1]["selectedProvider"] == second.provider
