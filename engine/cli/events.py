"""`sbgw events`: what was asked, who answered, what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from engine.cli.places import state_folder, state_option
from engine.cli.screen import PROBLEMS, fail, money, table

if TYPE_CHECKING:
    from engine.store.event import Event


@click.command()
@click.argument("event_id", required=False)
@click.option("--limit", "-n", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, every field.")
@state_option
def events(event_id: str | None, limit: int, as_json: bool, state_dir: Path | None) -> None:
    """List the newest requests, or show one in full.

    \b
    Examples:
      sbgw events -n 50
      sbgw events 0193a1b2c3d4        one event, with decision and attempts
      sbgw events --json | jq .costEstimateUsd
    """
    from engine.store.ledger import read_only

    path = state_folder(state_dir) / "ledger.sqlite"
    if not path.exists():
        click.echo("no requests yet; start the gateway with `sbgw run`")
        return
    with read_only(path) as ledger:
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


def _row(event: Event) -> list[str]:
    served = f"{event.selected_provider}/{event.selected_model}" if event.selected_model else "-"
    return [
        event.timestamp[11:19],
        event.id,
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


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
