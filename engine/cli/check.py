"""`sbgw check`: every mistake of a policy at once, before it serves anything."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.screen import CANNOT_RUN, OK, PROBLEMS, USAGE, fail, json_text, safe, safe_lines

if TYPE_CHECKING:
    from engine.policy.problems import Problem

_LEVELS: Mapping[str, frozenset[str]] = {
    "error": frozenset({"error"}),
    "warning": frozenset({"error", "warning"}),
    "note": frozenset({"error", "warning", "note"}),
}
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
_SECRETS = "secrets.yaml"
"""The name of a table of what secrets look like."""

_HEAD = re.compile(r"^(.+:\d+:\d+: )(error|warning|note)(\[[a-z-]+\])", re.MULTILINE)
_CARETS = re.compile(r"^( +\| +)(\^+)$", re.MULTILINE)


@click.command()
@click.argument("policies", nargs=-1, metavar="[POLICY|FILE]...")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github", "sarif", "junit"]),
    default="text",
    show_default=True,
    help="text for people, json for editors, the others for code hosts and CI.",
)
@click.option(
    "--fail-level",
    type=click.Choice(list(_LEVELS)),
    default="error",
    show_default=True,
    help="The least that makes the exit code 1.",
)
@click.option("--stdin", "from_stdin", is_flag=True, help="Check the text on standard input: for editors.")
@click.option(
    "--stdin-filename",
    metavar="FILE",
    help="Where that text would stand: `extends` is relative to it, and messages name it.  [default: policy.yaml]",
)
def check(policies: Sequence[str], form: str, fail_level: str, from_stdin: bool, stdin_filename: str | None) -> None:
    """Check policies, and their tests: YAML, shape, names, expressions with their types, the stage graph, rules that can't do
    anything. All mistakes at once, sorted by line. Needs no network.

    \b
    Examples:
      sbgw check                                   the shipped default
      sbgw check policies/*.yaml                   policies, and files of tests beside them
      sbgw check mine.yaml --fail-level warning    for CI; with --format github|sarif|junit
      sbgw check --stdin --stdin-filename mine.yaml --format json < unsaved
      sbgw policy rules cel-type                   what a check means
    """
    if from_stdin and policies:
        fail("--stdin checks one text; it takes no names of policies", code=USAGE)
    if stdin_filename is not None and not from_stdin:
        fail("--stdin-filename says where the text of --stdin stands", "add --stdin", USAGE)
    if from_stdin:
        checked = [stdin_filename or "policy.yaml"]
        problems = check_data(sys.stdin.buffer.read(), checked[0])
    else:
        checked = list(dict.fromkeys(policies or ("default",)))
        problems = [problem for reference in checked for problem in check_whole(reference)]
    problems = sorted(dict.fromkeys(problems), key=lambda p: (p.span, p.rule))
    _print(checked, problems, form, _LEVELS[fail_level])
    if any(problem.rule == "policy-missing" and problem.span.file in checked for problem in problems):
        sys.exit(CANNOT_RUN)
    sys.exit(PROBLEMS if any(p.level in _LEVELS[fail_level] for p in problems) else OK)


def check_whole(reference: str) -> list[Problem]:
    """Every problem of a policy, by name or path, or of a file of tests."""
    if _tests(reference) and Path(reference).is_file():
        from engine.policy.testing import load_suite

        try:
            return load_suite(Path(reference))[1]
        except OSError as error:
            fail(f"cannot read {reference}: {error.strerror}", code=CANNOT_RUN)
    if Path(reference).name == _SECRETS and Path(reference).is_file():
        return _check_secrets(Path(reference).read_bytes(), reference)
    from engine.pipeline import check_pipeline
    from engine.policy.load import check_policy

    return check_policy(reference, today=date.today(), graph=check_pipeline)  # noqa: DTZ011 - `since` is a local date


def check_data(data: bytes, name: str) -> list[Problem]:
    """Every problem of a policy or a file of tests that would stand at `name`."""
    if _tests(name):
        from engine.policy.testing import read_suite

        return read_suite(data, Path(name))[1]
    if Path(name).name == _SECRETS:
        return _check_secrets(data, name)
    from engine.pipeline import check_pipeline
    from engine.policy.load import check_text

    return check_text(data, file=name, today=date.today(), graph=check_pipeline)  # noqa: DTZ011


def _check_secrets(data: bytes, file: str) -> list[Problem]:
    """What is wrong with a table of secrets: that of YAML, and every row that can't be used."""
    from engine.policy.document import load_document
    from engine.store.secret_rules import read_rules

    loaded = load_document(data, file)
    problems = list(loaded.problems)
    for row in loaded.root.items if loaded.root is not None else ():
        try:
            read_rules([row.map and row.plain()])
        except (ValueError, TypeError, AttributeError) as error:
            problems.append(row.problem("schema-value", str(error) if row.map else "a row is a mapping with an id"))
    return problems


def _tests(name: str) -> bool:
    return name.endswith((".test.yaml", ".test.yml"))


def _print(checked: Sequence[str], problems: Sequence[Problem], form: str, failing: frozenset[str]) -> None:
    from engine import __version__
    from engine.policy.render import problem_json, render_github

    if form == "json":
        document = {"format_version": 1, "files": list(checked), "problems": [problem_json(p) for p in problems]}
        click.echo(json_text(document, indent=True))
    elif form == "sarif":
        from engine.policy.sarif import sarif

        click.echo(json_text(sarif(problems, version=__version__), indent=True))
    elif form == "junit":
        click.echo(_junit(checked, problems, failing), nl=False)
    elif form == "github":
        click.echo(safe_lines(render_github(problems)), nl=bool(problems))
    else:
        click.echo(_text(checked, problems))


def _text(checked: Sequence[str], problems: Sequence[Problem]) -> str:
    from engine.policy.render import render_all

    if not problems:
        return f"{safe(', '.join(checked))}: no problems"
    files = len({problem.span.file for problem in problems})
    text = _HEAD.sub(
        lambda m: m[1] + click.style(m[2], fg=_COLOURS[m[2]], bold=True) + m[3], safe_lines(render_all(problems))
    )
    text = _CARETS.sub(lambda m: m[1] + click.style(m[2], fg="green", bold=True), text)
    return f"{text} in {files} file{'s' if files > 1 else ''} · `sbgw policy rules {problems[0].rule}` explains a check"


def _junit(checked: Sequence[str], problems: Sequence[Problem], failing: frozenset[str]) -> str:
    """A suite per file and a case per problem; a file without one has a case that passed."""
    from engine.cli.junit import JUnitCase, JUnitSuite, junit
    from engine.policy.render import render

    files = list(dict.fromkeys([*checked, *(problem.span.file for problem in problems)]))
    suites: list[JUnitSuite] = []
    for file in files:
        cases = [
            JUnitCase(
                name=f"{p.rule} at line {p.span.line}, column {p.span.column}",
                file=file,
                line=p.span.line,
                outcome="failed" if p.level in failing else "passed",
                message=f"{p.level}: {p.message}",
                text=render(p),
            )
            for p in problems
            if p.span.file == file
        ]
        suites.append(JUnitSuite(file, cases or [JUnitCase(name="no problems", file=file, line=1)]))
    return junit(suites)
