"""JUnit output is sound XML of the shape that CI systems read, whatever stands in names."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cli import cli
from engine.cli.junit import JUnitCase, JUnitSuite, junit

OUTCOMES = ("passed", "failed", "error")


def judged(text: str) -> ET.Element:
    """The document, with its shape checked: counts, names, and at most one verdict for each case."""
    root = ET.fromstring(text.encode())
    assert root.tag == "testsuites"
    for counted in (root, *root):
        cases = list(counted.iter("testcase"))
        assert int(counted.attrib["tests"]) == len(cases)
        assert int(counted.attrib["failures"]) == len(list(counted.iter("failure")))
        assert int(counted.attrib["errors"]) == len(list(counted.iter("error")))
    for suite in root:
        assert (suite.tag, bool(suite.attrib["name"])) == ("testsuite", True)
        for case in suite:
            assert (case.tag, set(case.attrib)) == ("testcase", {"classname", "name", "file", "line", "time"})
            assert [below.tag for below in case] in ([], ["failure"], ["error"])
            assert all({"message", "type"} <= set(below.attrib) for below in case)
    return root


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.builds(
            JUnitCase, st.text(), st.text(), st.integers(1, 9), st.sampled_from(OUTCOMES), st.text(), st.text()
        ),
        max_size=4,
    )
)  # fmt: skip
def test_any_text_makes_sound_xml(cases: list[JUnitCase]) -> None:
    """Control characters, half surrogates and markup in names and messages break nothing."""
    root = judged(junit([JUnitSuite("a", cases), JUnitSuite("b", [])]))
    assert [case.attrib["line"] for case in root.iter("testcase")] == [str(case.line) for case in cases]


def test_failures_and_problems_are_cases() -> None:
    """A failed test is a failure; a file that can't be run is a suite of errors."""
    folder = Path(__file__).parent / "golden"
    ran = judged(CliRunner().invoke(cli, ["test", str(folder / "failing.test.yaml"), "--format", "junit"]).output)
    assert (ran.attrib["tests"], ran.attrib["failures"], ran.attrib["errors"]) == ("10", "9", "0")
    broken = judged(CliRunner().invoke(cli, ["test", str(folder / "names.test.yaml"), "--format", "junit"]).output)
    assert int(broken.attrib["errors"]) == int(broken.attrib["tests"]) > 30
