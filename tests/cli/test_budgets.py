"""`sbgw budgets` and `GET /budgets`, with a gateway and without."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.cli import cli
from engine.policy.load import load_policy
from tests.emulator import Emulator, Script, Turn, Usage
from tests.emulator.models import Model
from tests.spine import KEY, Behind, body, policy, spine

BUDGETS = {"month": {"usd": 5, "per": "month"}, "team": {"usd": 0.5, "by": "project"}}


async def invoke(*arguments: str) -> tuple[int, str]:
    result = await asyncio.to_thread(CliRunner().invoke, cli, ["budgets", *arguments])
    return result.exit_code, result.output


async def test_with_a_gateway_and_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pot with what is spent and left; the same from the ledger once the gateway is gone."""
    monkeypatch.setenv("STACKBILT_GATEWAY_KEY", KEY)
    script = Script((Turn("Hello.", usage=Usage(100, 2999)),))
    async with Emulator(script, models={"m": Model()}) as emu:
        behind = Behind("first", emu.url, ("openai-chat",), model={"price": {"input": 10, "output": 100}})
        text = policy(behind, budgets=BUDGETS)
        file, state = tmp_path / "mine.yaml", tmp_path / "state"
        file.write_text(text)
        state.mkdir()
        where = ["--policy", str(file), "--state-dir", str(state)]
        async with spine(text, env={"FIRST_KEY": emu.key}, state=state) as gate:
            asked = body("openai-chat", max_tokens=1000)
            await gate.ask("openai-chat", asked, headers={"x-sbgw-project": "shop"})
            code, told = await invoke("--url", gate.url, *where)
            live = json.loads((await invoke("--url", gate.url, "--json", *where))[1])
            url = gate.url
        after = json.loads((await invoke("--url", url, "--json", *where))[1])
        text_after = (await invoke("--url", url, *where))[1]
    lines = {line.split()[0]: line.split() for line in told.splitlines() if line.strip()}
    assert code == 0
    assert lines["team"][1:] == ["shop", "$0.5000", "$0.3009", "$0.0000", "$0.1991", "50%", "never"]
    assert lines["month"][1:6] == ["all", "$5.00", "$0.3009", "$0.0000", "$4.70"]
    assert (live["running"], [pot["spentUsd"] for pot in live["budgets"]]) == (True, [0.3009, 0.3009])
    assert "no gateway answers" in text_after
    assert "0.3009" in text_after
    assert (after["running"], [pot["leftUsd"] for pot in after["budgets"]]) == (False, [4.6991, 0.1991])


async def test_a_policy_without_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that says so."""
    monkeypatch.setenv("STACKBILT_GATEWAY_KEY", KEY)
    async with spine(load_policy("offline"), state=tmp_path) as gate:
        code, told = await invoke("--url", gate.url, "--state-dir", str(tmp_path))
    assert (code, "has no budgets" in told) == (0, True)
