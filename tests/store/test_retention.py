"""What is kept: by age and by size, without holding up requests, and nothing readable stays of what went."""

# ruff: noqa: ASYNC240 - a test may look at its own files while nothing else runs

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from engine.store import retention
from engine.store import writer as writer_module
from engine.store.detail import Details
from engine.store.ledger import Ledger
from engine.store.retention import Keep, forget, shrink, used_bytes
from engine.store.rows import SAVE, row_of
from engine.store.upgrades import up_to_date
from tests.store.builders import START, event

DAY = 86_400


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    opened.execute("PRAGMA auto_vacuum = INCREMENTAL")
    opened.execute("PRAGMA secure_delete = ON")
    up_to_date(opened)
    yield opened
    opened.close()


def fill(connection: sqlite3.Connection, count: int, *, seconds: int) -> None:
    """Events `seconds` apart that don't compress, each of a session of its own."""
    details = Details(connection)
    for number in range(count):
        made = event(number * seconds, session_id=f"session-{number}", facts={"noise": os.urandom(1_000).hex()})
        connection.execute(SAVE, row_of(made, details))


def left(connection: sqlite3.Connection) -> list[int]:
    rows = connection.execute("SELECT session_id FROM events ORDER BY timestamp").fetchall()
    return [int(name.removeprefix("session-")) for (name,) in rows]


def test_old_ones_go(connection: sqlite3.Connection) -> None:
    """Events older than the days go with their sessions; the sums by time stay."""
    fill(connection, 10, seconds=DAY)
    now = START + timedelta(days=9, hours=1)
    assert (forget(connection, Keep(days=3), now), forget(connection, Keep(days=3), now)) == (True, False)
    assert left(connection) == [7, 8, 9]
    assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (3,)
    assert connection.execute("SELECT sum(requests) FROM usage").fetchone() == (10,)


def test_it_goes_in_steps(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """No step deletes more than STEP events, the oldest first."""
    monkeypatch.setattr(retention, "STEP", 4)
    fill(connection, 10, seconds=1)
    assert forget(connection, Keep(days=1), START + timedelta(days=9))
    assert left(connection) == [4, 5, 6, 7, 8, 9]


def test_too_much_goes(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above its size the file loses its oldest events until it is below, and gives the pages back."""
    monkeypatch.setattr(retention, "STEP", 100)
    fill(connection, 1_500, seconds=1)
    before = used_bytes(connection)
    while forget(connection, Keep(mib=1), START):
        pass
    while shrink(connection):
        pass
    size = connection.execute("PRAGMA page_count").fetchone()[0] * connection.execute("PRAGMA page_size").fetchone()[0]
    assert before > 1.4 * 2**20
    assert used_bytes(connection) <= 2**20
    assert size <= 1.05 * 2**20
    kept = left(connection)
    assert (kept[-1], kept == list(range(kept[0], 1_500)), len(kept) > 300) == (1_499, True, True)


def test_a_dictionary_goes_with_its_last_event(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old dictionaries, which hold what old events said, go; the one in use stays."""
    monkeypatch.setattr("engine.store.detail.PATIENCE", 20)
    details = Details(connection)
    for number in range(60):
        made = event(number * DAY, facts={"noise": os.urandom(900).hex()})
        connection.execute(SAVE, row_of(made, details))
        details.learn()
    numbers = [row[0] for row in connection.execute("SELECT number FROM dictionaries ORDER BY number")]
    forget(connection, Keep(days=1), START + timedelta(days=60))
    assert len(numbers) > 2
    assert [row[0] for row in connection.execute("SELECT number FROM dictionaries")] == numbers[-1:]


def test_nothing_of_an_event_outlives_it_twice(connection: sqlite3.Connection) -> None:
    """A dictionary that fits for ever quotes the events that it was made of: it is not used for ever."""
    details, keep = Details(connection), Keep(days=3)
    names = [os.urandom(8).hex() for _ in range(40)]

    def day(number: int) -> set[int]:
        """A day's events; the days that dictionaries then quote."""
        for at in range(15):
            made = event(number * DAY + at, repo_path=f"/home/me/work-of-day-{number}", facts={"names": names})
            connection.execute(SAVE, row_of(made, details))
            details.learn()
        while forget(connection, keep, START + timedelta(days=number + 1)):
            details.review()
        rows = connection.execute("SELECT content FROM dictionaries").fetchall()
        return {int(found) for row in rows for found in re.findall(rb"work-of-day-(\d+)", row[0])}

    quoted = [day(number) for number in range(16)]
    assert quoted[:3] == [{0}, {0}, {0}]
    assert [number for number, days in enumerate(quoted) if min(days) < number - 2 * keep.days] == []
    assert connection.execute("SELECT count(*) FROM dictionaries").fetchone()[0] <= 3
    left = connection.execute("SELECT detail FROM events").fetchall()
    assert {tuple(details.unpack(row[0])["facts"]["names"]) for row in left} == {tuple(names)}


async def test_a_running_ledger_tidies_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer's thread deletes what is too old while requests go on; nothing of it can be read in any file."""
    monkeypatch.setattr(writer_module, "TIDY_AFTER", 0.0)
    monkeypatch.setattr(writer_module, "TIDY", 0.01)
    path = tmp_path / "state" / "ledger.sqlite"
    later = START + timedelta(days=2)
    ledger = Ledger(path, now=lambda: later, keep=Keep(days=1))
    ledger.start()
    await asyncio.gather(
        *(ledger.complete(event(number, project="canary-of-old")) for number in range(700)),
        ledger.complete(event(2 * DAY, project="stays")),
    )
    for _ in range(500):
        if len(ledger.recent(9)) == 1:
            break
        await asyncio.sleep(0.01)
    await ledger.complete(event(2 * DAY + 1, project="stays"))
    await asyncio.to_thread(ledger.close)
    kept = b"".join(file.read_bytes() for file in path.parent.iterdir())
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT project FROM events").fetchall() == [("stays",)] * 2
    connection.close()
    assert kept.count(b"canary-of-old") <= 2  # in the sums over all of them, by quarter of an hour and by day


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
async def test_files_left_by_a_killed_gateway_are_closed_to_others(tmp_path: Path) -> None:
    """A log that lies beside the file with too wide a mode is narrowed at start."""
    path = tmp_path / "ledger.sqlite"
    for name in ("", "-wal", "-shm"):
        path.with_name(path.name + name).touch(0o644)
        path.with_name(path.name + name).chmod(0o644)
    ledger = Ledger(path)
    ledger.start()
    await ledger.complete(event(1))
    modes = {entry.stat().st_mode & 0o777 for entry in tmp_path.iterdir()}
    await asyncio.to_thread(ledger.close)
    assert (ledger.ok, modes) == (True, {0o600})
