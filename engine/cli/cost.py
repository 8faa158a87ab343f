"""`sbgw cost`: what was spent on whom, and what was saved against the model asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from engine.cli.places import state_folder, state_option
from engine.cli.screen import USAGE, fail, json_text, money, table
from engine.cli.spans import SINCE

if TYPE_CHECKING:
    from engine.store.attribution import Source
    from engine.store.costs import By, Saved, Spent
    from engine.store.reader import Reader

_BY = ("project", "session", "client", "model", "class", "day", "agent", "key", "policy", "repository", "tag")


@click.command()
@click.option("--by", type=click.Choice(_BY), help="Group by this; left out: by model, savings in all.")
@click.option("--since", type=SINCE, default="30d", show_default=True, help="From then on: 90m, 12h, 7d, 2w or a date.")
@click.option("--savings", is_flag=True, help="Compare with everything to the model asked for.")
@click.option("--project", help="Only that project's.")
@click.option("--session", help="Only that session's.")
@click.option("--client", help="Only of that client: claude-code, codex, ...")
@click.option(
    "--limit", type=click.IntRange(0), default=50, show_default=True, help="Sessions shown at most, 0 for all of them."
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@state_option
def cost(
    by: By | Source | None,
    since: datetime,
    savings: bool,
    limit: int,
    as_json: bool,
    state_dir: Path | None,
    **only: str | None,
) -> None:
    """What requests have cost, from the ledger; what is not known is counted apart, never as 0.

    By agent, key, policy, repository or tag, and of some requests only, each kept event is looked at: seconds for a large ledger.

    \b
    Examples:
      sbgw cost                             by model, the last 30 days
      sbgw cost --by project --since 7d
      sbgw cost --by session --limit 10     the ten dearest sessions
      sbgw cost --by day --since 2026-11-01 --json
      sbgw cost --by agent --project shop   its sub-agents; the main loop has no name
      sbgw cost --savings                   against everything to the model asked for
    """
    from engine.cli.subject import ledger as opened
    from engine.store import costs
    from engine.store.attribution import SOURCES, attributed
    from engine.store.rows import Filter

    state = state_folder(state_dir)
    alone = by in SOURCES or any(value is not None for value in only.values())
    if savings and alone:
        fail(
            "savings are known of all requests, in all or by project, session, client, model, class or day", code=USAGE
        )
    if not (state / "ledger.sqlite").exists():
        _empty(since, as_json=as_json)
        return
    grouped = cast("By | None", by)
    with opened(state) as reader:
        if alone:
            where = Filter(since=since, **only)  # type: ignore[arg-type]
            found, whole = reader.ask(lambda connection: attributed(connection, by or "model", where))
            shown = found[: limit or None] if by == "session" else found
            _show_spent(shown, by or "model", since, whole, len(found), as_json=as_json, sessions="requests of")
            return
        if savings:
            compared = reader.ask(lambda connection: costs.saved(connection, since, grouped, limit or None))
            count = reader.ask(lambda connection: costs.all_sessions(connection, since))[0] if by == "session" else 0
            behind = _behind(reader, "savings")
            _show_savings(compared, grouped, since, max(count - len(compared), 0), behind, as_json=as_json)
            return
        spent = reader.ask(lambda connection: costs.spent(connection, grouped or "model", since, limit or None))
        if by == "session":
            count, whole = reader.ask(lambda connection: costs.all_sessions(connection, since))
        else:
            count, whole = len(spent), costs.total(spent)
        behind = _behind(reader, "estimates")
    _show_spent(spent, by or "model", since, whole, count, behind, as_json=as_json)


def _behind(reader: Reader, sums: str) -> float | None:
    """How far (0 to 1) an older ledger is brought up to date whose `sums` are not whole yet; None when they are."""
    from engine.store.upgrades import upgrading

    state = reader.ask(upgrading)
    return round(state.done, 3) if state is not None and sums in state.sums else None


def _say_behind(behind: float | None, what: str) -> None:
    if behind is not None:
        click.echo(f"older requests are still being added up ({behind:.0%} done, while the gateway runs): {what}")


def _empty(since: datetime, *, as_json: bool) -> None:
    if as_json:
        click.echo(json_text({"format_version": 1, "since": since.isoformat(), "groups": []}))
    else:
        click.echo("no requests yet; start the gateway with `sbgw run`")


def _camel(values: dict[str, Any]) -> dict[str, Any]:
    def name(key: str) -> str:
        first, *rest = key.split("_")
        return first + "".join(word.capitalize() for word in rest)

    return {name(key): value for key, value in values.items()}


def _document(by: str | None, since: datetime, groups: list[dict[str, Any]], **more: Any) -> str:
    document = {"format_version": 1, "by": by, "since": since.isoformat(), **more, "groups": groups}
    return json_text(document, indent=True)


def _show_spent(
    groups: list[Spent],
    by: str,
    since: datetime,
    whole: Spent,
    count: int,
    behind: float | None = None,
    *,
    as_json: bool,
    sessions: str = "whole",
) -> None:
    if as_json:
        listed = [_camel(asdict(group)) for group in groups]
        total = {key: value for key, value in _camel(asdict(whole)).items() if key != "name"}
        more = count - len(groups)
        click.echo(_document(by, since, listed, total=total, count=count, more=more, **_upgraded(behind)))
        return
    if not groups:
        named = "names a session" if by == "session" else "is recorded"
        click.echo(f"no request since {since:%Y-%m-%d %H:%M} {named}")
        return
    rows = [_row(group, group.name or "(none)") for group in groups]
    if len(groups) > 1 or by == "tag":
        rows.append(_row(whole, "total"))
    table([by, "requests", "failed", "in", "cached", "out", "cost"], rows, right=(1, 2, 3, 4, 5, 6))
    if whole.unknown:
        click.echo(
            f"{whole.unknown:,} of {whole.requests:,} requests have no known cost and are in no sum (? in the table)"
        )
    if whole.estimated_usd:
        share = f" ({whole.estimated_usd / whole.cost_usd:.1%})" if whole.cost_usd else ""
        click.echo(f"{money(whole.estimated_usd)} of it{share} is estimated: no provider told those tokens")
    _say_behind(behind, "the estimated part is larger than that")
    if by == "session":
        dearest = f"the dearest {len(groups):,} of {count:,} " if count > len(groups) else ""
        click.echo(f"{dearest}{sessions} sessions that were active since {since:%Y-%m-%d %H:%M}")


def _row(group: Spent, name: str) -> list[str]:
    known = money(group.cost_usd) if group.cost_usd or group.unknown < group.requests else "?"
    shown = f"{known} + {group.unknown:,} × ?" if group.unknown and known != "?" else known
    counts = (group.requests, group.failed, group.input_tokens, group.cached_input_tokens, group.output_tokens)
    return [name, *(f"{count:,}" for count in counts), shown]


def _upgraded(behind: float | None) -> dict[str, float]:
    """What a document says of sums that are not whole yet."""
    return {} if behind is None else {"upgraded": behind}


def _show_savings(
    groups: list[Saved], by: str | None, since: datetime, more: int, behind: float | None, *, as_json: bool
) -> None:
    if as_json:
        listed = [{**_camel(asdict(group)), "savedUsd": group.saved_usd} for group in groups]
        click.echo(_document(by, since, listed, more=more, **_upgraded(behind)))
        return
    _say_behind(behind, "their savings are not in it yet")
    if not groups:
        click.echo(f"no requests since {since:%Y-%m-%d %H:%M}")
    for group in groups:
        if by is not None:
            click.echo(click.style(f"{by} {group.name or '(none)'}", bold=True))
        table(["", "requests", "USD"], _lines(group), right=(1, 2))
        if group.unknown:
            click.echo(f"{group.unknown:,} answers whose price is not known on both sides are not in it")
        click.echo()
    if groups:
        click.echo(
            "an estimate: the recorded tokens at the requested model's price of that time; another model would have"
        )
        click.echo("answered with other tokens")
    if groups and by == "session":
        left = f"; {more:,} more of them, see --limit" if more else ""
        click.echo(f"whole sessions that were active since {since:%Y-%m-%d %H:%M}{left}")


def _lines(group: Saved) -> Iterator[list[str]]:
    yield ["everything to the model asked for", f"{group.requests:,}", money(group.requested_usd)]
    for sign, label, count, usd in (
        ("-", "a cheaper model served", group.downgrades, group.downgraded_usd),
        ("-", "the response cache answered", group.cached, group.cached_usd),
        ("-", "the policy refused", group.refused, group.refused_usd),
        ("+", "fallbacks to dearer models", group.fallbacks, group.fallback_usd),
        ("+", "the policy chose a dearer model", group.dearer, group.dearer_usd),
        ("+", "attempts that brought nothing", group.wasted, group.wasted_usd),
    ):
        if count:
            yield [f"  {label}", f"{count:,}", sign + money(usd)]
    percent = f"  ({-group.saved_usd / group.requested_usd:+.1%})" if group.requested_usd else ""
    yield ["as it was", "", money(group.actual_usd) + percent]
