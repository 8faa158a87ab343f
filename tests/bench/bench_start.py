"""How long a start takes: `sbgw run` until it listens, after a kill too, and the short commands.

    python tests/bench/bench_start.py [--rounds 7] [--json]

CPU is that of the whole process, user and system; the figure is the median over rounds and the best of them, since other work
on the machine can only add. Python's compiled files are kept in a folder of this run, as pip keeps them for an installed
package: without them a start from a source tree compiles the engine each time. The gateway serves its default policy. `after a
kill` starts on a ledger of many requests whose last gateway was killed with a log of several MiB beside it. Linux only (/proc).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.processes import Server, compiled  # noqa: E402

SBGW = (sys.executable, "-c", "from engine.cli import main; main()")
COMMANDS = (("--help",), ("events",), ("sessions",), ("cost",), ("providers",))
WRITES = """
import asyncio, os, sys
from dataclasses import replace
from pathlib import Path
from engine.store import ledger
from tests.store.builders import full

async def fill():
    book = ledger.Ledger(Path(sys.argv[1]))
    book.start()
    book._writer._connection.execute("PRAGMA wal_autocheckpoint = 0")
    made = [replace(full(), id=f"{number:032x}") for number in range(int(sys.argv[2]))]
    await asyncio.gather(*(book.complete(event) for event in made[:-20]))
    for event in made[-20:]:
        book.open(replace(event, status="open"))
    await asyncio.sleep(0.5)
    os.kill(os.getpid(), 9)

asyncio.run(fill())
"""
"""Fills a ledger and is killed, before the log is folded into the file and with requests under way."""


@dataclass(slots=True)
class Figures:
    """Seconds, a value per round."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"CPU {statistics.median(self.cpu):.2f} s (best {min(self.cpu):.2f}), "
            f"wall {statistics.median(self.wall):.2f} s (best {min(self.wall):.2f})"
        )


def start(folder: Path) -> tuple[float, float]:
    """(CPU, wall) of `sbgw run` until it listens."""
    with Server([*SBGW, "run", "--port", "0", "--state-dir", str(folder)], env=compiled(), cwd=ROOT) as server:
        return server.cpu_seconds(), server.ready_seconds


def command(words: tuple[str, ...], folder: Path) -> tuple[float, float]:
    """(CPU, wall) of one whole command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, **compiled(), "SBGW_STATE_DIR": str(folder)}
    subprocess.run([*SBGW, *words], env=environment, cwd=ROOT, check=False, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, time.perf_counter() - began


def killed(folder: Path, requests: int) -> tuple[int, int]:
    """Leaves a ledger of a killed gateway in `folder`; (bytes of the file, bytes of the log beside it)."""
    path = folder / "ledger.sqlite"
    for file in folder.glob("ledger.sqlite*"):
        file.unlink()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", WRITES, str(path), str(requests)], env=environment, cwd=ROOT, check=False)
    return path.stat().st_size, path.with_name("ledger.sqlite-wal").stat().st_size


def measure(rounds: int, requests: int, folder: Path) -> dict[str, Figures]:
    """Every case, in turn, `rounds` times."""
    fresh, left = folder / "fresh", folder / "left"
    left.mkdir()
    cases: dict[str, Callable[[], tuple[float, float]]] = {"run": lambda: start(fresh)}
    cases["run after a kill"] = lambda: (killed(left, requests), start(left))[1]
    for words in COMMANDS:
        cases[" ".join(words)] = lambda words=words: command(words, fresh)
    for case in cases.values():
        case()  # compiles
    found = {name: Figures() for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            cpu, wall = case()
            found[name].cpu.append(cpu)
            found[name].wall.append(wall)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=20_000, help="in the ledger of the killed gateway")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sbgw-start-") as folder:
        found = measure(options.rounds, options.requests, Path(folder))
    if options.json:
        sys.stdout.write(json.dumps({name: asdict(figures) for name, figures in found.items()}, indent=1) + "\n")
        return 0
    for name, figures in found.items():
        sys.stdout.write(f"{name:18} {figures}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
