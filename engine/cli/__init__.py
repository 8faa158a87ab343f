"""The command line. Nothing else in the package prints.

Commands are imported when they are used: `sbgw --help` needs no server, no policy engine and no price table.
Exit codes, the same for every command: 0 fine, 1 problems were found, 2 the command line is wrong, 3 it could not run.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from types import TracebackType

import click

from engine import __version__

COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("engine.cli.run:run", "Serve agents on localhost by a policy."),
    "demo": ("engine.cli.demo:demo", "Watch requests flow through a policy: offline, no key needed."),
    "check": (
        "engine.cli.check:check",
        "Check policies, and their tests: YAML, shape, names, expressions with their types, the stage graph, rules that can't do anything.",
    ),
    "test": ("engine.cli.test:test", "Run the tests of policies: mine.test.yaml beside mine.yaml."),
    "policy": ("engine.cli.policy:policy", "Print policies, schemas, checks and the expression language."),
    "explain": (
        "engine.cli.explain:explain",
        "Show why a request is decided as it is: each rule with the values it hung on, each model with what speaks against it.",
    ),
    "dry-run": (
        "engine.cli.dry_run:dry_run",
        "Decide recorded requests once more, under NEW and under the policy that decided then, and show what changes.",
    ),
    "graph": (
        "engine.cli.graph:graph",
        "Draw a policy: its stages and their exits, its classes, and the models of their routes.",
    ),
    "setup": ("engine.cli.setup:setup", "Print the configuration that connects CLIENT to the gateway."),
    "models": ("engine.cli.models:models", "List the models that requests can be routed to."),
    "probe": (
        "engine.cli.probe:probe",
        "Examine a live model: one call, streamed, two at once, nested arguments, a text kept to the letter, the right one of many tools, going on from a result, no invented tool, a long prompt.",
    ),
    "providers": ("engine.cli.providers:providers", "Show which providers work, which step back, why, and until when."),
    "events": ("engine.cli.events:events", "List the newest requests, or show one in full."),
    "cost": (
        "engine.cli.cost:cost",
        "What requests have cost, from the ledger; what is not known is counted apart, never as 0.",
    ),
    "budgets": (
        "engine.cli.budgets:budgets",
        "Show what of each budget is spent, set aside for requests under way, and left.",
    ),
    "trace": ("engine.cli.trace:trace", "Show or delete traces: full requests and answers, secrets taken out."),
    "sessions": (
        "engine.cli.sessions:sessions",
        "List the sessions with the newest requests, or show one of them: turns, tool calls by name, models, cost.",
    ),
    "top": (
        "engine.cli.top:top",
        "Watch the gateway: requests under way, rates, latencies, tokens and cost of the last minutes.",
    ),
    "cache": (
        "engine.cli.cache:cache",
        "How much of the prompts providers read from their caches, expected and reported.",
    ),
    "shadow": (
        "engine.cli.shadow:shadow",
        "Compare the policy that served with the one that watched (`sbgw run --shadow FILE`).",
    ),
    "key": ("engine.cli.key:key", "Print the gateway's key, making it if there is none yet."),
}
"""Command → where it lives, and the line that help has for it (a test holds it against the command's own), in that order."""


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        room = formatter.width - 6 - max(map(len, COMMANDS))
        with formatter.section("Commands"):
            formatter.write_dl([(name, _short(line, room)) for name, (_, line) in COMMANDS.items()])


def _short(line: str, room: int) -> str:
    return click.Command(None, help=line).get_short_help_str(room)


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


def _defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What no command caught. Its message is left out: it may quote what a request or a file holds."""
    from engine.cli.log import log

    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log("defect", stage="command", kind=kind.__name__, error=error)


def main() -> None:
    """The `sbgw` command."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    sys.excepthook = _defect
    cli(prog_name="sbgw")


__all__ = ["COMMANDS", "cli", "main"]
