"""`sbgw events`: what was asked, who answered, what it cost; and the same as a file for other tools."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from engine.cli.filters import chosen, filter_options
from engine.cli.layout import Columns
from engine.cli.places import state_folder, state_option
from engine.cli.screen import PROBLEMS, fail, json_text, lines, money, table

if TYPE_CHECKING:
    from engine.store.event import Event
    from engine.store.reader import Reader
    from engine.store.rows import Filter


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
      sbgw events -n 50 --project shop --status error
      sbgw events --follow            requests as they finish
      sbgw events 0193a1b2c3d4        one event, with decision and attempts
      sbgw events --json | jq .costEstimateUsd
      sbgw events export --since 7d --out week.jsonl
    """


@events.command("list", hidden=True)
@click.argument("event_id", required=False)
@click.option("--limit", "-n", type=click.IntRange(1, 10_000), default=20, show_default=True)
@filter_options
@click.option("--follow", "-f", is_flag=True, help="Go on with requests as they finish, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, every field.")
@state_option
def listing(
    event_id: str | None, limit: int, follow: bool, as_json: bool, state_dir: Path | None, **wanted: Any
) -> None:
    """List the newest requests, or show one in full."""
    from engine.cli.subject import ledger as opened

    state = state_folder(state_dir)
    if event_id is None and not (state / "ledger.sqlite").exists():
        if not as_json:
            click.echo("no requests yet; start the gateway with `sbgw run`")
        return
    where = chosen(**wanted)
    with opened(state) as ledger:
        if event_id is not None:
            event = ledger.get(event_id)
            if event is None:
                fail(f"no event '{event_id}'", "`sbgw events` lists them", PROBLEMS)
            click.echo(json_text(event.to_json(), indent=True))
            return
        if follow:
            _follow(ledger, where, limit, as_json=as_json)
            return
        if as_json:
            lines([event.to_json() for event in ledger.recent(limit + 1, where)], limit)
        else:
            found = ledger.recent(limit, where)
            table(_HEADINGS, [_row(event) for event in reversed(found)], right=_NUMBERS, whole=_WHOLE, spare=_SPARE)


_HEADINGS = [
    "time",
    "event",
    "client",
    "class",
    "asked for",
    "served by",
    "in",
    "cached",
    "out",
    "tools",
    "cost",
    "ms",
    "status",
]

_NUMBERS = (6, 7, 8, 10, 11)
"""Columns that hold numbers."""

_WHOLE = (0, 1)
_SPARE = (9, 7, 3, 4, 2, 11, 6)
"""What a narrow terminal shows whole, and what it does without, the first one first."""

_LOOK = 0.5
"""Seconds between two looks for finished requests."""

_OVERLAP = 500
"""Newest requests that a look takes in: they finish in another order than they begin."""


def _follow(ledger: Reader, where: Filter, limit: int, *, as_json: bool) -> None:
    """Show the newest, then requests when they finish, each once."""
    columns = None if as_json else Columns(_HEADINGS, right=_NUMBERS)
    newest = ledger.recent(max(limit, _OVERLAP), where)
    newest, older = newest[:limit], newest[limit:]
    shown = {event.id for event in older if event.status != "open"}  # as good as shown: nobody asked for them
    if columns is not None:
        rows = [_row(event) for event in reversed(newest) if event.status != "open"]
        columns.widen(rows)
        click.echo(columns.line(_HEADINGS))
    try:
        while True:
            for event in finished([*newest, *older], shown):
                click.echo(json_text(event.to_json()) if columns is None else columns.line(_row(event)))
            time.sleep(_LOOK)
            newest, older = ledger.recent(_OVERLAP, where), []
    except KeyboardInterrupt:
        return


def finished(newest: list[Event], shown: set[str]) -> Iterator[Event]:
    """The finished events that are not in `shown`, oldest first; `shown` then holds the newest finished ones."""
    done = [event for event in newest if event.status != "open"]
    for event in reversed(done):
        if event.id not in shown:
            yield event
    shown.clear()
    shown.update(event.id for event in done)


@events.command("violations")
@click.option("--limit", "-n", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option("--kind", type=click.Choice(["denied", "would_deny", "dropped", "would_drop"]), help="Only of this kind.")
@click.option("--rule", help="Only of this rule.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@state_option
def violations(limit: int, kind: str | None, rule: str | None, as_json: bool, state_dir: Path | None) -> None:
    """List rules that requests broke: refusals, and what shadow rules would have refused or dropped.

    \b
    Examples:
      sbgw events violations --kind denied
      sbgw events violations --rule no-secrets --json
    """
    from engine.cli.subject import ledger as opened

    with opened(state_folder(state_dir)) as ledger:
        found = ledger.violations(limit + as_json, kind=kind, rule=rule)
    if as_json:
        lines(found, limit)
        return
    table(
        ["time", "event", "kind", "rule", "tags", "client", "project", "policy", "about"],
        [
            [
                local(said["timestamp"]), said["eventId"][:_SHORT], said["kind"], said["rule"] or "(no candidate left)",
                " ".join(said.get("tags", ())), said["client"], said.get("project", "-"), said.get("policy", "-"),
                said.get("detail", ""),
            ]
            for said in reversed(found)
        ],
        whole=(0, 1),
        spare=(7, 5, 6, 4),
    )  # fmt: skip


@events.command("export")
@filter_options
@click.option("--limit", "-n", type=click.IntRange(1), help="The newest that many.")
@click.option(
    "--format", "-F", "kind", type=click.Choice(["jsonl", "csv", "governance"]), default="jsonl", show_default=True
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file, for its owner alone.")
@state_option
def export(limit: int | None, kind: str, out: Path | None, state_dir: Path | None, **wanted: Any) -> None:
    """Write requests as lines for other tools. No text of any request.

    \b
    jsonl       every field: facts, decision, provider states, usage, cost, times; `sbgw dry-run --from` reads it
    csv         one row a request, for spreadsheets
    governance  requests and broken rules, by schemas/governance.schema.json

    \b
    Examples:
      sbgw events export --since 7d --out week.jsonl
      sbgw events export --project shop --format csv --out shop.csv
      sbgw dry-run mine.yaml --from week.jsonl
    """
    from engine.cli.event_files import HEADS, WRITERS
    from engine.cli.subject import ledger as opened

    where, write = chosen(**wanted), WRITERS[kind]
    number = 0
    with opened(state_folder(state_dir)) as ledger, _target(out) as file:
        file.write(HEADS.get(kind, b""))
        found = ledger.events(where) if limit is None else iter(reversed(ledger.recent(limit, where)))
        for event in found:
            file.write(write(event))
            number += 1
    click.echo(f"{number:,} requests", err=True)


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
        local(event.timestamp),
        event.id[:_SHORT],
        " ".join(filter(None, (event.client, event.client_version))),
        event.route_class,
        event.requested_model or "-",
        served,
        count(event.input_tokens),
        count(event.cached_input_tokens),
        count(event.output_tokens),
        _tools(event),
        money(event.total_usd),
        f"{event.latency_ms:,.0f}",
        " ".join(filter(None, (event.status, f"({event.error_class})" if event.error_class else "", hedged(event)))),
    ]


def _tools(event: Event) -> str:
    """How many tools ran before the request, how many of them failed, and what was amiss with the answer's own calls."""
    results = event.workflow.get("results", ())
    failed = sum(result.get("ok") is False for result in results)
    said = [f"{len(results)}" if results else "", f"{failed} failed" if failed else "", *amiss(event)]
    return ", ".join(filter(None, said)) or "-"


def amiss(event: Event) -> list[str]:
    """Calls of the answer that were repaired, and calls that fitted nothing; empty when there were none, or nobody checked."""
    counts = ((event.repaired_calls, "repaired"), (event.invalid_calls, "invalid"))
    return [f"{count} {word}" for count, word in counts if count]


def hedged(event: Event) -> str:
    """That two models were asked side by side; empty when they were not."""
    return "(hedged)" if any(attempt.hedge for attempt in event.attempts) else ""


def local(timestamp: str) -> str:
    """An event's time (UTC) as the user's clock showed it."""
    return datetime.fromisoformat(timestamp).astimezone().strftime("%m-%d %H:%M:%S")


def count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
