"""Real agents whose conversation grows too long, before vendors that know nothing of compaction items.

Codex, talking to what it believes to be its own vendor, asks by a trigger for exactly one compaction item. Claude Code asks in
words. Both go on from the summary.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from tests.clients.gateway import Gateway
from tests.clients.install import Clients, cache
from tests.clients.places import CHAT, MESSAGES, RESPONSES, STRICT, Place, ids, keys, policy
from tests.clients.run import Agent, Finished, bare, run
from tests.emulator import Emulator, Script, Shell, Turn
from tests.emulator.script import Usage

pytestmark = pytest.mark.clients
Start = Callable[..., Awaitable[Gateway]]

CONFIG = """\
model = "{model}"
openai_base_url = "{url}/v1"
model_auto_compact_token_limit = 50000
check_for_update_on_startup = false
[features]
daemon_auto_start = false
"""
FULL, SMALL = Usage(97_000, 20), Usage(900, 20)
SUMMARY = "Summary 4711: the shell said so-far-so-good."
FINAL = "Went on from the summary."
OPENING = "What was said before has been shortened"


def script(summary_is_known_by: str) -> Script:
    """A shell call that fills the context; asked for a summary, the model writes one; from it, it goes on."""
    full = Turn(SUMMARY, calls=(Shell("echo so-far-so-good", expect="so-far-so-good"),), usage=FULL)
    return Script(
        (full, Turn(SUMMARY, usage=SMALL)), branches={summary_is_known_by: Script((Turn(FINAL, usage=SMALL),))}
    )


async def codex(clients: Clients, gate: Gateway, model: str, folder: Path) -> Finished:
    """Codex with its built-in vendor turned to the gateway."""
    homes = cache() / "homes"
    homes.mkdir(exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="codex-", dir=homes))
    try:
        (home / ".codex").mkdir()
        (home / ".codex/config.toml").write_text(CONFIG.format(model=model, url=gate.url), encoding="utf-8")
        flags = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        command = [str(clients.codex), "exec", *flags, "Run the command, then say how it went."]
        return await run(command, folder, bare(home) | {"CODEX_API_KEY": gate.key}, seconds=120)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize("place", [MESSAGES, CHAT, STRICT], ids=ids([MESSAGES, CHAT, STRICT]))
async def test_codex_goes_on_from_a_summary(agents: Clients, tmp_path: Path, gateway: Start, place: Place) -> None:
    """Its trigger is answered by a sealed summary, which the vendor then reads as text; nothing is refused, nothing asked twice."""
    async with Emulator(script(OPENING), place.profile) as emu:
        gate = await gateway(policy((place, emu)), **keys((place, emu)))
        ended = await codex(agents, gate, place.model, tmp_path)
        assert (ended.code, emu.refused) == (0, []), ended.told()
        assert FINAL in ended.out, ended.told()
        assert emu.surprises == []
        events = await gate.events(at_least=3)
        assert {event["status"] for event in events} == {"success"}
        compactions = [event for event in events if "compaction.summary" in event.get("losses", ())]
        assert len(compactions) == 1, events
        later = [request.raw for request in emu.requests if OPENING.encode() in request.raw]
        assert later
        assert all(b"4711" in raw and b"sbgw1." not in raw for raw in later)


async def test_codex_is_compacted_by_its_own_vendor(agents: Clients, tmp_path: Path, gateway: Start) -> None:
    """Where the vendor makes compaction items, trigger and item pass as they are."""
    async with Emulator(script("compaction"), RESPONSES.profile) as emu:
        gate = await gateway(policy((RESPONSES, emu)), **keys((RESPONSES, emu)))
        ended = await codex(agents, gate, RESPONSES.model, tmp_path)
        assert emu.refused == [], ended.told()
        kinds = [[item.get("type") for item in orjson.loads(request.raw)["input"]] for request in emu.requests]
        asked = [n for n, kind in enumerate(kinds) if "compaction_trigger" in kind]
        assert asked, kinds
        assert any("compaction" in kind for kind in kinds[asked[0] + 1 :]), kinds


async def test_claude_code_asks_for_a_summary(agents: Clients, tmp_path: Path, gateway: Start) -> None:
    """Its own call is known as a compaction, stays main work, and the agent goes on from what the model wrote."""
    told = "This session is being continued"
    async with Emulator(script(told), MESSAGES.profile) as emu:
        gate = await gateway(policy((MESSAGES, emu)), **keys((MESSAGES, emu)))
        more = {"CLAUDE_CODE_MAX_CONTEXT_TOKENS": "100000"}
        agent = Agent("claude-code", agents, gate.url, gate.key, "local-x", more)  # whose context is unknown to it
        ended = await agent.run("Run the command, then say how it went.", tmp_path)
        assert (ended.code, emu.refused) == (0, []), ended.told()
        events = await gate.events(at_least=len(emu.requests))
        flagged = [event["facts"]["request"]["compaction"] for event in events]
        assert flagged == [b"a detailed summary of the conversation" in request.raw for request in emu.requests]
        assert (flagged[0], any(flagged), flagged[-1]) == (False, True, False)
