"""Options that name a stretch of time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from engine.store.moments import moment


class Since(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    """`7d` back from now, or a date or time as ISO 8601 writes it, local unless it names a zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return moment(str(value), datetime.now().astimezone())
        except ValueError as error:
            self.fail(str(error), param, ctx)


SINCE = Since()
