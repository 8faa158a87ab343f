"""Options that name a stretch of time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import click

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"([0-9]{1,5})([mhdw])")


class Since(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    """`7d` back from now, or a date or time as ISO 8601 writes it, local unless it names a zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        found = _SPAN.fullmatch(str(value))
        try:
            if found:
                return datetime.now().astimezone() - timedelta(**{_UNITS[found[2]]: int(found[1])})
            return datetime.fromisoformat(str(value)).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"'{value}' is no time: write 90m, 12h, 7d, 2w or a date like 2026-11-23", param, ctx)


SINCE = Since()
