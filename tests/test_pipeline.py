"""The stage graph: what is proved at load, and what a run keeps to."""

from __future__ import annotations

from typing import Any

import pytest

from engine.pipeline import check_pipeline, compile_pipeline
from engine.policy.load import load_text
from engine.policy.problems import PolicyInvalid

BASE = """version: 1
name: p
routes:
  fallback_safe: [simulated/large]
"""


def problems(pipeline: str) -> list[tuple[str, str]]:
    policy = load_text(BASE + pipeline)
    return [(p.rule, p.message) for p in check_pipeline(policy)]


def test_the_default_pipeline_is_whole() -> None:
    """Without a `pipeline:` section the seven stages stand in their order."""
    pipeline = compile_pipeline(load_text(BASE))
    assert [step.id for step in pipeline.steps] == [
        "decode",
        "classify",
        "gate",
        "cache",
        "dispatch",
        "encode",
        "record",
    ]


def test_every_exit_leads_to_encode_unless_said_otherwise() -> None:
    """invalid, deny, hit and failed jump to the encode step."""
    steps = compile_pipeline(load_text(BASE)).steps
    ids = [step.id for step in steps]
    assert {name: ids[to] for step in steps for name, to in step.exits.items()} == dict.fromkeys(
        ["invalid", "deny", "hit", "failed"], "encode"
    )


@pytest.mark.parametrize(
    ("pipeline", "rule", "words"),
    [
        ("pipeline: [classify, decode, gate, dispatch, encode, record]", "graph-order", "starts with `decode`"),
        ("pipeline: [decode, classify, gate, dispatch, encode]", "graph-order", "ends with `record`"),
        ("pipeline: [decode, classify, gate, dispatch, record]", "graph-needs", "needs reply"),
        ("pipeline: [decode, gate, dispatch, encode, record]", "graph-needs", "needs class"),
        ("pipeline: [decode, classify, dispatch, encode, record]", "graph-needs", "needs candidates"),
        ("pipeline: [decode, classify, gate, gate, dispatch, encode, record]", "graph-id", "'gate' is used twice"),
        ("pipeline: [decode, classify, gatee, dispatch, encode, record]", "graph-stage", "did you mean 'gate'"),
        (
            "pipeline: [decode, classify, {use: gate, on: {denied: encode}}, dispatch, encode, record]",
            "graph-exit",
            "no exit 'denied'",
        ),
        ("pipeline: [decode, classify, {use: gate, on: {deny: nowhere}}, dispatch, encode, record]", "graph-exit", "'nowhere'"),
        ("pipeline: [decode, classify, {use: gate, on: {deny: classify}}, dispatch, encode, record]", "graph-exit", "jump forward"),
        (
            "pipeline: [decode, {use: classify, when: request.stream}, gate, dispatch, encode, record]",
            "graph-needs",
            "needs class",
        ),
        ("pipeline: [decode, classify, {use: gate, with: {x: 1}}, dispatch, encode, record]", "graph-with", "'x'"),
    ],
)  # fmt: skip
def test_a_graph_that_cannot_work_is_refused(pipeline: str, rule: str, words: str) -> None:
    """Every way to break the graph is found at load, by name."""
    found = problems(pipeline)
    assert any(r == rule and words in message for r, message in found), found
    with pytest.raises(PolicyInvalid):
        compile_pipeline(load_text(BASE + pipeline))


def test_problems_stand_where_the_step_stands() -> None:
    """A graph problem names line and column of its step."""
    policy = load_text(BASE + "pipeline:\n  - decode\n  - classify\n  - gaet\n  - dispatch\n  - encode\n  - record\n")
    [problem] = check_pipeline(policy)
    assert (problem.span.line, problem.span.column) == (8, 5)


def test_a_kind_may_stand_twice_under_two_names() -> None:
    """Long form: two gates with an id each, the second with rules of its own and a condition."""
    text = (
        BASE
        + """gate:
  deny:
    - {id: too-big, when: estimate.input_tokens > 100, status: 413, message: too big}
pipeline:
  - decode
  - classify
  - {id: first, use: gate, with: {deny: []}}
  - {id: late, use: gate, with: {deny: [too-big]}, when: request.stream}
  - dispatch
  - encode
  - record
"""
    )
    pipeline = compile_pipeline(load_text(text))
    assert [step.id for step in pipeline.steps][2:4] == ["first", "late"]


def test_deciding_runs_the_same_steps_without_effects(facts: Any) -> None:
    """`decide` obeys `when` and the exits of the policy's own graph."""
    text = (
        BASE
        + """gate:
  deny:
    - {id: no-stream, when: request.stream, status: 403, message: no}
pipeline:
  - decode
  - classify
  - {id: open, use: gate, with: {deny: []}}
  - {id: strict, use: gate, with: {deny: [no-stream]}, when: request.tools > 0}
  - dispatch
  - encode
  - record
"""
    )
    pipeline = compile_pipeline(load_text(text))
    free = pipeline.decide(facts(request={"stream": True, "tools": 0}), {})
    held = pipeline.decide(facts(request={"stream": True, "tools": 1}), {})
    assert free.denial is None
    assert held.denial is not None
    assert held.denial.rule == "no-stream"
    paths = [pipeline.walk(facts(request={"stream": True, "tools": n}), {})[1] for n in (0, 1)]
    assert paths == [
        ("decode", "classify", "open", "dispatch", "encode", "record"),
        ("decode", "classify", "open", "strict.deny", "encode", "record"),
    ]


@pytest.fixture
def facts() -> Any:
    from engine.policy import facts as module

    def make(**given: Any) -> dict[str, Any]:
        whole: dict[str, Any] = module.complete(given, module.schema())
        return whole

    return make
