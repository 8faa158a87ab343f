"""Run as a child process: completes events in a ledger and says which are safe, until it is killed.

python writer.py LEDGER   prints one line per acknowledged id; opens as many requests as it completes
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from engine.store.event import Event, timestamp_of
from engine.store.ids import new_id
from engine.store.ledger import Ledger


async def main(path: Path) -> None:
    ledger = Ledger(path)
    ledger.start()
    sys.stdout.write(f"start {ledger.ok}\n")

    async def one(wait: float) -> None:
        event = Event(new_id(), timestamp_of(datetime.now(UTC)), "writer", "openai-chat")
        ledger.open(event)
        await asyncio.sleep(wait)
        await ledger.complete(replace(event, status="success"))
        sys.stdout.write(f"{event.id}\n")
        sys.stdout.flush()

    unfinished = [asyncio.ensure_future(one(600)) for _ in range(3)]
    while True:
        await asyncio.gather(*(one(0.001 * (number % 3)) for number in range(8)))
    del unfinished


asyncio.run(main(Path(sys.argv[1])))
