"""The courier: what a receiver does costs events at most, never a request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from engine.store.event import Event
from engine.telemetry import courier as module
from engine.telemetry.courier import Courier, Refused, TooMuch, Undelivered
from tests.store.builders import event
from tests.telemetry.exporting import until


class Receiver:
    """Answers by a list of errors, then well."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.got: list[list[str]] = []
        self.seen_ids: list[str] = []

    def seen(self, one: Event) -> None:
        self.seen_ids.append(one.id)

    async def deliver(self, events: list[Event]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.got.append([one.id for one in events])


class Bench:
    """A courier whose sleeps take no time and are written down."""

    def __init__(self, receiver: Any, past: Any = None) -> None:
        self.slept: list[float] = []
        self.told: list[str] = []
        self.courier = Courier(
            "test",
            receiver,
            log=lambda name, **_: self.told.append(name),
            sleep=self._sleep,
            uniform=lambda _, high: high,
            past=past,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    async def settle(self) -> None:
        for _ in range(200):
            await asyncio.sleep(0)


IDS = [event(number).id for number in range(1000)]


async def test_events_arrive_in_order_and_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything once, in order, no more than a batch at a time."""
    monkeypatch.setattr(module, "BATCH", 30)
    receiver = Receiver()
    bench = Bench(receiver)
    bench.courier.start()
    for number in range(100):
        bench.courier.take(event(number))
    await bench.settle()
    await bench.courier.close()
    assert [name for batch in receiver.got for name in batch] == IDS[:100] == receiver.seen_ids
    assert ({len(batch) for batch in receiver.got}, bench.courier.sent, bench.courier.backlog) == ({30, 10}, 100, 0)


async def test_what_was_not_delivered_is_tried_again() -> None:
    """After doubling pauses up to the longest, or as long as the receiver asks; told once each way."""
    receiver = Receiver(*[Undelivered("down") for _ in range(8)], Undelivered("busy", retry_after=7.0))
    bench = Bench(receiver)
    bench.courier.start()
    bench.courier.take(event(1))
    await bench.settle()
    await bench.courier.close()
    assert bench.slept[:10] == [module.GATHER, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 7.0]
    assert (receiver.got, bench.told) == ([[IDS[1]]], ["export_failed", "export_works_again"])


async def test_the_backlog_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a receiver is dead the oldest events go and are counted; the newest arrive when it is back."""
    monkeypatch.setattr(module, "BACKLOG", 10)
    monkeypatch.setattr(module, "BATCH", 4)
    receiver = Receiver()
    bench = Bench(receiver)
    for number in range(50):
        bench.courier.take(event(number))
    assert (bench.courier.backlog, bench.courier.dropped) == (10, 40)
    bench.courier.start()
    await bench.settle()
    await bench.courier.close()
    assert [name for batch in receiver.got for name in batch] == IDS[40:50]


@pytest.mark.parametrize(("error", "told"), [(Refused("HTTP 400"), "export_refused"), (TypeError("odd"), "defect")])
async def test_what_is_refused_is_not_tried_again(error: Exception, told: str) -> None:
    """A refusal or a defect costs its batch; the next one is delivered."""
    receiver = Receiver(error)
    bench = Bench(receiver)
    bench.courier.start()
    bench.courier.take(event(1))
    await bench.settle()
    bench.courier.take(event(2))
    await bench.settle()
    await bench.courier.close()
    assert (receiver.got, bench.courier.refused, bench.told) == ([[IDS[2]]], 1, [told])


async def test_what_is_too_much_at_once_is_halved() -> None:
    """Each event arrives once, in order, as many at once as the receiver takes; one that is too large alone is refused."""

    class Small(Receiver):
        async def deliver(self, events: list[Event]) -> None:
            if len(events) > 3 or IDS[5] in [one.id for one in events]:
                raise TooMuch("HTTP 413")
            await super().deliver(events)

    receiver = Small()
    bench = Bench(receiver)
    for number in range(20):
        bench.courier.take(event(number))
    bench.courier.start()
    await bench.settle()
    await bench.courier.close()
    assert [name for batch in receiver.got for name in batch] == [*IDS[:5], *IDS[6:20]]
    assert (bench.courier.sent, bench.courier.refused, bench.courier.dropped) == (19, 1, 0)


async def test_a_dead_receiver_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end waits a moment for a last delivery and says what was lost."""

    class Hanging(Receiver):
        async def deliver(self, events: list[Event]) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(module, "FAREWELL", 0.01)
    bench = Bench(Hanging())
    bench.courier.start()
    bench.courier.take(event(1))
    await bench.settle()
    await bench.courier.close()
    assert (bench.courier.dropped, bench.courier.backlog, bench.told) == (1, 0, ["export_lost"])


async def test_the_end_delivers_what_waits() -> None:
    """What was taken just before the end arrives."""
    receiver = Receiver()
    bench = Bench(receiver)
    bench.courier.start()
    bench.courier.take(event(1))
    await bench.courier.close()
    assert receiver.got == [[IDS[1]]]


async def test_the_end_does_not_repeat_a_delivery_under_way() -> None:
    """A delivery that has begun is waited for, not begun again."""
    going, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Receiver):
        async def deliver(self, events: list[Event]) -> None:
            going.set()
            await go_on.wait()
            await super().deliver(events)

    receiver = Slow()
    bench = Bench(receiver)
    bench.courier.start()
    bench.courier.take(event(1))
    await going.wait()
    bench.courier.take(event(2))
    closing = asyncio.create_task(bench.courier.close())
    await bench.settle()
    go_on.set()
    await closing
    assert (receiver.got, bench.courier.sent, bench.courier.dropped) == ([[IDS[1]], [IDS[2]]], 2, 0)


async def test_a_past_is_delivered_before_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event once, the newest that fit; what was delivered or refused is noted; what was not, is not, and is not lost."""
    monkeypatch.setattr(module, "BACKLOG", 4)

    class Past:
        def __init__(self) -> None:
            self.noted: list[str] = []

        def missed(self, most: int) -> list[Event]:
            return [event(number) for number in (1, 2, 3, 5)][-most:]

        def delivered(self, events: Sequence[Event]) -> None:
            self.noted += [one.id for one in events]

    receiver, past = Receiver(Refused("HTTP 400")), Past()
    bench = Bench(receiver, past)
    bench.courier.take(event(5))
    bench.courier.take(event(6))
    bench.courier.start()
    await until(lambda: past.noted)
    receiver.errors = [Undelivered("down") for _ in range(1000)]
    bench.courier.take(event(7))
    await bench.settle()
    await bench.courier.close()
    told = [IDS[number] for number in (2, 3, 5, 6)]
    assert (past.noted, receiver.seen_ids) == (told, [IDS[5], IDS[6], IDS[7]])
    assert (bench.courier.dropped, bench.courier.refused, bench.told[-1]) == (1, 4, "export_waits")


async def test_a_past_that_can_not_be_read_costs_nothing_new() -> None:
    """It is told of as a defect, and what is new is delivered."""

    class Broken:
        def missed(self, most: int) -> list[Event]:
            raise OSError(most)

        def delivered(self, events: Sequence[Event]) -> None:
            return

    receiver = Receiver()
    bench = Bench(receiver, Broken())
    bench.courier.start()
    bench.courier.take(event(1))
    await until(lambda: receiver.got)
    await bench.courier.close()
    assert (receiver.got, bench.told) == ([[IDS[1]]], ["defect"])
