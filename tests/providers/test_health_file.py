"""What a restart remembers of the providers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.llm.errors import ProviderError
from engine.llm.meanings import Meaning
from engine.providers.health import Health
from engine.providers.health_file import HealthFile, dump, restore
from engine.providers.ward import Place
from tests.emulator import Emulator, Fault
from tests.emulator.models import Model
from tests.spine import Behind, Spine, policy, spine

HERE = Place("p", "abcd1234", "m")


def failed(health: Health, meaning: Meaning, times: int, wait: float | None = None, at: Place = HERE) -> None:
    for _ in range(times):
        health.failed(health.begin(at), ProviderError("x", meaning=meaning, retry_after=wait))


def test_cool_downs_and_breakers_go_on(tmp_path: Path) -> None:
    """By the wall clock: an hour's quota with ten minutes passed has fifty left, an open breaker is recovering by then."""
    before = Health(lambda: 1000.0)
    failed(before, "quota", 1, wait=3600)
    failed(before, "timeout", 3)
    failed(before, "rate_limit", 1, wait=60, at=Place("p", "abcd1234", "other"))
    file = HealthFile(tmp_path, lambda *_, **__: None)
    file.save(dump(before, 1000.0, wall=50_000.0))
    assert (tmp_path / "health.json").stat().st_mode & 0o777 == 0o600
    after = Health(lambda: 7.0)
    file.load(after, 7.0, wall=50_600.0)
    wards = dict(after.wards())
    assert wards[Place("p", "abcd1234")].cool_until == 7.0 + 3000
    assert wards[HERE].breaker.state(7.0) == "recovering"
    assert Place("p", "abcd1234", "other") not in wards
    failed(after, "timeout", 1)
    assert wards[HERE].breaker.until == 7.0 + 60  # the second opening, twice as long


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"version": 2, "places": []}', b'{"version": 1, "places": [{}]}']
)
def test_other_files_are_no_harm(tmp_path: Path, data: bytes) -> None:
    """Told to the log, and the providers are found out anew."""
    logged: list[Any] = []
    file = HealthFile(tmp_path, lambda event, **fields: logged.append((event, fields)))
    file.load(Health(lambda: 0.0), 0.0, 0.0)
    assert logged == []
    (tmp_path / "health.json").write_bytes(data)
    file.load(Health(lambda: 0.0), 0.0, 0.0)
    assert logged == [("health_not_read", {"reason": "ValueError"})]
    with pytest.raises(ValueError):
        restore(Health(lambda: 0.0), data, 0.0, 0.0)


async def first(gate: Spine) -> dict[str, Any]:
    rows = (await gate.send("GET", "/providers")).json["providers"]
    return next(row for row in rows if row["provider"] == "first")


async def test_a_gateway_that_was_restarted_remembers(tmp_path: Path) -> None:
    """The provider without credit is not asked first again; the file names no key."""
    async with Emulator(models={"m": Model()}) as one, Emulator(models={"m": Model()}) as two:
        wires = ("openai-chat",)
        text = policy(Behind("first", one.url, wires), Behind("second", two.url, wires))
        env = {"FIRST_KEY": one.key, "SECOND_KEY": two.key}
        one.fail_next(Fault("quota"))
        async with spine(text, env=env, state=tmp_path) as gate:
            assert (await gate.ask("openai-chat")).status == 200
        assert len(one.requests) == 1
        async with spine(text, env=env, state=tmp_path) as gate:
            assert (await gate.ask("openai-chat")).status == 200
            row = await first(gate)
        assert len(one.requests) == 1
        assert (row["healthy"], row["reason"]) == (False, "quota")
        assert one.key not in (tmp_path / "health.json").read_text()
        async with spine(text, env={**env, "FIRST_KEY": "another-key"}, state=tmp_path) as gate:
            await gate.ask("openai-chat")  # a new key is a new account: it is tried at once
            row = await first(gate)
        assert row["reason"] == "authentication"
