"""Values made from JSON Schemas: always valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from engine.providers.simulated.examples import example_of


def problems(schema: Any, value: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(schema).iter_errors(value)]


LEAVES = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({}),
    st.builds(
        lambda low, span: {"type": "integer", "minimum": low, "maximum": low + span},
        st.integers(-50, 50),
        st.integers(0, 9),
    ),
    st.builds(lambda low: {"type": "integer", "exclusiveMinimum": low}, st.integers(-50, 50)),
    st.builds(
        lambda low, span: {"type": "number", "minimum": low, "maximum": low + span}, st.floats(-9, 9), st.floats(0, 9)
    ),
    st.builds(lambda step: {"type": "integer", "multipleOf": step}, st.integers(1, 9)),
    st.builds(
        lambda least, span: {"type": "string", "minLength": least, "maxLength": least + span},
        st.integers(0, 20),
        st.integers(0, 20),
    ),
    st.builds(lambda options: {"enum": options}, st.lists(st.integers() | st.text(max_size=5), min_size=1, max_size=4)),
    st.builds(lambda value: {"const": value}, st.integers() | st.text(max_size=5) | st.none()),
    st.just({"type": ["string", "null"]}),
    st.just({"type": "string", "format": "date-time"}),
    st.just({"type": "string", "pattern": "^[a-z]+$"}),
    st.just({"$ref": "#/$defs/tree"}),
)


def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields = st.dictionaries(st.sampled_from(["path", "title", "command", "other", "items"]), inner, max_size=4)
    return st.one_of(
        fields.flatmap(
            lambda given: st.lists(st.sampled_from([*given, "extra"]), unique=True).map(
                lambda required: {"type": "object", "properties": given, "required": required}
            )
        ),
        fields.map(
            lambda given: {
                "type": "object",
                "properties": given,
                "required": list(given),
                "additionalProperties": False,
            }
        ),
        st.builds(lambda item, least: {"type": "array", "items": item, "minItems": least}, inner, st.integers(0, 3)),
        st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options}),
        inner.map(
            lambda one: {
                "allOf": [{"type": "object", "properties": {"x": one}, "required": ["x"]}, {"required": ["x"]}]
            }
        ),
    )


TREE = {
    "type": "object",
    "properties": {"label": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
    "required": ["label", "children"],
}


@given(schema=st.recursive(LEAVES, grown, max_leaves=8), variant=st.integers(0, 3), every=st.booleans())
@settings(deadline=None, max_examples=200)
def test_examples_are_valid(schema: dict[str, Any], variant: int, every: bool) -> None:
    """Whatever the schema is put together from, the value made for it is valid."""
    schema = {**schema, "$defs": {"tree": TREE}}
    assert problems(schema, example_of(schema, variant=variant, every=every)) == []


def test_tools_of_real_agents_get_valid_arguments(shared: Path) -> None:
    """Every tool that a captured agent offered gets arguments its schema accepts."""
    schemas: dict[str, Any] = {}
    for path in sorted((shared / "captures").glob("*/*/*.json")):
        body = json.loads(path.read_bytes()).get("body")
        for tool in body.get("tools") or [] if isinstance(body, dict) else []:
            for one in [tool, *(tool.get("tools") or [])]:
                schema = (
                    one.get("input_schema") or one.get("parameters") or (one.get("function") or {}).get("parameters")
                )
                if isinstance(schema, dict):
                    schemas[json.dumps(schema, sort_keys=True)] = schema
    wrong = {text[:80]: found for text, schema in schemas.items() if (found := problems(schema, example_of(schema)))}
    assert (wrong, len(schemas) > 30) == ({}, True)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object", "properties": {"command": {"type": "array", "items": {"type": "string"}}}, "required": ["command"]}, {"command": ["true"]}),
        ({"type": "object", "properties": {"file_path": {"type": "string"}, "limit": {"type": "integer"}}, "required": ["file_path"]}, {"file_path": "README.md"}),
        ({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}, {"city": "Lisbon"}),
        ({"type": "object", "properties": {}}, {}),
    ],
)  # fmt: skip
def test_arguments_are_harmless(schema: dict[str, Any], value: Any) -> None:
    """What a real tool would be given does nothing bad: optional arguments are left out, a command is `true`."""
    assert example_of(schema) == value
