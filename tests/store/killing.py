"""Kills a whole gateway under load, again and again on one state folder, and says what its ledger lost.

    python -m tests.store.killing [--kills 100] [--rate 50]

The gateway is `sbgw run` in a process of its own, before a provider in another one. Half of the requests are streams of 0.6
seconds, so that some thirty are under way when SIGKILL comes. A request is answered when the client has the whole answer: the
protocol's last event and the end of the body.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import statistics
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from engine.store.ledger import read_only
from tests.bench import bodies
from tests.bench.bench_gateway import KEY, gateway
from tests.bench.processes import Server

ROOT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Outcome:
    """What many kills left."""

    kills: int = 0
    begun: set[str] = field(default_factory=set)
    """Ids of requests whose answer began."""
    answered: set[str] = field(default_factory=set)
    """Ids of those whose answer came whole."""
    starts: list[float] = field(default_factory=list)
    """Seconds from starting the process to listening, by start."""
    cpu: list[float] = field(default_factory=list)
    """Seconds of CPU until then: the machine's other work is in the time, and not in these."""
    lost: list[str] = field(default_factory=list)
    """Answered, and not recorded as such: what must not be."""
    damaged: list[str] = field(default_factory=list)
    """What the integrity checks said beside `ok`."""
    unmarked: int = 0
    """Rows still open after the last start."""
    statuses: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    """Requests whose answer had begun and that have no row at all."""

    def __str__(self) -> str:
        starts, cpu = sorted(self.starts), sorted(self.cpu)
        return (
            f"{self.kills} kills, {len(self.answered)} answered requests, {len(self.lost)} of them missing; "
            f"{len(self.begun - self.answered)} cut off, {self.missing} of them without a row; "
            f"integrity {'ok' if not self.damaged else self.damaged}; {self.unmarked} rows left open; "
            f"{dict(self.statuses)}; restart median {statistics.median(starts):.2f} s, longest {starts[-1]:.2f} s, "
            f"CPU median {statistics.median(cpu):.2f} s, most {cpu[-1]:.2f} s"
        )


async def run(folder: Path, kills: int, rate: float, seconds: float = 1.0) -> Outcome:
    """Kill a gateway `kills` times while `rate` requests a second come."""
    outcome, draw = Outcome(kills), random.Random(7)
    with ExitStack() as stack:
        upstream = stack.enter_context(Server([sys.executable, str(ROOT / "tests/bench/upstream.py")]))
        for _ in range(kills):
            with gateway(folder, upstream, 0) as server:
                outcome.starts.append(server.ready_seconds)
                outcome.cpu.append(server.cpu_seconds())
                await _load(server, outcome, rate, seconds + draw.random() / 2)
            with closing(sqlite3.connect(folder / "state0" / "ledger.sqlite")) as connection:
                said = connection.execute("PRAGMA integrity_check").fetchone()[0]
                outcome.damaged += [said] if said != "ok" else []
        with gateway(folder, upstream, 0) as server:
            outcome.starts.append(server.ready_seconds)
    with read_only(folder / "state0" / "ledger.sqlite") as reader:
        found = {event.id: event.status for event in reader.events()}
    outcome.statuses = Counter(found.values())
    outcome.lost = [name for name in outcome.answered if found.get(name) != "success"]
    outcome.missing = sum(name not in found for name in outcome.begun)
    outcome.unmarked = outcome.statuses["open"]
    return outcome


async def _load(server: Server, outcome: Outcome, rate: float, seconds: float) -> None:
    """Send requests for a while, kill the gateway among them, and wait for what that leaves of them."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session:
        loop = asyncio.get_running_loop()
        began = loop.time()
        asking: list[asyncio.Task[None]] = []
        while (at := loop.time() - began) < seconds:
            while len(asking) <= at * rate:
                asking.append(asyncio.create_task(_ask(session, server.url, len(asking), outcome)))
            await asyncio.sleep(0.005)
        await asyncio.to_thread(server.kill)
        await asyncio.gather(*asking)


async def _ask(session: aiohttp.ClientSession, url: str, number: int, outcome: Outcome) -> None:
    streamed = number % 2 == 0
    body = bodies.small("keep-paced" if streamed else "keep", stream=streamed)
    try:
        async with session.post(
            f"{url}/v1/messages", data=body, headers={**bodies.HEADERS, "x-api-key": KEY}
        ) as answer:
            name = answer.headers.get("x-sbgw-event", "")
            if answer.status != 200 or not name:
                return
            outcome.begun.add(name)
            read = await answer.read()
            if (b"message_stop" if streamed else b"end_turn") in read:
                outcome.answered.add(name)
    except (aiohttp.ClientError, OSError):
        return


def main(arguments: list[str] | None = None) -> int:
    """Kill and tell; 1 when something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rate", type=float, default=50.0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sbgw-kill-") as folder:
        outcome = asyncio.run(run(Path(folder), options.kills, options.rate))
    sys.stdout.write(f"{outcome}\n")
    return int(bool(outcome.lost or outcome.damaged or outcome.unmarked))


if __name__ == "__main__":
    sys.exit(main())
