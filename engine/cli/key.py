"""`sbgw key`: the key that local clients present."""

from __future__ import annotations

import os
from pathlib import Path

import click

from engine.cli.places import state_folder, state_option
from engine.cli.screen import USAGE, fail
from engine.store.key import gateway_key, named_key


@click.command()
@click.option(
    "--name", metavar="PROJECT", help="A key of its own for a project: requests with it are recorded as that project's."
)
@state_option
def key(name: str | None, state_dir: Path | None) -> None:
    """Print the gateway's key, making it if there is none yet. A running gateway learns of a new named key when restarted.

    \b
    Examples:
      export ANTHROPIC_AUTH_TOKEN="$(sbgw key)"
      export ANTHROPIC_AUTH_TOKEN="$(sbgw key --name shop)"
    """
    state = state_folder(state_dir)
    try:
        click.echo(gateway_key(state, os.environ)[0] if name is None else named_key(state, name))
    except ValueError as error:
        fail(str(error), code=USAGE)
