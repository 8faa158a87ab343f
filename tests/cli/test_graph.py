"""`sbgw graph`: a policy in four formats."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import click
import orjson
import pytest
from click.testing import Result

from engine.cli.graphs.chart import Chart, chart
from engine.cli.graphs.languages import as_dot, as_mermaid
from engine.cli.graphs.svg import as_svg
from engine.cli.graphs.text import as_text
from engine.cli.layout import cells
from engine.explained import walk
from engine.pipeline import compile_pipeline
from engine.policy.explain import explain
from engine.policy.shipped import shipped_policies
from tests.policy.policies import policy, request
from tests.policy.test_explain import MINE

Run = Callable[..., Result]
GOLDEN = Path(__file__).parent / "golden"
SVG = "{http://www.w3.org/2000/svg}"

STEPS = """
pipeline:
  - decode
  - {use: classify, on: {}}
  - {id: first, use: gate, with: {deny: [night]}, when: request.stream || vars.agent}
  - {id: last, use: gate, with: {deny: [dear], require: [fits]}}
  - dispatch
  - encode
  - record
"""
RULES = policy(MINE + STEPS)


def drawn(**fields: object) -> Chart:
    """The policy of the tests, with the way of a request if fields of one are given."""
    pipeline = compile_pipeline(RULES)
    return chart(pipeline, explain(RULES, request(**fields), {}, walk) if fields else None)


def held(name: str, text: str) -> None:
    """The text, digests apart, is the golden one. `SBGW_GOLDEN=write` writes it anew."""
    path = GOLDEN / name
    text = re.sub(r"@[0-9a-f]{12}", "@digest", text)
    if os.environ.get("SBGW_GOLDEN") == "write":
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


MARKED = {"tools": 2, "model": "al-small", "client__name": "codex"}


@pytest.mark.parametrize(("name", "fields"), [("plain", {}), ("marked", MARKED)])
def test_reads_as_recorded(name: str, fields: dict[str, object]) -> None:
    """Each format is its golden text, with and without a request's way."""
    made = drawn(**fields)
    held(f"graph-{name}.txt", click.unstyle("\n".join(as_text(made, width=100))) + "\n")
    held(f"graph-{name}.mmd", "\n".join(as_mermaid(made)) + "\n")
    held(f"graph-{name}.dot", "\n".join(as_dot(made)) + "\n")
    held(f"graph-{name}.svg", as_svg(made))


@pytest.mark.parametrize("name", shipped_policies())
def test_every_shipped_policy_can_be_drawn(run: Run, name: str) -> None:
    """All formats, all policies."""
    for form in ("text", "mermaid", "dot", "svg"):
        assert run("graph", name, "--format", form).exit_code == 0


def test_the_way_of_an_event(run: Run) -> None:
    """Every step that was taken is marked, and the class and the model that answered."""
    name = orjson.loads(run("events", "--json").output.splitlines()[1])["id"]
    shown = run("graph", "--event", name).output
    assert "● decode → ● classify → ● gate → ● cache → ● dispatch → ● encode → ● record" in shown
    assert "● fast_code" in shown
    assert "1 simulated/flaky" in shown


def test_a_refused_request_leaves_by_the_exit() -> None:
    """A denied request marks the gate's exit and not the steps behind it."""
    made = drawn(now__hour=2, budget__day_usd=3.0, stream=True)
    assert [stop.id for stop in made.stops if not stop.taken] == ["last", "dispatch"]
    assert [(made.stops[way.source].id, way.exit) for way in made.ways if way.taken and way.exit] == [("first", "deny")]
    assert made.ending == "refused by night"


def test_text_fits_the_terminal() -> None:
    """No line is wider than asked."""
    for width in (60, 80, 120):
        assert [line for line in as_text(drawn(**MARKED), width=width) if cells(click.unstyle(line)) > width] == []


def test_svg_is_sound() -> None:
    """Well-formed, nothing to fetch or run, boxes inside the picture and beside each other."""
    text = as_svg(drawn(**MARKED))
    root = ET.fromstring(text)
    assert not re.search(r"<script|https?://(?!www\.w3\.org/2000/svg)|\bon\w+=|href", text)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    boxes = [
        [float(r.attrib[k]) for k in ("x", "y", "width", "height")] for r in root.iter(f"{SVG}rect") if "x" in r.attrib
    ]
    assert len(boxes) > 10
    for n, (x, y, w, h) in enumerate(boxes):
        assert x >= 0
        assert x + w <= width
        assert y + h <= height
        for other_x, other_y, other_w, other_h in boxes[n + 1 :]:
            apart = x + w <= other_x or other_x + other_w <= x or y + h <= other_y or other_y + other_h <= y
            assert apart


HOSTILE = r"""
classify: [{id: hostile, class: fast_code, when: 'request.model == "</text><script>[x]\"#|--> & `"'}]
routes: {fast_code: [{use: requested, when: 'request.model != "<b>\"&</b>"'}], fallback_safe: [requested]}
"""


def test_nothing_in_a_policy_breaks_out() -> None:
    """Text of a policy is escaped in every language."""
    made = chart(compile_pipeline(policy(HOSTILE)))
    ET.fromstring(as_svg(made))
    assert "<b>" not in as_svg(made)
    assert [line for line in as_mermaid(made) if "<b>" in line] == []
    label = next(line for line in as_dot(made) if "requested" in line or "asked for" in line)
    assert re.fullmatch(r'  c\dm\d \[label="(?:[^"\\]|\\.)*"\];', label)
