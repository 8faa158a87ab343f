"""How long requests wait for their record while the ledger deletes what it need not keep; asserts nothing about time.

    python tests/bench/bench_retention.py LEDGER [--mib 400] [--seconds 60] [--rate 50]

LEDGER is a file that `bench_ledger.py --keep` made; it is worked on as a copy. First nothing is deleted, then everything above
the size, the oldest first: the same events come at the same rate, and each is waited for as a request does.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.store import writer  # noqa: E402
from engine.store.event import Event  # noqa: E402
from engine.store.ledger import Ledger  # noqa: E402
from engine.store.retention import Keep  # noqa: E402
from tests.bench.bench_ledger import END, events  # noqa: E402


async def written(path: Path, keep: Keep, new: Iterator[Event], seconds: float, rate: float) -> tuple[list[float], int]:
    """Milliseconds that each record took, and how many events are left."""
    ledger = Ledger(path, keep=keep, now=lambda: END)
    await asyncio.to_thread(ledger.start)
    took: list[float] = []

    async def one(event: Event) -> None:
        began = time.perf_counter()
        await ledger.complete(event)
        took.append((time.perf_counter() - began) * 1e3)

    running: set[asyncio.Task[None]] = set()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        task = asyncio.create_task(one(next(new)))
        running.add(task)
        task.add_done_callback(running.discard)
        await asyncio.sleep(1 / rate)
    await asyncio.gather(*running)
    await asyncio.to_thread(ledger.close)
    connection = sqlite3.connect(path)
    left = int(connection.execute("SELECT count(*) FROM events").fetchone()[0])
    connection.close()
    return took, left


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--mib", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=50.0)
    options = parser.parse_args(arguments)
    writer.TIDY_AFTER = 0.0
    new = events(
        int(options.seconds * options.rate * 4),
        timedelta(seconds=options.seconds) / timedelta(days=1),
        random.Random(7),
    )
    with tempfile.TemporaryDirectory(prefix="sbgw-bench-") as folder:
        path = Path(folder) / "ledger.sqlite"
        shutil.copyfile(options.ledger, path)
        for name, keep in (("all kept", Keep(days=10_000, mib=1 << 20)), ("deleting", Keep(10_000, options.mib))):
            took, left = asyncio.run(written(path, keep, new, options.seconds, options.rate))
            cuts = statistics.quantiles(took, n=1000)
            sys.stdout.write(
                f"{name:10} {len(took):,} records: p50 {cuts[499]:.1f} ms, p99 {cuts[989]:.1f} ms, worst {max(took):.1f} ms; "
                f"{left:,} events left\n"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
