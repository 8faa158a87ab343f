"""The event: its JSON, its schema, and what absence means."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from engine.llm.catalogue import PromptCache
from engine.policy.decision import Candidate, Decision, Denial, RuleHit
from engine.store.event import LOST, AttemptEvent, Event, decision_json, timestamp_of
from engine.store.memory import remember
from engine.store.prefixes import Prefixes
from engine.store.records import record_of
from engine.store.sessions import Sessions
from engine.store.warmth import Warmth
from tests.store.builders import event, full

MISSION = {
    "id", "timestamp", "client", "protocol", "sessionId", "repoPath", "routeClass", "requestedModel", "selectedProvider",
    "selectedModel", "fallbackChain", "inputTokens", "outputTokens", "cachedInputTokens", "costEstimateUsd", "latencyMs",
    "cacheHit", "status", "errorClass",
}  # fmt: skip
MISSION_OPTIONAL = {
    "sessionId", "repoPath", "requestedModel", "inputTokens", "outputTokens", "cachedInputTokens", "costEstimateUsd", "errorClass",
}  # fmt: skip


@pytest.fixture(scope="module")
def schema(root: Path) -> dict[str, Any]:
    return json.loads((root / "schemas/event.schema.json").read_bytes())


def problems(schema: dict[str, Any], data: Any) -> list[str]:
    return [error.message for error in Draft7Validator(schema).iter_errors(data)]


def test_every_field_of_the_mission_is_there() -> None:
    """A full event has all fields of GatewayRequestEvent, in its spelling."""
    assert set(full().to_json()) & MISSION == MISSION


def test_the_least_event_has_what_the_mission_requires() -> None:
    """Fields that the mission does not make optional are there even when nothing is known."""
    assert set(event().to_json()) == MISSION - MISSION_OPTIONAL | {"stream"}


def test_schema_describes_every_field(schema: dict[str, Any]) -> None:
    """Schema and dataclasses name the same fields."""
    assert set(schema["properties"]) == set(full().to_json())
    assert {f.name for f in fields(Event)} == {_snake(key) for key in schema["properties"]}
    assert {f.name for f in fields(AttemptEvent)} == {
        _snake(key) for key in schema["definitions"]["attempt"]["properties"]
    }


def _snake(key: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in key)


@pytest.mark.parametrize("made", [event(), full()], ids=["least", "full"])
def test_json_is_valid_and_comes_back(made: Event, schema: dict[str, Any]) -> None:
    """What to_json gives is valid by the schema and from_json gives the event again."""
    data = orjson.loads(orjson.dumps(made.to_json()))
    assert (problems(schema, data), Event.from_json(data)) == ([], made)


def test_unknown_is_absent_and_zero_is_zero() -> None:
    """A token count that nobody gave has no key; a count of 0 is written."""
    data = event(output_tokens=0, cost_estimate_usd=0.0).to_json()
    assert ("inputTokens" in data, data["outputTokens"], data["costEstimateUsd"]) == (False, 0, 0.0)


def test_missing_required_fields_are_named() -> None:
    """An event without an id is refused with the name of what is missing."""
    with pytest.raises(ValueError, match="client, protocol"):
        Event.from_json({"id": "x", "timestamp": "y"})


def test_newer_fields_are_passed_over() -> None:
    """A field of a later version does not hinder reading."""
    assert Event.from_json(event().to_json() | {"fromTheFuture": 1}) == event()


def test_timestamps_are_utc_and_sort() -> None:
    """Whatever the time zone, timestamps in order are strings in order."""
    east, west = timezone(timedelta(hours=9)), timezone(timedelta(hours=-8))
    earlier = datetime(2026, 11, 24, 8, 59, 59, 999_900, tzinfo=east)
    later = datetime(2026, 11, 23, 16, 0, tzinfo=west)
    assert (timestamp_of(earlier), timestamp_of(later)) == ("2026-11-23T23:59:59.999Z", "2026-11-24T00:00:00.000Z")


def test_cost_is_the_providers_word_first() -> None:
    """The provider's own figure wins over the estimate; without either the cost is unknown."""
    costs = [event(cost_reported_usd=0.0, cost_estimate_usd=1.0), event(cost_estimate_usd=1.0), event()]
    assert [made.cost_usd for made in costs] == [0.0, 1.0, None]


A_ANSWERED = AttemptEvent("a", "m", "openai-chat", key="A_2", hints=("marks",), answered=True)
B_GAVE_WAY = AttemptEvent("b", "m", "openai-chat", key="B_1", meaning=LOST)


def test_who_answered_need_not_be_the_last() -> None:
    """The attempt that is marked; of an older event, which marks none, the last, if there was an answer."""
    older = (replace(A_ANSWERED, answered=False), B_GAVE_WAY)
    assert event(attempts=(A_ANSWERED, B_GAVE_WAY)).answered_by is A_ANSWERED
    assert event(attempts=(B_GAVE_WAY, A_ANSWERED), status="error").answered_by is A_ANSWERED
    assert event(attempts=older).answered_by is B_GAVE_WAY
    assert event(attempts=older, status="error", first_event_ms=3.0).answered_by is B_GAVE_WAY
    assert event(attempts=older, status="error").answered_by is None
    assert event().answered_by is None


def test_whoever_reads_events_goes_by_who_answered() -> None:
    """A session's key after a restart, the hints in the report of the caches, and whom a dry run takes for the server."""
    made = event(
        session_id="s", selected_provider="a", selected_model="m", attempts=(A_ANSWERED, B_GAVE_WAY),
        facts={"request": {}, "session": {}},
    )  # fmt: skip
    sessions = Sessions()
    remember([made], sessions, Prefixes(), lambda _: PromptCache())
    assert sessions.get("s").key == "A_2"
    assert Warmth.of([made]).whole.hints == {"marks": 1}
    record = record_of(made)
    assert (record.served, record.failed) == ("a/m", frozenset())


DECISIONS = st.builds(
    Decision,
    route_class=st.sampled_from(["cheap_edit", "fallback_safe"]),
    class_rule=st.sampled_from(["", "r"]),
    class_reason=st.sampled_from(["RULE_MATCH", "DEFAULT"]),
    candidates=st.lists(
        st.builds(
            Candidate,
            ref=st.just("p/m"), provider=st.just("p"), model=st.just("m"), protocol=st.just("openai-chat"),
            preserve=st.booleans(), losses=st.sampled_from([(), ("top_k",)]),
            dropped=st.sampled_from([None, "NO_KEY", "INCOMPATIBLE"]), rule=st.sampled_from(["", "r"]),
            detail=st.sampled_from(["", "why"]),
        ),
        max_size=3,
    ).map(tuple),
    denial=st.none() | st.builds(Denial, rule=st.just("d"), status=st.just(403), message=st.just("no")),
    hits=st.lists(
        st.builds(
            RuleHit,
            section=st.sampled_from(["deny", "require"]), id=st.just("r"), outcome=st.sampled_from(["true", "false", "error"]),
            shadow=st.booleans(), detail=st.sampled_from(["", "x"]),
        ),
        max_size=2,
    ).map(tuple),
    vars=st.sampled_from([{}, {"limit": 3}]),
    policy=st.just("mine@12"),
)  # fmt: skip


@given(decision=DECISIONS)
@settings(deadline=None, max_examples=100)
def test_decisions_are_valid_by_the_schema(root: Path, decision: Decision) -> None:
    """Any decision's JSON fits the event's schema and names every candidate."""
    schema = json.loads((root / "schemas/event.schema.json").read_bytes())
    data = decision_json(decision)
    found = problems({**schema["definitions"]["decision"], "definitions": schema["definitions"]}, data)
    assert (found, len(data["candidates"])) == ([], len(decision.candidates))


def test_decision_json_knows_every_field() -> None:
    """No field of the decision types is left out of its JSON when it is set."""
    candidate = Candidate("p/m", "p", "m", "openai-chat", True, ("top_k",), "NO_KEY", "r", "why")
    decision = Decision(
        "x",
        "r",
        "RULE_MATCH",
        (candidate,),
        Denial("d", 403, "no"),
        (RuleHit("deny", "d", "true", True, "x"),),
        {"v": 1},
        "p@1",
        "c",
        1500,
    )
    data = decision_json(decision)
    assert {_snake(key) for key in data} == {f.name for f in fields(Decision)}
    assert set(data["candidates"][0]) == {f.name for f in fields(Candidate)}
    assert set(data["hits"][0]) == {f.name for f in fields(RuleHit)}
    assert set(data["denial"]) == {f.name for f in fields(Denial)}


def test_every_optional_number_may_be_absent() -> None:
    """No token count, cost or status of an event has a default other than None."""
    numbers = [
        f for f in fields(Event) if f.name.endswith(("_tokens", "_usd", "_status")) or f.name == "first_event_ms"
    ]
    assert [f.name for f in numbers if f.default is not None or f.default is MISSING] == []
