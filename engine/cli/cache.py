"""`sbgw cache`: what providers' prompt caches gave, against what was expected of them, and where prompts broke."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.places import state_folder, state_option
from engine.cli.screen import json_text, money, table
from engine.cli.spans import SINCE
from engine.llm.messages import JsonObject

if TYPE_CHECKING:
    from engine.store.warmth import Broken, Tokens, Warmth


@click.group(invoke_without_command=True)
@click.option("--since", type=SINCE, default="7d", show_default=True, help="From then on: 90m, 12h, 7d, 2w or a date.")
@click.option("--session", default=None, help="This session only.")
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True, help="Sessions and breaks shown.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, with all sessions and breaks.")
@state_option
@click.pass_context
def cache(
    context: click.Context, since: datetime, session: str | None, limit: int, as_json: bool, state_dir: Path | None
) -> None:
    """How much of the prompts providers read from their caches, expected and reported.

    A break is a prompt whose beginning changed while a cache still had it: a tool inserted, a time of day in the system text.
    It is named by the first segment that differs, with what reading the rest anew cost. No text is kept to show more.

    \b
    Examples:
      sbgw cache                      by model and session, the last 7 days
      sbgw cache --since 12h --limit 30
      sbgw cache --session 0198c1d2-…
      sbgw cache --json
      sbgw cache clear                delete the answers that the response cache keeps
    """
    if context.invoked_subcommand is not None:
        return
    from engine.cli.subject import ledger
    from engine.store.rows import Filter
    from engine.store.warmth import Warmth

    state = state_folder(state_dir)
    if (state / "ledger.sqlite").exists():
        with ledger(state) as reader:
            report = Warmth.of(reader.events(Filter(since=since, session=session)))
    else:
        report = Warmth()
    if as_json:
        click.echo(json_text(_document(report, since), indent=True))
    elif not report.models:
        click.echo("no answered requests in that time; `sbgw run` starts the gateway")
    else:
        _show(report, limit)


def _document(report: Warmth, since: datetime) -> JsonObject:
    return {
        "format_version": 1,
        "since": since.isoformat(),
        "all": _sums(report.whole),
        "models": [_sums(sums) for sums in _largest(report.models)],
        "sessions": [_sums(sums) for sums in _largest(report.sessions)],
        "breaks": [asdict(broken) for broken in reversed(report.breaks)],
    }


def _sums(sums: Tokens) -> JsonObject:
    return {
        "name": sums.name,
        "requests": sums.requests,
        "requestsUntold": sums.untold,
        "inputTokens": sums.prompt,
        "expectedTokens": sums.expected,
        "cachedTokens": sums.read,
        "writtenTokens": sums.written,
        "expectedRate": sums.expected_rate,
        "hitRate": sums.hit_rate,
        "medianError": sums.error,
        "hints": dict(sums.hints),
    }


@cache.command()
@state_option
def clear(state_dir: Path | None) -> None:
    """Delete the answers that the response cache keeps on this machine. Providers' prompt caches are not touched.

    \b
    Examples:
      sbgw cache clear
    """
    import sqlite3

    from engine.cli.screen import fail
    from engine.store import answer_file

    try:
        count = answer_file.clear(state_folder(state_dir) / "answers")
    except (OSError, sqlite3.Error) as error:
        fail(f"cannot clear the kept answers: {error}")
    click.echo(f"{count:,} {'answer' if count == 1 else 'answers'} deleted")


def _largest(groups: dict[str, Tokens]) -> list[Tokens]:
    return sorted(groups.values(), key=lambda sums: (-sums.prompt, sums.name))


_HEADINGS = ["requests", "prompt", "expected", "read", "off by", "hints"]


def _show(report: Warmth, limit: int) -> None:
    table(["model", *_HEADINGS], map(_row, [*_largest(report.models), report.whole]), right=range(1, 6))
    sessions = _largest(report.sessions)
    click.echo()
    table(["session", *_HEADINGS], map(_row, sessions[:limit]), right=range(1, 6))
    if len(sessions) > limit:
        click.echo(f"and {len(sessions) - limit} more sessions (--limit, --json)")
    if report.whole.untold:
        click.echo(f"{report.whole.untold} requests are in no rate: their providers do not tell what they read")
    click.echo()
    if not report.breaks:
        click.echo("no prompt broke")
        return
    usd = sum(broken.usd for broken in report.breaks)
    count = len(report.breaks)
    cost = f"which cost {money(usd)}" if usd else "at prices that are not known"
    click.echo(f"{count} {'prompt' if count == 1 else 'prompts'} broke, {cost}; the newest:")
    rows = map(_break, report.breaks[: -limit - 1 : -1])
    table(["when", "event", "client", "segment", "model", "tokens", "cost"], rows, right=(5, 6))


def _row(sums: Tokens) -> list[str]:
    hints = ", ".join(f"{name} {count}" for name, count in sums.hints.most_common())
    rates = (sums.expected_rate, sums.hit_rate, sums.error)
    return [sums.name, str(sums.requests), f"{sums.prompt:,}", *map(_percent, rates), hints]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _break(broken: Broken) -> list[str]:
    when = f"{broken.timestamp[:10]} {broken.timestamp[11:19]}"
    return [
        when,
        broken.id,
        broken.client,
        broken.segment,
        broken.model,
        f"{broken.tokens:,}",
        money(broken.usd or None),
    ]
