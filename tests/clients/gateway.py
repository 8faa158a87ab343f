"""A real gateway process for tests: started as a user starts it, on a free port, with its own state folder and nothing else's.

async with started(policy_text, folder, {"EMU_KEY": emu.key}) as gateway:
    ... requests to gateway.url with gateway.key ...
    events = await gateway.events()
"""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.clients.run import kill_group

ROOT = Path(__file__).resolve().parents[2]
READY = 20.0
"""Seconds for the gateway to say where it listens."""


class NotStarted(Exception):
    """The gateway ended, or said nothing in time; the text holds what it printed."""


@dataclass(slots=True)
class Gateway:
    """A running gateway. `printed` grows while it runs: standard output and standard error, as they come."""

    url: str
    """Origin, without a path."""
    key: str
    process: asyncio.subprocess.Process
    printed: list[str] = field(default_factory=list)

    async def get(self, path: str) -> Any:
        """JSON from one of the gateway's own routes."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.url + path, headers={"x-sbgw-key": self.key}) as answer,
        ):
            answer.raise_for_status()
            return await answer.json()

    async def events(self, *, at_least: int = 0) -> list[dict[str, Any]]:
        """Recorded events, oldest first, as soon as there are `at_least` many; after 3 s, what there is."""
        found: list[dict[str, Any]] = []
        for _ in range(30):
            found = (await self.get("/events/recent?limit=200"))["events"]
            if len(found) >= at_least:
                break
            await asyncio.sleep(0.1)
        return sorted(found, key=lambda event: event["id"])


@asynccontextmanager
async def started(policy: str, folder: Path, env: Mapping[str, str]) -> AsyncIterator[Gateway]:
    """A gateway with this policy; ended with SIGTERM, then killed if it stays. Raises NotStarted."""
    name = secrets.token_hex(4)
    (folder / f"policy-{name}.yaml").write_text(policy, encoding="utf-8")
    empty = folder / f"cwd-{name}"
    empty.mkdir()
    key = "sbgw-test-" + secrets.token_hex(16)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from engine.cli import main; main()",
        "run",
        "--policy",
        str(folder / f"policy-{name}.yaml"),
        "--port",
        "0",
        "--state-dir",
        str(folder / f"state-{name}"),
        cwd=empty,
        start_new_session=True,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(empty),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "STACKBILT_GATEWAY_KEY": key,
            **env,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed: list[str] = []
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    reader = asyncio.create_task(_read(process, printed, address))
    try:
        try:
            url = await asyncio.wait_for(asyncio.shield(address), READY)
        except (TimeoutError, EOFError):
            raise NotStarted("the gateway did not start:\n" + "".join(printed)[-6000:]) from None
        yield Gateway(url, key, process, printed)
    finally:
        await _stop(process)
        await reader


async def _read(process: asyncio.subprocess.Process, printed: list[str], address: asyncio.Future[str]) -> None:
    """Collect what the gateway prints, and the address in it."""
    assert process.stdout is not None
    while line := await process.stdout.readline():
        printed.append(line.decode(errors="replace"))
        found = re.search(r"listening on (http://127\.0\.0\.1:\d+)", printed[-1])
        if found and not address.done():
            address.set_result(found[1])
    if not address.done():
        address.set_exception(EOFError())


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 5)
    kill_group(process.pid)
    await process.wait()
