"""A disk that takes nothing more while a whole gateway runs: ledger, exports, traces, kept answers, health, policies."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.store import writer
from tests.emulator import Emulator
from tests.emulator.models import Model
from tests.judge import judged
from tests.spine import PROTOCOLS, Behind, Spine, body, policy, spine
from tests.telemetry.exporting import until


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process grows beyond a page, as on a disk without room; what is there stays readable."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def ask(gate: Spine, count: int, text: str) -> None:
    """Requests of every protocol, streamed and whole; all of them must be answered."""
    for number in range(count):
        protocol = PROTOCOLS[number % len(PROTOCOLS)]
        asked = body(protocol, stream=number % 2 == 0, text=f"{text} {number} " + "and so on. " * 100)
        answer = await gate.ask(protocol, asked)
        assert answer.status == 200
        assert judged(answer).text == "Hello from the emulator."


async def test_a_full_disk_costs_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request is answered while nothing can be written; health says so; when there is room again, the ledger has them all."""
    monkeypatch.setattr(writer, "RETRY", 0.05)
    state, records = tmp_path / "state", tmp_path / "governance.jsonl"
    state.mkdir()
    async with Emulator(models={"m": Model()}) as emu:
        text = policy(
            Behind("first", emu.url, ("openai-chat",)),
            cache={"response": "on", "rules": [{"id": "all", "when": "true"}]},
            settings={"telemetry": {"governance": {"file": str(records)}}},
        )
        async with spine(text, env={"FIRST_KEY": emu.key}, state=state, trace=True) as gate:
            await ask(gate, 6, "before")
            with full_disk():
                await ask(gate, 24, "meanwhile")
                health = (await gate.send("GET", "/health")).json
                listed = (await gate.send("GET", "/events/recent?limit=50")).json
            assert health["status"] == "degraded"
            assert len(listed["events"]) == 30
            await ask(gate, 6, "after")
            await until(lambda: gate.gateway.services.ledger.ok)
            assert (await gate.send("GET", "/health")).json["status"] == "ok"
    with sqlite3.connect(state / "ledger.sqlite") as connection:
        found = connection.execute("SELECT status, count(*) FROM events GROUP BY status").fetchall()
        assert (found, connection.execute("PRAGMA integrity_check").fetchone()) == ([("success", 36)], ("ok",))
    connection.close()
    assert {"ledger_failed", "ledger_works_again"} <= {line["event"] for line in gate.logged}
