"""OpenCode by its three kinds of providers, Qwen Code, Continue and Aider work through the gateway, whatever the provider speaks."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.clients.gateway import Gateway
from tests.clients.install import NotInstalled
from tests.clients.other_agents import OTHERS, Asked, Other
from tests.clients.places import CHAT, MESSAGES, RESPONSES, keys, policy
from tests.emulator import Edit, Emulator, Read, Script, Shell, Turn

pytestmark = pytest.mark.clients
Start = Callable[..., Awaitable[Gateway]]
BEHIND = {
    "opencode-chat": MESSAGES,
    "opencode-messages": RESPONSES,
    "opencode-responses": CHAT,
    "qwen-code": MESSAGES,
    "continue-chat": RESPONSES,
    "continue-messages": MESSAGES,
    "aider": CHAT,
}
"""Who answers which agent: mostly a provider of another protocol, sometimes one of its own."""
FINAL = "It is green now: done."


def _script(other: Other, folder: Path) -> Script:
    notes = folder / "notes.txt"
    if not other.calls_tools:  # it edits by text
        edit = "notes.txt\n```\n<<<<<<< SEARCH\ncolour: red “ä”\n=======\ncolour: green 🟢\n>>>>>>> REPLACE\n```\n"
        return Script((Turn(f"{FINAL}\n\n{edit}"),))
    turns = (
        Turn("Reading.", "Read before writing.", (Read(notes, expect="title: notes"),)),
        Turn("Writing.", "One line.", (Edit(notes, "colour: red “ä”", "colour: green 🟢"),)),
        Turn(
            "Checking.", "See.", (Shell(f"sort '{notes}' > '{folder}/sorted.txt' && echo sorted-3", expect="sorted-3"),)
        ),
        Turn(FINAL, "Fine."),
    )
    return Script(turns, side="A title")


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.id)
async def test_it_edits_and_checks(tmp_path: Path, gateway: Start, other: Other) -> None:
    """The files are as scripted, the final text is shown, nothing was refused or bent; the ledger knows the agent."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "notes.txt").write_text("title: notes\ncolour: red “ä”\nsize: 1\n", encoding="utf-8")
    place = BEHIND[other.id]
    async with Emulator(_script(other, folder), place.profile) as emu:
        gate = await gateway(policy((place, emu)), **keys((place, emu)))
        asked = Asked(gate.url, gate.key, "stackbilt-auto", "Make the colour in notes.txt green.", folder)
        try:
            ended = await other.run(asked)
        except NotInstalled as error:
            if os.environ.get("SBGW_REQUIRE_CLIENTS"):
                raise
            pytest.skip(str(error))
        events = await gate.events(at_least=4 if other.calls_tools else 1)
    assert [seen.verdict for seen in emu.refused] == [], ended.told()
    assert emu.surprises == [], ended.told()
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "title: notes\ncolour: green 🟢\nsize: 1\n", (
        ended.told()
    )
    if other.calls_tools:
        assert (folder / "sorted.txt").read_text(encoding="utf-8").startswith("colour: green"), ended.told()
    assert FINAL in ended.out, ended.told()
    assert ended.code == 0, ended.told()
    assert {event["protocol"] for event in events} == {other.protocol}
    assert {event["client"] for event in events} == {other.client}
    assert {event["status"] for event in events} == {"success"}
