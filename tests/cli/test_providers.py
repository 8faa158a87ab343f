"""`sbgw providers`, with a gateway and without."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click import unstyle
from click.testing import CliRunner

from engine.cli import cli
from tests.emulator import Emulator, Fault
from tests.emulator.models import Model
from tests.spine import KEY, Behind, policy, spine


async def invoke(*arguments: str) -> tuple[int, str]:
    result = await asyncio.to_thread(CliRunner().invoke, cli, ["providers", *arguments])
    return result.exit_code, result.output


async def test_with_a_gateway_and_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State, reason and time left of the one that steps back; the same from the state folder once the gateway is gone."""
    monkeypatch.setenv("STACKBILT_GATEWAY_KEY", KEY)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with Emulator(models={"m": Model()}) as one, Emulator(models={"m": Model()}) as two:
        limited = {"limits": {"requests_per_minute": 5, "tokens_per_day": 10_000}}
        behind = Behind("first", one.url, ("openai-chat",)), Behind("second", two.url, ("openai-chat",), row=limited)
        text = policy(*behind)
        monkeypatch.setenv("FIRST_KEY", one.key)
        file = tmp_path / "mine.yaml"
        file.write_text(text)
        where = ["--policy", str(file), "--state-dir", str(tmp_path / "state")]
        (tmp_path / "state").mkdir()
        one.fail_next(Fault("quota", retry_after=1800))
        env = {"FIRST_KEY": one.key, "SECOND_KEY": two.key}
        async with spine(text, env=env, state=tmp_path / "state") as gate:
            await gate.ask("openai-chat")
            code, told = await invoke("--url", gate.url, *where)
            as_json = json.loads((await invoke("--url", gate.url, "--json", *where))[1])
            url = gate.url
        assert code == 0
        lines = {line.split()[0]: line for line in told.splitlines() if line.strip()}
        assert "cooling down" in lines["first"]
        assert "quota" in lines["first"]
        assert "30 min" in lines["first"]
        assert "requestsPerMinute 1/5" in lines["second"]
        assert as_json["running"] is True
        assert {"first", "second"} <= {row["provider"] for row in as_json["providers"]}
        code, told = await invoke("--url", url, *where)
        assert code == 0
        assert "no gateway answers" in told
        assert "quota" in told
        assert "second" not in told  # it has no key here
        code, told = await invoke("--url", "file:///etc/passwd", *where)
        assert (code, "not an address" in told) == (3, True)


async def test_eighty_columns_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a narrow terminal no word is broken, and only names and limits give way; a breaker's words are said in ours."""
    monkeypatch.setenv("STACKBILT_GATEWAY_KEY", KEY)
    monkeypatch.setenv("FORCE_COLOR", "1")  # which rich takes for a terminal
    monkeypatch.setenv("COLUMNS", "80")
    name = "a-maker/a-model-with-a-rather-long-name-2026-11-23"
    async with Emulator(models={name: Model(), "m": Model()}) as one:
        behind = Behind("first", one.url, ("openai-chat",), row={"wildcard": True})
        asked = {"model": f"first/{name}", "messages": [{"role": "user", "content": "x"}]}
        routes = {"routes": {"fallback_safe": ["requested"]}}
        one.fail_next(Fault("503", times=9))
        async with spine(policy(behind, **routes), env={"FIRST_KEY": one.key}, state=tmp_path) as gate:
            for _ in range(3):
                await gate.ask("openai-chat", asked)
            told = unstyle((await invoke("--url", gate.url, "--state-dir", str(tmp_path), "--all"))[1])
    lines = told.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("stepped back   overloaded" in line for line in lines)
    for state in ("no key", "well", "off"):
        assert any(line.rstrip().endswith("  " + state) for line in lines)


async def test_a_provider_at_its_own_limit_is_not_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked last until the minute is over, which is what the table is there to tell."""
    monkeypatch.setenv("STACKBILT_GATEWAY_KEY", KEY)
    async with Emulator(models={"m": Model()}) as one:
        behind = Behind("first", one.url, ("openai-chat",), row={"limits": {"requests_per_minute": 1}})
        async with spine(policy(behind), env={"FIRST_KEY": one.key}, state=tmp_path) as gate:
            where = ("--url", gate.url, "--state-dir", str(tmp_path))
            before = (await invoke(*where))[1]
            await gate.ask("openai-chat")
            after = (await invoke(*where))[1]
            [row] = [
                r for r in json.loads((await invoke(*where, "--json"))[1])["providers"] if r["provider"] == "first"
            ]
    [line] = [line.split("  ") for line in after.splitlines() if line.startswith("first")]
    cells = [cell.strip() for cell in line if cell.strip()]
    assert cells[:3] == ["first", "at its limit", "the row's limits"]
    assert cells[3].endswith(" s")
    assert "at its limit" not in before
    assert 0 < row["limitedForSeconds"] <= 60


async def test_another_gateways_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused key is told as one."""
    monkeypatch.setenv("STACKBILT_GATEWAY_KEY", "some-other-key")
    async with Emulator(models={"m": Model()}) as one:
        async with spine(policy(Behind("first", one.url, ("openai-chat",)))) as gate:
            code, told = await invoke("--url", gate.url, "--state-dir", str(tmp_path))
    assert (code, "401" in told, "--state-dir" in told) == (3, True, True)
