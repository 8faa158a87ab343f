"""`sbgw demo`: the gateway at work on this machine, with nothing but the simulated provider behind it."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import click

from engine.cli.dialogues import PROTOCOLS, Dialogue, begin
from engine.cli.run import load
from engine.cli.screen import OK, PROBLEMS, money, table
from engine.llm.messages import JsonObject

_KEY = "sbgw-demo"
_MAX_TURNS = 8


@dataclass(slots=True, frozen=True)
class Shown:
    """One request of the demo: what was asked, and the gateway's own record of it."""

    protocol: str
    what: str
    event: JsonObject
    more: bool
    """The model called tools and waits for their results."""


@click.command()
def demo() -> None:
    """Watch requests flow through a policy: offline, no key needed.

    Starts a gateway on a free port with the shipped policy `offline`, sends whole and streamed requests in all three
    protocols, runs a tool loop in each, lets a provider fail, and prints what was decided and what it would have cost.
    """
    with tempfile.TemporaryDirectory(prefix="sbgw-demo-") as folder:
        shown = asyncio.run(_show(Path(folder)))
    failed = [s for s in shown if s.event["status"] not in ("success", "fallback_success")]
    click.echo()
    _summary(shown)
    click.echo()
    if failed:
        click.echo(f"{len(failed)} of {len(shown)} requests did not succeed", err=True)
        sys.exit(PROBLEMS)
    click.echo("Next: `sbgw run`, then `sbgw setup claude-code` (or codex …). Policies: `sbgw check`, policies/*.yaml.")
    sys.exit(OK)


async def _show(state: Path) -> list[Shown]:
    from engine.cli.log import log
    from engine.gateway import Gateway
    from engine.guard import Guard
    from engine.server import Server, listen

    gateway = Gateway(load("offline", None), environ={}, state=state, log=log)
    await gateway.start()
    server = Server(gateway, Guard.of(port=0, names=[], keys=[_KEY]))
    runner, port = await listen(server, "127.0.0.1", 0)
    server.guard = Guard.of(port=port, names=[], keys=[_KEY])
    url = f"http://127.0.0.1:{port}"
    click.echo(
        f"gateway at {url}   policy {gateway.loaded.policy.label}   provider: simulated, nothing leaves this machine\n"
    )
    click.echo(click.style(f"{'protocol':<19} {'request':<20} {'class':<13} {'passed on':<11} tried", bold=True))
    try:
        async with aiohttp.ClientSession(url, headers={"x-sbgw-key": _KEY}) as session:
            return [shown async for shown in _requests(session)]
    finally:
        await runner.cleanup()
        await gateway.close()


async def _requests(session: aiohttp.ClientSession) -> AsyncIterator[Shown]:
    """Every request of the demo, one after another."""
    for title, (kind, model) in PROTOCOLS.items():
        yield await _once(session, title, "small question", begin(kind, model, "What does this repository do?"))
        yield await _once(
            session, title, "the same, streamed", begin(kind, model, "What does this repository do?"), stream=True
        )
        agent = begin(kind, model, "Find and fix the failing test.", tools=True)
        for turn in range(1, _MAX_TURNS + 1):
            shown = await _once(session, title, f"tool loop, turn {turn}", agent)
            yield shown
            if not shown.more:
                break


async def _once(
    session: aiohttp.ClientSession, title: str, what: str, dialogue: Dialogue, *, stream: bool = False
) -> Shown:
    """Send one request, read its answer, and fetch the gateway's record of it."""
    async with session.post(dialogue.path, json=dialogue.ask(stream=stream)) as response:
        event_id = response.headers["x-sbgw-event"]
        more = False
        if stream or response.status != 200:
            await response.read()
        else:
            more = dialogue.take(await response.json())
    async with session.get(f"/events/{event_id}") as response:
        event = await response.json()
    shown = Shown(title, what, event, more)
    _print(shown)
    return shown


def _print(shown: Shown) -> None:
    """One line a request: what was asked, its class, how it reached the model, who was tried."""
    event = shown.event
    attempts = event.get("attempts", [])
    chain = " → ".join(f"{a['model']} ({a['meaning']})" if a.get("meaning") else str(a["model"]) for a in attempts)
    how = "as it is" if any(a["preserve"] for a in attempts if a.get("answered")) else "translated"
    click.echo(f"{shown.protocol:<19} {shown.what:<20} {event['routeClass']:<13} {how:<11} {chain}")


def _summary(shown: list[Shown]) -> None:
    totals: dict[tuple[str, str], list[float]] = {}
    for s in shown:
        key = (s.event["routeClass"], f"{s.event['selectedProvider']}/{s.event['selectedModel']}")
        row = totals.setdefault(key, [0, 0, 0, 0.0])
        row[0] += 1
        row[1] += s.event.get("inputTokens") or 0
        row[2] += s.event.get("outputTokens") or 0
        row[3] += s.event.get("costEstimateUsd") or 0.0
    rows = [
        [cls, model, str(int(n)), f"{int(i):,}", f"{int(o):,}", money(cost)]
        for (cls, model), (n, i, o, cost) in sorted(totals.items())
    ]
    whole = [sum(column) for column in zip(*totals.values(), strict=True)]
    rows.append(["all", "", str(int(whole[0])), f"{int(whole[1]):,}", f"{int(whole[2]):,}", money(whole[3])])
    table(["class", "model", "requests", "tokens in", "tokens out", "cost"], rows, right=(2, 3, 4, 5))
