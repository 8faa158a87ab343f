"""Ids of events."""

from __future__ import annotations

import re

from engine.store.ids import new_id


def test_ids_are_24_hex_digits_and_differ() -> None:
    """Ten thousand ids of one millisecond are all different."""
    made = {new_id(lambda: 1_700_000_000_000_000_000) for _ in range(10_000)}
    assert (len(made), all(re.fullmatch("[0-9a-f]{24}", i) for i in made)) == (10_000, True)


def test_ids_sort_by_time() -> None:
    """A later millisecond gives a greater id, over every digit boundary."""
    moments = [0, 1, 15, 16, 255, 256, 10**12, 1_763_888_400_000, 2**47]
    made = [new_id(lambda ms=ms: ms * 1_000_000) for ms in moments]
    assert made == sorted(made)


def test_the_beginning_tells_the_time() -> None:
    """The first twelve digits are milliseconds since 1970."""
    assert int(new_id(lambda: 1_763_888_400_123_456_789)[:12], 16) == 1_763_888_400_123
