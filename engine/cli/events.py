"""`sbgw events`: what was asked, who answered, what it cost; and the same as a file for other tools."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
import orjson

from engine.cli.places import state_folder, state_option
from engine.cli.screen import PROBLEMS, fail, money, table
from engine.cli.spans import SINCE

if TYPE_CHECKING:
    from engine.store.event import Event


_SHORT = 16
"""Digits of an id that a table shows; any command takes them for the whole."""


class _Listing(click.Group):
    """A group that lists when no command of it is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.commands["list"].format_options(ctx, formatter)
        with formatter.section("Commands"):
            formatter.write_dl([(name, c.get_short_help_str()) for name, c in self.commands.items() if not c.hidden])


@click.group(cls=_Listing, subcommand_metavar="[EVENT_ID] | COMMAND [ARGS]...")
def events() -> None:
    """List the newest requests, or show one in full.

    \b
    Examples:
      sbgw events -n 50
      sbgw events 0193a1b2c3d4        one event, with decision and attempts
      sbgw events --json | jq .costEstimateUsd
      sbgw events export --since 7d --out week.jsonl
    """


@events.command("list", hidden=True)
@click.argument("event_id", required=False)
@click.option("--limit", "-n", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, every field.")
@state_option
def listing(event_id: str | None, limit: int, as_json: bool, state_dir: Path | None) -> None:
    """List the newest requests, or show one in full."""
    from engine.cli.subject import ledger as opened

    state = state_folder(state_dir)
    if not (state / "ledger.sqlite").exists():
        click.echo("no requests yet; start the gateway with `sbgw run`")
        return
    with opened(state) as ledger:
        if event_id is not None:
            event = ledger.get(event_id)
            if event is None:
                fail(f"no event '{event_id}'", "`sbgw events` lists them", PROBLEMS)
            click.echo(orjson.dumps(event.to_json(), option=orjson.OPT_INDENT_2))
            return
        found = ledger.recent(limit)
    if as_json:
        for event in found:
            click.echo(orjson.dumps(event.to_json()))
        return
    table(
        ["time", "event", "client", "class", "asked for", "served by", "in", "cached", "out", "cost", "ms", "status"],
        [_row(event) for event in reversed(found)],
        right=(6, 7, 8, 9, 10),
    )


@events.command("export")
@click.option("--since", type=SINCE, help="Only newer ones: 90m, 12h, 7d, 2w or a date.")
@click.option("--limit", "-n", type=click.IntRange(1), help="The newest that many.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file, for its owner alone.")
@state_option
def export(since: datetime | None, limit: int | None, out: Path | None, state_dir: Path | None) -> None:
    """Write requests as JSONL: facts, decision, provider states, usage, cost, times. No text of any request.

    \b
    Examples:
      sbgw events export --since 7d --out week.jsonl
      sbgw dry-run mine.yaml --from week.jsonl
    """
    from engine.cli.subject import ledger as opened
    from engine.store.export import export_json
    from engine.store.rows import Filter

    where = Filter(since=since)
    count = 0
    with opened(state_folder(state_dir)) as ledger, _target(out) as file:
        found = ledger.events(where) if limit is None else iter(reversed(ledger.recent(limit, where)))
        for event in found:
            file.write(orjson.dumps(export_json(event), option=orjson.OPT_APPEND_NEWLINE))
            count += 1
    click.echo(f"{count:,} requests", err=True)


@contextmanager
def _target(out: Path | None) -> Iterator[IO[bytes]]:
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            yield file
    except OSError as error:
        fail(f"cannot write {out}: {error.strerror}")


def _row(event: Event) -> list[str]:
    served = f"{event.selected_provider}/{event.selected_model}" if event.selected_model else "-"
    return [
        _local(event.timestamp),
        event.id[:_SHORT],
        " ".join(filter(None, (event.client, event.client_version))),
        event.route_class,
        event.requested_model or "-",
        served,
        _count(event.input_tokens),
        _count(event.cached_input_tokens),
        _count(event.output_tokens),
        money(event.cost_estimate_usd),
        f"{event.latency_ms:,.0f}",
        event.status + (f" ({event.error_class})" if event.error_class else ""),
    ]


def _local(timestamp: str) -> str:
    """An event's time (UTC) as the user's clock showed it."""
    return datetime.fromisoformat(timestamp).astimezone().strftime("%m-%d %H:%M:%S")


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
