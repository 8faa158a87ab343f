"""The governance export: its records are valid by the published schema and hold what the event holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft7Validator

from engine.telemetry.governance import governance_records
from tests.store.builders import event, full


@pytest.fixture(scope="module")
def schema(root: Path) -> dict[str, Any]:
    return json.loads((root / "schemas/governance.schema.json").read_bytes())


@pytest.mark.parametrize("made", [event(), full(), event(status="error", violations=full().violations)], ids=range(3))
def test_records_are_valid_by_the_schema(made: Any, schema: dict[str, Any]) -> None:
    """A request's record and one for each violation."""
    records = orjson.loads(orjson.dumps(governance_records(made)))
    assert [e.message for record in records for e in Draft7Validator(schema).iter_errors(record)] == []
    assert [record["kind"] for record in records] == ["request", *["violation"] * len(made.violations)]


def test_a_full_event_fills_every_field(schema: dict[str, Any]) -> None:
    """No field of the schema is never written, and none is written that it does not know."""
    request, violation = governance_records(full())
    assert {*request, *violation} == set(schema["properties"])
    for name in ("actor", "policy", "request", "outcome", "usage", "cost"):
        assert set(request[name]) == set(schema["properties"][name]["properties"]), name
    assert set(violation["violation"]) == set(schema["properties"]["violation"]["properties"])


def test_a_violation_stands_alone() -> None:
    """It says whose request it was, under which policy, without the request's record."""
    _, said = governance_records(full())
    assert (said["id"], said["requestId"], said["policy"]) == (
        f"{full().id}-1",
        full().id,
        {"name": "mine", "digest": "12"},
    )
    assert (said["actor"]["client"], said["project"], said["violation"]["rule"]) == ("claude-code", "p", "no")
