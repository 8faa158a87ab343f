"""Who is closed when: the watchdog without a network."""

from __future__ import annotations

import pytest

from engine.patience import SETTLED, Crowded, Patience


class Line:
    """A connection."""

    def __init__(self, lines: list[Line]) -> None:
        self.closed = False
        self._lines = lines
        lines.append(self)

    def force_close(self) -> None:
        self.closed = True
        self._lines.remove(self)


class Desk:
    """A watchdog with a clock that is moved by hand."""

    def __init__(self, most: int = 3) -> None:
        self.now = 0.0
        self.lines: list[Line] = []
        self.watch = Patience(lambda: list(self.lines), lambda: self.now, most=most, headers_within=10)

    def open(self, count: int = 1) -> list[Line]:
        return [Line(self.lines) for _ in range(count)]


def test_a_silent_connection_is_closed_in_time_and_not_before() -> None:
    """Ten seconds from when it was first seen."""
    desk = Desk()
    [line] = desk.open()
    desk.watch.look()
    desk.now = 9.9
    desk.watch.look()
    assert not line.closed
    desk.now = 10
    desk.watch.look()
    assert line.closed


def test_one_that_is_served_stays() -> None:
    """While its request is answered, however long, and afterwards."""
    desk = Desk()
    [line] = desk.open()
    desk.watch.look()
    desk.watch.heard(line)
    desk.now = 1000
    desk.watch.look()
    desk.watch.done(line)
    desk.now = 2000
    desk.watch.look()
    assert not line.closed


def test_too_many_silent_ones_lose_the_newest() -> None:
    """Those that came first keep their place."""
    desk = Desk(most=3)
    lines = desk.open(5)
    desk.watch.look()
    assert [line.closed for line in lines] == [False, False, False, True, True]


def test_silent_ones_go_before_idle_ones_and_busy_ones_stay() -> None:
    """Three at most: of two busy, two idle and two silent, the silent and the longest idle go."""
    desk = Desk(most=3)
    busy, idle, silent = desk.open(2), desk.open(2), desk.open(2)
    for line in (*busy, *idle):
        desk.watch.heard(line) if line in busy else desk.watch.done(line)
        desk.now += 1
    desk.now += SETTLED
    desk.watch.look()
    assert [line.closed for line in (*busy, *idle, *silent)] == [False, False, True, False, True, True]


def test_one_just_answered_is_not_idle_yet() -> None:
    """Its last bytes are on their way."""
    desk = Desk(most=1)
    lines = desk.open(3)
    for line in lines:
        desk.watch.done(line)
    desk.watch.look()
    assert not any(line.closed for line in lines)
    desk.now = SETTLED
    desk.watch.look()
    assert [line.closed for line in lines] == [True, True, False]


def test_more_requests_than_may_be_are_refused() -> None:
    """The one too many, until another is done."""
    desk = Desk(most=2)
    lines = desk.open(3)
    desk.watch.heard(lines[0])
    desk.watch.heard(lines[1])
    with pytest.raises(Crowded) as caught:
        desk.watch.heard(lines[2])
    assert (caught.value.status, caught.value.retry_after) == (503, 1)
    desk.watch.done(lines[2])
    desk.watch.done(lines[0])
    desk.watch.heard(lines[2])


def test_closed_connections_are_forgotten() -> None:
    """Nothing grows with the connections of a long life."""
    desk = Desk()
    for _ in range(100):
        [line] = desk.open()
        desk.watch.heard(line)
        desk.watch.done(line)
        line.force_close()
        desk.watch.look()
    assert (len(desk.watch._seen), len(desk.watch._idle), len(desk.watch._busy)) == (0, 0, 0)
