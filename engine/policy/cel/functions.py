"""The functions of the profile: how each may be called, on which kinds, and what it does.

One table serves the checker (overloads by kind), both evaluators (`apply` on plain values) and the documentation. Where an
argument's kind is known only at run time, `call` picks the overload then.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from engine.policy.cel import values
from engine.policy.cel.patterns import matcher
from engine.policy.cel.problems import Fault

DURATION_LENGTH = 32
_DURATION_SECONDS = 315_576_000_000
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# Tried at one position after the other: no repeated group, so no text makes it slow.
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h|d)")
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_OFFSET = re.compile(r"([+-]?)([0-9]{1,2}):([0-9]{2})")


@dataclass(slots=True, frozen=True)
class Function:
    """`overloads` maps argument kinds (a method's receiver first) to the result kind; empty for the variadic ones."""

    name: str
    method: bool
    call: bool
    overloads: tuple[tuple[tuple[str, ...], str], ...]
    apply: Callable[..., Any]
    example: str


def call(function: Function, args: Sequence[Any]) -> Any:
    """Apply the function to values of unknown kinds; Fault when no overload takes them."""
    kinds = tuple(map(values.kind_of, args))
    if function.name not in VARIADIC and not any(kinds == wanted for wanted, _ in function.overloads):
        raise Fault("type", f"{function.name}() does not take ({', '.join(kinds)})")
    return function.apply(*args)


def to_int(value: Any) -> int:
    """A whole number from a number (truncated), decimal digits, or a time (seconds since 1970)."""
    match values.kind_of(value):
        case "string":
            if not _WHOLE.fullmatch(value):
                raise Fault("value", "int() of a text that is no whole number")
            return values.integer(int(value))
        case "double":
            if not math.isfinite(value):
                raise Fault("overflow", "int() of a number that is not finite")
            return values.integer(math.trunc(value))
        case "timestamp":
            return int(value.timestamp() // 1)
    return values.integer(value)


def to_double(value: Any) -> float:
    if isinstance(value, str):
        if not _DECIMAL.fullmatch(value):
            raise Fault("value", "double() of a text that is no number")
        return float(value)
    return float(value)


def to_string(value: Any) -> str:
    match values.kind_of(value):
        case "bool":
            return "true" if value else "false"
        case "timestamp":
            return values.moment_text(value)
        case "duration":
            return values.seconds_text(value)
    return str(value)


def to_bool(value: Any) -> bool:
    if isinstance(value, str):
        if value in {"true", "True", "TRUE", "t", "1"}:
            return True
        if value in {"false", "False", "FALSE", "f", "0"}:
            return False
        raise Fault("value", "bool() of a text that is neither true nor false")
    return bool(value)


def to_duration(value: Any) -> timedelta:
    """`1h30m`, `-1.5h`, `90s`, `300ms`, `1d`; at most 32 characters, in linear time."""
    if isinstance(value, timedelta):
        return value
    text: str = value
    at = 1 if text[:1] in {"+", "-"} else 0
    parts: list[float] = []
    while len(text) <= DURATION_LENGTH and (part := _DURATION_PART.match(text, at)):
        parts.append(float(part[1]) * _UNITS[part[2]])
        at = part.end()
    seconds = math.fsum(parts)
    if not parts or at != len(text):
        raise Fault("value", "duration() of a text that is none; write like 90s, 1h30m, 300ms or 1d")
    if seconds > _DURATION_SECONDS:
        raise Fault("overflow", "a duration of more than 10,000 years")
    return timedelta(seconds=-seconds if text[0] == "-" else seconds)


def to_timestamp(value: Any) -> datetime:
    """A time from RFC 3339 text or from whole seconds since 1970."""
    if isinstance(value, datetime):
        return value
    try:
        if isinstance(value, int):
            return datetime.fromtimestamp(value, UTC)
        if found := _TIME.fullmatch(value):
            day, clock, fraction, zone = found.groups()
            return datetime.fromisoformat(f"{day}T{clock}{(fraction or '')[:7]}{zone.upper()}")
    except (ValueError, OverflowError, OSError):
        pass
    raise Fault("value", "timestamp() of a value that is no time; write like 2026-01-31T08:00:00Z")


@lru_cache(maxsize=64)
def zone(name: str) -> tzinfo:
    """A time zone by IANA name or offset (`Europe/Berlin`, `+02:00`); Fault when there is none."""
    if found := _OFFSET.fullmatch(name):
        offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
        if offset < timedelta(hours=24):
            return timezone(-offset if found[1] == "-" else offset)
    else:
        try:
            return ZoneInfo(name)
        except (ValueError, OSError, KeyError):
            pass
    raise Fault("value", "no such time zone")


def _on_calendar(read: Callable[[datetime], int]) -> Callable[..., int]:
    def get(moment: datetime, name: str = "UTC") -> int:
        try:
            return read(moment.astimezone(zone(name)))
        except OverflowError:
            raise Fault("overflow", "a time left the calendar") from None

    return get


def _on_both(read: Callable[[datetime], int], unit: timedelta) -> Callable[..., int]:
    calendar = _on_calendar(read)

    def get(value: datetime | timedelta, name: str = "UTC") -> int:
        if isinstance(value, timedelta):
            whole = abs(value) // unit
            return -whole if value < timedelta(0) else whole
        return calendar(value, name)

    return get


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


def _join(items: Sequence[Any], separator: str = "") -> str:
    if not all(isinstance(i, str) for i in items):
        raise Fault("type", "join() needs a list of strings")
    return separator.join(items)


def _extreme(name: str, op: str) -> Callable[..., Any]:
    better = values.BINARY[op]

    def pick(*args: Any) -> Any:
        if any(values.kind_of(a) not in EXTREME_KINDS for a in args):
            raise Fault("type", f"{name}() needs numbers, times or durations")
        for one, other in pairwise(args):
            better(one, other)  # of one kind, before any is chosen
        best = args[0]
        for other in args[1:]:
            best = other if better(other, best) else best
        return best

    return pick


def _absolute(value: Any) -> Any:
    return values.integer(abs(value)) if isinstance(value, int) else abs(value)


EXTREME_KINDS = frozenset({"int", "double", "timestamp", "duration"})
VARIADIC = frozenset({"min", "max"})

_TEXT_TEST = ((("string", "string"), "bool"),)
_CALENDAR = ((("timestamp",), "int"), (("timestamp", "string"), "int"))
_CLOCK = (*_CALENDAR, (("duration",), "int"))


def _conversion(name: str, kinds: str, apply: Callable[[Any], Any], example: str) -> Function:
    return Function(name, False, True, tuple(((k,), name) for k in kinds.split()), apply, example)


_TABLE = (
    Function("size", True, True, ((("string",), "int"), (("list",), "int"), (("map",), "int")), len, "size(request.tool_names)"),
    Function("contains", True, False, _TEXT_TEST, lambda a, b: b in a, 'request.model.contains("mini")'),
    Function("startsWith", True, False, _TEXT_TEST, str.startswith, 'request.model.startsWith("gpt-")'),
    Function("endsWith", True, False, _TEXT_TEST, str.endswith, 'request.model.endsWith("-mini")'),
    Function("matches", True, True, _TEXT_TEST, lambda a, b: matcher(b)(a), 'request.model.matches(r"^o[0-9]")'),
    Function("lower", True, False, ((("string",), "string"),), str.lower, "request.model.lower()"),
    Function("upper", True, False, ((("string",), "string"),), str.upper, "request.model.upper()"),
    Function("split", True, False, ((("string", "string"), "list(string)"),), _split, 'model.ref.split("/")'),
    Function("join", True, False, ((("list",), "string"), (("list", "string"), "string")), _join, 'losses.join(", ")'),
    _conversion("int", "int double string timestamp", to_int, "int(budget.day_usd)"),
    _conversion("double", "double int string", to_double, "double(request.tools)"),
    _conversion("string", "string int double bool timestamp duration", to_string, "string(request.tools)"),
    _conversion("bool", "bool string", to_bool, 'bool("true")'),
    _conversion("timestamp", "timestamp string int", to_timestamp, "timestamp(now.unix)"),
    _conversion("duration", "duration string", to_duration, 'duration("90s")'),
    Function("abs", False, True, ((("int",), "int"), (("double",), "double")), _absolute, "abs(budget.day_usd)"),
    Function("min", False, True, (), _extreme("min", "<"), "min(request.tools, 3)"),
    Function("max", False, True, (), _extreme("max", ">"), "max(request.tools, 3)"),
    Function("getFullYear", True, False, _CALENDAR, _on_calendar(lambda t: t.year), "timestamp(now.unix).getFullYear()"),
    Function("getMonth", True, False, _CALENDAR, _on_calendar(lambda t: t.month - 1), "timestamp(now.unix).getMonth()"),
    Function("getDate", True, False, _CALENDAR, _on_calendar(lambda t: t.day), "timestamp(now.unix).getDate()"),
    Function("getDayOfMonth", True, False, _CALENDAR, _on_calendar(lambda t: t.day - 1), "timestamp(now.unix).getDayOfMonth()"),
    Function("getDayOfWeek", True, False, _CALENDAR, _on_calendar(lambda t: t.isoweekday() % 7), "timestamp(now.unix).getDayOfWeek()"),
    Function("getDayOfYear", True, False, _CALENDAR, _on_calendar(lambda t: t.timetuple().tm_yday - 1), "timestamp(now.unix).getDayOfYear()"),
    Function("getHours", True, False, _CLOCK, _on_both(lambda t: t.hour, timedelta(hours=1)), 'timestamp(now.unix).getHours("Europe/Berlin")'),
    Function("getMinutes", True, False, _CLOCK, _on_both(lambda t: t.minute, timedelta(minutes=1)), 'duration("2h").getMinutes()'),
    Function("getSeconds", True, False, _CLOCK, _on_both(lambda t: t.second, timedelta(seconds=1)), 'duration("2m").getSeconds()'),
    Function("getMilliseconds", True, False, _CLOCK, _on_both(lambda t: t.microsecond // 1000, timedelta(milliseconds=1)), 'duration("2s").getMilliseconds()'),
)  # fmt: skip

FUNCTIONS: dict[str, Function] = {f.name: f for f in _TABLE}
"""Every function but the special forms `has`, `default` and the macros."""
