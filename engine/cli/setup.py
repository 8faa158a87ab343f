"""`sbgw setup CLIENT`: the exact configuration that connects an agent."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from engine.cli.clients import CLIENTS, configuration
from engine.cli.places import state_option
from engine.cli.screen import USAGE, fail
from engine.store.key import VARIABLE


@click.command()
@click.argument("client", required=False)
@click.option("--url", default="http://localhost:8787", show_default=True, help="Where the gateway listens.")
@state_option
def setup(client: str | None, url: str, state_dir: Path | None) -> None:
    """Print the configuration that connects CLIENT to the gateway.

    \b
    Examples:
      sbgw setup claude-code
      sbgw setup codex --url http://localhost:9000
    """
    if client is None:
        for entry in CLIENTS.values():
            click.echo(f"{entry.name:<14} {entry.title}")
        return
    name = next((c.name for c in CLIENTS.values() if client.lower() in (c.name, *c.aliases)), None)
    if name is None:
        fail(f"no client '{client}'", "there are: " + ", ".join(CLIENTS), USAGE)
    click.echo(configuration(name, url=url.rstrip("/"), key=key_expression(state_dir)), nl=False)


def key_expression(state: Path | None) -> str:
    """Shell words that give the key of the gateway in `state` (None: the user's data folder) without printing it."""
    if os.environ.get(VARIABLE):
        return f'"${VARIABLE}"'
    folder = "" if state is None else f" --state-dir {shlex.quote(str(state.resolve()))}"
    return f'"$(sbgw key{folder})"'
