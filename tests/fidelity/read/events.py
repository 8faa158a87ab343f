"""Server-sent events by the letter of the standard, read all at once: the simplest reader that can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson


def events(raw: str) -> Iterator[tuple[str, str]]:
    """(name, data) of every event that has data. A `data:` line written as `error:` counts as an event named error."""
    for frame in raw.replace("\r\n", "\n").replace("\r", "\n").split("\n\n"):
        name, data = "", []
        for line in frame.split("\n"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif field == "error":
                name, data = "error", [value]
        if data:
            yield name, "\n".join(data)


def objects(raw: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, JSON object) of every event; `[DONE]` and the like are left out."""
    for name, data in events(raw):
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, dict):
            yield name, value
