"""What a dry run found: for people like a plan, for programs as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from engine.cli.layout import cut, row
from engine.cli.screen import money, safe
from engine.policy.difference import KINDS, Kind, Line, deciding_line
from engine.policy.explanation import place
from engine.policy.replay import moved

if TYPE_CHECKING:
    from engine.policy.replay import Asked, Change, Replay
    from engine.policy.spending import Bill

FORMAT = 1

_MARKS: Mapping[Kind, tuple[str, str]] = {
    "denied": ("-", "red"), "unserved": ("-", "red"), "allowed": ("+", "green"), "model": ("~", "yellow"),
    "protocol": ("~", "yellow"), "losses": ("~", "yellow"), "refusal": ("~", "yellow"), "class": ("~", "yellow"),
    "fallback": ("~", "yellow"), "kept": ("~", "yellow"), "traced": ("~", "yellow"),
}  # fmt: skip

_MOVES = 4
_LABEL = 9


def as_text(replay: Replay, old: str, changes: Sequence[Change] | None, *, width: int) -> Iterator[str]:
    """Lines of at most `width` columns, colours apart. `changes` are shown one by one; None shows an example of each kind."""
    new = replay.new.policy.label
    about = [f"{replay.decided:,} recorded requests", _period(replay), f"{old} → {new}"]
    yield from row("", about, indent=0, width=width)
    if not replay.decided:
        yield from _footnotes(replay, old, width)
        yield "Dry run: nothing to decide."
        return
    yield from _table(replay, width)
    yield from _cost(replay, width)
    yield from _delay(replay, width)
    yield from _footnotes(replay, old, width)
    for change in changes if changes is not None else _examples(replay):
        yield ""
        yield from _change(replay, change, width)
    yield ""
    yield from row("", [_summary(replay)], indent=0, width=width)


def _period(replay: Replay) -> str:
    if replay.first is None or replay.last is None:
        return "none to decide"
    first, last = (_day(moment) for moment in (replay.first, replay.last))
    return first if first == last else f"{first} to {last}"


def _day(moment: datetime) -> str:
    return moment.astimezone().date().isoformat()


def _table(replay: Replay, width: int) -> Iterator[str]:
    rows: list[tuple[str, str, str, int, list[str]]] = []
    for kind in KINDS:
        tally = replay.tallies.get(kind)
        if tally is not None:
            mark, colour = _MARKS[kind]
            rows.append((mark, colour, kind, tally.count, _moves(tally.moves)))
    rows.append(("=", "", "same", replay.same, []))
    number = max(len(f"{count:,}") for *_, count, _ in rows)
    for mark, colour, name, count, moves in rows:
        share = f"{100 * count / replay.decided:.1f} %"
        head = f"  {mark} {name:<9} {count:>{number},}  {share:>7}  "
        lines = row(head, moves[:1], indent=len(head), width=width)
        yield lines[0].replace(mark, click.style(mark, fg=colour), 1) if colour else lines[0]
        yield from lines[1:]
        for move in moves[1:]:
            yield from row("", [move], indent=len(head), width=width)


def _moves(moves: Counter[tuple[str, str]]) -> list[str]:
    shown = [f"{was} → {now} {count:,}" for (was, now), count in moves.most_common(_MOVES)]
    return [*shown, f"{len(moves) - _MOVES} more"] if len(moves) > _MOVES else shown


def _cost(replay: Replay, width: int) -> Iterator[str]:
    books = replay.books
    parts = [f"{money(books.old_usd)} → {money(books.new_usd)}{_percent(books.old_usd, books.new_usd)}"]
    if books.new_estimated_usd:
        parts.append(f"{money(books.new_estimated_usd)} of the new figure is an estimate: the recorded tokens at the other model's price")  # fmt: skip
    if books.old_estimated_usd:
        parts.append(f"{money(books.old_estimated_usd)} of the old figure is an estimate")
    if books.cold_usd > 0:
        parts.append(f"{money(books.cold_usd)} of it for prompts that are not in the other model's cache")
    yield from row("cost", parts, indent=_LABEL, width=width)
    left = [f"{count:,} without token counts" for name, count in books.unpriced.items() if name in ("tokens", "")]
    left += [
        f"{count:,} without a price for {name}" for name, count in books.unpriced.items() if name not in ("tokens", "")
    ]
    if left:
        yield from row("", [f"in neither sum: {', '.join(left)}"], indent=_LABEL, width=width)


def _percent(old: float, new: float) -> str:
    return f"  {100 * (new - old) / old:+.1f} %" if old else ""


def _delay(replay: Replay, width: int) -> Iterator[str]:
    delay = replay.books.delay()
    parts = []
    if delay.old_ms is not None and delay.new_ms is not None:
        parts.append(f"p50 {_seconds(delay.old_ms)} → {_seconds(delay.new_ms)}")
        if delay.estimated:
            parts.append(f"estimated for {delay.estimated:,}: the median of the other model's recorded answers")
    if delay.left:
        names = ", ".join(f"{name} ({count:,})" for name, count in delay.left.most_common(_MOVES))
        parts.append(f"left out, no recorded answer of {names}")
    if parts:
        yield from row("delay", parts, indent=_LABEL, width=width)


def _seconds(ms: float) -> str:
    return f"{ms:,.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def _footnotes(replay: Replay, old: str, width: int) -> Iterator[str]:
    notes: list[tuple[str, str, list[str]]] = []
    if replay.drift:
        notes.append(("drift", "yellow", [f"{replay.drift:,} decided otherwise by {old} today than when recorded"]))
    for label, count in replay.unkept.items():
        notes.append(
            ("recorded", "yellow", [f"{count:,} compared with the recorded decision: {label} is not kept any more"])
        )
    if replay.completed:
        names = [f"{name} {count:,}" for name, count in replay.filled.most_common(_MOVES)]
        more = [f"{len(replay.filled) - _MOVES} more"] if len(replay.filled) > _MOVES else []
        about = f"{replay.completed:,} lack facts, which were taken as their defaults"
        notes.append(("guessed", "yellow", [about, *names, *more]))
    for reason, count in replay.unknown.items():
        notes.append(("unknown", "yellow", [f"{count:,} can't be decided: {reason}"]))
    if replay.skipped:
        notes.append(("skipped", "", [f"{replay.skipped:,} by --where"]))
    for (section, name, detail), count in replay.errors.most_common():
        notes.append(
            ("failed", "red", [f"{count:,}", f"{section} {name} has no value: {detail}", _where(replay, name)])
        )
    if replay.decided:
        notes += [("never", "", [part]) for part in _never(replay)]
    for label, colour, parts in notes:
        lines = row(label, list(filter(None, parts)), indent=_LABEL, width=width)
        yield lines[0].replace(label, click.style(label, fg=colour), 1) if colour else lines[0]
        yield from lines[1:]


def _never(replay: Replay) -> Iterator[str]:
    """Rules that decided nothing, by the file that says them."""
    files: dict[str, list[str]] = {}
    for _, rule in replay.never():
        files.setdefault(rule.span.file, []).append(f"{rule.id}:{rule.span.line}")
    for file, rules in files.items():
        yield f"decided anything: {', '.join(rules)} in {file}"


def _where(replay: Replay, name: str) -> str:
    policy = replay.new.policy
    rules = (*policy.overrides, *policy.classify, *policy.require, *policy.deny, *policy.cache.rules, *policy.trace)
    return next((place(rule.span) for rule in rules if rule.id == name), "")


def _examples(replay: Replay) -> Iterator[Change]:
    for kind in KINDS:
        tally = replay.tallies.get(kind)
        if tally is not None and tally.example is not None:
            yield tally.example
    if replay.drift_example is not None:
        yield replay.drift_example


def _change(replay: Replay, change: Change, width: int) -> Iterator[str]:
    kind = change.kinds[0]
    mark, colour = _MARKS[kind]
    was, now = moved(kind, change.old.outcome, change.new.outcome)
    drifted = " (drift)" if change is replay.drift_example else ""
    head = cut(f"{safe(kind)}{drifted}  {safe(was)} → {safe(now)}", width - 2)
    yield f"{click.style(mark, fg=colour)} {head}"
    record = change.record
    client = record.facts.get("client", {}).get("name", "")
    at = record.at.astimezone().isoformat(" ", "minutes")[:16]
    costs = f"{_usd(change.old.bill)} → {_usd(change.new.bill)}"
    yield from row("", [record.id, at, client, costs], indent=4, width=width)
    first, second = deciding(change)
    for label, line in (("before", first), ("after", second)):
        yield from row(f"    {label}", [f"{line.place} {line.name}".strip(), line.why], indent=12, width=width)


def _usd(bill: Bill) -> str:
    return money(bill.usd) + (" (estimate)" if bill.estimated and bill.usd is not None else "")


def deciding(change: Change) -> tuple[Line, Line]:
    """The line of each policy because of which they differ."""
    return _deciding(change.old, change.new), _deciding(change.new, change.old)


def _deciding(mine: Asked, other: Asked) -> Line:
    from engine.explained import walk
    from engine.policy.explain import explain

    if mine.side is None:
        outcome = mine.outcome
        return Line("", outcome.refused or outcome.route_class, "as it was recorded")
    explained = explain(mine.side.policy, mine.facts, mine.availability, walk)
    return deciding_line(explained, other.outcome)


def _summary(replay: Replay) -> str:
    changed = replay.decided - replay.same
    parts = [f"{changed:,} to change" if changed else "no change"]
    if replay.failing:
        parts.append(f"{replay.failing:,} with a rule that has no value")
    if replay.unknown:
        parts.append(f"{replay.unknown.total():,} unknown")
    return f"Dry run: {', '.join(parts)}. Nothing was sent anywhere."


def as_document(replay: Replay, old: str, changes: Sequence[Change] | None) -> dict[str, Any]:
    """Everything that was found, as plain data. Fields may be added under the same `format_version`."""
    books, delay = replay.books, replay.books.delay()
    shown = changes if changes is not None else list(_examples(replay))
    return {
        "format_version": FORMAT,
        "old": old,
        "new": replay.new.policy.label,
        "first": replay.first,
        "last": replay.last,
        "decided": replay.decided,
        "same": replay.same,
        "changed": replay.decided - replay.same,
        "kinds": {kind: _tally(replay, kind) for kind in KINDS if kind in replay.tallies},
        "touched": dict(replay.touched),
        "cost": {
            "oldUsd": books.old_usd,
            "newUsd": books.new_usd,
            "oldEstimatedUsd": books.old_estimated_usd,
            "newEstimatedUsd": books.new_estimated_usd,
            "coldPrefixUsd": books.cold_usd,
            "priced": books.priced,
            "unpriced": dict(books.unpriced),
        },
        "delay": {
            "oldMs": delay.old_ms, "newMs": delay.new_ms, "estimated": delay.estimated, "leftOut": dict(delay.left)
        },
        "drift": replay.drift,
        "comparedWithRecord": dict(replay.unkept),
        "filled": {"records": replay.completed, "facts": dict(replay.filled)},
        "unknown": dict(replay.unknown),
        "skipped": replay.skipped,
        "failed": {
            "records": replay.failing,
            "rules": [
                {"section": s, "id": name, "detail": detail, "place": _where(replay, name), "records": count}
                for (s, name, detail), count in replay.errors.most_common()
            ],
        },
        "never": [{"section": s, "id": rule.id, "place": place(rule.span)} for s, rule in replay.never()],
        "changes" if changes is not None else "examples": [_change_json(replay, change) for change in shown],
    }  # fmt: skip


def _tally(replay: Replay, kind: Kind) -> dict[str, Any]:
    tally = replay.tallies[kind]
    return {
        "count": tally.count,
        "share": round(tally.count / replay.decided, 6),
        "moves": [{"from": was, "to": now, "count": count} for (was, now), count in tally.moves.most_common()],
    }


def _change_json(replay: Replay, change: Change) -> dict[str, Any]:
    first, second = deciding(change)
    return {
        "event": change.record.id,
        "timestamp": change.record.at,
        "kinds": list(change.kinds),
        "drift": change is replay.drift_example,
        "old": _asked_json(change.old),
        "new": _asked_json(change.new),
        "deciding": [first.to_json(), second.to_json()],
    }


def _asked_json(asked: Asked) -> dict[str, Any]:
    outcome, bill = asked.outcome, asked.bill
    return {
        "routeClass": outcome.route_class,
        "refused": outcome.refused or None,
        "model": outcome.model or None,
        "chain": list(outcome.chain),
        "protocol": outcome.protocol or None,
        "preserve": outcome.preserve,
        "losses": list(outcome.losses),
        "usd": bill.usd,
        "estimated": bill.estimated,
    }
