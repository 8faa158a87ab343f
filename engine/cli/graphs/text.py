"""The picture in plain text."""

from __future__ import annotations

from collections.abc import Iterator

import click

from engine.cli.graphs.chart import Chart, Choice, Lane, Stop
from engine.cli.layout import cells, cut, pad, row
from engine.cli.screen import safe


def as_text(chart: Chart, *, width: int) -> Iterator[str]:
    """Lines of at most `width` columns, colours apart."""
    yield click.style(safe(chart.policy), bold=True)
    yield ""
    yield click.style("pipeline", bold=True)
    yield from _steps(chart, width)
    exits = [
        f"{chart.stops[way.source].id}.{way.exit} → {chart.stops[way.target].id}{' ●' if way.taken else ''}"
        for way in chart.ways
        if way.exit
    ]
    if exits:
        yield from row("  exits", exits, indent=10, width=width)
    for stop in chart.stops:
        if stop.when:
            yield from row(f"  {stop.id}", [f"only when {stop.when}"], indent=10, width=width)
    for lane in chart.lanes:
        yield ""
        yield from _lane(lane, width)
    if chart.marked:
        yield ""
        yield from row("→", [chart.ending], indent=2, width=width)


def _steps(chart: Chart, width: int) -> Iterator[str]:
    line, plain = "  ", 2
    for number, stop in enumerate(chart.stops):
        name = _step(stop, marked=chart.marked)
        arrow = " → " if number else ""
        if plain + cells(arrow) + cells(name) > width:
            yield line
            line, plain, arrow = "    → ", 6, ""
        line += arrow + (click.style(name, fg="green") if stop.taken else name)
        plain += cells(arrow) + cells(name)
    yield line


def _step(stop: Stop, *, marked: bool) -> str:
    kind = "" if stop.stage == stop.id else f" ({stop.stage})"
    return safe(f"{'● ' if stop.taken else '○ ' if marked else ''}{stop.id}{kind}")


def _lane(lane: Lane, width: int) -> Iterator[str]:
    mark = "● " if lane.taken else ""
    by = f"by {', '.join(lane.rules)}" if lane.rules else "no rule leads here"
    name = click.style(f"{mark}{safe(lane.name)}", bold=True, fg="green" if lane.taken else None)
    yield name
    yield from row("", [by], indent=4, width=width)
    if lane.rule and lane.taken:
        yield from row("", [f"● {lane.rule} chose it"], indent=4, width=width)
    if lane.order:
        yield from row("", [f"in the order of {lane.order}"], indent=4, width=width)
    column = 8 + min(max((cells(choice.use) for choice in lane.choices), default=0), 40)
    for number, choice in enumerate(lane.choices):
        yield from _choice(choice, last=number == len(lane.choices) - 1, column=column, width=width)


def _choice(choice: Choice, *, last: bool, column: int, width: int) -> Iterator[str]:
    branch = "└" if last else "├"
    head = pad(f"    {branch} {choice.mark + ' ' if choice.mark else ''}{cut(safe(choice.use), 40)}", column + 2)
    about = [choice.stands_for] if choice.stands_for != choice.use else []
    about += [f"when {choice.when}"] if choice.when else []
    about += [choice.why] if choice.why else []
    lines = row(head, about, indent=column + 2, width=width)
    yield click.style(lines[0], fg="green") if choice.mark == "1" else lines[0]
    yield from lines[1:]
