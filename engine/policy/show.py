"""A policy with everything it extends, written out as one file, each line with where it comes from.

What is printed is a policy again and has the same digest. Rows of providers and models lie below every policy, so only what
differs from the shipped ones is needed, unless they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.policy.emit import emit
from engine.policy.load import shipped_rows
from engine.policy.migrate import VERSION
from engine.policy.model import Policy

_ORDER = (
    "signals", "vars", "pipeline", "overrides", "classify", "routes", "gate", "fallback", "answers", "cache", "budgets", "trace", "settings",
    "providers", "models",
)  # fmt: skip
"""Sections in the order in which a request meets them; rows last."""

_GONE = object()


def show(policy: Policy, *, origin: bool = False, rows: bool = False) -> str:
    """`policy` as YAML. `origin` adds `file:line` to each line, `rows` the shipped rows that it has not changed."""
    merged = policy.resolved.value
    shipped = shipped_rows()
    document: dict[str, Any] = {"version": VERSION, "name": policy.name}
    for section in (*_ORDER, *(key for key in merged if key not in _ORDER)):
        value = merged.get(section)
        if section in shipped:
            changed = difference(shipped[section], value or {})
            value = {**value, **changed_away(changed)} if rows and value else changed
        if value:
            document[section] = value
    origins = policy.resolved.origins

    def comment(path: tuple[str | int, ...]) -> str:
        span = origins.get(path) if origin and len(path) > 1 else None
        return f"{span.file}:{span.line}" if span is not None else ""

    return emit(document, comment)


def changed_away(change: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that a change takes away."""
    return {key: None for key, value in change.items() if value is None}


def difference(below: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """What to lay over `below` to get `value`: maps merge by key, null takes away."""
    found: dict[str, Any] = {key: None for key in below if key not in value}
    for key, wanted in value.items():
        have = below.get(key, _GONE)
        if isinstance(have, Mapping) and isinstance(wanted, Mapping):
            changed = difference(have, wanted)
            if changed:
                found[key] = changed
        elif have is _GONE or have != wanted or type(have) is not type(wanted):
            found[key] = wanted
    return found
