"""Facts: completeness against the schema, estimates, signals, the canary draw, the purpose of a call."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.protocol import Survey
from engine.policy import facts as module
from engine.policy.clients import ClientIdentity
from engine.policy.facts import FactContext, bucket, build, complete, defaults, schema, search, validate

NOW = datetime(2026, 11, 22, 23, 30, tzinfo=timezone(timedelta(hours=2)))
REQUEST_PHASE = {name for name, field_ in schema()["properties"].items() if "x-phase" not in field_}


@dataclass
class Settings:
    experimental: bool = False


@dataclass
class Policy:
    signals: Mapping[str, Any] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)

    def knows(self, model: str) -> bool:
        return model.startswith("known")


@dataclass
class Seen:
    requests: int = 3
    tool_errors: int = 1
    invalid_calls: int = 2
    model: str = "p/m"
    cost_usd: float = 0.5
    output_tokens: int = 250


CONTEXT = FactContext(
    protocol="openai-chat",
    identity=ClientIdentity(),
    session="s",
    history=None,
    draw="s",
    body_bytes=400,
    now=NOW,
)
POLICY = Policy()


def facts(survey: Survey | None = None, policy: Policy = POLICY, **context: Any) -> dict[str, Any]:
    return build(survey or Survey(), replace(CONTEXT, **context), policy)


def test_a_bare_request_is_complete_and_valid() -> None:
    """Facts hold every field of the request's phase and satisfy the schema."""
    found = facts()
    assert set(found) == REQUEST_PHASE
    assert validate(found) == []
    for section in REQUEST_PHASE - {"vars", "signals"}:
        assert set(found[section]) == set(schema()["properties"][section]["properties"]), section


def test_facts_are_json() -> None:
    """Facts can be recorded as they are."""
    assert orjson.loads(orjson.dumps(facts())) == facts()


@settings(deadline=None, max_examples=100)
@given(
    st.builds(
        Survey,
        model=st.text(max_size=20),
        stream=st.booleans(),
        tools=st.integers(0, 1 << 70),
        tool_names=st.lists(st.text(max_size=5), max_size=80).map(tuple),
        requires=st.sets(st.text(max_size=5), max_size=80),
        max_output_tokens=st.integers(0, 1 << 64),
        thinking_budget=st.integers(0, 1 << 64),
        temperature=st.integers(0, 2) | st.floats(0, 2),
        images=st.integers(0, 9),
        media_bytes=st.integers(0, 10_000),
        newest_user_text=st.text(max_size=50),
    )
)
def test_any_survey_gives_valid_facts(survey: Survey) -> None:
    """Whatever a survey holds, the facts keep to the schema, and token limits to 64 bits."""
    found = facts(survey, Policy(signals={"x": re2.compile("x")}))
    assert validate(found) == []
    assert found["request"]["max_output_tokens"] < 1 << 63
    assert found["request"]["thinking_budget"] < 1 << 63
    assert found["estimate"]["input_tokens"] >= 0


def test_no_text_is_kept() -> None:
    """The newest user text is nowhere in the facts."""
    found = facts(Survey(newest_user_text="sesame"), Policy(signals={"secret": re2.compile("ses")}))
    assert found["signals"] == {"secret": True}
    assert b"sesame" not in orjson.dumps(found)


def test_tokens_are_estimated_from_sizes() -> None:
    """Four bytes make a token; media count by the piece, not by their base64."""
    survey = Survey(images=2, documents=1, media_bytes=90_000)
    assert facts(survey, body_bytes=90_400)["estimate"]["input_tokens"] == 100 + 2 * 1500 + 3000
    assert facts(Survey(media_bytes=500), body_bytes=400)["estimate"]["input_tokens"] == 0


@pytest.mark.parametrize(("limit", "expected"), [(0, 8192), (100, 100), (128_000, 8192)])
def test_expected_output_is_the_limit_up_to_a_cap(limit: int, expected: int) -> None:
    """An agent's high limit is not what it will use."""
    assert facts(Survey(max_output_tokens=limit))["estimate"]["output_tokens"] == expected


def test_clock_is_local() -> None:
    """Hour, weekday and date are those of the time zone that was given."""
    assert facts()["now"] == {"unix": 1795383000, "hour": 23, "weekday": 7, "date": "2026-11-22"}
    assert facts(now=NOW.astimezone(UTC))["now"]["hour"] == 21


def test_history_and_money_are_passed_on() -> None:
    """What is remembered of the session and what was spent stand in the facts."""
    warm = {"warm": {"p/m": 900}, "warm_model": "p/m", "warm_tokens": 900}
    found = facts(history=Seen(), day_usd=1.5, month_usd=9.0, prefix=warm)
    assert found["session"] == {
        "id": "s", "bucket": bucket("s"), "requests": 3, "tool_errors": 1, "invalid_calls": 2, "repeats": 0, "model": "p/m", "cost_usd": 0.5,
        "output_tokens": 250, **warm, "prefix_break": "", "prefix_break_tokens": 0, "prefix_break_usd": 0.0,
    }  # fmt: skip
    assert found["budget"] == {"day_usd": 1.5, "month_usd": 9.0}


def test_policy_bits() -> None:
    """Whether the model is known and whether experiments are allowed comes from the policy."""
    found = facts(Survey(model="known-1"), Policy(settings=Settings(experimental=True)))
    assert found["request"]["model_known"]
    assert found["settings"] == {"experimental": True}


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_bucket_is_stable_and_in_range(draw: str) -> None:
    """The draw depends on the text alone."""
    assert 0 <= bucket(draw) < 10_000
    assert bucket(draw) == bucket(draw)


def test_buckets_are_even() -> None:
    """Of many sessions about a tenth lies in the first tenth."""
    first = sum(bucket(f"session-{n}") < 1000 for n in range(5000))
    assert 400 < first < 600


def test_signals_see_both_ends_of_a_long_text() -> None:
    """From a long text the beginning and the end are searched; its middle is not."""
    signals = {name: re2.compile(name) for name in ("first", "middle", "last")}
    text = "first" + "é" * 50_000 + "middle" + "é" * 50_000 + "last"
    assert search(signals, text) == {"first": True, "middle": False, "last": True}
    assert search(signals, "") == dict.fromkeys(signals, False)
    assert search({}, "first") == {}


def test_signals_survive_odd_text() -> None:
    """A lone surrogate does not stop the search."""
    assert search({"x": re2.compile("x")}, "\ud800x") == {"x": True}


TITLE = Survey(output_format="json_schema")


@pytest.mark.parametrize(
    ("survey", "identity", "expected"),
    [
        (TITLE, ClientIdentity("claude-code"), "title"),
        (TITLE, ClientIdentity("claude-code", purpose="auxiliary"), "title"),
        (TITLE, ClientIdentity("openai-sdk"), ""),
        (replace(TITLE, tools=1), ClientIdentity("claude-code", purpose="main"), "main"),
        (replace(TITLE, turns=1), ClientIdentity("claude-code"), ""),
        (Survey(server_tools=1), ClientIdentity("claude-code", purpose="auxiliary"), "auxiliary"),
        (Survey(compaction=True, tools=5), ClientIdentity("claude-code", purpose="main"), "compaction"),
        (Survey(), ClientIdentity("codex", purpose="compaction"), "compaction"),
    ],
)
def test_purpose(survey: Survey, identity: ClientIdentity, expected: str) -> None:
    """The purpose is what the client says, and what a title call or a compaction looks like."""
    found = facts(survey, identity=identity)["request"]
    assert found["purpose"] == expected
    assert found["compaction"] == (expected == "compaction")


def test_defaults_are_valid() -> None:
    """The schema's own defaults make a valid document, candidate's phase included."""
    found = defaults(schema())
    assert validate(found) == []
    assert set(found) == set(schema()["properties"])


def test_defaults_are_fresh() -> None:
    """Changing one document of defaults does not change the next."""
    defaults(schema())["losses"].append("x")
    assert defaults(schema())["losses"] == []


def test_completing_coerces_numbers() -> None:
    """Whole numbers become floats, floats whole numbers, and integers fit 64 bits, as the field says."""
    found = complete({"request": {"temperature": 1, "tools": 2.0, "max_output_tokens": 1 << 70}}, schema())
    assert (found["request"]["temperature"], found["request"]["tools"]) == (1.0, 2)
    assert isinstance(found["request"]["temperature"], float)
    assert isinstance(found["request"]["tools"], int)
    assert found["request"]["max_output_tokens"] == (1 << 63) - 1


def test_completing_keeps_what_was_given() -> None:
    """Given values, variables, signals and unknown fields stay."""
    given_ = {"vars": {"a": 1}, "signals": {"s": True}, "request": {"model": "m"}, "extra": 1}
    found = complete(given_, schema())
    assert (found["vars"], found["signals"], found["request"]["model"], found["extra"]) == (
        {"a": 1},
        {"s": True},
        "m",
        1,
    )


def test_validation_names_the_field() -> None:
    """A wrong field is named with its path."""
    assert validate({"request": {"tools": "two"}, "nonsense": 1})[0].startswith("facts: ")
    assert any(line.startswith("request.tools: ") for line in validate({"request": {"tools": "two"}}))


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from([*schema()["properties"], "other"]), st.none() | st.dictionaries(st.text(), st.none())
    )
)
def test_completing_never_raises(partial: dict[str, Any]) -> None:
    """Any partial document can be completed, and completing twice changes nothing."""
    once = complete(partial, schema())
    assert complete(once, schema()) == once


@pytest.mark.bench
def test_speed(capsys: pytest.CaptureFixture[str]) -> None:
    """Building facts takes a few microseconds."""
    survey = Survey(model="m", tool_names=tuple(f"tool{n}" for n in range(20)), requires={"image", "top_k"})
    survey.newest_user_text = "fix the test"
    policy = Policy(signals={"design": re2.compile(r"(?i)\b(architecture|design)\b")})
    began = time.perf_counter()
    for _ in range(5000):
        module.build(survey, CONTEXT, policy)
    with capsys.disabled():
        print(f"\nbuild: {(time.perf_counter() - began) / 5000 * 1e6:.1f} µs", end="")  # noqa: T201
