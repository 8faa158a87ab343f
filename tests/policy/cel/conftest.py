"""Facts, their types, and cel-python's interpreter as the reference, for all tests of the expression language."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from engine.policy.cel import Struct, environment_from_schema
from engine.policy.cel.functions import to_duration

INTEGERS, DOUBLES, STRINGS, BOOLS = {"type": "integer"}, {"type": "number"}, {"type": "string"}, {"type": "boolean"}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "n": {"$ref": "#/$defs/ints"},
        "f": {"type": "object", "properties": dict.fromkeys(("half", "one", "zero", "neg", "huge"), DOUBLES)},
        "s": {
            "type": "object",
            "properties": dict.fromkeys(("empty", "gpt", "umlaut", "digits", "spaced", "bad"), STRINGS),
        },
        "b": {"type": "object", "properties": dict.fromkeys(("yes", "no"), BOOLS)},
        "l": {
            "type": "object",
            "properties": {
                "none": {"type": "array", "items": INTEGERS},
                "nums": {"type": "array", "items": INTEGERS},
                "tools": {"type": "array", "items": STRINGS},
                "fl": {"type": "array", "items": DOUBLES},
            },
        },
        "m": {"type": "object", "additionalProperties": {"type": "boolean"}},
        "v": {"type": "object", "additionalProperties": True},
        "t": {
            "type": "object",
            "properties": dict.fromkeys(("noon", "berlin", "last"), STRINGS | {"format": "date-time"}),
        },
        "p": {
            "type": "object",
            "properties": dict.fromkeys(("hour", "short", "back"), STRINGS | {"format": "duration"}),
        },
        "e": {"type": "object", "properties": {"color": {"type": "string", "enum": ["red", "blue"]}}},
    },
    "$defs": {
        "ints": {
            "type": "object",
            "properties": dict.fromkeys(("zero", "one", "seven", "neg", "big", "small"), INTEGERS),
        }
    },
}
FACTS: dict[str, Any] = {
    "n": {"zero": 0, "one": 1, "seven": 7, "neg": -7, "big": 2**63 - 1, "small": -(2**63)},
    "f": {"half": 0.5, "one": 1.0, "zero": 0.0, "neg": -2.5, "huge": 1e308},
    "s": {"empty": "", "gpt": "gpt-4o", "umlaut": "Grüße", "digits": "42", "spaced": " 42 ", "bad": "a("},
    "b": {"yes": True, "no": False},
    "l": {"none": [], "nums": [1, 2, 3], "tools": ["Bash", "Read", "mcp__x"], "fl": [0.5, 1.5]},
    "m": {"design": True, "k v": False},
    "v": {"i": 3, "d": 2.5, "s": "x", "t": True, "l": [1, "a", 2.5], "m": {"a": {"b": 1}}},
    "t": {
        "noon": datetime(2026, 1, 5, 12, 34, 56, 789000, UTC),
        "berlin": datetime(2026, 1, 5, 13, 34, 56, 789001, timezone(timedelta(hours=1))),
        "last": datetime(9999, 12, 31, 23, 30, tzinfo=UTC),
    },
    "p": {"hour": timedelta(hours=1), "short": timedelta(seconds=1.5), "back": timedelta(seconds=-90)},
    "e": {"color": "red"},
}


@pytest.fixture(scope="session")
def environment() -> Struct:
    """The types of the facts, from their schema."""
    return environment_from_schema(SCHEMA)


@pytest.fixture(scope="session")
def facts() -> dict[str, Any]:
    """The facts every test reads; nobody changes them."""
    return FACTS


@pytest.fixture(scope="session")
def reference() -> Callable[[str, dict[str, Any]], Any]:
    """Evaluates with cel-python's interpreter: a plain value, or a Failed for whatever it raises."""
    limit = sys.getrecursionlimit()
    import celpy
    from celpy import celtypes

    environment = celpy.Environment(runner_class=celpy.InterpretedRunner)
    sys.setrecursionlimit(limit)

    def into(value: Any) -> Any:
        match value:
            case bool():
                return celtypes.BoolType(value)
            case int():
                return celtypes.IntType(value)
            case float():
                return celtypes.DoubleType(value)
            case str():
                return celtypes.StringType(value)
            case list():
                return celtypes.ListType(list(map(into, value)))
            case dict():
                return celtypes.MapType({celtypes.StringType(k): into(v) for k, v in value.items()})
            case datetime():
                return celtypes.TimestampType(value)
            case timedelta():
                return celtypes.DurationType(value)
        raise TypeError(type(value).__name__)

    def out(value: Any) -> Any:
        match value:
            case celtypes.BoolType() | bool():
                return bool(value)
            case int():
                return int(value)
            case float():
                return float(value)
            case str():
                return str(value)
            case list():
                return list(map(out, value))
            case dict():
                return {str(k): out(v) for k, v in value.items()}
        return value

    # Its own duration() takes exponential time; its contains() fails on strings that `+` made.
    functions = {
        "duration": lambda text: celtypes.DurationType(to_duration(str(text))),
        "contains": lambda text, part: celtypes.BoolType(part in text),
    }

    def evaluate(source: str, context: dict[str, Any]) -> Any:
        try:
            program = environment.program(environment.compile(source), functions=functions)
            return out(program.evaluate({name: into(value) for name, value in context.items()}))
        except Exception as error:  # noqa: BLE001 - its exceptions quote whole contexts: keep the type only
            return Failed(type(error).__name__)

    return evaluate


class Failed:
    """The reference raised; equal to nothing."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Failed({self.name})"
