"""JUnit XML, which every CI shows: test suites, test cases, what failed and where."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET

from engine.cli.screen import safe_lines

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(slots=True, frozen=True)
class JUnitCase:
    """One test. `failed` says that it did not hold, `error` that it could not be run."""

    name: str
    file: str
    line: int
    outcome: Literal["passed", "failed", "error"] = "passed"
    message: str = ""
    """What is wrong, on one line."""
    text: str = ""
    """All of it."""


@dataclass(slots=True, frozen=True)
class JUnitSuite:
    """The tests of one file."""

    name: str
    cases: Sequence[JUnitCase]

    def count(self, outcome: str) -> int:
        return sum(case.outcome == outcome for case in self.cases)


def junit(suites: Sequence[JUnitSuite]) -> str:
    """The document, with a line end. Characters that XML can't hold, or that would drive a terminal, are replaced."""
    root = ET.Element("testsuites", _counts(suites), name="sbgw")
    for suite in suites:
        under = ET.SubElement(root, "testsuite", _counts([suite]), name=_clean(suite.name), time="0")
        for case in suite.cases:
            place = {"classname": _clean(case.file), "name": _clean(case.name), "file": _clean(case.file)}
            at = ET.SubElement(under, "testcase", place, line=str(case.line), time="0")
            if case.outcome != "passed":
                kind = "failure" if case.outcome == "failed" else "error"
                ET.SubElement(at, kind, message=_clean(case.message), type=kind).text = _clean(case.text)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _counts(suites: Sequence[JUnitSuite]) -> dict[str, str]:
    return {
        "tests": str(sum(len(suite.cases) for suite in suites)),
        "failures": str(sum(suite.count("failed") for suite in suites)),
        "errors": str(sum(suite.count("error") for suite in suites)),
    }


def _clean(text: str) -> str:
    return safe_lines(_NOT_XML.sub("\ufffd", text))
