"""An explanation for people: what was asked in which order, what each answer hung on, who may serve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import click

from engine.cli.layout import cells, cut, pad, row
from engine.cli.screen import safe
from engine.policy.difference import KINDS, deciding_line, differences, explained_outcome, part_text
from engine.policy.explanation import Choice, Explanation, Part, Ruling, Told, place

_LABEL = 10
"""Columns of a section's name."""

_MOST_ID = 26
_MOST_PARTS = 8
_LONG_PART = 90

_MARKS = {"true": ("✓", "green"), "false": ("✗", ""), "error": ("!", "red")}


def render(explained: Explanation, *, width: int, full: bool = False) -> list[str]:
    """Lines of at most `width` columns, colours apart. `full` adds every subexpression and every rule asked."""
    return list(_Page(explained, width, full).lines())


class _Page:
    def __init__(self, explained: Explanation, width: int, full: bool) -> None:
        self._explained = explained
        self._width = width
        self._full = full

    def lines(self) -> Iterator[str]:
        explained = self._explained
        yield from self._verdict()
        if explained.path:
            yield from self._row("path", [" → ".join(explained.path)])
        yield from self._section("vars", self._variables(), "")
        yield from self._section("override", explained.overrides, "no override holds")
        yield from self._section("classify", explained.classify, "no rule holds")
        yield from self._section("deny", explained.deny, "nothing refuses" if explained.deny else "")
        yield from self._section("shadow", explained.require, "")
        if explained.route:
            yield from self._route()
        yield from self._section("cache", explained.cache, "the answer is not kept")
        yield from self._section("trace", explained.trace, "no trace is kept")

    def _verdict(self) -> Iterator[str]:
        decision = self._explained.decision
        yield from self._row("policy", [decision.policy])
        denial, chosen = decision.denial, decision.chosen
        by = f"by {denial.rule} " if denial is not None and denial.rule else ""
        if denial is not None:
            yield from self._row("decision", [f"refused with {denial.status} {by}({denial.reason})"], colour="red")
            yield from self._row("", [denial.message])
        elif chosen is not None:
            how = "as it is" if chosen.preserve else f"translated to {chosen.protocol}"
            yield from self._row("decision", [f"{chosen.ref}, {how}"], colour="green")
        rule = f" by {decision.class_rule}" if decision.class_rule else ""
        yield from self._row("class", [f"{decision.route_class}{rule} ({decision.class_reason})"])

    def _section(self, name: str, rules: Sequence[Ruling], nothing: str) -> Iterator[str]:
        asked = [rule for rule in rules if rule.outcome != "not asked"]
        left = [rule.id for rule in rules if rule.outcome == "not asked"]
        if not asked and not (nothing and rules):
            return
        decided = next((rule for rule in rules if rule.reason is not None and not rule.shadow), None)
        title = nothing if decided is None else " ".join(filter(None, (decided.does, place(decided.span))))
        yield from self._row(name, [title] if title else [])
        column = 4 + min(max((cells(rule.id) for rule in asked), default=0), _MOST_ID) + 2
        for rule in asked:
            yield from self._ruling(rule, column)
        if left:
            yield from row("  ·", [f"not asked: {', '.join(left)}"], indent=4, width=self._width)

    def _ruling(self, rule: Ruling, column: int, lead: str = "  ") -> Iterator[str]:
        mark, colour = _MARKS["true" if rule.section == "var" and rule.outcome == "true" else rule.outcome]
        if rule.section == "var":
            mark, colour = "=", ""
        if rule.shadow:
            mark, colour = "~", "yellow"
        if rule.section == "route" and rule.outcome == "true" and not rule.does:
            mark, colour = "-", ""
        lines = row(f"{lead}{mark} {rule.id}", self._because(rule), indent=column, width=self._width)
        yield _coloured(lines[0], mark, colour)
        yield from lines[1:]
        if self._full:
            yield from self._steps(rule.conditions, column)

    def _because(self, rule: Ruling) -> Iterator[str]:
        if rule.section == "var":
            yield rule.does
        if rule.shadow:
            yield "(shadow)"
        yield from self._parts(rule.conditions)
        if rule.section == "route":
            yield "" if rule.does == rule.id else rule.does
        elif rule.reason is not None and rule.section != "deny":
            yield f"→ {rule.does}"
        elif rule.reason is not None:
            yield f"→ {rule.reason}"
        if rule.detail:
            yield rule.detail

    def _parts(self, conditions: Iterable[Told]) -> Iterator[str]:
        parts = [part for told in conditions for part in told.parts]
        for part in parts[:_MOST_PARTS]:
            yield _short(part) if not self._full else part_text(part)
        if len(parts) > _MOST_PARTS:
            yield f"and {len(parts) - _MOST_PARTS} more"
        for told in conditions:
            if told.outcome.startswith("error"):
                yield told.outcome

    def _steps(self, conditions: Iterable[Told], column: int) -> Iterator[str]:
        """Every subexpression with its value, the inner ones further in."""
        for told in conditions:
            for depth, text, value in told.steps:
                start = column + 2 + 2 * min(depth, 8)
                room = max(self._width - start - min(cells(value), 30) - 3, 10)
                shown = f"{' ' * start}{cut(safe(text), room)}   {safe(value)}"
                yield click.style(cut(shown, self._width), dim=True)

    def _variables(self) -> list[Ruling]:
        """Variables that something shown was decided by, those that they read in turn included."""
        explained = self._explained
        if self._full:
            return list(explained.vars)
        rules = (
            *explained.overrides, *explained.classify, *explained.deny, *explained.require, *explained.entries,
            *explained.cache, *explained.trace,
        )  # fmt: skip
        told = [t for rule in rules for t in rule.conditions] + [t for c in explained.candidates for t in c.conditions]
        known = {rule.id: rule for rule in explained.vars}
        wanted: set[str] = set()
        queue = list(_variables_read(told))
        while queue:
            name = queue.pop()
            if name in known and name not in wanted:
                wanted.add(name)
                queue += _variables_read(known[name].conditions)
        return [rule for rule in explained.vars if rule.id in wanted]

    def _route(self) -> Iterator[str]:
        explained = self._explained
        about = filter(None, (explained.route, place(explained.route_span), explained.route_detail))
        yield from self._row("route", list(about))
        column = 4 + min(max((cells(entry.id) for entry in explained.entries), default=0), _MOST_ID) + 2
        for entry in explained.entries:
            yield from self._ruling(entry, column)
        yield from self._row("models", [] if explained.candidates else ["nobody"])
        column = 4 + min(max((cells(c.ref) for c in explained.candidates), default=0), 44) + 2
        for choice in explained.candidates:
            yield from self._choice(choice, column)

    def _choice(self, choice: Choice, column: int) -> Iterator[str]:
        mark = str(choice.place) if choice.place else "-"
        lines = row(f"  {mark} {choice.ref}", self._about(choice), indent=column, width=self._width)
        yield _coloured(lines[0], mark, "green" if choice.place == 1 else "")
        yield from lines[1:]
        if self._full:
            inner = 10 + max((cells(rule.id) for rule in choice.asked), default=0)
            for rule in choice.asked:
                yield from self._ruling(rule, inner, " " * 6)

    def _about(self, choice: Choice) -> Iterator[str]:
        if choice.place == 0:
            yield f"{choice.reason} {choice.rule} {place(choice.span)}".rstrip()
            yield from self._parts(choice.conditions)
        else:
            yield "as it is" if choice.preserve else f"translated to {choice.protocol}"
        for told in choice.order:
            yield f"order {_rounded(told.outcome)}"
            yield from self._parts(choice.order) if self._full else ()
        if choice.losses:
            yield "loses " + ", ".join(f"{loss.code} ({loss.severity})" for loss in choice.losses)
        if choice.detail and (choice.place or not choice.losses):
            yield choice.detail

    def _row(self, label: str, parts: Sequence[str], *, colour: str = "") -> Iterator[str]:
        lines = row(label, parts, indent=_LABEL, width=self._width)
        first = lines[0]
        rest = click.style(first[_LABEL:], fg=colour) if colour else first[_LABEL:]
        yield click.style(pad(first[:_LABEL], 0), bold=True) + rest
        yield from lines[1:]


def _variables_read(conditions: Iterable[Told]) -> Iterator[str]:
    for told in conditions:
        for part in told.parts:
            yield from (path.partition(".")[2] for path, _ in part.reads if path.startswith("vars."))


def _short(part: Part) -> str:
    """The part with its values; of a long one the beginning."""
    text = part_text(part)
    if cells(text) <= _LONG_PART:
        return text
    values = ", ".join(value for _, value in part.reads) or part.value
    room = max(_LONG_PART - cells(values) - 3, 24)
    return f"{cut(part.text, room)} ({values})"


def _coloured(line: str, mark: str, colour: str) -> str:
    return line.replace(mark, click.style(mark, fg=colour), 1) if colour else line


def compared(first: Explanation, second: Explanation, *, width: int) -> list[str]:
    """Two decisions side by side, what differs, and the line of each policy that made it so."""
    old, new = explained_outcome(first), explained_outcome(second)
    room = max((width - _LABEL - 3) // 2, 20)
    lines = []
    for label, left, right in _sides(first, second):
        same = label != "policy" and left == right
        text = f"{pad(label, _LABEL)}{pad(cut(safe(left), room), room)}   {cut(safe(right), room)}"
        lines.append(click.style(text, dim=True) if same else text)
    kinds = differences(old, new)
    if not kinds:
        return [*lines, "differs   not at all"]
    for number, kind in enumerate(kinds):
        lines += row("" if number else "differs", [f"{kind}: {KINDS[kind]}"], indent=_LABEL, width=width)
    for label, explained, other in (("before", first, new), ("after", second, old)):
        line = deciding_line(explained, other)
        lines += row(f"  {label}", [f"{line.place} {line.name}".strip(), line.why], indent=_LABEL, width=width)
    return lines


def _sides(first: Explanation, second: Explanation) -> Iterator[tuple[str, str, str]]:
    sides = [_side(explained) for explained in (first, second)]
    yield from ((label, sides[0][label], sides[1][label]) for label in sides[0])


def _side(explained: Explanation) -> dict[str, str]:
    decision = explained.decision
    denial, chain = decision.denial, decision.chain
    rule = f" by {decision.class_rule}" if decision.class_rule else ""
    side = {"policy": decision.policy, "class": f"{decision.route_class}{rule}"}
    if denial is not None or not chain:
        return side | {
            "model": f"refused by {denial.rule if denial and denial.rule else 'no candidate'}",
            "reached": "-",
            "then": "-",
        }
    first = chain[0]
    how = "as it is" if first.preserve else f"translated to {first.protocol}"
    losses = f", loses {', '.join(first.losses)}" if first.losses else ""
    return side | {
        "model": first.ref,
        "reached": how + losses,
        "then": ", ".join(c.ref for c in chain[1:]) or "nobody",
    }


def _rounded(outcome: str) -> str:
    """A number in six digits; what is none, an error, as it is."""
    try:
        return f"{float(outcome):.6g}"
    except ValueError:
        return outcome
