"""`sbgw sessions`: what each session asked and cost; one of them request by request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.events import count, local
from engine.cli.places import state_folder, state_option
from engine.cli.screen import PROBLEMS, fail, json_text, money, table

if TYPE_CHECKING:
    from engine.store.event import Event
    from engine.store.sums import SessionSum


_MOST = 10_000


@click.command()
@click.argument("session_id", required=False)
@click.option(
    "--limit", "-n", type=click.IntRange(1, _MOST), help="The newest that many: 20 sessions, all requests of one."
)
@click.option("--project", help="Only sessions of that project.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@state_option
def sessions(
    session_id: str | None, limit: int | None, project: str | None, as_json: bool, state_dir: Path | None
) -> None:
    """List the sessions with the newest requests, or show one of them: turns, tool calls by name, models, cost.

    \b
    Examples:
      sbgw sessions
      sbgw sessions --project shop --json
      sbgw sessions 01a20807-95c0-70f0-847e-5d6534ac261b
    """
    from engine.cli.subject import ledger as opened
    from engine.store.rows import Filter
    from engine.store.sums import workflow_step

    state = state_folder(state_dir)
    if session_id is None and not (state / "ledger.sqlite").exists():
        if as_json:
            _list([], 0, as_json=True)
        else:
            click.echo("no requests yet; start the gateway with `sbgw run`")
        return
    with opened(state) as ledger:
        if session_id is None:
            found_sums = ledger.sessions(limit or 20, project=project)
            _list(found_sums, ledger.session_count(project=project) - len(found_sums), as_json=as_json)
            return
        found = ledger.recent(limit or _MOST, Filter(session=session_id))[::-1]
        more = ledger.count(Filter(session=session_id)) - len(found)
    if not found:
        fail(f"no session '{session_id}'", "`sbgw sessions` lists them", PROBLEMS)
    if as_json:
        steps = [workflow_step(event) for event in found]
        document = {"format_version": 1, "session": session_id, "more": max(more, 0), "requests": steps}
        click.echo(json_text(document, indent=True))
        return
    _trace(found)


def _list(found: list[SessionSum], more: int, *, as_json: bool) -> None:
    if as_json:
        document = {"format_version": 1, "more": max(more, 0), "sessions": [one.to_json() for one in found]}
        click.echo(json_text(document, indent=True))
        return
    table(
        ["last", "session", "client", "project", "model", "requests", "failed", "in", "cached", "out", "cost"],
        [
            [
                local(one.last), one.id, one.client, one.project or "-", one.model or "-", f"{one.requests:,}",
                f"{one.failed:,}", count(one.input_tokens), count(one.cached_input_tokens), count(one.output_tokens),
                money(one.cost_usd) + (f" + {one.unpriced} unknown" if one.unpriced else ""),
            ]
            for one in found
        ],
        right=(5, 6, 7, 8, 9, 10),
        whole=(0,),
        spare=(8, 6, 7, 9, 4, 2),
    )  # fmt: skip


def _trace(found: list[Event]) -> None:
    table(
        ["time", "event", "agent", "class", "model", "turn", "tools since", "in", "out", "cost", "ms", "status"],
        [
            [
                local(event.timestamp), event.id[:16], event.agent or "main", event.route_class,
                event.selected_model or "-", str(event.workflow.get("turn", "-")), _results(event),
                count(event.input_tokens), count(event.output_tokens),
                money(event.total_usd), f"{event.latency_ms:,.0f}", event.status,
            ]
            for event in found
        ],
        right=(5, 7, 8, 9, 10),
        whole=(0, 1),
        spare=(5, 3, 7, 10, 8, 4),
    )  # fmt: skip


def _results(event: Event) -> str:
    """Tool results that came with the request: `Bash Edit!`, a mark for an error."""
    said = event.workflow.get("results", ())
    return " ".join((one["tool"] or "?") + ("!" if one.get("ok") is False else "") for one in said) or "-"
