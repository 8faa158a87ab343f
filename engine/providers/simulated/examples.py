"""A value that a JSON Schema accepts: arguments for a tool, answers in a wanted form.

Covers what tools and structured outputs use: types, enums, constants, bounds, lengths, formats, references within the schema,
alternatives. Values are harmless if a real agent runs a tool with them: `true` as a command, `README.md` as a path.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_WORDS: Mapping[str, tuple[str, str]] = {
    "path": ("README.md", "pyproject.toml"),
    "file": ("README.md", "pyproject.toml"),
    "pattern": ("*.md", "*.toml"),
    "glob": ("*.md", "*.toml"),
    "command": ("true", "pwd"),
    "cmd": ("true", "pwd"),
    "url": ("https://example.com/", "https://example.org/"),
    "city": ("Lisbon", "Oslo"),
    "location": ("Lisbon", "Oslo"),
    "title": ("A simulated task", "Another simulated task"),
}
"""Words for properties whose name ends so."""

_PLAIN = ("example", "sample")

_FORMATS: Mapping[str, str] = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}

_CANDIDATES = (
    "a",
    "A",
    "1",
    "a1",
    "A1",
    "abc",
    "ABC",
    "123",
    "0",
    "a-b",
    "a_b",
    "a/b",
    "a.b",
    "1.0.0",
    "abc123",
    "#ffffff",
)
"""Tried in turn for a string that must match a pattern."""

_DEEP = 6
"""Below this depth only what a schema requires is made, so recursive schemas end."""


def example_of(schema: Any, *, variant: int = 0, every: bool = False) -> Any:
    """A value for `schema`; `variant` gives a different one where there is a choice.

    With `every` optional properties are filled in too.
    """
    return _Maker(schema, every=every).make(schema, "", variant, 0)


class _Maker:
    def __init__(self, root: Any, *, every: bool) -> None:
        self._root = root
        self._every = every

    def make(self, schema: Any, name: str, variant: int, depth: int) -> Any:
        if not isinstance(schema, dict) or depth > 4 * _DEEP:
            return _word(name, variant)
        schema = self._flat(schema, depth)
        if "const" in schema:
            return schema["const"]
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return schema["enum"][variant % len(schema["enum"])]
        match _type(schema):
            case "object":
                return self._object(schema, variant, depth)
            case "array":
                return self._array(schema, name, variant, depth)
            case "integer" | "number" as kind:
                return _number(schema, kind, variant)
            case "boolean":
                return variant % 2 == 0
            case "null":
                return None
            case _:
                return _string(schema, name, variant)

    def _flat(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        """`schema` with its reference followed, its alternatives decided and its parts merged."""
        for _ in range(_DEEP):
            if isinstance(schema.get("$ref"), str):
                rest = {key: value for key, value in schema.items() if key != "$ref"}
                schema = _merged(self._resolved(schema["$ref"]), rest)
            elif parts := [part for part in schema.get("allOf") or () if isinstance(part, dict)]:
                rest = {key: value for key, value in schema.items() if key != "allOf"}
                for part in parts:
                    rest = _merged(rest, self._flat(part, depth))
                schema = rest
            elif options := [o for key in ("anyOf", "oneOf") for o in schema.get(key) or () if isinstance(o, dict)]:
                rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
                schema = _merged(rest, _chosen(options, simple=depth >= _DEEP))
            else:
                return schema
        return schema

    def _resolved(self, reference: str) -> dict[str, Any]:
        found = self._root
        for step in reference.lstrip("#").strip("/").split("/"):
            key = step.replace("~1", "/").replace("~0", "~")
            if key and isinstance(found, dict):
                found = found.get(key)
        return found if isinstance(found, dict) else {}

    def _object(self, schema: dict[str, Any], variant: int, depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = [name for name in schema.get("required") or () if isinstance(name, str)]
        names = [*required, *(properties if self._every and depth < _DEEP else ())]
        return {name: self.make(properties.get(name, {}), name, variant, depth + 1) for name in dict.fromkeys(names)}

    def _array(self, schema: dict[str, Any], name: str, variant: int, depth: int) -> list[Any]:
        firsts = schema.get("prefixItems")
        firsts = firsts if isinstance(firsts, list) else []
        least = schema.get("minItems", len(firsts))
        length = max(least, 0 if depth >= _DEEP else 1)
        length = min(length, schema.get("maxItems", length))
        rest = schema.get("items", {})
        singular = name.removesuffix("s")
        items = [firsts[at] if at < len(firsts) else rest for at in range(length)]
        return [self.make(item, singular, variant + at, depth + 1) for at, item in enumerate(items)]


def _type(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return "number" if "minimum" in schema or "maximum" in schema else "string"


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Both schemas in one; of lengths and bounds that both give, the second's."""
    out = {**first, **second}
    if "properties" in first and "properties" in second:
        out["properties"] = {**first["properties"], **second["properties"]}
    if "required" in first and "required" in second:
        out["required"] = [*first["required"], *second["required"]]
    return out


def _chosen(options: list[dict[str, Any]], *, simple: bool) -> dict[str, Any]:
    """One of several alternatives: the first that says something, or deep down the one that ends soonest."""
    nulls = [option for option in options if option.get("type") == "null"]
    if simple:
        plain = [o for o in options if "$ref" not in o and o.get("type") not in ("object", "array")]
        return (nulls or plain or options)[0]
    return next((option for option in options if option not in nulls), options[0])


def _number(schema: dict[str, Any], kind: str, variant: int) -> int | float:
    low, high = _bound(schema, "minimum", "exclusiveMinimum", 1), _bound(schema, "maximum", "exclusiveMaximum", -1)
    step = schema.get("multipleOf") or 1
    if kind == "number" and low is not None and high is not None:
        return float((low + high) / 2)
    start = low if low is not None else min(1 + variant, high if high is not None else 1 + variant)
    value = math.ceil(start / step) * step
    return int(value) if kind == "integer" or value == int(value) else float(value)


def _bound(schema: dict[str, Any], inclusive: str, exclusive: str, inward: int) -> float | None:
    """The bound by either keyword, an exclusive one moved by one (draft 4 says it with a boolean)."""
    bound, beyond = schema.get(inclusive), schema.get(exclusive)
    if beyond is True:
        return None if bound is None else float(bound + inward)
    if isinstance(beyond, int | float) and beyond is not False:
        return float(beyond + inward)
    return None if bound is None else float(bound)


def _string(schema: dict[str, Any], name: str, variant: int) -> str:
    text = _FORMATS.get(schema.get("format", ""), "") or _word(name, variant)
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        text = next((c for c in (text, *_CANDIDATES) if _matches(pattern, c)), text)
    text = text.ljust(schema.get("minLength", 0), "x")
    return text[: schema.get("maxLength", len(text))]


def _matches(pattern: str, text: str) -> bool:
    import re2  # noqa: PLC0415  only simulated runs need it

    try:
        return re2.search(pattern, text) is not None
    except re2.error:
        return False


def _word(name: str, variant: int) -> str:
    lowered = name.lower()
    words = next((words for ending, words in _WORDS.items() if lowered.endswith(ending)), _PLAIN)
    return words[variant % 2] if variant < 2 else f"{words[0]}-{variant}"
