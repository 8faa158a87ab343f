"""The command line. Nothing else in the package prints.

Commands are imported when they are used: `sbgw --help` needs no server, no policy engine and no price table.
Exit codes, the same for every command: 0 fine, 1 problems were found, 2 the command line is wrong, 3 it could not run.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping

import click

from engine import __version__

_COMMANDS: Mapping[str, str] = {
    "run": "engine.cli.run:run",
    "demo": "engine.cli.demo:demo",
    "check": "engine.cli.check:check",
    "test": "engine.cli.test:test",
    "policy": "engine.cli.policy:policy",
    "explain": "engine.cli.explain:explain",
    "dry-run": "engine.cli.dry_run:dry_run",
    "graph": "engine.cli.graph:graph",
    "setup": "engine.cli.setup:setup",
    "models": "engine.cli.models:models",
    "probe": "engine.cli.probe:probe",
    "providers": "engine.cli.providers:providers",
    "events": "engine.cli.events:events",
    "cost": "engine.cli.cost:cost",
    "trace": "engine.cli.trace:trace",
    "sessions": "engine.cli.sessions:sessions",
    "top": "engine.cli.top:top",
    "cache": "engine.cli.cache:cache",
    "shadow": "engine.cli.shadow:shadow",
    "key": "engine.cli.key:key",
}
"""Command → where it lives, in the order in which help lists them."""


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = _COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sbgw")
def cli() -> None:
    """A local gateway between coding agents and model providers, driven by a policy you can read and edit.

    \b
    Start here:
      sbgw demo                      watch requests flow through a policy, offline, no key needed
      sbgw run                       serve on http://localhost:8787 with the default policy
      sbgw setup claude-code         print how to connect an agent
    """


def main() -> None:
    """The `sbgw` command."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    cli(prog_name="sbgw")


__all__ = ["cli", "main"]
