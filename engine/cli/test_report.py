"""What `sbgw test` prints: text for people, JSON and JUnit for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from engine.cli.junit import JUnitCase, JUnitSuite, junit
from engine.cli.screen import json_text, safe
from engine.policy.problems import Problem, Span
from engine.policy.render import problem_json, render
from engine.policy.testing import Coverage, Outcome, Report, RuleCoverage

FORMAT_VERSION = 1


def as_text(reports: Sequence[Report], *, coverage: bool) -> str:
    """All of it, ready to print; colours are taken away where no terminal shows them."""
    lines = list(_summaries(reports))
    for report in reports:
        for outcome in report.failed:
            lines += ["", *_failure(outcome)]
    if coverage:
        lines += ["", *(line for report in reports for line in _coverage(report))]
    return "\n".join(lines)


def _summaries(reports: Sequence[Report]) -> Iterator[str]:
    width = max((len(report.suite.file) for report in reports), default=0)
    for report in reports:
        failed = len(report.failed)
        counts = [f"{len(report.outcomes) - failed} passed"]
        if failed:
            counts.append(click.style(f"{failed} failed", fg="red", bold=True))
        yield f"{safe(report.suite.file):<{width}}  {', '.join(counts)}"


def _failure(outcome: Outcome) -> Iterator[str]:
    span = outcome.scenario.span
    head = click.style("FAILED", fg="red", bold=True)
    yield f"{head} {safe(span.file)}:{span.line}  {safe(outcome.scenario.name)}"
    width = max(len(m.key) for m in outcome.mismatches)
    for m in outcome.mismatches:
        yield f"  {safe(m.key):<{width}}  expected  {safe(m.expected)}"
        yield f"  {'':<{width}}  actual    {safe(m.actual)}"
    if outcome.why:
        yield "  because"
        yield from (f"    {safe(line)}" for line in outcome.why)


def _coverage(report: Report) -> Iterator[str]:
    found = report.coverage
    if found is None:
        return
    rules, sides = found.rules, found.sides
    covered, seen = sum(not r.missing for r in rules), sum(not s.tally.missing for s in sides)
    reached = sum(r.reached for r in rules)
    yield (
        f"coverage  {safe(found.file)}  rules {reached}/{len(rules)} reached, {covered}/{len(rules)} both true and false"
        f" ({found.percent:.0f} %)  ·  operands {seen}/{len(sides)}"
    )
    listed = [(rule.span, rule.id, rule.missing) for rule in rules if rule.missing]
    # What was never reached has no sides worth listing.
    untouched = {rule.id for rule in rules if not rule.reached}
    listed += [
        (s.span, s.rule, f"{s.text}  {s.tally.missing}") for s in sides if s.tally.missing and s.rule not in untouched
    ]
    width = max((len(place(span)) for span, _, _ in listed), default=0)
    named = max((len(name) for _, name, _ in listed), default=0)
    for span, name, missing in sorted(listed, key=lambda item: item[0]):
        yield f"  {safe(place(span)):<{width}}  {name:<{named}}  {safe(missing)}"


def place(span: Span) -> str:
    """`file:line`."""
    return f"{span.file}:{span.line}"


def lacking(report: Report, least: float) -> tuple[RuleCoverage, ...]:
    """The rules to cover, when fewer than `least` percent of the policy's are."""
    found = report.coverage
    if found is None or found.percent >= least:
        return ()
    return tuple(rule for rule in found.rules if rule.missing)


def as_json_text(reports: Sequence[Report], problems: Sequence[Problem]) -> str:
    """The outcome as JSON. Fields may be added within a `format_version`, never taken away."""
    failed = sum(len(report.failed) for report in reports)
    document = {
        "format_version": FORMAT_VERSION,
        "passed": sum(len(report.outcomes) for report in reports) - failed,
        "failed": failed,
        "problems": [problem_json(problem) for problem in problems],
        "files": [_file_json(report) for report in reports],
        "coverage": [_coverage_json(report.coverage) for report in reports if report.coverage is not None],
    }
    return json_text(document, indent=True)


def _file_json(report: Report) -> dict[str, Any]:
    return {
        "file": report.suite.file,
        "policy": report.suite.policy.label,
        "tests": [
            {
                "name": outcome.scenario.name,
                "line": outcome.scenario.span.line,
                "outcome": "passed" if outcome.passed else "failed",
                "mismatches": [
                    {"key": m.key, "expected": m.expected, "actual": m.actual, "line": m.span.line}
                    for m in outcome.mismatches
                ],
                "why": list(outcome.why),
            }
            for outcome in report.outcomes
        ],
    }


def _coverage_json(coverage: Coverage) -> dict[str, Any]:
    return {
        "file": coverage.file,
        "percent": round(coverage.percent, 1),
        "rules": [
            {
                "section": rule.section,
                "id": rule.id,
                "line": rule.span.line,
                "reached": rule.reached,
                "missing": rule.missing,
                "conditions": {
                    key: {"true": tally.true, "false": tally.false, "error": tally.error}
                    for key, tally in rule.conditions.items()
                },
            }
            for rule in coverage.rules
        ],
        "operands": [
            {
                "rule": side.rule,
                "text": side.text,
                "line": side.span.line,
                "column": side.span.column,
                "true": side.tally.true,
                "false": side.tally.false,
                "error": side.tally.error,
                "missing": side.tally.missing,
            }
            for side in coverage.sides
        ],
    }


def as_junit(reports: Sequence[Report], problems: Sequence[Problem]) -> str:
    """The outcome as JUnit XML; problems that kept tests from running are errors of their file."""
    suites = [JUnitSuite(report.suite.file, [_case(outcome) for outcome in report.outcomes]) for report in reports]
    files = dict.fromkeys(problem.span.file for problem in problems)
    suites += [JUnitSuite(file, [_broken(p) for p in problems if p.span.file == file]) for file in files]
    return junit(suites)


def _case(outcome: Outcome) -> JUnitCase:
    span, name = outcome.scenario.span, outcome.scenario.name
    if outcome.passed:
        return JUnitCase(name, span.file, span.line)
    told = [f"{m.key}: expected {m.expected}, actual {m.actual}" for m in outcome.mismatches]
    return JUnitCase(name, span.file, span.line, "failed", told[0], "\n".join([*told, *outcome.why]))


def _broken(problem: Problem) -> JUnitCase:
    return JUnitCase(problem.rule, problem.span.file, problem.span.line, "error", problem.message, render(problem))
