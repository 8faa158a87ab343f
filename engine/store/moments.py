"""Points in time as people write them: `7d` back from now, or a date."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"([0-9]{1,5})([smhdw])")

WAYS = "90m, 12h, 7d, 2w or a date like 2026-11-23"


def moment(text: str, now: datetime) -> datetime:
    """The moment that `text` means: so long before `now`, or a date or time as ISO 8601 writes it, local unless it names a zone.

    Raises ValueError.
    """
    found = _SPAN.fullmatch(text)
    try:
        if found:
            return now - timedelta(**{_UNITS[found[2]]: int(found[1])})
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise ValueError(f"'{text}' is no time: write {WAYS}") from None
