"""What the policies save: `python -m tests.savings`. Prints, asserts nothing; `test_savings.py` holds the promises.

Fifty sessions of 30 to 200 turns (`sessions.py` says how they are made and what is assumed), vendors by their published rules
of caching (`vendors.py`, the emulator's token counts), prices of the price table, time by hand. A second table has every
vendor overloaded for two minutes in the middle of every second session: a client that waits pays nothing for it, one that is
served elsewhere pays for reading its prompt there. Then turns that call many tools at once, sessions whose classes alternate,
sessions with sub-agents, and what captured requests of real agents are.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from statistics import median

from tests.savings import captured
from tests.savings.sessions import KINDS, Session, sessions
from tests.savings.simulation import Result, errors, simulate

COLUMNS = ("requested", "no hints", "not sticky", "default", "thrifty")


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def table(found: Mapping[str, list[Result]]) -> None:
    """Cost by kind of session and policy, and what happened to the worst session."""
    base = found["requested"]
    _tell(f"{'USD':<30}{'sessions':>9}" + "".join(f"{name:>17}" for name in found))
    for kind in dict.fromkeys(result.kind for result in base):
        row = [sum(r.usd for r in results if r.kind == kind) for results in found.values()]
        _tell(f"{kind:<30}{sum(r.kind == kind for r in base):>9}" + "".join(f"{usd:>17.2f}" for usd in row))
    sums = {name: sum(r.usd for r in results) for name, results in found.items()}
    _tell(f"{'all':<30}{len(base):>9}" + "".join(f"{usd:>17.2f}" for usd in sums.values()))
    _tell(f"{'against requested':<39}" + "".join(f"{sums[name] / sums['requested'] - 1:>17.1%}" for name in found))
    worst = {
        name: max(r.usd / b.usd - 1 for r, b in zip(results, base, strict=True)) for name, results in found.items()
    }
    _tell(f"{'the session that rose most':<39}" + "".join(f"{worst[name]:>17.2%}" for name in found))


def classes(before: list[Result], after: list[Result]) -> None:
    """By kind of client and class: requests, their cost with everything on the model asked for, what the default makes of it."""
    _tell(
        f"\n{'under the default':<30}{'class':<16}{'requests':>9}{'share':>8}{'requested':>11}{'default':>10}   served by"
    )
    for kind in dict.fromkeys(kind.name for kind in KINDS):
        pairs = [
            (a, b)
            for r, s in zip(before, after, strict=True) if r.kind == kind
            for b, a in zip(r.requests, s.requests, strict=True)
        ]  # fmt: skip
        whole = sum(b.usd for _, b in pairs)
        for name in dict.fromkeys(a.route_class for a, _ in pairs):
            some = [(a, b) for a, b in pairs if a.route_class == name]
            base, now = sum(b.usd for _, b in some), sum(a.usd for a, _ in some)
            served = ", ".join(dict.fromkeys(a.served for a, _ in some))
            _tell(f"{kind:<30}{name:<16}{len(some):>9}{base / whole:>8.1%}{base:>11.2f}{now:>10.2f}   {served}")
    _tell("")


def main(count: int = 50, most: int = 200) -> None:
    """Run all, print the tables."""
    began = time.monotonic()
    gone = dict.fromkeys(range(0, count, 2), (600.0, 720.0))
    for title, outage in (("All vendors there", None), ("Overloaded for two minutes in every second session", gone)):
        _tell(f"\n{title}: {count} sessions of 30 to {most} turns")
        names = COLUMNS if outage is None else COLUMNS[2:]
        names = ("requested", *names) if "requested" not in names else names
        found = {name: asyncio.run(simulate(name, sessions(count, most=most), outage=outage)) for name in names}
        table(found)
        if outage is None:
            classes(found["requested"], found["default"])
        wrong = errors(found["default"])
        _tell(
            f"expected against reported cached tokens, default: median error {median(wrong):.2%}, mean {sum(wrong) / len(wrong):.2%}, {len(wrong)} requests"
        )
    more: list[tuple[str, tuple[str, ...], list[Session]]] = [
        ("One turn of thirty calls twelve tools at once", ("requested", "no hints", "default"), sessions(count, most=most, wide=True)),
        ("Sub-agents of Claude Code", ("requested", "default", "thrifty", "small agents"), [s for s in sessions(count, most=most, agents=True) if s.kind.name.startswith("Claude")]),
        ("Classes that alternate within a session", ("requested", "by class", "by class, sticky", "default", "thrifty"), [s for s in sessions(count, most=most) if s.kind.name.startswith(("Claude", "Codex"))]),
    ]  # fmt: skip
    for title, names, some in more:
        _tell(f"\n{title}: {len(some)} sessions")
        table({name: asyncio.run(simulate(name, some)) for name in names})
    _tell("\nCaptured requests")
    captured.tell(_tell)
    _tell(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
