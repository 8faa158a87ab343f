"""A model that is not proven stumbles over its tools; the real agents in front of it notice nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from tests.clients.gateway import Gateway
from tests.clients.install import Clients
from tests.clients.places import MESSAGES, STRICT, Place, keys, policy
from tests.clients.run import Agent
from tests.clients.test_tool_loops import AGENTS, check_events, check_session
from tests.emulator import Emulator, Raw, Scenario, Script, Tool, Turn

pytestmark = pytest.mark.clients
Start = Callable[..., Awaitable[Gateway]]

SHELLS = {"claude-code": ("Bash", "command"), "codex": ("exec_command", "cmd")}


def unproven(text: str, place: Place) -> str:
    """The policy with `place` marked experimental, whole answers held back."""
    lines = [
        line.replace("_safe: true", "_safe: experimental") if place.ref in line else line for line in text.splitlines()
    ]
    return "\n".join([*lines, "settings: {experimental: true}", "answers: {hold: answer}", ""])


@pytest.mark.parametrize("name", AGENTS)
async def test_every_broken_call_falls_back(agents: Clients, scenario: Scenario, gateway: Start, name: str) -> None:
    """The first model invents tools and breaks off arguments in every turn: the session goes on with the second one's calls."""
    shell, field = SHELLS[name]
    broken = (
        Tool("launch_rocket", {"to": "moon"}),
        Tool(shell, Raw(f'{{"{field}": "rm -rf ')),
        Tool(shell, {"comand": "ls"}),
    )
    script = Script(tuple(Turn("One moment.", "I know a better way.", (call,)) for call in broken))
    async with Emulator(script, STRICT.profile) as bad, Emulator(scenario.script, MESSAGES.profile) as good:
        behind = ((STRICT, bad), (MESSAGES, good))
        gate = await gateway(unproven(policy(*behind), STRICT), **keys(*behind))
        ended = await Agent(name, agents, gate.url, gate.key, AGENTS[name][0]).run(scenario.prompt, scenario.folder)
        check_session(scenario, [good], ended)
        events = await gate.events(at_least=5)
    check_events(events, name, agents.versions[name])
    tools = [event for event in events if len(event["attempts"]) > 1]
    assert len(tools) == 5
    assert {event["attempts"][0]["meaning"] for event in tools} == {"incompatible"}
    assert {event["invalidCalls"] for event in tools} == {1}
    assert tools[-1]["facts"]["session"]["invalid_calls"] == 4


@pytest.mark.parametrize("name", AGENTS)
async def test_a_slip_is_not_the_agents_trouble(agents: Clients, tmp_path: Path, gateway: Start, name: str) -> None:
    """A name in another case and a comma too many: the agent runs the call at once, and nothing is asked of another model."""
    folder = tmp_path / "work"
    folder.mkdir()
    shell, field = SHELLS[name]
    said = orjson.dumps({field: f"printf slipped > '{folder}/made.txt' && echo made-it"}).decode()
    calls = (Tool(f"functions.{shell.upper()}", Raw(said[:-1] + ",}")),)
    script = Script((Turn("I'll write it.", "Easy.", calls), Turn("It is written.")))
    async with Emulator(script, STRICT.profile) as slips, Emulator(script, MESSAGES.profile) as other:
        behind = ((STRICT, slips), (MESSAGES, other))
        gate = await gateway(unproven(policy(*behind), STRICT), **keys(*behind))
        ended = await Agent(name, agents, gate.url, gate.key, AGENTS[name][0]).run("Write the file.", folder)
        events = await gate.events(at_least=2)
    assert "It is written." in ended.out
    assert (folder / "made.txt").read_text() == "slipped"
    assert [(event["repairedCalls"], event["invalidCalls"]) for event in events if event["facts"]["request"]["tools"]] == [
        (1, 0), (0, 0)
    ]  # fmt: skip
    assert other.requests == []
