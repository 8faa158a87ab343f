"""An event fit to be kept and shown: what comes from outside (names, ids, a provider's words) short, without secrets and controls.

Every text of the event is looked at, those of fields that are added later too. Nearly all events are clean, which one search
over the joined texts tells; and as they are names, the next event of a session has the same ones, and is not searched again.
"""

from __future__ import annotations

import json
from dataclasses import fields
from operator import attrgetter
from typing import Any

from engine.store.event import Event
from engine.store.redaction import Redactor

_OURS = frozenset(
    {"id", "timestamp", "status", "request_digest", "policy", "path", "losses", "decision", "availability", "shadow"}
)
"""Fields made by the gateway; what they hold of others' texts stands in the facts too."""

LONGEST = 1000
"""Characters of a text. The longest in good faith, a provider's message, has 800; a name may be as long as a request."""

_LEAVES = frozenset({str, int, float, bool, type(None)})

_texts_of = attrgetter(*(f.name for f in fields(Event) if f.type == "str" and f.name not in _OURS))
_HOLDERS = tuple(
    f.name for f in fields(Event) if str(f.type).startswith(("tuple", "JsonObject")) and f.name not in _OURS
)


def cleaned(event: Event, redactor: Redactor) -> Event:
    """`event` itself if it is clean, else one with placeholders for secrets and U+FFFD for control characters, and no text longer than `LONGEST`."""
    found: list[str] = [*_texts_of(event)]
    for name in _HOLDERS:
        if value := getattr(event, name):
            _collect(value, found)
    text = " ".join(found)
    long = len(text) > LONGEST and max(map(len, found)) > LONGEST
    if not long and text.isprintable() and redactor.clean(text):
        return event
    whole = json.dumps(_printable(event.to_json()), ensure_ascii=False, default=str).encode("utf-8", "replace")
    return Event.from_json(json.loads(redactor.redact(whole)))


def _collect(value: Any, into: list[str]) -> None:
    """Every text below `value`; facts are mostly numbers and what is empty, which are passed over first."""
    if isinstance(value, dict):
        values = value.values()
        into += [below for below in values if below.__class__ is str]
        for below in [below for below in values if below and below.__class__ not in _LEAVES]:
            _collect(below, into)
    elif isinstance(value, str):
        into.append(value)
    elif isinstance(value, list | tuple):
        for below in value:
            if below.__class__ is str:
                into.append(below)
            else:
                _collect(below, into)
    elif hasattr(value, "message"):
        into.append(value.message)


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        value = value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"
        return "".join(c if c.isprintable() else " " if c in "\r\n\t" else "\ufffd" for c in value)
    if isinstance(value, dict):
        return {_printable(name): _printable(below) for name, below in value.items()}
    return [_printable(below) for below in value] if isinstance(value, list) else value
