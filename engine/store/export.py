"""Events as lines for other tools.

A line is the event's own JSON with the version of this format in front. It holds no text of a request, because events don't.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson

from engine.llm.messages import JsonObject
from engine.store.event import Event

FORMAT = 1


class ExportInvalid(ValueError):
    """A line that is no exported event; the text names its number, never what it holds."""


def export_json(event: Event) -> JsonObject:
    """One line's data. Fields may be added under the same version; a reader passes over those it does not know."""
    return {"format_version": FORMAT, **event.to_json()}


def read_export(lines: Iterable[bytes]) -> Iterator[Event]:
    """The events of exported lines; empty lines are passed over. Raises ExportInvalid."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            data = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise ExportInvalid(f"line {number} is not JSON") from None
        if not isinstance(data, dict):
            raise ExportInvalid(f"line {number} is no event")
        if data.get("format_version", FORMAT) != FORMAT:
            raise ExportInvalid(f"line {number} has a format that this version does not know")
        try:
            yield Event.from_json(data)
        except (ValueError, TypeError, AttributeError) as error:
            detail = str(error) if isinstance(error, ValueError) else "a field has another type than events have"
            raise ExportInvalid(f"line {number} is no event: {detail}") from None
