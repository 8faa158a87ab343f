"""`sbgw check`: every mistake of a policy at once, before it serves anything."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
import orjson

from engine.cli.screen import CANNOT_RUN, OK, PROBLEMS, fail
from engine.policy.problems import Problem


@click.command()
@click.argument("policies", nargs=-1, metavar="[POLICY]...")
@click.option("--format", "form", type=click.Choice(["text", "json", "github"]), default="text", show_default=True)
@click.option(
    "--fail-level",
    type=click.Choice(["error", "warning"]),
    default="error",
    show_default=True,
    help="What makes the exit code 1.",
)
def check(policies: Sequence[str], form: str, fail_level: str) -> None:
    """Check policies: YAML, shape, names, expressions and their types, the stage graph.

    \b
    Examples:
      sbgw check                       the shipped default
      sbgw check policies/mine.yaml --format github
    """
    from engine.policy.render import problem_json, render_all, render_github

    problems = []
    for reference in policies or ("default",):
        try:
            problems += check_whole(reference)
        except OSError as error:
            fail(f"cannot read {reference}: {error.strerror}", code=CANNOT_RUN)
    if form == "json":
        click.echo(
            orjson.dumps({"format_version": 1, "problems": [problem_json(p) for p in problems]}, option=orjson.OPT_INDENT_2)
        )
    elif form == "github":
        click.echo(render_github(problems), nl=bool(problems))
    elif problems:
        click.echo(render_all(problems))
    else:
        click.echo(f"{', '.join(policies or ('default',))}: no problems")
    bad = {"error"} if fail_level == "error" else {"error", "warning"}
    sys.exit(PROBLEMS if any(p.level in bad for p in problems) else OK)


def check_whole(reference: str) -> list[Problem]:
    """Every problem of the policy `reference`, its stage graph included."""
    from engine.pipeline import check_pipeline
    from engine.policy.load import check_policy, load_policy

    problems = list(check_policy(reference))
    if not any(p.level == "error" for p in problems):
        problems += check_pipeline(load_policy(reference))
    return sorted(problems, key=lambda p: (p.span, p.rule))
