"""How long to wait before trying again, read from a provider's response headers.

Order: `retry-after-ms`, `retry-after`, then the reset time of the rate-limit buckets that are empty. No clock is read:
a point in time counts from the response's own `date`, and means nothing without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import re2

LONGEST = 86400.0
"""Seconds; no provider's word for longer than a day is believed."""

_DURATION = re2.compile(r"(?:\d+(?:\.\d+)?(?:ms|us|µs|s|m|h|d))+")
_DURATION_PART = re2.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|s|m|h|d)")
_UNIT = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EPOCH_SECONDS = 1e9
_EPOCH_MILLISECONDS = 1e12


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds between 0 and a day, None when the headers do not say."""
    lowered = {name.lower(): value for name, value in headers.items()}
    now = _timestamp(lowered.get("date", ""))
    if (milliseconds := _number(lowered.get("retry-after-ms", ""))) is not None and milliseconds >= 0:
        return min(milliseconds / 1000, LONGEST)
    wait = seconds(lowered.get("retry-after", ""), now=now)
    return wait if wait is not None else _empty_bucket(lowered, now)


def seconds(value: str, *, now: float | None = None) -> float | None:
    """Seconds from any form seen in the wild, clamped to a day: `2`, `1.5`, `6m0s`, `120ms`, RFC 3339, HTTP date, epoch (ms).

    None for what is none of these, for a negative number (vendors write -1 for "unknown"), and for a point in time when
    `now` (epoch seconds) is missing.
    """
    value = value.strip()
    number = _number(value)
    if number is not None and number < 0:
        return None
    if number is not None and number < _EPOCH_SECONDS:
        return min(number, LONGEST)
    if number is None and _DURATION.fullmatch(value):
        return min(sum(float(amount) * _UNIT[unit] for amount, unit in _DURATION_PART.findall(value)), LONGEST)
    moment = _timestamp(value) if number is None else number / (1000 if number >= _EPOCH_MILLISECONDS else 1)
    if moment is None or now is None:
        return None
    return min(max(moment - now, 0.0), LONGEST)


def _empty_bucket(headers: Mapping[str, str], now: float | None) -> float | None:
    waits = []
    for name, value in headers.items():
        if "ratelimit" not in name or "reset" not in name:
            continue
        remaining = headers.get(name.replace("reset", "remaining"), "")
        status = headers.get(name.replace("reset", "status"), "")
        if (_number(remaining) == 0 or status == "rejected") and (wait := seconds(value, now=now)) is not None:
            waits.append(wait)
    return max(waits, default=None)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if abs(number) < 1e15 else None  # also refuses inf and nan


def _timestamp(value: str) -> float | None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, IndexError):
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return moment.timestamp()
    except (OverflowError, OSError):
        return None
