"""Codex edits with its own patch tool, free text under a grammar, through providers that know only functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.clients.gateway import Gateway
from tests.clients.install import Clients
from tests.clients.places import CHAT, DEEPSEEK, MESSAGES, STRICT, Place, keys, policy
from tests.clients.run import Agent
from tests.emulator import Emulator, Script, Tool, Turn

pytestmark = pytest.mark.clients
Start = Callable[..., Awaitable[Gateway]]

BEFORE = 'name = "old \\"quoted\\""\npath = r"C:\\dir\\new"\n# é 日本 🟢 \\u0041 }"\n'
AFTER = 'name = "new \\"quoted\\""\npath = r"C:\\dir\\tab\\t"\n# é 日本 🟢 \\u0041 }"\n# {"input": "*** End Patch"}\n'


def patch(old: str, new: str) -> str:
    """All lines of `old` replaced by those of `new`, and a file added."""
    gone = "".join(f"-{line}\n" for line in old.splitlines())
    come = "".join(f"+{line}\n" for line in new.splitlines())
    return f"*** Begin Patch\n*** Add File: made.txt\n+made 🟢 \\n\n*** Update File: code.py\n@@\n{gone}{come}*** End Patch\n"


@pytest.mark.parametrize("place", [MESSAGES, CHAT, STRICT, DEEPSEEK], ids=lambda place: place.id)
async def test_codex_patches_through_a_function(agents: Clients, gateway: Start, tmp_path: Path, place: Place) -> None:
    """The model calls a function of one text, in pieces cut anywhere; Codex gets the patch and reads its result."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "code.py").write_text(BEFORE, "utf-8")
    script = Script((
        Turn("Patching.", calls=(Tool("apply_patch", {"input": patch(BEFORE, AFTER)}, expect="made.txt"),)),
        Turn("", calls=(Tool("apply_patch", {"input": "*** Begin Patch\n*** Delete File: made.txt\n*** End Patch"}, expect="made.txt"),)),
        Turn("The patch is in."),
    ))  # fmt: skip
    async with Emulator(script, place.profile, cut=11) as emu:
        gate = await gateway(policy((place, emu)), **keys((place, emu)))
        ended = await Agent("codex", agents, gate.url, gate.key, "gpt-5.5").run("Patch the file.", folder)
        assert [seen.verdict for seen in emu.refused] == [], ended.told()
        assert emu.surprises == [], ended.told()
    assert (folder / "code.py").read_text("utf-8") == AFTER, ended.told()
    assert not (folder / "made.txt").exists(), ended.told()
    assert "The patch is in." in ended.out, ended.told()
    assert ended.code == 0, ended.told()
