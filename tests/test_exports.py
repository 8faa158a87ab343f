"""Exports of a whole gateway: what receivers get, and that a dead one or a full disk costs no request."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft7Validator

from engine.telemetry import courier
from tests.emulator import Emulator
from tests.spine import spine
from tests.telemetry.exporting import CANARY, ROWS, ask, dead_receiver, text, until
from tests.telemetry.receiver import Receiver


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliver at once."""
    monkeypatch.setattr(courier, "GATHER", 0.0)
    monkeypatch.setattr(courier, "SHORTEST", 0.01)


@pytest.mark.parametrize("kind", ["webhook", "folder", "full"])
async def test_a_dead_receiver_costs_no_request(kind: str, tmp_path: Path) -> None:
    """Nobody listens, the file can't be made, the disk is full: every request is answered and recorded, and health of the
    export is told.
    """
    (tmp_path / "file").touch()
    settings: dict[str, Any] = {
        "webhook": {"governance": {"url": "http://127.0.0.1:9/in"}},
        "folder": {"governance": {"file": str(tmp_path / "file" / "below")}},
        "full": {"governance": {"file": "/dev/full"}},
    }[kind]
    await dead_receiver(settings, tmp_path)


async def test_a_receiver_that_hangs_costs_no_request() -> None:
    """A receiver that takes the connection and never answers holds up nobody."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Emulator(models=ROWS) as emu:
        made = text(emu, {"governance": {"url": f"http://127.0.0.1:{port}/in"}})
        async with spine(made, env={"FIRST_KEY": emu.key}) as gate:
            assert len(await ask(gate, 10)) == 10
    server.close()


async def test_the_governance_file(tmp_path: Path, root: Path) -> None:
    """Lines valid by the schema, for the owner alone, without a word of the prompt."""
    path = tmp_path / "below" / "governance.jsonl"
    async with Emulator(models=ROWS) as emu:
        made = text(
            emu, {"governance": {"file": str(path)}}, gate={"deny": [{"id": "no", "when": 'client.project == "x"'}]}
        )
        async with spine(made, env={"FIRST_KEY": emu.key}) as gate:
            await ask(gate, 2)
            await gate.ask("openai-chat", headers={"x-sbgw-project": "x"})
    records = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    schema = orjson.loads((root / "schemas/governance.schema.json").read_bytes())
    assert [e.message for record in records for e in Draft7Validator(schema).iter_errors(record)] == []
    assert [(record["kind"], record.get("violation", {}).get("rule")) for record in records] == [
        ("request", None), ("request", None), ("request", None), ("violation", "no"),
    ]  # fmt: skip
    assert (path.stat().st_mode & 0o777, CANARY.encode() in path.read_bytes()) == (0o600, False)


async def test_what_a_dead_webhook_did_not_get_arrives_after_a_restart(tmp_path: Path) -> None:
    """Requests of a run whose receiver is down are delivered by the next run, each once, and those of that run behind them."""
    async with Emulator(models=ROWS) as emu, Receiver() as receiver:
        told: list[str] = []

        def all_told() -> bool:
            return b"".join(got[2] for got in receiver.got).count(b"\n") == len(told)

        for url in ("http://127.0.0.1:9/in", receiver.url, receiver.url):
            made = text(emu, {"governance": {"url": url}})
            async with spine(made, env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
                told += [event["id"] for event in await ask(gate, 3)]
                if url == receiver.url:
                    await until(all_told)
    records = [orjson.loads(line) for _, _, body in receiver.got for line in body.splitlines()]
    assert [record["id"] for record in records] == told


async def test_the_governance_webhook() -> None:
    """Tried again until it works, with the token, each record at least once; a refusal is not tried again."""
    async with (
        Emulator(models=ROWS) as emu,
        Receiver(statuses=[503, 429, 401, 404, 500], headers={"retry-after": "0"}) as receiver,
    ):
        made = text(emu, {"governance": {"url": f"{receiver.url}/in"}})
        environ = {"FIRST_KEY": emu.key, "SBGW_GOVERNANCE_TOKEN": "hush"}
        async with spine(made, env=environ) as gate:
            [event] = await ask(gate)
            await until(lambda: receiver.got)
            receiver.statuses = [400]
            await ask(gate)
            await until(lambda: gate.gateway.services.exports.state()[0]["refused"] == 1)
    [(path, headers, body)] = receiver.got
    assert (path, headers["authorization"], headers["content-type"]) == ("/in", "Bearer hush", "application/x-ndjson")
    assert (orjson.loads(body)["id"], receiver.asked) == (event["id"], 7)


async def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that shall export and can't says so, and serves."""
    import sys

    monkeypatch.setitem(sys.modules, "engine.telemetry.otlp", None)
    async with Emulator(models=ROWS) as emu:
        async with spine(text(emu, {"otlp": {"endpoint": "http://127.0.0.1:9"}}), env={"FIRST_KEY": emu.key}) as gate:
            await ask(gate)
    assert [line["event"] for line in gate.logged] == ["otel_not_installed"]
