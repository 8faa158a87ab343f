"""`sbgw top`: what the gateway is doing now, from the ledger, once a second."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.events import count, local
from engine.cli.keyboard import keys
from engine.cli.layout import cells, cut, kept
from engine.cli.places import state_folder, state_option
from engine.cli.screen import json_text, money, safe

if TYPE_CHECKING:
    from rich.console import RenderableType

    from engine.store.event import Event
    from engine.store.reader import Reader

MOST = 20_000
"""Requests that are looked at; where the window holds more, it is that much shorter."""

_COLUMNS = (
    "id", "timestamp", "client", "project", "route_class", "requested_model", "selected_provider", "selected_model",
    "input_tokens", "output_tokens", "cost_estimate_usd", "cost_reported_usd", "wasted_usd", "latency_ms", "cache_hit",
    "status", "error_class",
)  # fmt: skip
"""What a look reads of each: to unpack whole events, a busy gateway's would take seconds each second."""

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
    """As far as it is known."""
    unpriced: int = 0
    """Answers whose cost is not known."""
    latencies: list[float] = field(default_factory=list)

    def add(self, event: Event) -> None:
        """Count a finished request."""
        answered = event.status in ("success", "fallback_success") and not event.cache_hit
        self.unpriced += answered and event.cost_usd is None
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

    @property
    def cost(self) -> str:
        """What they cost, for people: what is not known is never 0."""
        if not self.unpriced:
            return money(self.cost_usd)
        return f"{money(self.cost_usd)}+?" if self.cost_usd else "?"

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests, "failed": self.failed, "inputTokens": self.input_tokens,
            "outputTokens": self.output_tokens, "costUsd": round(self.cost_usd, 6), "unpriced": self.unpriced,
            "p50Ms": self.quantile(0.5), "p95Ms": self.quantile(0.95),
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
    """Watch the gateway: requests under way, rates, latencies, tokens and cost of the last minutes.

    q or Ctrl-C ends it.

    \b
    Examples:
      sbgw top
      sbgw top --minutes 60
      sbgw top --json | jq .model
    """
    from engine.cli.subject import ledger as opened

    state = state_folder(state_dir)
    if not (state / "ledger.sqlite").exists():
        nothing = json_text(frame((), minutes).as_json(), indent=True)
        click.echo(nothing if as_json else "no requests yet; start the gateway with `sbgw run`")
        return
    with opened(state) as ledger:
        if as_json:
            click.echo(json_text(look(ledger, minutes).as_json(), indent=True))
        elif once or not _console().is_terminal or _console().is_dumb_terminal:
            _console().print(picture(look(ledger, minutes)))
        else:
            _watch(ledger, minutes)


def look(ledger: Reader, minutes: float) -> Frame:
    """What the requests of the last minutes come to."""
    from engine.store.event import Event
    from engine.store.rows import Filter, select
    from engine.store.search import NEWEST_FIRST

    now = datetime.now(UTC)
    where = Filter(since=now - timedelta(minutes=minutes))
    rows = ledger.ask(lambda c: select(c, ", ".join(_COLUMNS), where, order=NEWEST_FIRST, limit=MOST))
    events = [Event(protocol="", **dict(zip(_COLUMNS, row, strict=True))) for row in rows]
    if len(events) == MOST:
        minutes = max(_age_ms(events[-1], now) / 60_000, 0.001)
    return frame((replace(e, latency_ms=_age_ms(e, now)) if e.status == "open" else e for e in events), minutes)


def _age_ms(event: Event, now: datetime) -> float:
    return (now - datetime.fromisoformat(event.timestamp)) / timedelta(milliseconds=1)


def _watch(ledger: Reader, minutes: float) -> None:
    from rich.live import Live

    console = _console()

    def now() -> RenderableType:
        return picture(look(ledger, minutes), *console.size)

    live = Live(now(), console=console, auto_refresh=False, screen=True)
    try:
        with keys() as pressed:
            live.start(refresh=True)
            while pressed(1.0) not in _ENDS:
                live.update(now(), refresh=True)
    except KeyboardInterrupt:
        return
    finally:
        live.stop()  # Live's own context would not, when interrupted within its first picture


_ENDS = ("q", "Q", "\x1b", "\x04")
"""Keys that end the live view."""


def _console() -> Any:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    return console


def picture(found: Frame, width: int = 160, height: int = 0) -> RenderableType:
    """A frame as rich shows it, on a screen of that many columns and lines; 0 lines: as many as it takes.

    Every name is made safe for a terminal. On a small screen the newest requests come first, then each group's largest;
    a heading says how many of them are not shown.
    """
    from rich.console import Group
    from rich.text import Text

    whole = found.whole
    head = (
        (
            f"last {found.minutes:.3g} min · {len(found.under_way)} under way · {whole.requests:,} requests "
            f"({whole.requests / found.minutes:.1f}/min) · {whole.failed:,} failed"
        ),
        (
            f"p50 {whole.quantile(0.5):,.0f} ms · p95 {whole.quantile(0.95):,.0f} ms · in {whole.input_tokens:,} · "
            f"out {whole.output_tokens:,} · {whole.cost}"
        ),
    )
    groups = {
        name: [_line(key, line) for key, line in sorted(lines.items(), key=lambda item: -item[1].requests)]
        for name, lines in found.groups.items()
    }
    newest = [_newest(event) for event in (*found.under_way[:4], *found.newest)]
    tables = [("newest", _NEWEST, newest), *((name, [name, *_FIGURES], rows) for name, rows in groups.items())]
    rooms = _shared([min(len(rows), _MOST_ROWS) for _, _, rows in tables], height)
    shown = [
        _table([_told(headings[0], room, len(rows)) if name != "newest" else name, *headings[1:]], rows[:room], width)
        for (name, headings, rows), room in zip(tables, rooms, strict=True)
    ]
    parts: list[Any] = [Text(cut(line, width), style="bold") for line in head]
    for one in (*shown[1:], shown[0]):
        parts += [Text(""), one]
    return Group(*parts)


_FIGURES = ["requests", "failed", "p50 ms", "p95 ms", "in", "out", "cost"]
_NEWEST = ["newest", "client", "class", "model", "in", "out", "ms", "status"]
_RIGHT = frozenset({*_FIGURES, "ms"})

_MOST_ROWS = 8

_AROUND = 10
"""Lines of a picture beside the rows of its four tables: two in the head, and a space and a heading for each."""


def _shared(wanted: list[int], height: int) -> list[int]:
    """Rows of each table, on a screen of that height: in turns, the first table first."""
    if not height:
        return wanted
    rooms, left = [0] * len(wanted), height - _AROUND
    while left > 0 and rooms != wanted:
        for at, most in enumerate(wanted):
            if left > 0 and rooms[at] < most:
                rooms[at] += 1
                left -= 1
    return rooms


def _told(name: str, room: int, count: int) -> str:
    return name if room >= count else f"{name} ({room} of {count})"


def _line(key: str, line: Line) -> list[str]:
    return [
        key, f"{line.requests:,}", f"{line.failed:,}", f"{line.quantile(0.5):,.0f}", f"{line.quantile(0.95):,.0f}",
        f"{line.input_tokens:,}", f"{line.output_tokens:,}", line.cost,
    ]  # fmt: skip


def _newest(event: Event) -> list[str]:
    return [
        local(event.timestamp)[-8:], event.client, event.route_class,
        event.selected_model or event.requested_model or "-", count(event.input_tokens), count(event.output_tokens),
        f"{event.latency_ms:,.0f}", event.status + (f" ({event.error_class})" if event.error_class else ""),
    ]  # fmt: skip


def _table(headings: list[str], rows: list[list[str]], width: int) -> Any:
    """Figures stand whole; where the screen is narrow names are cut, and where it is very narrow some figures are left out."""
    from rich.table import Table
    from rich.text import Text

    rows = [[safe(cell) for cell in row] for row in rows]
    widths = [max(map(cells, column)) for column in zip(headings, *rows, strict=True)]
    figures = [at for at, heading in enumerate(headings) if heading in _RIGHT]
    spare = [headings.index(name) for name in _SPARE if name in headings[1:]]
    columns = kept(widths, width, fixed=figures, spare=spare, between=2)
    view = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for at in columns:
        right = at in figures
        view.add_column(
            Text(headings[at], no_wrap=True, overflow="ellipsis"), justify="right" if right else "left", no_wrap=right,
            min_width=widths[at] if right else 1,
        )  # fmt: skip
    for row in rows:
        view.add_row(*(Text(row[at], no_wrap=True, overflow="ellipsis") for at in columns))
    return view


_SPARE = ("p50 ms", "class", "in", "failed", "out")
"""Columns that a narrow screen does without, the first one first."""
