"""Where state lives, and which policy and configuration a command line means."""

from __future__ import annotations

import os
from pathlib import Path

import click

from engine.cli.screen import fail

state_option = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="SBGW_STATE_DIR",
    help="Folder for the ledger, caches and the key (default: the user's data folder).",
)
policy_option = click.option(
    "--policy",
    "-p",
    default=None,
    metavar="NAME|FILE",
    help="A shipped policy (default, strict, thrifty, local, offline) or a file.",
)


def state_folder(given: Path | None) -> Path:
    """The state folder, made if need be, readable by its owner only."""
    if given is None:
        from platformdirs import user_data_path

        given = user_data_path("sbgw", appauthor=False)
    os.umask(0o077)
    try:
        given.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        fail(f"cannot use the state folder {given}: {error.strerror}", "choose another one with --state-dir")
    return given
