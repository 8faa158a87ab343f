"""`sbgw test`: what a policy decides, held against what its tests expect."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.places import state_folder, state_option
from engine.cli.screen import CANNOT_RUN, OK, PROBLEMS, USAGE, fail, safe, safe_lines

if TYPE_CHECKING:
    from engine.policy.model import Policy
    from engine.policy.problems import Problem
    from engine.policy.testing import Report, Suite
    from engine.policy.testing.suite import Walk

_MOST_FILES = 1_000


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE|FOLDER|POLICY]...")
@click.option("-k", "pattern", metavar="PATTERN", help="Only tests whose name this regular expression finds.")
@click.option("--coverage", is_flag=True, help="Which rules and operands the tests have seen true and false.")
@click.option(
    "--min-coverage",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Exit with 1 when fewer of a policy's own rules have been both true and false, and name them.",
)
@click.option("--format", "form", type=click.Choice(["text", "json", "junit"]), default="text", show_default=True)
@click.option(
    "--from-record",
    metavar="EVENT_ID|FILE",
    help="Print a test made of a recorded request (or of a trace's file), and stop.",
)
@state_option
def test(
    files: Sequence[str],
    pattern: str | None,
    coverage: bool,
    min_coverage: float | None,
    form: str,
    from_record: str | None,
    state_dir: Path | None,
) -> None:
    """Run the tests of policies: mine.test.yaml beside mine.yaml.

    Without arguments: every *.test.yaml of the working directory and of its folder policies/, or else the tests that come
    with the shipped policies.

    \b
    Examples:
      sbgw test                                  all tests of this folder
      sbgw test policies/mine.yaml --coverage    those of one policy, and which rules they never saw
      sbgw test strict -k secret                 some of a shipped policy's
      sbgw test --min-coverage 100 --format junit > results.xml
      sbgw test --from-record 0193a1b2c3d4 > policies/mine.test.yaml
    """
    if from_record is not None:
        if files:
            fail("--from-record prints a test; it runs no files", code=USAGE)
        from engine.cli.test_recorded import print_test

        print_test(from_record, state_folder(state_dir))
        return
    found, problems = _load(_found(files))
    select = _selection(pattern)
    covering = coverage or min_coverage is not None
    reports = [] if problems else [_run(suite, select, covering=covering) for suite in found]
    if pattern is not None and not problems and not any(report.outcomes for report in reports):
        fail(f"no test's name has '{pattern}'", "a regular expression, upper and lower case the same", USAGE)
    _print(reports, problems, form, coverage=coverage)
    short = _told_short(reports, min_coverage)
    sys.exit(PROBLEMS if problems or short or any(report.failed for report in reports) else OK)


def walker(policy: Policy) -> Walk:
    """How the gateway itself decides: by the policy's stage graph. Raises PolicyInvalid."""
    from engine.pipeline import compile_pipeline

    return compile_pipeline(policy).walk


def _run(suite: Suite, select: Callable[[str], bool], *, covering: bool) -> Report:
    from engine.policy.testing import run_suite

    return run_suite(suite, walker=walker, select=select, covering=covering)


def _load(paths: Sequence[Path]) -> tuple[list[Suite], list[Problem]]:
    """All suites, or every problem of them: nothing runs while a name is wrong."""
    from engine.pipeline import check_pipeline
    from engine.policy.testing import load_suite

    suites: list[Suite] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            suite, told = load_suite(path)
        except OSError as error:
            fail(f"cannot read {path}: {error.strerror}", code=CANNOT_RUN)
        if suite is not None:
            told += check_pipeline(suite.policy)
            suites.append(suite)
        problems += [problem for problem in told if problem.level == "error"]
    return suites, list(dict.fromkeys(problems))


def _selection(pattern: str | None) -> Callable[[str], bool]:
    try:
        compiled = re.compile(pattern or "", re.IGNORECASE)
    except re.error as error:
        fail(f"-k is no regular expression: {error}", code=USAGE)
    return lambda name: compiled.search(name) is not None


def _found(files: Sequence[str]) -> list[Path]:
    """The files of tests that the arguments mean, each once, in their order."""
    from engine.policy.shipped import shipped_folder

    found = [path for file in files for path in _meant(file)] if files else _here()
    if not found:
        found = _in(shipped_folder("policies"))
    return [_shown(path) for path in dict.fromkeys(path.resolve() for path in found)]


def _here() -> list[Path]:
    return [*_in(Path()), *_in(Path("policies"))]


def _in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.test.y*ml") if path.is_file())


def _meant(file: str) -> list[Path]:
    """A file of tests, those of a folder and below, those beside a policy, or those of a shipped policy."""
    from engine.policy.shipped import shipped_folder, shipped_policies

    path = Path(file)
    if path.is_dir():
        return _below(path)
    if path.is_file():
        return [path if ".test." in path.name else _beside(path)]
    shipped = path.name.removesuffix(".yaml").removesuffix(".test")
    if shipped not in shipped_policies() or len(path.parts) > 1:
        fail(f"there is no file '{file}'", "a *.test.yaml, a policy with one beside it, or a folder", USAGE)
    return [_beside(shipped_folder("policies") / f"{shipped}.yaml")]


def _below(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*.test.y*ml") if path.is_file())
    if not found:
        fail(f"no *.test.yaml in {folder}", code=USAGE)
    if len(found) > _MOST_FILES:
        fail(f"{folder} holds {len(found):,} files of tests", f"at most {_MOST_FILES:,} at once", USAGE)
    return found


def _beside(policy: Path) -> Path:
    beside = [policy.with_name(policy.stem + suffix) for suffix in (".test.yaml", ".test.yml")]
    tests = next((path for path in beside if path.is_file()), None)
    if tests is None:
        fail(f"{policy} has no tests", f"write {policy.stem}.test.yaml beside it", USAGE)
    return tests


def _shown(path: Path) -> Path:
    """As a user would write it: relative when it lies below the working directory."""
    here = Path.cwd().resolve()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _print(reports: Sequence[Report], problems: Sequence[Problem], form: str, *, coverage: bool) -> None:
    from engine.cli.test_report import as_json_text, as_junit, as_text
    from engine.policy.render import render_all

    if form == "json":
        click.echo(as_json_text(reports, problems))
    elif form == "junit":
        click.echo(as_junit(reports, problems), nl=False)
    elif problems:
        click.echo(safe_lines(render_all(problems)))
    else:
        click.echo(as_text(reports, coverage=coverage))


def _told_short(reports: Sequence[Report], least: float | None) -> bool:
    """Whether a policy's coverage is below `least`; the rules that are missing are named, apart from the results."""
    from engine.cli.test_report import lacking, place

    short = False
    for report in reports if least is not None else ():
        assert least is not None
        missing = lacking(report, least)
        if not missing or report.coverage is None:
            continue
        short = True
        head = click.style("error: ", fg="red", bold=True)
        said = (
            f"{report.coverage.file}: {report.coverage.percent:.0f} % of its rules are covered, less than {least:g} %"
        )
        click.echo(head + safe(said), err=True)
        for rule in missing:
            click.echo(f"  {safe(place(rule.span))}  {rule.id}  {rule.missing}", err=True)
    return short
