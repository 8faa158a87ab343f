"""The picture in the languages of other programs: Mermaid and Graphviz."""

from __future__ import annotations

from collections.abc import Iterator

from engine.cli.graphs.chart import Chart, Choice, Lane, Stop
from engine.cli.screen import safe

_MERMAID = str.maketrans({
    '"': "#quot;", "#": "#35;", "&": "#amp;", "<": "#lt;", ">": "#gt;", "`": "#96;", "\\": "#92;", "[": "#91;", "]": "#93;",
})  # fmt: skip


def as_mermaid(chart: Chart) -> Iterator[str]:
    """A Mermaid flowchart, for documents that draw it themselves."""
    yield "flowchart LR"
    yield f'  subgraph pipeline["{_mermaid(chart.policy)}"]'
    yield "    direction LR"
    for number, stop in enumerate(chart.stops):
        yield f'    s{number}["{_mermaid(_stop(stop))}"]'
    for way in chart.ways:
        label = f'|"{_mermaid(way.exit)}"|' if way.exit else ""
        yield f"    s{way.source} {'==>' if way.taken else '-->' if not way.exit else '-.->'}{label} s{way.target}"
    yield "  end"
    for number, lane in enumerate(chart.lanes):
        yield f'  c{number}(["{_mermaid(_lane(lane))}"])'
        before = f"c{number}"
        for place, choice in enumerate(lane.choices):
            name = f"c{number}m{place}"
            yield f'  {before} --> {name}["{_mermaid(_choice(choice))}"]'
            before = name
    taken = [f"s{n}" for n, stop in enumerate(chart.stops) if stop.taken]
    taken += [f"c{n}" for n, lane in enumerate(chart.lanes) if lane.taken]
    taken += [f"c{n}m{p}" for n, lane in enumerate(chart.lanes) for p, c in enumerate(lane.choices) if c.mark == "1"]
    if taken:
        yield "  classDef taken stroke-width:3px,stroke:#2e7d32"
        yield f"  class {','.join(taken)} taken"


def as_dot(chart: Chart) -> Iterator[str]:
    """A Graphviz digraph."""
    yield "digraph policy {"
    yield f'  label={_dot(chart.policy)}; rankdir=LR; node [shape=box, fontname="Helvetica"];'
    for number, stop in enumerate(chart.stops):
        yield f"  s{number} [label={_dot(_stop(stop))}{_bold(stop.taken)}];"
    for way in chart.ways:
        style = ", style=dashed" if way.exit and not way.taken else ""
        label = f"label={_dot(way.exit)}" if way.exit else 'label=""'
        yield f"  s{way.source} -> s{way.target} [{label}{style}{_bold(way.taken)}];"
    for number, lane in enumerate(chart.lanes):
        yield f"  c{number} [label={_dot(_lane(lane))}, shape=ellipse{_bold(lane.taken)}];"
        before = f"c{number}"
        for place, choice in enumerate(lane.choices):
            name = f"c{number}m{place}"
            yield f"  {name} [label={_dot(_choice(choice))}{_bold(choice.mark == '1')}];"
            yield f"  {before} -> {name};"
            before = name
    yield "}"


def _bold(taken: bool) -> str:
    return ', penwidth=3, color="#2e7d32"' if taken else ""


def _stop(stop: Stop) -> str:
    name = stop.id if stop.id == stop.stage else f"{stop.id} ({stop.stage})"
    return f"{name} when {stop.when}" if stop.when else name


def _lane(lane: Lane) -> str:
    return f"{lane.name}: {', '.join(lane.rules)}" if lane.rules else lane.name


def _choice(choice: Choice) -> str:
    name = choice.stands_for or choice.use
    parts = [f"{choice.mark} {name}" if choice.mark else name]
    parts += [f"when {choice.when}"] if choice.when else []
    parts += [choice.why] if choice.why else []
    return ", ".join(parts)


def _mermaid(text: str) -> str:
    return safe(text).translate(_MERMAID)


def _dot(text: str) -> str:
    escaped = safe(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
