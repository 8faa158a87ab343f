"""Waiting times from headers, in every form that vendors write."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.protocols.retry_after import retry_after, seconds

NOW = 1755780000.0  # Thu, 21 Aug 2025 12:40:00 GMT
DATE = "Thu, 21 Aug 2025 12:40:00 GMT"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2", 2.0), (" 1.5 ", 1.5), ("0", 0.0), ("6m0s", 360.0), ("120ms", 0.12), ("2m59.56s", 179.56), ("1h2m3s", 3723.0),
        ("-1", None), ("", None), ("soon", None), ("nan", None), ("inf", None), ("99999999", 86400.0),
        ("2025-08-21T12:40:59Z", 59.0), ("Thu, 21 Aug 2025 12:40:30 GMT", 30.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("1755780100", 100.0), ("1755780100000", 100.0),
    ],
)  # fmt: skip
def test_forms(value: str, expected: float | None) -> None:
    """Seconds, durations, RFC 3339, HTTP dates and epochs; nonsense and unknown are None."""
    assert expected == seconds(value, now=NOW)


def test_a_point_in_time_needs_a_clock() -> None:
    """Without the response's date a point in time says nothing; a number of seconds does."""
    assert retry_after({"Retry-After": "Thu, 21 Aug 2025 12:40:30 GMT"}) is None
    assert retry_after({"Retry-After": "Thu, 21 Aug 2025 12:40:30 GMT", "Date": DATE}) == 30.0
    assert retry_after({"Retry-After": "30"}) == 30.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-tokens": "5",
          "x-ratelimit-reset-tokens": "9h"}, 360.0),
        ({"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2025-08-21T12:41:00Z",
          "date": DATE}, 60.0),
        ({"anthropic-ratelimit-unified-status": "rejected", "anthropic-ratelimit-unified-reset": "1755780010", "date": DATE}, 10.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1755780020000", "date": DATE}, 20.0),
        ({"x-ratelimit-remaining-requests": "-1", "x-ratelimit-reset-requests": "5s"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_order(headers: dict[str, str], expected: float | None) -> None:
    """Milliseconds, then seconds, then the buckets that are empty."""
    assert expected == retry_after(headers)


@given(st.text(max_size=30), st.sampled_from([None, NOW, 0.0]))
@settings(deadline=None, max_examples=200)
def test_any_text_is_read(value: str, now: float | None) -> None:
    """Whatever a header says, the answer is None or between zero and a day."""
    wait = seconds(value, now=now)
    assert wait is None or 0 <= wait <= 86400
    retry_after({"date": value, "retry-after": value, "x-ratelimit-reset": value, "x-ratelimit-remaining": "0"})
