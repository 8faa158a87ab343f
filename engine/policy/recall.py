"""Recorded facts, made whole for a policy of today: what is missing is filled in and named, what is broken is refused.

Facts come from an older version of the gateway, or from another policy whose signals are others. A default in place of a
fact that nobody recorded is a guess, so whoever uses it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any

from engine.policy.decision import Facts
from engine.policy.facts import schema

_TYPES: Mapping[str, type] = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "array": list,
    "number": float,
    "object": dict,
}

_MADE_ANEW = frozenset({"settings", "vars", "signals"})
"""Sections that each policy fills in for itself."""


class FactsBroken(ValueError):
    """Facts that no policy can be asked about; the text names the field, never its value."""


def _any(_fact: str) -> bool:
    return True


def recall(recorded: Any, signals: Iterable[str], reads: Callable[[str], bool] = _any) -> tuple[Facts, tuple[str, ...]]:
    """Complete facts, and the dotted names of those that were filled in with defaults; `signals` are the policy's.

    Only what the policy `reads` is named: it can be wrong about nothing else. What is complete already is not copied. Raises FactsBroken.
    """
    if not isinstance(recorded, dict) or not recorded:
        raise FactsBroken("there are no facts")
    missing: list[str] = []
    whole = dict(recorded)
    for section, fields in _sections().items():
        have = recorded.get(section)
        try:
            if tuple(map(type, fields.values(have))) == fields.types:
                continue
        except (KeyError, TypeError):
            have = {} if have is None else have
        if type(have) is not dict:
            raise FactsBroken(f"{section} is no mapping")
        absent = [name for name in fields.defaults if name not in have]
        missing += [named for name in absent if reads(named := f"{section}.{name}")]
        whole[section] = _typed(section, {**have, **{name: _fresh(fields.defaults[name]) for name in absent}}, fields)
    own = recorded.get("signals") or {}
    unknown = [name for name in signals if type(own.get(name)) is not bool]
    if unknown:
        whole["signals"] = {**own, **dict.fromkeys(unknown, False)}
        missing += [f"signals.{name}" for name in unknown]
    whole.setdefault("signals", own)
    return whole, tuple(missing)


def _typed(section: str, have: dict[str, Any], fields: _Fields) -> dict[str, Any]:
    for name, kind in zip(fields.defaults, fields.types, strict=True):
        value = have[name]
        if kind is float and type(value) is int:
            have[name] = float(value)
        elif type(value) is not kind:
            raise FactsBroken(f"{section}.{name} is no {kind.__name__}")
    return have


def _fresh(default: Any) -> Any:
    return default.copy() if isinstance(default, list | dict) else default


@dataclass(slots=True, frozen=True)
class _Fields:
    """The fields of one section. Asked for thousands of records, so they are laid out for few steps."""

    defaults: Mapping[str, Any]
    types: tuple[type, ...]
    values: Callable[[Any], tuple[Any, ...]]
    """Picks all of them, in the order of `types`; KeyError when one is missing. There are at least two."""

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> _Fields:
        types = tuple(_TYPES[below["type"]] for below in described.values())
        defaults = {name: below["default"] for name, below in described.items()}
        return cls(defaults, types, itemgetter(*described))


@lru_cache(maxsize=1)
def _sections() -> Mapping[str, _Fields]:
    """Section → its fields, for the facts that a request has before any candidate."""
    return {
        section: _Fields.of(described["properties"])
        for section, described in schema()["properties"].items()
        if described.get("x-phase") != "candidate" and section not in _MADE_ANEW
    }
