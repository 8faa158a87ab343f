"""What sessions hold beside text: images that a tool returns, and sub-agents with a conversation of their own."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.clients.gateway import Gateway
from tests.clients.install import Clients
from tests.clients.places import CHAT, MESSAGES, RESPONSES, Place, keys, policy
from tests.clients.run import Agent
from tests.clients.test_tool_loops import AGENTS
from tests.emulator import Emulator, Script, Shell, Tool, Turn, View

pytestmark = pytest.mark.clients
Start = Callable[..., Awaitable[Gateway]]
THREE = pytest.mark.parametrize("place", [MESSAGES, RESPONSES, CHAT], ids=lambda place: place.id)


def png(side: int = 16) -> bytes:
    """A small red square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\xc0\x20\x20" * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@THREE
@pytest.mark.parametrize("name", AGENTS)
async def test_an_image_from_a_tool(agents: Clients, tmp_path: Path, gateway: Start, name: str, place: Place) -> None:
    """An image that a tool returns reaches the model as an image, whatever the provider speaks."""
    (tmp_path / "dot.png").write_bytes(png())
    script = Script((Turn("Looking.", "An image.", (View(tmp_path / "dot.png"),)), Turn("It is a dot.", images=1)))
    async with Emulator(script, place.profile) as emu:
        gate = await gateway(policy((place, emu)), **keys((place, emu)))
        ended = await Agent(name, agents, gate.url, gate.key, AGENTS[name][0]).run("What is in dot.png?", tmp_path)
    assert [seen.verdict for seen in emu.refused] == [], ended.told()
    assert emu.surprises == [], ended.told()
    assert "It is a dot." in ended.out, ended.told()


@THREE
async def test_a_sub_agent(agents: Clients, tmp_path: Path, gateway: Start, place: Place) -> None:
    """A sub-agent's requests are told from its parent's in the record, and belong to the same session."""
    task = "SUBTASK-7: run the command and report."
    branch = Script((Turn("On it.", calls=(Shell("echo pong-77", expect="pong-77"),)), Turn("It said pong-77.")))
    script = Script(
        (
            Turn(
                "I'll delegate.",
                calls=(
                    Tool(
                        "Agent", {"description": "Run it", "prompt": task, "run_in_background": False}, expect="pong-77"
                    ),
                ),
            ),
            Turn("The agent reports pong-77."),
        ),
        branches={"SUBTASK-7": branch},
    )
    async with Emulator(script, place.profile) as emu:
        gate = await gateway(policy((place, emu)), **keys((place, emu)))
        ended = await Agent("claude-code", agents, gate.url, gate.key, AGENTS["claude-code"][0]).run(
            "Delegate.", tmp_path
        )
        events = await gate.events(at_least=4)
    assert [seen.verdict for seen in emu.refused] == [], ended.told()
    assert emu.surprises == [], ended.told()
    assert "The agent reports pong-77." in ended.out, ended.told()
    by_agents = [event.get("agent") for event in events]
    assert by_agents[0] is None
    assert by_agents[-1] is None
    assert len({agent for agent in by_agents if agent}) == 1
    assert len({event["sessionId"] for event in events}) == 1
