"""The picture as SVG, laid out here: steps in a row with their exits as arcs above, classes and their routes as rows below.

Only rectangles, lines and text, every text escaped; no script, no font and no picture is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from engine.cli.graphs.chart import Chart, Choice, Lane
from engine.cli.layout import cells, cut
from engine.cli.screen import safe

_CHAR, _HIGH, _GAP, _PAD, _MARGIN = 7.3, 30, 26, 12, 24
"""Pixels: a character of the 12px monospace face, a box, between boxes, beside a text, around it all."""

_ARC = 22
_LONGEST = 56

_STYLE = (
    "text{font:12px ui-monospace,Menlo,Consolas,monospace;fill:#1f2328}"
    ".box{fill:#f6f8fa;stroke:#8c959f}.lane{fill:#ddf4ff;stroke:#54aeff}.line{fill:none;stroke:#8c959f}"
    ".exit{stroke-dasharray:4 3}.taken{stroke:#1a7f37;stroke-width:2.5}.small{font-size:10.5px;fill:#656d76}"
    ".title{font-weight:bold}"
)


@dataclass(slots=True, frozen=True)
class _Box:
    x: float
    y: float
    width: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def middle(self) -> float:
        return self.y + _HIGH / 2


def as_svg(chart: Chart) -> str:
    """A whole SVG document."""
    canvas = _Canvas()
    canvas.text(_MARGIN, _MARGIN, chart.policy, "title")
    lines = max((sum(1 for way in chart.ways if way.exit), 1)) if chart.ways else 1
    bottom = _steps(chart, canvas, _MARGIN + 24 + _ARC * min(lines, 6))
    for lane in chart.lanes:
        bottom = _lane(lane, canvas, bottom + _GAP)
    if chart.marked:
        bottom += _GAP
        canvas.text(_MARGIN, bottom, f"→ {chart.ending}", "title")
    return canvas.document(bottom + _MARGIN)


class _Canvas:
    """Collects shapes, and how far they reach to the right."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._width = 0.0

    def box(self, x: float, y: float, text: str, *, kind: str = "box", taken: bool = False, note: str = "") -> _Box:
        """A box around a text; `note` appears when a mouse rests on it."""
        text = cut(safe(text), _LONGEST)
        box = _Box(x, y, cells(text) * _CHAR + 2 * _PAD)
        css = f"{kind} taken" if taken else kind
        title = f"<title>{escape(safe(note))}</title>" if note else ""
        self._parts.append(
            f'<g><rect class="{css}" x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{_HIGH}" rx="5"/>'
            f'<text x="{x + _PAD:.1f}" y="{y + _HIGH / 2 + 4:.1f}">{escape(text)}</text>{title}</g>'
        )
        self._width = max(self._width, box.right)
        return box

    def text(self, x: float, y: float, text: str, css: str = "") -> None:
        shown = safe(text)
        self._parts.append(f'<text class="{css}" x="{x:.1f}" y="{y:.1f}">{escape(shown)}</text>')
        self._width = max(self._width, x + cells(shown) * _CHAR)

    def arrow(self, path: str, *, taken: bool, dashed: bool = False) -> None:
        css = "line" + (" exit" if dashed else "") + (" taken" if taken else "")
        self._parts.append(f'<path class="{css}" d="{path}" marker-end="url(#{"t" if taken else "a"})"/>')

    def document(self, height: float) -> str:
        width = self._width + _MARGIN
        heads = "".join(
            f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0L8 4L0 8z" fill="{colour}"/></marker>'
            for name, colour in (("a", "#8c959f"), ("t", "#1a7f37"))
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}"><style>{_STYLE}</style><defs>{heads}</defs>'
            f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(self._parts)}</svg>\n'
        )


def _steps(chart: Chart, canvas: _Canvas, y: float) -> float:
    """The row of steps; its lower edge."""
    x = float(_MARGIN)
    boxes: list[_Box] = []
    for stop in chart.stops:
        name = stop.id if stop.id == stop.stage else f"{stop.id} ({stop.stage})"
        note = f"only when {stop.when}" if stop.when else ""
        boxes.append(canvas.box(x, y, name + (" ?" if stop.when else ""), taken=stop.taken, note=note))
        x = boxes[-1].right + _GAP
    level = 0
    for way in chart.ways:
        start, end = boxes[way.source], boxes[way.target]
        if not way.exit:
            canvas.arrow(f"M{start.right:.1f} {start.middle:.1f}H{end.x - 1:.1f}", taken=way.taken)
            continue
        level = level % 6 + 1
        top, at, to = y - level * _ARC, start.x + start.width / 2 + 8, end.x + 6 + 7 * level
        canvas.arrow(f"M{at:.1f} {y}V{top:.1f}H{to:.1f}V{y - 1}", taken=way.taken, dashed=not way.taken)
        canvas.text(at + 4, top - 3, way.exit, "small")
    return y + _HIGH


def _lane(lane: Lane, canvas: _Canvas, y: float) -> float:
    """A class and its route, one row; its lower edge."""
    head = canvas.box(_MARGIN, y, lane.name, kind="lane", taken=lane.taken, note=", ".join(lane.rules))
    before, x = head, head.right + _GAP
    for text, note, first in _labels(lane):
        box = canvas.box(x, y, text, taken=first, note=note)
        canvas.arrow(f"M{before.right:.1f} {before.middle:.1f}H{box.x - 1:.1f}", taken=first)
        before, x = box, box.right + _GAP
    by = f"by {lane.rule}" if lane.rule else f"by {', '.join(lane.rules)}" if lane.rules else "no rule leads here"
    canvas.text(_MARGIN, y + _HIGH + 14, cut(by, 150), "small")
    return y + _HIGH + 16


def _labels(lane: Lane) -> Iterator[tuple[str, str, bool]]:
    for choice in lane.choices:
        yield _label(choice), ", ".join(filter(None, (choice.use, choice.when, choice.why))), choice.mark == "1"


def _label(choice: Choice) -> str:
    name = choice.stands_for or choice.use
    return f"{choice.mark} {name}" if choice.mark else name + (" ?" if choice.when else "")
