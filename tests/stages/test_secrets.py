"""Secrets in a request are a fact, looked for only where a policy asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.pipeline import compile_pipeline
from engine.policy.load import load_policy, load_text
from engine.shadow import Shadow
from engine.store.key import salt
from tests.emulator import Emulator
from tests.emulator.models import Model
from tests.spine import PATHS, PROTOCOLS, Behind, body, policy, spine

ROWS = {"m": Model()}
TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
DENY: dict[str, Any] = {
    "deny": [{"id": "no-secrets-out", "when": "request.secrets > 0", "message": "${request.secrets} found"}]
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_rule_can_keep_secrets_in(protocol: str) -> None:
    """Denied before any provider is asked; a clean request passes; an escaped secret is one all the same."""
    async with Emulator(models=ROWS) as emu:
        text = policy(Behind("first", emu.url, (protocol,)), gate=DENY)
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            dirty = body(protocol, text=f"my token {TOKEN} and {TOKEN}")
            refused = await gate.ask(protocol, dirty)
            assert refused.status in {400, 403}  # as the protocol has it
            assert b"1 found" in refused.body
            escaped = orjson.dumps(dirty).replace(b"ghp_", b"\\u0067hp_")
            assert json.loads(escaped) == dirty
            again = await gate.send("POST", PATHS[protocol], escaped)
            assert again.status == refused.status
            assert again.json["error"] == refused.json["error"]
            assert not emu.requests
            assert (await gate.ask(protocol, body(protocol))).status == 200
            assert [event["facts"]["request"]["secrets"] for event in gate.events()] == [0, 1, 1]


async def test_nobody_asks_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking costs time on every request, so a policy without such a rule has none of it."""
    async with Emulator(models=ROWS) as emu:
        async with spine(policy(Behind("first", emu.url, ("openai-chat",))), env={"FIRST_KEY": emu.key}) as gate:
            looked: list[bytes] = []
            monkeypatch.setattr(type(gate.gateway.services.redactor), "count", lambda _, data: looked.append(data) or 1)
            assert (await gate.ask("openai-chat", body("openai-chat", text=TOKEN))).status == 200
            assert looked == []
            assert "secrets" not in gate.events()[0]["facts"]["request"], "not counted is not none"


async def test_the_watching_policy_asks_too(tmp_path: Path) -> None:
    """Counted for a shadow policy, it is recorded."""
    async with Emulator(models=ROWS) as emu:
        behind = Behind("first", emu.url, ("openai-chat",))
        async with spine(policy(behind), env={"FIRST_KEY": emu.key}) as gate:
            watching = load_text(policy(behind, gate=DENY))
            services = gate.gateway.services
            gate.gateway.shadow = Shadow(watching, compile_pipeline(watching), services.prices, services.purses)
            assert (await gate.ask("openai-chat", body("openai-chat", text=TOKEN))).status == 200
            (event,) = gate.events()
    assert (event["facts"]["request"]["secrets"], event["shadow"]["denied"]) == (1, "no-secrets-out")


def test_a_policy_knows_whether_it_reads_a_fact() -> None:
    """By its own name, by what holds it, in a condition, a message or a variable."""
    base = "version: 1\nextends: [default]\n"
    assert load_policy("strict").reads_secrets
    assert not load_policy("default").reads_secrets
    assert load_text(base + "vars: {found: request.secrets}").reads_secrets
    assert load_text(base + "gate: {deny: [{id: a, when: 'false', message: '${request.secrets}'}]}").reads_secrets
    assert not load_text(base + "vars: {found: request.tools}").reads_secrets


def test_the_salt_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    made = salt(tmp_path)
    assert len(made) == 32
    assert salt(tmp_path) == made
    assert (tmp_path / "salt").stat().st_mode & 0o777 == 0o600
    (tmp_path / "salt").write_bytes(b"short")
    assert len(salt(tmp_path)) == 32
    assert len(salt(tmp_path / "salt" / "no-folder")) == 32
