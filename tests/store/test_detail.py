"""Packing: what goes in comes out, learnt dictionaries make it small, and damage is told as the database's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.store import detail as module
from engine.store.detail import Details, plain
from engine.store.upgrades import up_to_date
from tests.store.builders import event

WHEN = "2026-11-23T09:00:00.000Z"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    up_to_date(opened)
    yield opened
    opened.close()


def said(number: int) -> dict[str, Any]:
    """What one request's event might hold: long, and nearly the same each time."""
    return {
        "facts": {"request": {sha256(bytes([name])).hexdigest()[:12]: number % 7 == name for name in range(60)}},
        "decision": {"candidates": [{"ref": f"provider/model-{at}", "dropped": "NO_KEY"} for at in range(8)]},
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None, max_examples=40)
@given(values=st.lists(st.dictionaries(st.text(max_size=8), JSON, max_size=5), min_size=1, max_size=30))
def test_what_goes_in_comes_out(values: list[dict[str, Any]]) -> None:
    """With a dictionary learnt after every object that allows it, and for a reader that starts anew."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    up_to_date(connection)
    details = Details(connection)
    packed = []
    for value in values:
        packed.append(details.pack(value, WHEN))
        details.learn()
    assert [Details(connection).unpack(data) for data in packed] == values
    connection.close()


def test_a_dictionary_makes_it_small(connection: sqlite3.Connection) -> None:
    """Objects like those before take less than a third of what they take alone; the dictionary is used on after a restart."""
    details = Details(connection)
    for number in range(module.SAMPLES):
        details.pack(said(number), WHEN)
    assert details.learn()
    alone, then, later = plain(said(99)), details.pack(said(99), WHEN), Details(connection).pack(said(99), WHEN)
    assert (len(then) * 3 < len(alone), then == later) == (True, True)


def test_another_is_learnt_only_after_many(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects that fit no dictionary cost at most one in PATIENCE objects; each dictionary knows until when it was used."""
    monkeypatch.setattr(module, "PATIENCE", 50)
    details = Details(connection)
    learnt = 0
    for number in range(200):
        details.pack({"noise": event(number).id * 40, "at": list(range(number, number + 200))}, f"2026-11-{number:03d}")
        learnt += details.learn()
    rows = connection.execute("SELECT number, until FROM dictionaries ORDER BY number").fetchall()
    assert (len(rows), learnt <= 4, rows[-1][1]) == (learnt, True, None)
    assert all(until for _, until in rows[:-1])


@pytest.mark.parametrize("data", [b"", b"\0\0\0rubbish", b"\x07\0\0" + plain({})[3:], plain({})[:-3]])
def test_damage_is_the_databases(connection: sqlite3.Connection, data: bytes) -> None:
    """What can't be unpacked is an error that readers of a database expect."""
    with pytest.raises(sqlite3.DatabaseError, match="damaged"):
        Details(connection).unpack(data)
