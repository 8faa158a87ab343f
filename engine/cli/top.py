"""`sbgw top`: what the gateway is doing now, from the ledger, once a second."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.events import count, local
from engine.cli.places import state_folder, state_option
from engine.cli.screen import json_text, money, safe

if TYPE_CHECKING:
    from rich.console import RenderableType

    from engine.store.event import Event
    from engine.store.reader import Reader

MOST = 20_000
"""Requests of the window that are looked at."""

_GROUPS: tuple[tuple[str, Callable[[Event], str]], ...] = (
    ("model", lambda e: f"{e.selected_provider}/{e.selected_model}" if e.selected_model else "none"),
    ("client", lambda e: " ".join(filter(None, (e.client, e.project)))),
    ("class", lambda e: e.route_class or "none"),
)


@dataclass(slots=True)
class Line:
    """The requests of one group."""

    requests: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def add(self, event: Event) -> None:
        """Count a finished request."""
        self.requests += 1
        self.failed += event.status in ("error", "interrupted")
        self.input_tokens += event.input_tokens or 0
        self.output_tokens += event.output_tokens or 0
        self.cost_usd += event.total_usd or 0.0
        self.latencies.append(event.latency_ms)

    def quantile(self, share: float) -> float:
        """The latency in milliseconds below which `share` of the requests are."""
        ordered = sorted(self.latencies)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests, "failed": self.failed, "inputTokens": self.input_tokens,
            "outputTokens": self.output_tokens, "costUsd": round(self.cost_usd, 6), "p50Ms": self.quantile(0.5),
            "p95Ms": self.quantile(0.95),
        }  # fmt: skip


@dataclass(slots=True)
class Frame:
    """One look at the last minutes."""

    minutes: float
    under_way: list[Event]
    whole: Line
    groups: dict[str, dict[str, Line]]
    newest: list[Event]

    def as_json(self) -> dict[str, Any]:
        return {
            "format_version": 1,
            "minutes": self.minutes,
            "underWay": len(self.under_way),
            "total": self.whole.as_json(),
            **{name: {key: line.as_json() for key, line in lines.items()} for name, lines in self.groups.items()},
        }


def frame(events: Iterable[Event], minutes: float) -> Frame:
    """What `events`, newest first, come to."""
    found = Frame(minutes, [], Line(), {name: defaultdict(Line) for name, _ in _GROUPS}, [])
    for event in events:
        if event.status == "open":
            found.under_way.append(event)
            continue
        found.whole.add(event)
        for name, key in _GROUPS:
            found.groups[name][key(event)].add(event)
        if len(found.newest) < 8:
            found.newest.append(event)
    return found


@click.command()
@click.option(
    "--minutes", type=click.FloatRange(0.1, 1440), default=5.0, show_default=True, help="How far to look back."
)
@click.option("--once", is_flag=True, help="Show it once and stop.")
@click.option("--json", "as_json", is_flag=True, help="Once, machine-readable.")
@state_option
def top(minutes: float, once: bool, as_json: bool, state_dir: Path | None) -> None:
    """Watch the gateway: requests under way, rates, latencies, tokens and cost of the last minutes. Ctrl-C ends it.

    \b
    Examples:
      sbgw top
      sbgw top --minutes 60
      sbgw top --json | jq .model
    """
    from engine.cli.subject import ledger as opened

    state = state_folder(state_dir)
    if not (state / "ledger.sqlite").exists():
        click.echo("no requests yet; start the gateway with `sbgw run`")
        return
    with opened(state) as ledger:
        if as_json:
            click.echo(json_text(_look(ledger, minutes).as_json(), indent=True))
        elif once or not _console().is_terminal:
            _console().print(picture(_look(ledger, minutes)))
        else:
            _watch(ledger, minutes)


def _look(ledger: Reader, minutes: float) -> Frame:
    from engine.store.rows import Filter

    since = datetime.now(UTC) - timedelta(minutes=minutes)
    return frame(ledger.recent(MOST, Filter(since=since)), minutes)


def _watch(ledger: Reader, minutes: float) -> None:
    from rich.live import Live

    try:
        with Live(picture(_look(ledger, minutes)), console=_console(), auto_refresh=False, screen=True) as live:
            while True:
                time.sleep(1.0)
                live.update(picture(_look(ledger, minutes)), refresh=True)
    except KeyboardInterrupt:
        return


def _console() -> Any:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    return console


def picture(found: Frame) -> RenderableType:
    """A frame as rich shows it. Every name is made safe for a terminal."""
    from rich.console import Group
    from rich.text import Text

    whole = found.whole
    head = (
        f"last {found.minutes:g} min   {len(found.under_way)} under way   {whole.requests:,} requests "
        f"({whole.requests / found.minutes:.1f}/min)   {whole.failed:,} failed   p50 {whole.quantile(0.5):,.0f} ms   "
        f"p95 {whole.quantile(0.95):,.0f} ms   in {whole.input_tokens:,}   out {whole.output_tokens:,}   {money(whole.cost_usd)}"
    )
    parts: list[Any] = [Text(head, style="bold"), Text("")]
    for name, lines in found.groups.items():
        ordered = sorted(lines.items(), key=lambda item: item[1].requests, reverse=True)[:8]
        parts.append(
            _table(
                [name, "requests", "failed", "p50 ms", "p95 ms", "in", "out", "cost"],
                [
                    [
                        key, f"{line.requests:,}", f"{line.failed:,}", f"{line.quantile(0.5):,.0f}",
                        f"{line.quantile(0.95):,.0f}", f"{line.input_tokens:,}", f"{line.output_tokens:,}",
                        money(line.cost_usd),
                    ]
                    for key, line in ordered
                ],
            )
        )  # fmt: skip
    rows = [
        [
            local(event.timestamp), event.client, event.route_class, event.selected_model or event.requested_model or "-",
            count(event.input_tokens), count(event.output_tokens), f"{event.latency_ms:,.0f}",
            event.status + (f" ({event.error_class})" if event.error_class else ""),
        ]
        for event in (*found.under_way[:4], *found.newest)
    ]  # fmt: skip
    parts.append(_table(["newest", "client", "class", "model", "in", "out", "ms", "status"], rows))
    return Group(*parts)


def _table(headings: list[str], rows: list[list[str]]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    view = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        numbers = heading in {"requests", "failed", "p50 ms", "p95 ms", "in", "out", "cost", "ms"}
        view.add_column(heading, justify="right" if numbers else "left", overflow="ellipsis", no_wrap=True)
    for row in rows:
        view.add_row(*(Text(safe(cell)) for cell in row))
    return view
