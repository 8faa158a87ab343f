"""Parameter schemas of tools, in the form that strict servers insist on."""

from __future__ import annotations

from typing import Any

from engine.llm.messages import JsonObject

_ALTERNATIVES = ("anyOf", "oneOf", "allOf")
_NOT_AT_TOP = frozenset({*_ALTERNATIVES, "enum", "not", "$schema"})


def object_schema(schema: JsonObject | None) -> JsonObject:
    """An object schema with `properties` and without alternatives at its top; a schema that is one already is not copied.

    The properties of the alternatives are still shown, so a model knows them. Inside, everything passes as it is.
    """
    if schema is None:
        return {"type": "object", "properties": {}}
    if schema.get("type") == "object" and "properties" in schema and _NOT_AT_TOP.isdisjoint(schema):
        return schema
    properties: JsonObject = {}
    for word in _ALTERNATIVES:
        branches = schema.get(word)
        for branch in branches if isinstance(branches, list) else ():
            held = branch.get("properties") if isinstance(branch, dict) else None
            properties |= held if isinstance(held, dict) else {}
    own = schema.get("properties")
    properties |= own if isinstance(own, dict) else {}
    kept = {name: value for name, value in schema.items() if name not in _NOT_AT_TOP}
    return {**kept, "type": "object", "properties": properties}


def is_closed(schema: Any, *, depth: int = 0) -> bool:
    """Whether strict mode takes `schema`: every object in it forbids further properties and requires all that it has.

    Strict mode takes ten levels at most, so a deeper schema is none; that also bounds the recursion.
    """
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if isinstance(properties, dict) or schema.get("type") == "object":
        named = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        listed = required if isinstance(required, list) else []
        if schema.get("additionalProperties") is not False or any(name not in listed for name in named):
            return False
    return depth < _DEEPEST and all(is_closed(inner, depth=depth + 1) for inner in _inner(schema))


_DEEPEST = 32
_NAMED = ("properties", "$defs", "definitions")
_NESTED = ("items", "prefixItems", *_ALTERNATIVES)


def _inner(schema: JsonObject) -> list[Any]:
    """The schemas directly inside a schema."""
    inner: list[Any] = []
    for key in _NAMED:
        if isinstance(named := schema.get(key), dict):
            inner += named.values()
    for key in _NESTED:
        nested = schema.get(key)
        inner += nested if isinstance(nested, list) else [nested]
    return inner
