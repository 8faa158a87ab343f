"""Which requests ended since a moment: the file and the memory say the same, of ends and not of beginnings."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.store.ended import ended_after
from engine.store.event import Event, end_of
from engine.store.ledger import Ledger
from engine.store.null_ledger import NullLedger
from engine.store.rows import Filter
from tests.store.builders import START, event


def made() -> list[Event]:
    """A request a second; some took long, one was cut off, one is under way."""
    events = [
        event(number, latency_ms=number % 7 * 1500.25, project="shop" if number % 2 else "") for number in range(40)
    ]
    return [*events, event(40, status="interrupted"), event(41, status="open")]


async def test_the_file_knows_the_same_as_the_memory(tmp_path: Path) -> None:
    """At every moment, with a filter as well."""
    ledger, memory = Ledger(tmp_path / "ledger.sqlite"), NullLedger()
    ledger.start()
    for one in made():
        memory.complete(one)
        await ledger.complete(one)
    for seconds in (-5.0, 0.0, 3.2, 11.0, 30.75, 60.0, 3639.0, 3641.0):
        moment = START + timedelta(seconds=seconds)
        for where in (Filter(), Filter(project="shop"), Filter(since=START + timedelta(seconds=20))):
            found = await asyncio.to_thread(ended_after, ledger, moment, where=where, limit=100)
            assert found == ended_after(memory, moment, where=where, limit=100)
            assert found == sorted(found, key=end_of)
            assert all(end_of(one) > moment and one.status != "open" for one in found)
    await asyncio.to_thread(ledger.close)


@pytest.mark.parametrize("limit", [1, 5])
def test_the_newest_are_told_when_there_are_too_many(limit: int) -> None:
    """Those that began last."""
    memory = NullLedger()
    for one in made():
        memory.complete(one)
    assert [one.id for one in ended_after(memory, START, limit=limit)][-1] == event(40).id
    assert len(ended_after(memory, START, limit=limit)) == limit


@settings(max_examples=50)
@given(st.integers(0, 10**7), st.floats(0, 3_000_000))
def test_no_end_is_before_its_beginning(number: int, latency: float) -> None:
    """Whatever it took."""
    assert end_of(event(number, latency_ms=latency)) >= START + timedelta(seconds=number)
