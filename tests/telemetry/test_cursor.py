"""How far an export has come: nothing is forgotten over a restart, and nothing told twice that need not be."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from engine.store.null_ledger import NullLedger
from engine.telemetry.cursor import SLACK, Cursor
from tests.store.builders import START, event


@pytest.fixture
def store() -> NullLedger:
    """A request a second from START on; the third took long, the sixth was cut off, the seventh is under way."""
    made = NullLedger()
    for number in range(5):
        made.complete(event(number, latency_ms=20_000.0 if number == 2 else 10.0))
    made.complete(event(5, status="interrupted"))
    made.open(event(6, status="open"))
    return made


def ids(*numbers: int) -> list[str]:
    return [event(number).id for number in numbers]


def missed(cursor: Cursor, most: int = 100) -> list[str]:
    return [one.id for one in cursor.missed(most)]


def test_a_new_export_begins_now(tmp_path: Path, store: NullLedger) -> None:
    """Of what was recorded before it, only what ended just now."""
    cursor = Cursor(tmp_path / "c.json", store, START + timedelta(hours=2))
    assert missed(cursor) == []
    store.complete(event(7205))
    # Another process, later: it has nothing but the file.
    assert missed(Cursor(tmp_path / "c.json", store, START + timedelta(hours=9))) == ids(7205)


def test_a_restart_goes_on_where_the_last_run_stopped(tmp_path: Path, store: NullLedger) -> None:
    """In the order of the ends; one that was cut off is told once, though nobody knows when it ended."""
    first = Cursor(tmp_path / "c.json", store, START)
    assert missed(first) == ids(0, 1, 3, 4, 2, 5)
    assert missed(first, 2) == ids(4, 5)
    first.delivered([event(number, latency_ms=10.0) for number in (0, 1, 3)])
    second = Cursor(tmp_path / "c.json", store, START + timedelta(days=1))
    assert missed(second) == ids(4, 2, 5)
    second.delivered(second.missed(100))
    for _ in range(2):
        assert missed(Cursor(tmp_path / "c.json", store, START)) == []


def test_what_is_told_is_bounded(tmp_path: Path, store: NullLedger) -> None:
    """The file names what ended around the moment alone, however much was delivered; it is for its owner."""
    cursor = Cursor(tmp_path / "c.json", store, START)
    for number in range(1000):
        cursor.delivered([event(number)])
    assert len(cursor._told) <= SLACK.total_seconds() + 1
    assert (tmp_path / "c.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [b"", b"[]", b'{"until":1}', b'{"until":"2026-01-01T00:00:00Z","told":[]}'])
def test_a_broken_file_is_as_none(tmp_path: Path, store: NullLedger, text: bytes) -> None:
    """An export begins anew then."""
    (tmp_path / "c.json").write_bytes(text)
    assert missed(Cursor(tmp_path / "c.json", store, START + timedelta(days=1))) == []


def test_a_full_disk_is_no_error(tmp_path: Path, store: NullLedger) -> None:
    """In this run everything goes on."""
    cursor = Cursor(tmp_path / "none" / "c.json", store, START)
    cursor.delivered([event(0)])
    assert ids(0)[0] not in missed(cursor)
