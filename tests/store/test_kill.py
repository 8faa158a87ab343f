"""A gateway that is killed loses no acknowledged event, and shows the others as interrupted."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.store.ledger import Ledger, read_only
from tests.store import killing

WRITER = Path(__file__).with_name("writer.py")


def write_and_kill(path: Path, root: Path, seconds: float) -> set[str]:
    """Ids that were acknowledged before the kill."""
    child = subprocess.Popen(
        [sys.executable, str(WRITER), str(path)],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert child.stdout is not None
    with child.stdout as out:
        assert out.readline() == b"start True\n"
        time.sleep(seconds)
        child.kill()
        lines = out.read().split(b"\n")
    child.wait()
    return {line.decode() for line in lines[:-1]}


async def killed(path: Path, root: Path, times: int) -> None:
    acknowledged: set[str] = set()
    for number in range(times):
        acknowledged |= write_and_kill(path, root, 0.05 + 0.03 * (number % 4))
    ledger = Ledger(path)
    ledger.start()
    await asyncio.to_thread(ledger.close)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    with read_only(path) as reader:
        found = {event.id: event.status for event in reader.events()}
    lost = {i for i in acknowledged if found.get(i) != "success"}
    assert (lost, len(acknowledged) > 10 * times, set(found.values())) == (set(), True, {"success", "interrupted"})
    assert sum(1 for status in found.values() if status == "interrupted") >= 3 * times


async def test_a_kill_loses_nothing_acknowledged(tmp_path: Path, root: Path) -> None:
    """Killed twice in the middle of writing: 0 acknowledged events lost, the file intact, the rest interrupted."""
    await killed(tmp_path / "ledger.sqlite", root, 2)


@pytest.mark.slow
async def test_many_kills_lose_nothing_acknowledged(tmp_path: Path, root: Path) -> None:
    """The same, ten times in a row on one file."""
    await killed(tmp_path / "ledger.sqlite", root, 10)


async def whole_gateway(tmp_path: Path, kills: int) -> None:
    outcome = await killing.run(tmp_path, kills, rate=50)
    assert (outcome.lost, outcome.damaged, outcome.unmarked) == ([], [], 0), str(outcome)
    assert outcome.statuses["interrupted"] >= kills, str(outcome)
    assert len(outcome.answered) >= kills, str(outcome)


async def test_a_killed_gateway_loses_no_answered_request(tmp_path: Path) -> None:
    """The whole process under 50 requests a second, half of them streams: what a client has whole is recorded."""
    await whole_gateway(tmp_path, 2)


@pytest.mark.slow
async def test_a_hundred_kills_of_a_gateway_lose_no_answered_request(tmp_path: Path) -> None:
    """The same a hundred times on one state folder."""
    await whole_gateway(tmp_path, 100)
