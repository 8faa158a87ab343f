"""`sbgw policy`: a policy written out, the schemas, what each check means, old formats made new, the expression language."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.screen import CANNOT_RUN, OK, PROBLEMS, USAGE, fail, invalid_policy, json_text, safe_lines

if TYPE_CHECKING:
    from engine.policy.document import Loaded

_WIDTH = 96


@click.group()
def policy() -> None:
    """Print policies, schemas, checks and the expression language.

    \b
    Examples:
      sbgw policy show strict                      a shipped policy, to read or to copy
      sbgw policy show mine.yaml --resolved        with everything it extends, as one file
      sbgw policy show mine.yaml --origin          the same, each line with the file and line it comes from
      sbgw policy schema policy > policy.schema.json
      sbgw policy rules cel-type                   what a check means, and what to do
      sbgw policy losses                           what a translation between protocols can lose
      sbgw policy profile                          the expression language
      sbgw policy migrate mine.yaml --write        bring a file to the newest format
    """


@policy.command()
@click.argument("reference", metavar="[POLICY]", default="default")
@click.option("--resolved", is_flag=True, help="With everything it extends merged in.")
@click.option("--origin", is_flag=True, help="The same, each line with the file and line it comes from.")
@click.option(
    "--rows", is_flag=True, help="The same, with the shipped rows of providers and models that it has not changed."
)
def show(reference: str, resolved: bool, origin: bool, rows: bool) -> None:
    """Print a policy, as it is or resolved.

    Resolved, it extends nothing and decides the same.

    \b
    Examples:
      sbgw policy show strict > mine.yaml
      sbgw policy show mine.yaml --resolved
      sbgw policy show mine.yaml --origin | grep fits
    """
    from engine.policy.load import load_policy
    from engine.policy.problems import PolicyInvalid
    from engine.policy.show import show as written

    if not (resolved or origin or rows):
        click.echo(_file(reference).source.text, nl=False)
        return
    try:
        click.echo(written(load_policy(reference), origin=origin, rows=rows), nl=False)
    except PolicyInvalid as error:
        invalid_policy(error)


@policy.command()
@click.argument("name", default="policy", metavar="[policy|facts|event|models|providers|policy-test]")
def schema(name: str) -> None:
    """Print a JSON Schema, whole in itself.

    Of policies, of the facts that expressions read, of recorded events, of rows of models and providers, of tests. In draft 7,
    which editors understand.

    \b
    Examples:
      sbgw policy schema > policy.schema.json      and on a policy's first line:
                                                   # yaml-language-server: $schema=policy.schema.json
      sbgw policy schema facts                     every fact, its type and what it means
    """
    from engine.policy.schemas import NAMES, bundled
    from engine.policy.suggest import did_you_mean

    if name not in NAMES:
        fail(f"there is no schema '{name}'{did_you_mean(name, NAMES)}", f"schemas: {', '.join(NAMES)}", USAGE)
    click.echo(json_text(bundled(name), indent=True))


@policy.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
def rules(ids: Sequence[str]) -> None:
    """Explain what checks mean.

    An id stands in brackets in each problem that `sbgw check` prints. Without one, all are listed.

    \b
    Examples:
      sbgw policy rules
      sbgw policy rules cel-phase graph-needs
    """
    from engine.policy.checks import CHECKS
    from engine.policy.suggest import did_you_mean

    for name in ids:
        if name not in CHECKS:
            fail(f"there is no check '{name}'{did_you_mean(name, CHECKS)}", "`sbgw policy rules` lists them", USAGE)
    if not ids:
        widest = max(map(len, CHECKS))
        for name, check in CHECKS.items():
            click.echo(f"{name:<{widest}}  {check.levels[0]:<7}  {check.title}")
        return
    for number, name in enumerate(ids):
        check = CHECKS[name]
        head = click.style(name, bold=True) + f" ({' or '.join(check.levels)})"
        body = textwrap.fill(check.about, _WIDTH, break_long_words=False, break_on_hyphens=False)
        click.echo(("\n" if number else "") + f"{head}\n\n{body}")


@policy.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--write", is_flag=True, help="Change the files. Without it the new text of an old file is printed.")
def migrate(files: Sequence[str], write: bool) -> None:
    """Bring policies to the newest format.

    Comments stay. Old files are read as they are, so there is no hurry.

    \b
    Examples:
      sbgw policy migrate policies/*.yaml          what would change
      sbgw policy migrate mine.yaml --write
    """
    sys.exit(max(_migrate(file, write=write) for file in files))


@policy.command()
@click.option("--json", "as_json", is_flag=True, help="As a list of objects, with the protocols that can carry each.")
@click.option("--markdown", is_flag=True, help="As the table in examples/losses.md.")
def losses(as_json: bool, markdown: bool) -> None:
    """List what a translation between protocols can lose.

    The codes stand in `losses` and `hard_losses` of the facts, in `gate.allow_losses`, in events and in `x-sbgw-loss`. A hard
    one drops the candidate unless the policy allows it; a rule can refuse any other.

    \b
    Examples:
      sbgw policy losses
      sbgw policy losses --json | jq -r '.[] | select(.severity == "hard").code'
    """
    from engine.cli import losses as table

    if as_json:
        click.echo(json_text(table.rows(), indent=True))
    else:
        click.echo(table.markdown() if markdown else table.text(), nl=not markdown)


@policy.command()
def profile() -> None:
    """Print the expression language.

    CEL: what it has here, what it has not, and how it differs from cel-python.

    \b
    Example:
      sbgw policy profile
    """
    from engine.policy.cel import DEVIATIONS, PROFILE
    from engine.policy.cel.profile import FUNCTION_TABLE

    for line in PROFILE.splitlines():
        click.echo(textwrap.fill(line, _WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    click.echo("\n" + FUNCTION_TABLE)
    click.echo("Where it differs from cel-python's own interpreter:\n")
    for name, text in DEVIATIONS.items():
        click.echo(
            textwrap.fill(
                f"{name}: {text}", _WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
            )
        )


def _file(reference: str) -> Loaded:
    """The file of a policy. Stops when there is none."""
    from engine.policy.load import read_policy
    from engine.policy.shipped import shipped_policies

    try:
        loaded = read_policy(reference)
    except OSError as error:
        fail(f"cannot read {reference}: {error.strerror}", code=CANNOT_RUN)
    if loaded is None:
        fail(
            f"there is no policy '{reference}'", f"shipped: {', '.join(shipped_policies())}; or give a path", CANNOT_RUN
        )
    return loaded


def _migrate(file: str, *, write: bool) -> int:
    """Migrate one file; the exit code for it."""
    from engine.policy.migrate import FORMATS, migrated_text, newer
    from engine.policy.render import render_all

    loaded = _file(file)
    late = newer(loaded.root) if loaded.root is not None else None
    problems = [late] if late is not None else [problem for problem in loaded.problems if problem.level == "error"]
    if problems or loaded.root is None:
        click.echo(safe_lines(render_all(problems)), err=True)
        return PROBLEMS
    version = loaded.root.get("version")
    if version is not None and version.value == FORMATS.current:
        click.echo(f"{file}: nothing to do, it is of version {FORMATS.current}, the newest", err=not write)
        return OK
    if version is None or not FORMATS.reads(version.value):
        said = "has no `version`" if version is None else f"is of version {version.text}, which there is no way from"
        click.echo(f"{file}: {said}; the newest is {FORMATS.current}", err=True)
        return PROBLEMS
    text = migrated_text(loaded.root)
    if not write:
        click.echo(text, nl=False)
        return OK
    try:
        Path(file).write_text(text, "utf-8")
    except OSError as error:
        fail(f"cannot write {file}: {error.strerror}", code=CANNOT_RUN)
    click.echo(f"{file}: version {version.text} → {FORMATS.current}")
    return OK
