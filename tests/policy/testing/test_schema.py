"""The schema of tests is one that editors understand, and the shipped tests follow it as they are shown in an editor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from engine.policy.document import load_document
from engine.policy.shipped import find_shipped, shipped_folder, shipped_policies
from engine.policy.testing.expect import _ONE

MODELINE = "# yaml-language-server: $schema=../schemas/policy-test.schema.json\n"


def schema(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = orjson.loads(find_shipped("schemas", name).read_bytes())
    return parsed


def validator() -> Draft7Validator:
    """As an editor reads it: draft-07, with references to files beside it."""
    named = [(n, DRAFT7.create_resource(schema(n))) for n in ("facts.schema.json", "policy-test.schema.json")]
    return Draft7Validator(schema("policy-test.schema.json"), registry=Registry().with_resources(named))


def properties(part: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, schema) of every property that the schema describes itself."""
    if isinstance(part, dict):
        for name, below in part.get("properties", {}).items():
            yield name, below
        for below in part.values():
            yield from properties(below)


def test_the_schema_is_sound() -> None:
    """It is draft-07, and says of every property what it means, so that editors can show it."""
    whole = schema("policy-test.schema.json")
    Draft7Validator.check_schema(whole)
    assert [name for name, below in properties(whole) if "$ref" not in below and "description" not in below] == []


@pytest.mark.parametrize("name", shipped_policies())
def test_shipped_tests_show_their_schema_and_follow_it(name: str) -> None:
    """The first line names it for editors, and draft-07 finds nothing wrong."""
    path: Path = shipped_folder("policies") / f"{name}.test.yaml"
    assert path.read_text("utf-8").startswith(MODELINE)
    root = load_document(path.read_bytes(), path.name).root
    assert root is not None
    assert [error.message for error in validator().iter_errors(root.plain())] == []


def test_every_expectation_of_the_schema_is_compared() -> None:
    """No key that may be written is passed over in silence."""
    written = set(schema("policy-test.schema.json")["definitions"]["expect"]["properties"])
    assert written == {
        *_ONE,
        "override",
        "candidates",
        "dropped",
        "denied",
        "losses",
        "vars",
        "signals",
        "shadow",
        "kept",
        "traced",
    }
