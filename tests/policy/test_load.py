"""Finding policies, checking them whole, and the schemas that everything is held to."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Model, Provider, Quirks, RateLimits, Timeouts
from engine.llm.losses import LOSSES
from engine.llm.meanings import EFFECTS
from engine.policy.load import check_policy, check_text, load_policy, load_text
from engine.policy.model import FALL_BACK, Settings
from engine.policy.problems import PolicyInvalid
from engine.policy.render import problem_json, render, render_all, render_github
from engine.policy.shipped import find_shipped, shipped_policies

SCHEMAS = ("policy", "providers", "models")
SMALL = "version: 1\nroutes: {fallback_safe: [requested]}\n"


def schema(name: str) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(find_shipped("schemas", f"{name}.schema.json").read_bytes())
    return content


def walk(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every mapping of a schema with the way to it."""
    if isinstance(node, dict):
        yield path, node
        for key, below in node.items():
            yield from walk(below, (*path, key))
    elif isinstance(node, list):
        for index, below in enumerate(node):
            yield from walk(below, (*path, str(index)))


@pytest.mark.parametrize("name", shipped_policies())
def test_shipped_policies_have_no_problem(name: str) -> None:
    """Not even a warning, their rows included; loading them without the shape check is safe because of this."""
    assert check_policy(name, today=date(2026, 11, 24)) == []
    assert load_policy(name).name == name


def test_schemas_name_what_the_code_knows() -> None:
    """Loss codes, failure meanings, row fields and settings are the same in schema and code."""
    policy, providers, models = (schema(name) for name in SCHEMAS)
    assert policy["properties"]["gate"]["properties"]["allow_losses"]["items"]["enum"] == list(LOSSES)
    meanings = set(policy["properties"]["fallback"]["properties"]["on"]["items"]["enum"])
    assert meanings == FALL_BACK == set(EFFECTS) - {"invalid_request", "content_policy"}
    rows = providers["definitions"]
    extra = {"protocol", "base_url", "protocols", "source", "as_of", "note"}
    assert set(rows["provider"]["properties"]) - extra == set(Provider.__dataclass_fields__) - {"name", "endpoints"}
    assert set(rows["quirks"]["properties"]) == set(Quirks.__dataclass_fields__)
    assert set(rows["timeouts"]["properties"]) == set(Timeouts.__dataclass_fields__)
    assert set(rows["limits"]["properties"]) == set(RateLimits.__dataclass_fields__)
    own = set(models["definitions"]["model"]["properties"]) - {"note", "probe"}
    probed = {"claude_code_score", "codex_score"}
    assert own == set(Model.__dataclass_fields__) - {"provider", "name", "known"} - probed
    written = policy["definitions"]["settings"]["properties"]
    nested = {key for section in ("telemetry", "limits") for key in written[section]["properties"]} - {"enabled"}
    deeper = {
        f"{name}_{key}"
        for name in ("otlp", "governance")
        for key in written["telemetry"]["properties"][name]["properties"]
    }
    flat = (set(written) - {"telemetry", "limits"}) | nested - {"otlp", "governance"} | deeper | {"telemetry_enabled"}
    assert flat == set(Settings.__dataclass_fields__)


def test_schema_defaults_are_those_of_the_code() -> None:
    """What an editor shows as the default is what holds without the key."""
    written = schema("policy")["definitions"]["settings"]["properties"]
    settings = load_text(SMALL).settings
    assert (written["host"]["default"], written["port"]["default"]) == (settings.host, settings.port)
    assert written["keepalive_seconds"]["default"] == settings.keepalive_seconds
    assert written["auth"]["properties"]["mode"]["default"] == settings.auth
    fallback = schema("policy")["properties"]["fallback"]["properties"]
    assert fallback["attempts"]["default"] == load_text(SMALL).fallback.attempts
    assert fallback["total_seconds"]["default"] == load_text(SMALL).fallback.total_seconds


def test_a_path_wins_over_a_shipped_name(tmp_path: Path) -> None:
    """`strict.yaml` in the folder is that file; without one it is the shipped policy."""
    shipped = load_policy("strict.yaml", search=tmp_path)
    assert shipped.digest == load_policy("strict").digest
    (tmp_path / "strict.yaml").write_text(SMALL)
    assert load_policy("strict.yaml", search=tmp_path).digest != shipped.digest
    assert load_policy("strict", search=tmp_path).digest == shipped.digest


@pytest.mark.parametrize("ref", ["strikt", "providers", "models.yaml", "nowhere/strict.yaml", "../policies/strict", ""])
def test_an_unknown_policy_is_one_clear_problem(ref: str, tmp_path: Path) -> None:
    """With the shipped names; rows are no policies, and names lead nowhere else."""
    with pytest.raises(PolicyInvalid) as raised:
        load_policy(ref, search=tmp_path)
    (problem,) = raised.value.problems
    assert problem.rule == "policy-missing"
    assert "shipped: default" in problem.hint
    if ref == "strikt":
        assert problem.message == "there is no policy 'strikt'; did you mean 'strict'?"


def test_all_problems_are_raised_at_once() -> None:
    """YAML, shape, names and expressions, sorted by place; the message is the first error's."""
    text = SMALL + "port: 1\nport: 2\nclassify:\n  - {id: a, class: fast_code, when: request.tolls > 0}\n"
    with pytest.raises(PolicyInvalid) as raised:
        load_text(text, file="p.yaml")
    told = [(problem.rule, problem.span.line) for problem in raised.value.problems]
    assert told == [("schema-unknown-key", 3), ("yaml-duplicate", 4), ("cel-field", 6)]
    assert raised.value.message.startswith("p.yaml:3:1: unknown key 'port'")
    assert raised.value.message.endswith("(and 2 more)")


def test_warnings_do_not_stop_a_policy() -> None:
    """They are kept with it."""
    policy = load_text(SMALL + "cache: {response: on}\n")
    assert [(problem.rule, problem.level) for problem in policy.warnings] == [("cache-response", "warning")]


def test_lints_wait_for_a_sound_policy() -> None:
    """Half a policy would be full of false alarms."""
    lint = "classify: [{id: a, class: nightly, when: request.tools > 0}]\n"
    assert [p.rule for p in check_text(SMALL + lint, file="p.yaml")] == ["class-unrouted"]
    assert [p.rule for p in check_text(SMALL + lint + "nam: x\n", file="p.yaml")] == ["schema-unknown-key"]


def test_the_default_pipeline_is_the_mission_s() -> None:
    """Seven stages; a policy may write its own, short or long."""
    assert [step.id for step in load_text(SMALL).steps] == [
        "decode", "classify", "gate", "cache", "dispatch", "encode", "record",
    ]  # fmt: skip
    steps = load_text(
        SMALL
        + "pipeline: [decode, {id: late, use: gate, with: {deny: []}, when: request.stream, on: {deny: encode}}, encode]"
    ).steps
    late = steps[1]
    assert (late.id, late.use, dict(late.settings)) == ("late", "gate", {"deny": []})
    assert late.when is not None
    assert late.on["deny"][0] == "encode"
    assert late.on["deny"][1].line == 3


def test_problems_in_other_forms() -> None:
    """JSON and GitHub annotations say the same as the text."""
    (problem,) = check_text(SMALL + "nam: a,b\n", file="a:b.yaml")
    assert problem_json(problem) == {
        "file": "a:b.yaml", "line": 3, "column": 1, "endLine": 3, "endColumn": 4, "level": "error",
        "rule": "schema-unknown-key", "message": "unknown key 'nam'; did you mean 'name'?", "hint": "",
    }  # fmt: skip
    assert render_github([problem]) == (
        "::error file=a%3Ab.yaml,line=3,col=1,endLine=3,title=schema-unknown-key::unknown key 'nam'; did you mean 'name'?"
    )
    assert render(problem).splitlines()[1:] == ["    3 | nam: a,b", "      | ^^^"]
    assert render_all([]) == "no problems"


def test_a_small_policy_is_checked_quickly() -> None:
    """A check needs no network and, once imported, far less than a second."""
    import time

    check_text(SMALL, file="p.yaml")
    began = time.process_time()
    check_text(SMALL, file="p.yaml")
    assert time.process_time() - began < 1.0


def test_the_schema_marks_every_expression() -> None:
    """`x-cel` names type and phase of each key that holds CEL: what editors and documents go by."""
    marked: dict[str, set[tuple[str, str]]] = {}
    for path, node in walk(schema("policy")):
        if "x-cel" in node:
            marked.setdefault(path[-1], set()).add((node["x-cel"]["type"], node["x-cel"]["phase"]))
    assert marked == {
        "when": {("bool", "request"), ("bool", "candidate")},
        "require": {("bool", "candidate")},
        "order": {("number", "candidate")},
        "message": {("template", "candidate")},
        "additionalProperties": {("any", "request")},
    }


GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.yaml"))
PIECES = [
    "null", "[]", "{}", "true", "5", '"x"', "- ", "  ", "\n", ":", "remove: [x]", "before: a", "protocol: openai-chat", "use:",
    "order: 1", "{use: [requested]}", "!x", "*a", "id:", "when: ", "version: 1", "${", "}",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(GOLDEN),
    st.lists(st.tuples(st.integers(0, 800), st.integers(0, 6), st.sampled_from(PIECES)), max_size=4),
)
def test_no_mistake_breaks_the_checker(path: Path, edits: list[tuple[int, int, str]]) -> None:
    """Whatever is typed into a policy, the answer is a list of problems that can be printed."""
    text = path.read_text("utf-8")
    for at, cut, piece in edits:
        text = text[:at] + piece + text[at + cut :]
    problems = check_text(text, file="p.yaml", folder=path.parent)
    assert render_all(problems)
