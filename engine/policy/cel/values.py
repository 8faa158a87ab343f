"""What operators do with values, whatever their types: the careful half of evaluation.

Values are plain Python: int (64 bits), float, str, bool, None, list, dict, aware datetime, timedelta. Every function here
tests its operands and raises `Fault` where CEL has no answer; a message never quotes a string. Whole numbers divide toward
zero, doubles follow IEEE 754, numbers of both kinds compare by value, values of different kinds are unequal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from engine.policy.cel.problems import Fault

INT_MIN, INT_MAX = -(2**63), 2**63 - 1

_KINDS: dict[type, str] = {
    bool: "bool", int: "int", float: "double", str: "string", type(None): "null", list: "list", tuple: "list", dict: "map",
    datetime: "timestamp", timedelta: "duration",
}  # fmt: skip
_ORDERED = frozenset({"int", "double", "string", "bool", "timestamp", "duration"})
_SHOWN = 48


def kind_of(value: object) -> str:
    """`int double string bool null list map timestamp duration`, or `unknown` for what facts can't hold."""
    kind = _KINDS.get(type(value))
    if kind is None:
        kind = next((k for t, k in _KINDS.items() if isinstance(value, t)), None)
        kind = kind or ("map" if isinstance(value, Mapping) else "unknown")
    return kind


def integer(value: int) -> int:
    """The number itself; Fault when it needs more than 64 bits."""
    if INT_MIN <= value <= INT_MAX:
        return value
    raise Fault("overflow", "a whole number left the range of 64 bits")


def mismatch(op: str, left: object, right: object) -> Fault:
    """The fault of an operator that these two kinds don't share."""
    return Fault("type", f"no {op} between {kind_of(left)} and {kind_of(right)}")


def equal(left: Any, right: Any) -> bool:
    """CEL equality, deep: numbers by value, NaN equals nothing, different kinds are unequal."""
    a, b = kind_of(left), kind_of(right)
    if a != b:
        return {a, b} == {"int", "double"} and bool(left == right)
    if a == "list":
        return len(left) == len(right) and all(map(equal, left, right))
    if a == "map":
        return len(left) == len(right) and all(k in right and equal(v, right[k]) for k, v in left.items())
    return bool(left == right)


def _ordering(op: str, left: Any, right: Any, test: Callable[[Any, Any], bool]) -> bool:
    a, b = kind_of(left), kind_of(right)
    if (a == b and a in _ORDERED) or {a, b} == {"int", "double"}:
        try:
            return test(left, right)
        except TypeError:
            raise Fault("type", "a time without a zone") from None
    raise mismatch(op, left, right)


def is_in(item: Any, container: Any) -> bool:
    """`item in container`: an element of a list, or a key of a map."""
    kind = kind_of(container)
    if kind == "list":
        return any(equal(item, other) for other in container)
    if kind == "map":
        return isinstance(item, str) and item in container
    raise mismatch("in", item, container)


def plus(left: Any, right: Any) -> Any:
    """Sums, joined strings and lists, moved times."""
    match kind_of(left), kind_of(right):
        case "int", "int":
            return integer(left + right)
        case ("double" | "int", "double" | "int") | ("string", "string"):
            return left + right
        case "list", "list":
            return [*left, *right]
        case ("timestamp", "duration") | ("duration", "timestamp") | ("duration", "duration"):
            return _in_calendar(lambda: left + right)
    raise mismatch("+", left, right)


def minus(left: Any, right: Any) -> Any:
    """Differences; two times give a duration."""
    match kind_of(left), kind_of(right):
        case "int", "int":
            return integer(left - right)
        case ("double" | "int", "double" | "int"):
            return left - right
        case ("timestamp", "duration" | "timestamp") | ("duration", "duration"):
            return _in_calendar(lambda: left - right)
    raise mismatch("-", left, right)


def times(left: Any, right: Any) -> Any:
    match kind_of(left), kind_of(right):
        case "int", "int":
            return integer(left * right)
        case ("double" | "int", "double" | "int"):
            return left * right
    raise mismatch("*", left, right)


def divide(left: Any, right: Any) -> Any:
    """Whole numbers truncate toward zero and refuse zero; doubles divide by zero to an infinity or NaN."""
    match kind_of(left), kind_of(right):
        case "int", "int":
            if right == 0:
                raise Fault("zero", "division by zero")
            quotient = abs(left) // abs(right)
            return integer(quotient if (left < 0) == (right < 0) else -quotient)
        case ("double" | "int", "double" | "int"):
            if right != 0:
                return left / right
            if left == 0 or math.isnan(left):
                return math.nan
            return math.copysign(math.inf, left) * math.copysign(1.0, right)
    raise mismatch("/", left, right)


def modulo(left: Any, right: Any) -> int:
    """The remainder of a whole division; it has the sign of the dividend."""
    if kind_of(left) != "int" or kind_of(right) != "int":
        raise mismatch("%", left, right)
    if right == 0:
        raise Fault("zero", "remainder of a division by zero")
    rest: int = abs(left) % abs(right)
    return -rest if left < 0 else rest


def _in_calendar(run: Callable[[], Any]) -> Any:
    try:
        return run()
    except OverflowError:
        raise Fault("overflow", "a time left the calendar") from None
    except TypeError:
        raise Fault("type", "a time without a zone") from None


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "==": equal,
    "!=": lambda left, right: not equal(left, right),
    "<": lambda left, right: _ordering("<", left, right, lambda a, b: a < b),
    "<=": lambda left, right: _ordering("<=", left, right, lambda a, b: a <= b),
    ">": lambda left, right: _ordering(">", left, right, lambda a, b: a > b),
    ">=": lambda left, right: _ordering(">=", left, right, lambda a, b: a >= b),
    "in": is_in,
    "+": plus,
    "-": minus,
    "*": times,
    "/": divide,
    "%": modulo,
}
"""Every binary operator, on any two values."""


def negate(value: Any) -> Any:
    """Unary minus of a number or a duration."""
    match kind_of(value):
        case "int":
            return integer(-value)
        case "double":
            return -value
    raise Fault("type", f"no - of {kind_of(value)}")


def truth(value: object) -> bool:
    """The value itself when it is a bool; there is no other truth in CEL."""
    if isinstance(value, bool):
        return value
    raise Fault("type", f"needs true or false, not {kind_of(value)}")


def field(target: Any, name: str) -> Any:
    """`target.name` of a map."""
    if kind_of(target) != "map":
        raise Fault("type", f"no field {name!r} in {kind_of(target)}")
    try:
        return target[name]
    except KeyError:
        raise Fault("missing", f"no field {name!r}") from None


def item(target: Any, key: Any) -> Any:
    """`target[key]` of a list (from 0, never from the end) or a map."""
    match kind_of(target), kind_of(key):
        case "list", "int":
            if 0 <= key < len(target):
                return target[key]
            raise Fault("index", f"no item {key} in a list of {len(target)}")
        case "map", "string":
            try:
                return target[key]
            except KeyError:
                raise Fault("missing", "no such key") from None
    raise Fault("type", f"no [{kind_of(key)}] of {kind_of(target)}")


def elements(value: Any) -> Sequence[Any]:
    """What a macro walks: a list's items or a map's keys."""
    match kind_of(value):
        case "list":
            return value  # type: ignore[no-any-return]
        case "map":
            return list(value)
    raise Fault("type", f"needs a list or a map, not {kind_of(value)}")


def mapping(parts: Sequence[Any]) -> dict[str, Any]:
    """A map from alternating keys and values; Fault for a key that is no string or comes twice."""
    made: dict[str, Any] = {}
    for key, value in zip(parts[::2], parts[1::2], strict=True):
        if not isinstance(key, str):
            raise Fault("type", f"a map's key must be a string, not {kind_of(key)}")
        if key in made:
            raise Fault("value", "a key comes twice in a map")
        made[key] = value
    return made


def seconds_text(value: timedelta) -> str:
    """A duration as CEL writes it: `90s`, `0.5s`, `-1.25s`."""
    micros = value // timedelta(microseconds=1)
    whole, part = divmod(abs(micros), 1_000_000)
    fraction = f".{part:06d}".rstrip("0") if part else ""
    return f"{'-' if micros < 0 else ''}{whole}{fraction}s"


def moment_text(value: datetime) -> str:
    """A time in RFC 3339, `Z` for UTC."""
    return value.isoformat().removesuffix("+00:00") + ("Z" if value.isoformat().endswith("+00:00") else "")


def short(value: Any) -> str:
    """The value in at most about fifty characters, for people: long texts, lists and maps by their size only."""
    match kind_of(value):
        case "bool":
            return "true" if value else "false"
        case "null":
            return "null"
        case "int":
            return f"{value:,}" if abs(value) >= 10_000 else str(value)
        case "double":
            return repr(value)
        case "string":
            text = '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
            return text if len(text) <= _SHOWN and value.isprintable() else f"string({len(value):,} characters)"
        case "list":
            text = "[" + ", ".join(map(short, value[:_SHOWN])) + "]"
            return text if len(text) <= _SHOWN else f"list({len(value):,} items)"
        case "map":
            return "{}" if not value else f"map({len(value):,} fields)"
        case "timestamp":
            return moment_text(value)
        case "duration":
            return seconds_text(value)
    return kind_of(value)
