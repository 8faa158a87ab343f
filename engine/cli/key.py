"""`sbgw key`: the key that local clients present."""

from __future__ import annotations

import os
from pathlib import Path

import click

from engine.cli.places import state_folder, state_option
from engine.store.key import gateway_key


@click.command()
@state_option
def key(state_dir: Path | None) -> None:
    """Print the gateway's key, making it if there is none yet.

    \b
    Example:
      export ANTHROPIC_AUTH_TOKEN="$(sbgw key)"
    """
    click.echo(gateway_key(state_folder(state_dir), os.environ)[0])
