"""The agents against the emulator itself, no gateway between: what these prove, the other agent tests may rely on."""

from __future__ import annotations

import pytest

from tests.clients.install import Clients
from tests.clients.run import Agent
from tests.emulator import Emulator, Scenario

pytestmark = pytest.mark.clients


@pytest.mark.parametrize(
    ("name", "wire", "model"),
    [
        ("claude-code", "anthropic-messages", "claude-opus-5-5"),
        ("codex", "openai-responses", "gpt-5.5"),
        ("codex", "openai-responses", "gpt-5.1"),
    ],
)
async def test_tool_loop(agents: Clients, scenario: Scenario, name: str, wire: str, model: str) -> None:
    """The agent finishes the tool loop on its own wire: files as expected, final text printed, nothing refused or altered."""
    async with Emulator(scenario.script) as emu:
        ended = await Agent(name, agents, f"http://127.0.0.1:{emu.port}", emu.key, model).run(
            scenario.prompt, scenario.folder
        )
    assert [seen.verdict for seen in emu.refused] == [], ended.told()
    assert scenario.after == scenario.left(), ended.told()
    assert scenario.final in ended.out, ended.told()
    assert ended.code == 0, ended.told()
    assert emu.surprises == []
    assert [seen.step for seen in emu.served if seen.wire == wire] == [0, 1, 2, 3, 6]
