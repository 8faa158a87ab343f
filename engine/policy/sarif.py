"""Problems as SARIF 2.1.0, which code hosts and editors show beside the lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from engine.policy.checks import CHECKS
from engine.policy.problems import Problem
from engine.policy.render import in_one_line

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(problems: Iterable[Problem], *, version: str) -> dict[str, Any]:
    """The log of one run; `version` is the checker's own. Columns count characters, the end is exclusive."""
    found = list(problems)
    rules = list(dict.fromkeys(problem.rule for problem in found))
    driver: dict[str, Any] = {"name": "sbgw", "semanticVersion": version, "rules": [_rule(rule) for rule in rules]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"ROOT": {"description": {"text": "The folder in which the check ran."}}},
        "results": [_result(problem, rules.index(problem.rule)) for problem in found],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: str) -> Mapping[str, Any]:
    check = CHECKS.get(rule)
    if check is None:
        return {"id": rule}
    return {
        "id": rule,
        "shortDescription": {"text": f"{check.title}."},
        "fullDescription": {"text": check.about},
        "help": {"text": check.about},
        "defaultConfiguration": {"level": check.levels[0]},
    }


def _result(problem: Problem, index: int) -> Mapping[str, Any]:
    span = problem.span
    region: dict[str, Any] = {
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }
    if problem.excerpt:
        region["snippet"] = {"text": problem.excerpt}
    return {
        "ruleId": problem.rule,
        "ruleIndex": index,
        "level": problem.level,
        "message": {"text": in_one_line(problem)},
        "locations": [{"physicalLocation": {"artifactLocation": _artifact(span.file), "region": region}}],
    }


def _artifact(file: str) -> Mapping[str, str]:
    path = PurePath(file)
    if path.is_absolute():
        return {"uri": path.as_uri()}
    return {"uri": quote(path.as_posix()), "uriBaseId": "ROOT"}
