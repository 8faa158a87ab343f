"""A day of agents at work while their providers fail, on a virtual clock: with the gateway and without.

    python -m tests.bench.day_of_outages [--agents 4] [--seed 1] [--json]

Four agents ask, wait for the answer, work for a while, and ask again, from midnight to midnight. Their provider has the bad
day that DAY describes. They repeat a failed request as Claude Code does (measured: ten times, with growing waits, obeying
`retry-after` up to a minute), and what still fails then is an error that a person sees. "Without" is the same code with one
provider and one attempt, so that errors pass to the agent as they come.

Everything but the providers is the real thing: decisions, attempts, breakers, cool-downs, streams, bills.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from engine.exchange import Exchange
from engine.gateway import Gateway
from engine.llm.errors import ProviderError
from engine.llm.messages import JsonObject
from engine.policy.load import load_text
from engine.protocols.registry import PROTOCOLS
from engine.providers.health import Health
from engine.providers.limits import Limits
from engine.providers.simulated import SimulatedAnswer, SimulatedProvider
from tests.bench.virtual_time import run

HOUR = 3600.0
MIDNIGHT = datetime(2026, 11, 26, tzinfo=UTC)


@dataclass(slots=True, frozen=True)
class Outage:
    """From one hour of the day to another, a share of a provider's requests meets this."""

    begins: float
    ends: float
    kind: str
    share: float = 1.0


DAY: Mapping[str, tuple[Outage, ...]] = {
    "alpha": (
        Outage(0, 24, "500", 0.004),
        Outage(2, 2.33, "refused"),
        Outage(5, 6.5, "529", 0.6),
        Outage(9, 9.75, "stall", 0.5),
        Outage(11, 11.25, "html"),
        Outage(13, 15, "429", 0.35),
        Outage(17, 18, "quota"),
        Outage(20, 21, "breaks", 0.25),
    ),
    "beta": (Outage(0, 24, "500", 0.004), Outage(2.1, 2.5, "529", 0.5), Outage(17.5, 17.75, "refused")),
    "gamma": (Outage(0, 24, "500", 0.01),),
}

POLICY = """
version: 1
name: {name}
providers:
  alpha: {{protocols: {{anthropic-messages: "http://alpha.invalid"}}, auth: none, simulated: true}}
  beta: {{protocols: {{anthropic-messages: "http://beta.invalid"}}, auth: none, simulated: true}}
  gamma: {{protocols: {{openai-chat: "http://gamma.invalid/v1"}}, auth: none, simulated: true}}
models:
  alpha/alpha-large: {{tools: true, context: 200000, max_output: 32000, claude_code_safe: true, price: {{input: 5, output: 25}}}}
  beta/beta-large: {{tools: true, context: 200000, max_output: 32000, claude_code_safe: true, price: {{input: 5, output: 25}}}}
  gamma/gamma-large: {{tools: true, context: 200000, max_output: 32000, claude_code_safe: true, price: {{input: 2, output: 8}}}}
routes: {{fallback_safe: [{route}]}}
fallback: {{attempts: {attempts}}}
"""

LADDER = (0.6, 1.2, 2.3, 4.8, 9.0, 18.0, 32.0, 36.0, 36.0, 36.0)
"""Seconds between an agent's repetitions."""

LONGEST_TOLD = 60.0
"""Seconds of `retry-after` that an agent still waits."""

FINAL = frozenset({400, 402, 403, 404, 413})


class Providers:
    """The simulated provider with the day's outages before it."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._answers = SimulatedProvider()
        self.asked: Counter[str] = Counter()

    async def __call__(self, protocol: str, body: JsonObject, *, model: str, stream: bool) -> SimulatedAnswer:
        name = model.partition("-")[0]
        self.asked[name] += 1
        hour = asyncio.get_running_loop().time() / HOUR
        kind = next((o.kind for o in DAY[name] if o.begins <= hour < o.ends and self._draw.random() < o.share), "")
        await asyncio.sleep(0.15)
        match kind:
            case "refused":
                raise ProviderError("no connection to the provider (scripted)", meaning="unreachable")
            case "stall":
                await asyncio.sleep(HOUR)
            case "html":
                return _refusal(502, b"<html><title>502 Bad Gateway</title></html>", "text/html")
            case "500":
                return _told(500, "api_error", "Internal server error")
            case "529":
                return _told(529, "overloaded_error", "Overloaded")
            case "429":
                wait = str(self._draw.choice((5, 20, 45)))
                return _told(429, "rate_limit_error", "This request would exceed your rate limit.", wait)
            case "quota":
                return _told(400, "invalid_request_error", "Your credit balance is too low to access the API.")
        await asyncio.sleep(self._draw.lognormvariate(0.5, 0.5))
        answer = await self._answers(protocol, body, model="large", stream=stream)
        return SimulatedAnswer(answer.status, answer.headers, self._paced(answer, breaks=kind == "breaks"))

    async def _paced(self, answer: SimulatedAnswer, *, breaks: bool) -> AsyncGenerator[bytes, None]:
        frames = [frame async for frame in answer.chunks()]
        seconds = self._draw.uniform(2, 12) / max(len(frames), 1)
        for frame in frames[: len(frames) // 2 + 1] if breaks else frames:
            await asyncio.sleep(seconds)
            yield frame
        if breaks:
            raise ProviderError("the provider's connection broke (scripted)", meaning="unreachable")


def _refusal(status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> SimulatedAnswer:
    async def parts() -> AsyncGenerator[bytes, None]:
        yield body

    return SimulatedAnswer(status, {"content-type": kind, **(headers or {})}, parts())


def _told(status: int, kind: str, message: str, wait: str = "") -> SimulatedAnswer:
    body = orjson.dumps({"type": "error", "error": {"type": kind, "message": message}})
    return _refusal(status, body, "application/json", {"retry-after": wait} if wait else None)


@dataclass(slots=True)
class Client:
    """What comes to an agent; only whether headers went out matters here."""

    started: bool = False

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True

    async def write(self, data: bytes) -> None:
        return


@dataclass(slots=True)
class Seen:
    """What the agents saw of the day."""

    turns: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    """Turns that ended in an error on the screen, by what it meant."""
    requests: int = 0
    failed: int = 0
    """Requests that had to be repeated, or were lost."""
    seconds: list[float] = field(default_factory=list)
    """Of each turn, until its answer was whole or given up."""
    usd: float = 0.0


async def agent(gateway: Gateway, draw: random.Random, number: int, seen: Seen, hours: float) -> None:
    """One agent's day."""
    loop = asyncio.get_running_loop()
    turn = 0
    while True:
        await asyncio.sleep(draw.expovariate(1 / 20.0))
        if loop.time() >= hours * HOUR:
            return
        turn += 1
        began = loop.time()
        error = await _turn(gateway, f"{number}-{turn}", seen)
        seen.turns += 1
        seen.seconds.append(loop.time() - began)
        if error:
            seen.lost[error] += 1
            await asyncio.sleep(120)  # until somebody has read it and asks again


async def _turn(gateway: Gateway, mark: str, seen: Seen) -> str:
    """Ask until there is an answer, as the agent does; the error that a person sees, empty if none."""
    error = ""
    for wait in (*LADDER, 0.0):
        exchange = await _ask(gateway, mark)
        seen.requests += 1
        seen.usd += (exchange.bill.total_usd if exchange.bill else None) or 0.0
        if exchange.error is None:
            return ""
        seen.failed += 1
        error = getattr(exchange.error, "meaning", exchange.error.code)
        reply = exchange.reply
        assert reply is not None
        told = float(reply.headers.get("retry-after", 0))
        broke = reply.status == 200  # in its stream: the agent repeats at once
        final = reply.status in FINAL or reply.headers.get("x-should-retry") == "false" or told > LONGEST_TOLD
        if final and not broke:
            return error
        await asyncio.sleep(0.1 if broke else max(wait, told))
    return error


async def _ask(gateway: Gateway, mark: str) -> Exchange:
    text = f"Turn {mark}: " + "what stands in this file, and why? " * 400
    body = {
        "model": "alpha-large",
        "max_tokens": 2000,
        "stream": True,
        "system": "You are an agent. " * 200,
        "messages": [{"role": "user", "content": text}],
    }
    headers = {"x-claude-code-session-id": mark.partition("-")[0]}
    exchange = gateway.exchange(PROTOCOLS["anthropic-messages"], headers, orjson.dumps(body), Client())
    await gateway.run(exchange)
    return exchange


async def day(*, route: str, attempts: int, agents: int, seed: int, hours: float = 24) -> tuple[Seen, Counter[str]]:
    """From midnight on, for so many hours; what was seen, and how often each provider was asked."""
    loop = asyncio.get_running_loop()
    draw = random.Random(seed)
    providers = Providers(random.Random(seed + 1))
    policy = load_text(POLICY.format(name="day", route=route, attempts=attempts))
    gateway = Gateway(policy, environ={}, state=None, log=lambda *_, **__: None, simulated=providers)
    services = gateway.services
    services.monotonic, services.sleep, services.uniform = loop.time, asyncio.sleep, draw.uniform
    services.now = lambda: MIDNIGHT + timedelta(seconds=loop.time())
    services.limits = Limits(loop.time, services.now)
    services.health = Health(loop.time, services.limits)
    await gateway.start()
    seen = Seen()
    try:
        await asyncio.gather(*(agent(gateway, random.Random(seed * 100 + n), n, seen, hours) for n in range(agents)))
    finally:
        await gateway.close()
    return seen, providers.asked


WAYS: Mapping[str, tuple[str, int]] = {
    "without": ("alpha/alpha-large", 1),
    "gateway, one provider": ("alpha/alpha-large", 4),
    "gateway, three providers": ("alpha/alpha-large, beta/beta-large, gamma/gamma-large", 4),
}


def figures(seen: Seen, asked: Mapping[str, int]) -> dict[str, Any]:
    """The day in numbers."""
    cuts = statistics.quantiles(seen.seconds, n=100)
    return {
        "turns": seen.turns,
        "lost": sum(seen.lost.values()),
        "lost by": dict(seen.lost.most_common()),
        "availability of turns": 1 - sum(seen.lost.values()) / seen.turns,
        "requests": seen.requests,
        "answered at once": 1 - seen.failed / seen.requests,
        "seconds p50": cuts[49],
        "seconds p95": cuts[94],
        "seconds p99": cuts[98],
        "usd": seen.usd,
        "usd per turn": seen.usd / max(seen.turns - sum(seen.lost.values()), 1),
        "asked": dict(sorted(asked.items())),
    }


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    found = {
        name: figures(*run(day(route=route, attempts=attempts, agents=options.agents, seed=options.seed)))
        for name, (route, attempts) in WAYS.items()
    }
    sys.stdout.write(json.dumps(found, indent=1) + "\n" if options.json else table(found))
    return 0


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """One way a column."""
    lines = [f"{'':22}" + "".join(f"{name:>26}" for name in found)]
    for row in next(iter(found.values())):
        cells = []
        for way in found.values():
            value = way[row]
            if isinstance(value, dict):
                cells.append("")
            elif row in ("availability of turns", "answered at once"):
                cells.append(f"{value:.2%}")
            else:
                cells.append(f"{value:,.4g}" if isinstance(value, float) else f"{value:,}")
        if any(cells):
            lines.append(f"{row:22}" + "".join(f"{cell:>26}" for cell in cells))
    for name, way in found.items():
        lines.append(f"{name}: asked {way['asked']}, lost {way['lost by']}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
