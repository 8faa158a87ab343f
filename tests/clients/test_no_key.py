"""Without a provider's key an agent is told so at once, in words that name what to set, and does not try again for minutes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.clients.gateway import Gateway
from tests.clients.install import Clients
from tests.clients.run import Agent
from tests.clients.test_tool_loops import AGENTS

pytestmark = pytest.mark.clients
Start = Callable[..., Awaitable[Gateway]]


@pytest.mark.parametrize(("name", "variable"), [("claude-code", "ANTHROPIC_API_KEY"), ("codex", "OPENAI_API_KEY")])
async def test_no_key(agents: Clients, tmp_path: Path, gateway: Start, name: str, variable: str) -> None:
    """One clear error that names the variable to set, within seconds, and no storm of retries."""
    gate = await gateway("version: 1\nname: bare\nextends: [default]\n")
    begun = time.monotonic()
    ended = await Agent(name, agents, gate.url, gate.key, AGENTS[name][0]).run("Say hello.", tmp_path)
    assert variable in ended.out + ended.err, ended.told()
    assert time.monotonic() - begun < 20
    events = await gate.events(at_least=1)
    assert 1 <= len(events) <= 2, [event["errorClass"] for event in events]
    assert {"error"} == {event["status"] for event in events}


@pytest.mark.parametrize("name", AGENTS)
async def test_wrong_gateway_key(agents: Clients, tmp_path: Path, gateway: Start, name: str) -> None:
    """A wrong key for the gateway is said plainly, and soon."""
    gate = await gateway("version: 1\nname: bare\nextends: [default]\n")
    begun = time.monotonic()
    ended = await Agent(name, agents, gate.url, "not-the-key", AGENTS[name][0]).run("Say hello.", tmp_path)
    assert "key" in (ended.out + ended.err).lower(), ended.told()
    assert "401" in ended.out + ended.err, ended.told()
    assert time.monotonic() - begun < 30
