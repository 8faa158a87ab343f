"""Parameter schemas of tools, in the form that strict servers insist on."""

from __future__ import annotations

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
