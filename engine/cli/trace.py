"""`sbgw trace`: full requests and answers that a policy or `sbgw run --trace` kept; to look at, to replay, to delete."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.places import state_folder, state_option
from engine.cli.screen import PROBLEMS, USAGE, fail, json_text, lines, table
from engine.cli.spans import SINCE

if TYPE_CHECKING:
    from engine.llm.messages import JsonObject


@click.group()
def trace() -> None:
    """Show or delete traces: full requests and answers, secrets taken out.

    None is kept unless a policy's `trace:` rule, `telemetry: {store_prompts: true}` or `sbgw run --trace` asks for it.

    \b
    Examples:
      sbgw trace list
      sbgw trace show 0193a1b2c3d4 --request | sbgw explain - --policy mine.yaml
      sbgw test --from-record "$(sbgw trace path 0193a1b2c3d4)"
      sbgw trace delete --all
    """


@trace.command("list")
@click.option("--limit", "-n", type=click.IntRange(1, 100_000), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, without the texts.")
@state_option
def listing(limit: int, as_json: bool, state_dir: Path | None) -> None:
    """List the newest traces."""
    from engine.store.traces import read, traces

    folder = state_folder(state_dir) / "traces"
    rows: list[dict[str, Any]] = []
    for path in traces(folder):
        if len(rows) == limit + as_json:
            break
        try:
            rows.append(_summary(read(path), path))
        except (OSError, ValueError):
            continue  # deleted meanwhile, or not ours
    if as_json:
        lines(rows, limit)
        return
    if not rows:
        click.echo("no traces; `sbgw run --trace` keeps all, a policy's `trace:` rules keep some")
        return
    table(
        ["time", "event", "rule", "client", "asked for", "status", "KiB"],
        [
            [
                _local(r["timestamp"]),
                r["id"][:16],
                r["rule"] or "-",
                r["client"],
                r["model"] or "-",
                r["status"],
                f"{r['bytes'] / 1024:,.0f}",
            ]
            for r in reversed(rows)
        ],
        right=(6,),
    )


@trace.command()
@click.argument("event_id")
@click.option("--request", "part", flag_value="request", help="The request's body alone, as `sbgw explain -` takes it.")
@click.option("--answer", "part", flag_value="answer", help="The answer alone, as the client got it.")
@state_option
def show(event_id: str, part: str | None, state_dir: Path | None) -> None:
    """Show a trace as JSON: the event, the request, the answer.

    \b
    Examples:
      sbgw trace show 0193a1b2c3d4
      sbgw trace show 0193a1b2c3d4 --answer
    """
    data = _read(_found(event_id, state_dir))
    if part is None:
        click.echo(json_text(data, indent=True))
        return
    value = data["trace"].get(part)
    if isinstance(value, str):
        for line in value.splitlines():
            click.echo(json_text(line)[1:-1].replace('\\"', '"'))
        return
    click.echo(json_text(value, indent=True))


@trace.command()
@click.argument("event_id")
@state_option
def path(event_id: str, state_dir: Path | None) -> None:
    """Print the file of a trace, for commands that take an exported event."""
    click.echo(_found(event_id, state_dir))


@trace.command()
@click.argument("event_ids", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All traces.")
@click.option("--before", type=SINCE, help="All older than that: 90m, 12h, 7d, 2w or a date.")
@state_option
def delete(event_ids: tuple[str, ...], everything: bool, before: datetime | None, state_dir: Path | None) -> None:
    """Delete traces. The ledger's events stay.

    \b
    Examples:
      sbgw trace delete 0193a1b2c3d4
      sbgw trace delete --before 7d
    """
    from engine.store import traces as store

    if sum((bool(event_ids), everything, before is not None)) != 1:
        fail("say which: ids, --before, or --all", code=USAGE)
    folder = state_folder(state_dir) / "traces"
    chosen = [_found(event_id, state_dir) for event_id in event_ids]
    if not event_ids:
        chosen = [p for p in store.traces(folder) if before is None or p.stat().st_mtime < before.timestamp()]
    try:
        count = store.delete(iter(chosen))
    except OSError as error:
        fail(f"cannot delete a trace: {error.strerror}")
    click.echo(f"{count:,} {'trace' if count == 1 else 'traces'} deleted")


def _found(event_id: str, state_dir: Path | None) -> Path:
    from engine.store.traces import find

    found = find(state_folder(state_dir) / "traces", event_id)
    if found is None:
        fail(
            f"no trace of '{event_id}'", "`sbgw trace list` shows them; give at least 8 characters of the id", PROBLEMS
        )
    return found


def _read(path: Path) -> JsonObject:
    from engine.store.traces import read

    try:
        return read(path)
    except (OSError, ValueError) as error:
        fail(f"cannot read {path.name}: {error}")


def _summary(data: JsonObject, path: Path) -> dict[str, Any]:
    return {
        "id": data["id"],
        "timestamp": data["timestamp"],
        "rule": data["trace"].get("rule", ""),
        "client": data.get("client", ""),
        "model": data.get("requestedModel", ""),
        "status": data.get("status", ""),
        "bytes": path.stat().st_size,
    }


def _local(timestamp: str) -> str:
    return datetime.fromisoformat(timestamp).astimezone().strftime("%m-%d %H:%M:%S")
