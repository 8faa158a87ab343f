"""What the policies save: `python -m tests.savings`. Prints, asserts nothing; `test_savings.py` holds the promises.

Fifty sessions of 30 to 200 turns (`sessions.py` says how they are made and what is assumed), vendors by their published rules
of caching (`vendors.py`, the emulator's token counts), prices of the price table, time by hand. A second table has every
vendor overloaded for two minutes in the middle of every second session: a client that waits pays nothing for it, one that is
served elsewhere pays for reading its prompt there.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from statistics import median

from tests.savings.sessions import KINDS, sessions
from tests.savings.simulation import Result, errors, simulate

COLUMNS = ("requested", "no hints", "not sticky", "default", "thrifty")


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def table(found: Mapping[str, list[Result]]) -> None:
    """Cost by kind of session and policy, and what happened to the worst session."""
    base = found["requested"]
    _tell(f"{'USD':<30}{'sessions':>9}" + "".join(f"{name:>13}" for name in found))
    for kind in dict.fromkeys(kind.name for kind in KINDS):
        row = [sum(r.usd for r in results if r.kind == kind) for results in found.values()]
        _tell(f"{kind:<30}{sum(r.kind == kind for r in base):>9}" + "".join(f"{usd:>13.2f}" for usd in row))
    sums = {name: sum(r.usd for r in results) for name, results in found.items()}
    _tell(f"{'all':<30}{len(base):>9}" + "".join(f"{usd:>13.2f}" for usd in sums.values()))
    _tell(f"{'against requested':<39}" + "".join(f"{sums[name] / sums['requested'] - 1:>13.1%}" for name in found))
    worst = {
        name: max(r.usd / b.usd - 1 for r, b in zip(results, base, strict=True)) for name, results in found.items()
    }
    _tell(f"{'the session that rose most':<39}" + "".join(f"{worst[name]:>13.2%}" for name in found))


def main(count: int = 50, most: int = 200) -> None:
    """Run all, print both tables."""
    began = time.monotonic()
    gone = dict.fromkeys(range(0, count, 2), (600.0, 720.0))
    for title, outage in (("All vendors there", None), ("Overloaded for two minutes in every second session", gone)):
        _tell(f"\n{title}: {count} sessions of 30 to {most} turns")
        names = COLUMNS if outage is None else COLUMNS[2:]
        names = ("requested", *names) if "requested" not in names else names
        found = {name: asyncio.run(simulate(name, sessions(count, most=most), outage=outage)) for name in names}
        table(found)
        wrong = errors(found["default"])
        _tell(
            f"expected against reported cached tokens, default: median error {median(wrong):.2%}, mean {sum(wrong) / len(wrong):.2%}, {len(wrong)} requests"
        )
    _tell(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
