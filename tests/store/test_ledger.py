"""The ledger: what is acknowledged is safe, what fails costs no request, and nobody else can read it."""

# ruff: noqa: ASYNC240 - a test may look at its own files while nothing else runs

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.store import ledger as ledger_module
from engine.store import writer as module
from engine.store.ledger import Ledger, read_only
from engine.store.null_ledger import NullLedger
from engine.store.rows import Filter
from tests.store.builders import START, event, full


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def running(path: Path, **options: Any) -> AsyncIterator[Ledger]:
    ledger = Ledger(path, **options)
    ledger.start()
    try:
        yield ledger
    finally:
        await asyncio.to_thread(ledger.close)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.sqlite"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests under way get their row in the next turn of the loop."""
    monkeypatch.setattr(ledger_module, "OPEN_DELAY", 0.0)


async def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("did not happen within five seconds")


async def test_a_completed_event_comes_back_whole(path: Path) -> None:
    """Every field survives the file."""
    async with running(path) as ledger:
        ledger.open(event(1))
        await ledger.complete(full(1))
        assert (ledger.ok, ledger.get(full(1).id), ledger.recent(5)) == (True, full(1), [full(1)])


async def test_acknowledged_means_another_process_sees_it(path: Path) -> None:
    """When complete is fulfilled, the row is committed."""
    async with running(path) as ledger:
        await ledger.complete(event(1))
        with sqlite3.connect(path) as other:
            assert other.execute("SELECT id, status FROM events").fetchall() == [(event(1).id, "success")]
        other.close()


@pytest.mark.usefixtures("at_once")
async def test_a_request_under_way_is_open(path: Path) -> None:
    """An opened request has a row before it is complete, and one row afterwards."""
    async with running(path) as ledger:
        ledger.open(event(1, status="open"))
        await eventually(lambda: bool(_statuses(path)))
        before = _statuses(path)
        await ledger.complete(event(1))
        assert (before, _statuses(path)) == (["open"], ["success"])


async def test_a_short_request_is_seen_before_it_has_a_row(path: Path) -> None:
    """Queries know a request at once, also while its row waits."""
    async with running(path) as ledger:
        ledger.open(event(1, status="open"))
        assert ledger.recent(5) == [event(1, status="open")]


@pytest.mark.usefixtures("at_once")
async def test_what_was_left_open_is_interrupted_at_the_next_start(path: Path) -> None:
    """A start marks the open rows of an earlier run and no others."""
    async with running(path) as ledger:
        ledger.open(event(1, status="open"))
        await ledger.complete(event(2))
    async with running(path) as ledger:
        assert [found.status for found in ledger.recent(5)] == ["success", "interrupted"]


async def test_close_writes_what_is_under_way(path: Path) -> None:
    """Nothing that was opened or completed is lost by closing."""
    ledger = Ledger(path)
    ledger.start()
    ledger.open(event(1, status="open"))
    waiting = [ledger.complete(event(number)) for number in range(2, 60)]
    await asyncio.to_thread(ledger.close)
    ledger.close()
    assert len(waiting) + 1 == len(_statuses(path))


async def test_many_complete_at_once(path: Path) -> None:
    """Concurrent completions are committed together and all fulfilled."""
    async with running(path) as ledger:
        await asyncio.gather(*(_once(ledger, number) for number in range(1200)))
        assert sum(1 for _ in ledger.events()) == 1200


async def _once(ledger: Ledger, number: int) -> None:
    ledger.open(event(number, status="open"))
    await asyncio.sleep(0)
    await ledger.complete(event(number))


async def test_the_event_loop_never_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are made and committed in another thread."""
    threads = set()

    def spy(*given: Any) -> Any:
        threads.add(threading.current_thread())
        return original(*given)

    original = module.row_of
    monkeypatch.setattr(module, "row_of", spy)
    async with running(path) as ledger:
        await ledger.complete(event(1))
    assert (len(threads), threading.main_thread() in threads) == (1, False)


async def test_a_client_that_left_does_not_lose_the_record(path: Path) -> None:
    """An event is written although nobody waits for it any more."""
    async with running(path) as ledger:
        waiting = asyncio.ensure_future(_wait(ledger))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await ledger.complete(event(2))
        assert [found.id for found in ledger.recent(5)] == [event(2).id, event(1).id]


async def _wait(ledger: Ledger) -> None:
    await ledger.complete(event(1))


async def test_an_id_may_be_shortened(path: Path) -> None:
    """The beginning of an id finds its event, but not when two begin so."""
    async with running(path) as ledger:
        first, second = event(1, id="aaaabbbb1111" + "0" * 12), event(2, id="aaaabbbb2222" + "0" * 12)
        await asyncio.gather(ledger.complete(first), ledger.complete(second))
        assert [ledger.get(i) for i in (first.id, "aaaabbbb1", "aaaabbbb", "aaaab", "f" * 24)] == [
            first,
            first,
            None,
            None,
            None,
        ]


async def test_filters(path: Path) -> None:
    """Each filter keeps what it names; times bound from below inclusively, from above exclusively."""
    async with running(path) as ledger:
        made = [
            event(number, session_id=f"s{number % 2}", selected_model="m" if number == 3 else "") for number in range(6)
        ]
        made[4] = replace(made[4], status="error", error_class="timeout")
        await asyncio.gather(*map(ledger.complete, made))
        wanted = {
            Filter(session="s1"): [5, 3, 1],
            Filter(status="error"): [4],
            Filter(model="m"): [3],
            Filter(since=START + timedelta(seconds=2), until=START + timedelta(seconds=4)): [3, 2],
            Filter(session="s0", status="success"): [2, 0],
        }
        for where, numbers in wanted.items():
            expected = [made[number] for number in numbers]
            assert ledger.recent(9, where) == expected
            assert [e for e in reversed(made) if where.matches(e)] == expected
            assert list(ledger.events(where)) == expected[::-1]


async def test_an_export_reads_every_event_once(path: Path) -> None:
    """Events come oldest first over any number of batches, also where many share a moment."""
    async with running(path) as ledger:
        made = [replace(event(number), timestamp=event(number // 7).timestamp) for number in range(40)]
        await asyncio.gather(*map(ledger.complete, made))
        with read_only(path) as reader:
            assert [found.id for found in reader.events(batch=3)] == [m.id for m in made]


async def test_spend_adds_known_costs(path: Path) -> None:
    """The provider's figure counts before the estimate, unknown costs count nothing, earlier requests are left out."""
    async with running(path) as ledger:
        made = [
            event(0, cost_estimate_usd=8.0), event(1, cost_estimate_usd=0.25), event(2),
            event(3, cost_estimate_usd=4.0, cost_reported_usd=0.5),
        ]  # fmt: skip
        await asyncio.gather(*map(ledger.complete, made))
        assert (
            ledger.spend(Filter(since=START + timedelta(seconds=1))),
            ledger.spend(Filter(since=START + timedelta(days=1))),
        ) == (0.75, 0.0)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
async def test_only_the_owner_can_read_it(path: Path) -> None:
    """Under a lax umask the folder is 0700 and every file in it 0600."""
    before = os.umask(0o022)
    try:
        async with running(path) as ledger:
            await ledger.complete(event(1))
            modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes == dict.fromkeys(("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"), 0o600)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
async def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    """A ledger with too wide a mode is narrowed at start."""
    path.parent.mkdir()
    path.touch(0o644)
    path.chmod(0o644)
    async with running(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_settings_of_the_file(path: Path) -> None:
    """The file is in WAL mode, and what is deleted is overwritten."""
    async with running(path) as ledger:
        connection = ledger._writer._connection
        pragmas = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "secure_delete")
        }
        assert pragmas == {"journal_mode": "wal", "synchronous": 1, "secure_delete": 1}


def _break_not_a_database(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database, " * 400)


def _break_folder_is_a_file(path: Path) -> None:
    path.parent.write_bytes(b"")


def _break_file_is_a_folder(path: Path) -> None:
    path.mkdir(parents=True)


def _break_too_new(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()


@pytest.mark.parametrize(
    "damage",
    [_break_not_a_database, _break_folder_is_a_file, _break_file_is_a_folder, _break_too_new],
    ids=lambda f: f.__name__,
)
async def test_a_file_that_cannot_be_used_costs_no_request(path: Path, damage: Callable[[Path], None]) -> None:
    """Requests complete, the newest events can be asked for, health says so, and it is logged once."""
    damage(path)
    told: list[str] = []
    async with running(path, log=lambda name, **_: told.append(name)) as ledger:
        for number in range(20):
            await ledger.complete(event(number, cost_estimate_usd=0.5))
        assert (ledger.ok, ledger.recent(2), ledger.get(event(3).id)) == (
            False,
            [event(n, cost_estimate_usd=0.5) for n in (19, 18)],
            event(3, cost_estimate_usd=0.5),
        )
        assert (ledger.spend(Filter(since=START)), told) == (10.0, ["ledger_failed"])


async def test_memory_is_bounded_while_the_file_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the newest events are kept when nothing can be written."""
    monkeypatch.setattr(module, "KEPT_IN_MEMORY", 10)
    _break_file_is_a_folder(path)
    async with running(path) as ledger:
        await asyncio.gather(*(ledger.complete(event(number)) for number in range(50)))
        assert [found.id for found in ledger.recent(50)] == [event(number).id for number in range(49, 39, -1)]


async def test_what_was_kept_is_written_when_the_file_works_again(path: Path) -> None:
    """After the retry time the backlog goes to the file, and that is logged once."""
    clock, told = Clock(), list[tuple[str, dict[str, Any]]]()
    _break_file_is_a_folder(path)
    async with running(path, log=lambda name, **more: told.append((name, more)), monotonic=clock) as ledger:
        await ledger.complete(event(1))
        path.rmdir()
        await ledger.complete(event(2))
        still = ledger.ok
        clock.now += module.RETRY + 1
        await ledger.complete(event(3))
        assert (still, ledger.ok, _statuses(path)) == (False, True, ["success"] * 3)
    assert [(name, more.get("lost")) for name, more in told] == [("ledger_failed", None), ("ledger_works_again", 0)]


async def test_a_full_disk_costs_no_request(path: Path) -> None:
    """When the file may not grow, requests complete and stay in memory."""
    async with running(path) as ledger:
        await ledger.complete(event(0))
        connection = ledger._writer._connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        for number in range(1, 9):
            await ledger.complete(event(number, facts={"request": {"tool_names": [os.urandom(4_000).hex()]}}))
        assert (ledger.ok, len(ledger.recent(50))) == (False, 9)


async def test_a_locked_file_costs_no_request(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that holds the file delays a record, no more."""
    monkeypatch.setattr(module, "BUSY_MS", 50)
    async with running(path) as ledger:
        await ledger.complete(event(0))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await ledger.complete(event(1))
        other.execute("ROLLBACK")
        other.close()
        assert {found.id for found in ledger.recent(5)} == {event(0).id, event(1).id}
    assert _statuses(path) == ["success", "success"]


async def test_values_that_no_column_takes_are_made_to_fit(path: Path) -> None:
    """Bytes that are no text, integers beyond 64 bits and odd types do not lose the event."""
    odd = event(
        1, project="caf\udce9", input_tokens=10**30, facts={"request": {"model": "\udcff", "messages": 10**25}},
        decision={"vars": {"wait": timedelta(seconds=3)}},
    )  # fmt: skip
    async with running(path) as ledger:
        await ledger.complete(odd)
        found = ledger.get(odd.id)
        assert found is not None
        assert (found.project, found.input_tokens, found.decision["vars"]["wait"]) == ("caf?", 2**63 - 1, "0:00:03")


async def test_an_event_that_cannot_be_stored_is_lost_alone(path: Path) -> None:
    """One unsuitable event does not take its batch with it, nor the ledger."""
    told: list[str] = []
    async with running(path, log=lambda name, **_: told.append(name)) as ledger:
        bad = event(5, latency_ms=None)
        await asyncio.gather(*(ledger.complete(bad if number == 5 else event(number)) for number in range(10)))
        assert (len(ledger.recent(50)), ledger.ok, told) == (9, True, ["defect"])


async def test_a_reader_beside_a_running_gateway(path: Path) -> None:
    """`sbgw events` reads while the gateway writes, and cannot write itself."""
    async with running(path) as ledger:
        await ledger.complete(event(1))
        with read_only(path) as reader:
            await ledger.complete(event(2))
            assert [found.id for found in reader.recent()] == [event(2).id, event(1).id]
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader._connection.execute("DELETE FROM events")


async def test_reading_a_closed_ledger(path: Path) -> None:
    """The records are readable when no gateway runs."""
    async with running(path) as ledger:
        await ledger.complete(event(1))
    with read_only(path) as reader:
        assert (reader.get(event(1).id), reader.spend(Filter(since=START))) == (event(1), 0.0)


async def test_without_telemetry_the_newest_are_in_memory() -> None:
    """A NullLedger answers the same questions for the last 200 requests."""
    ledger = NullLedger()
    ledger.start()
    for number in range(250):
        ledger.open(event(number, status="open"))
        await ledger.complete(event(number, cost_estimate_usd=1.0))
    newest = event(249, cost_estimate_usd=1.0)
    assert (ledger.ok, ledger.recent(1), ledger.get(newest.id), ledger.get(event(1).id)) == (
        True,
        [newest],
        newest,
        None,
    )
    assert (ledger.spend(Filter(since=START)), len(list(ledger.events(Filter(status="success"))))) == (200.0, 200)
    ledger.close()


def _statuses(path: Path) -> list[str]:
    with read_only(path) as reader:
        return [found.status for found in reader.events()]


VIOLATION = {"kind": "denied", "rule": "no-secrets", "reason": "GATE_DENY", "section": "deny", "tags": ["secrets"]}
WATCHED = {"kind": "would_deny", "rule": "watched", "reason": "SHADOW_DENY", "section": "deny"}


@pytest.mark.parametrize("in_file", [True, False])
async def test_violations_are_events_of_their_own(path: Path, *, in_file: bool) -> None:
    """Newest first, each with who and under which policy; by kind and by rule."""
    ledger = Ledger(path) if in_file else NullLedger()
    ledger.start()
    made = [
        event(1, project="shop", policy="p@1", violations=(VIOLATION, WATCHED)),
        event(2),
        event(3, session_id="s-1", violations=(WATCHED,)),
    ]
    for one in made:
        await ledger.complete(one)
        await ledger.complete(one)
    found = ledger.violations()
    assert [said["id"] for said in found] == [f"{made[2].id}-1", f"{made[0].id}-1", f"{made[0].id}-2"]
    assert found[1] == {
        "id": f"{made[0].id}-1", "eventId": made[0].id, "timestamp": made[0].timestamp, "client": "claude-code",
        "project": "shop", "policy": "p@1", "status": "success", **VIOLATION,
    }  # fmt: skip
    assert [said["rule"] for said in ledger.violations(kind="denied")] == ["no-secrets"]
    assert [said["kind"] for said in ledger.violations(rule="watched")] == ["would_deny"] * 2
    assert len(ledger.violations(1)) == 1
    await asyncio.to_thread(ledger.close)


@pytest.mark.parametrize("in_file", [True, False])
async def test_sessions_are_summed(path: Path, *, in_file: bool) -> None:
    """Both stores give the same sums: newest session first, what is open or without a session left out."""
    ledger = Ledger(path) if in_file else NullLedger()
    ledger.start()
    made = [
        event(1, session_id="a", project="shop", cost_estimate_usd=0.5, input_tokens=10, selected_model="m"),
        event(2, session_id="b", status="error"),
        event(3, session_id="a", wasted_usd=0.25, output_tokens=5),
        event(4),
    ]
    for one in made:
        await ledger.complete(one)
    ledger.open(event(5, session_id="c", status="open"))
    shown = [one.to_json() for one in ledger.sessions()]
    assert [(one["id"], one["requests"], one["failed"], one["unpriced"]) for one in shown] == [
        ("a", 2, 0, 1),
        ("b", 1, 1, 0),
    ]
    assert shown[0] == {
        "id": "a", "started": made[0].timestamp, "last": made[2].timestamp, "client": "claude-code", "project": "shop",
        "model": "m", "requests": 2, "failed": 0, "unpriced": 1, "inputTokens": 10, "outputTokens": 5,
        "cachedInputTokens": 0, "cacheWriteTokens": 0, "costUsd": 0.75,
    }  # fmt: skip
    assert [one.id for one in ledger.sessions(project="shop")] == ["a"]
    await asyncio.to_thread(ledger.close)


async def test_spend_since_a_quarter_is_that_of_the_events(path: Path) -> None:
    """Read from the sums, or from the events, the answer is the same."""
    async with running(path) as ledger:
        made = [event(number * 450, cost_estimate_usd=number / 8, wasted_usd=0.25) for number in range(20)]
        await asyncio.gather(*map(ledger.complete, made))
        for minutes in (0, 15, 20, 30, 75, 600):
            since = START + timedelta(minutes=minutes)
            expected = sum(one.total_usd for one in made if Filter(since=since).matches(one))
            assert ledger.spend(Filter(since=since)) == expected
