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
