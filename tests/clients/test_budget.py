"""A budget that is used up ends a real agent's turn: at once, in our words, without a storm of retries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.clients.gateway import Gateway
from tests.clients.install import Clients
from tests.clients.run import Agent
from tests.clients.test_tool_loops import AGENTS

pytestmark = pytest.mark.clients
Start = Callable[..., Awaitable[Gateway]]

POLICY = "version: 1\nname: bare\nextends: [default]\nbudgets: {day: {usd: 0, per: day}}\n"


@pytest.mark.parametrize(("name", "variable"), [("claude-code", "ANTHROPIC_API_KEY"), ("codex", "OPENAI_API_KEY")])
async def test_a_used_up_budget_stops_the_agent(
    agents: Clients, tmp_path: Path, gateway: Start, name: str, variable: str
) -> None:
    """One clear error; nothing was sent to the provider, so any key will do."""
    gate = await gateway(POLICY, **{variable: "sk-never-sent"})
    ended = await Agent(name, agents, gate.url, gate.key, AGENTS[name][0]).run("Say hello.", tmp_path)
    assert "The budget 'day' is used up" in ended.out + ended.err, ended.told()
    events = await gate.events(at_least=1)
    assert 1 <= len(events) <= 2, [event["errorClass"] for event in events]
    assert {"budget_exceeded"} == {event["errorClass"] for event in events}
