"""What a turn of a growing session costs, as a whole and with the memory of work done:

    python -m tests.bench.bench_turns [--turns 200] [--gateway] [--json]

Microseconds of CPU at turns 10, 50, 100 and 200, by layer, the best of several turns around each. A client speaks each protocol
to a provider of each: where both are the same the request is rewritten, else decoded and encoded. With `--gateway` a bare
proxy, a gateway without memory and one with it answer the session of a Messages client. Asserts nothing about time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson

from engine.llm.catalogue import Model, PromptCache, Provider, Quirks
from engine.llm.protocol import Target
from engine.memory.conversations import MIB, Memory
from engine.memory.rewriting import rewritten
from engine.memory.translation import translated
from engine.protocols.registry import PROTOCOLS
from engine.stages.decode import parse
from engine.store.prefixes import Prefixes
from tests.bench import bench_gateway, bodies, load
from tests.bench.growing import Session
from tests.bench.processes import Server

AT = (10, 50, 100, 200)
BEFORE = 12
"""Turns of the session that are played before a measured one."""
MEASURED = 5
_SESSIONS = 6

CONVERSATION = {"anthropic-messages": "messages", "openai-responses": "input", "openai-chat": "messages"}
"""Field of a request that holds the conversation."""

Figures = dict[str, float]


class Clock:
    """The least CPU time of each step, in microseconds."""

    def __init__(self) -> None:
        self.least: Figures = {}

    def take(self, step: str, work: Callable[[], Any]) -> Any:
        """What `work` gives."""
        began = time.process_time()
        made = work()
        took = (time.process_time() - began) * 1e6
        self.least[step] = min(self.least.get(step, took), took)
        return made


def target(protocol: str) -> Target:
    """A capable model behind a provider of `protocol`."""
    quirks = Quirks()
    model = Model(
        provider="other", name="m", protocols=(protocol,), tools=True, reasoning=True, vision=True, quirks=quirks
    )
    return Target(Provider("other", {protocol: "http://127.0.0.1:1"}), model, protocol, quirks)


def turn(protocol: str, raw: bytes, memory: Memory, most: int, clock: Clock) -> None:
    """One request of a client of `protocol`: all the work that it takes, to each provider."""
    wire, targets = PROTOCOLS[protocol], {name: target(name) for name in PROTOCOLS}
    known = clock.take("read", lambda: memory.read(wire, raw, parse, session="s", most=most))
    clock.take("survey", known.survey)
    rules = lambda ref: PromptCache()  # noqa: E731
    clock.take("prefix", lambda: Prefixes().look("s", known.segments(), rules, 0.0, marking=False))
    for name, there in targets.items():
        if name == protocol:
            outgoing = clock.take("rewrite", lambda there=there: rewritten(known, wire, there))
        else:
            other = PROTOCOLS[name]
            outgoing = clock.take(
                f"to {name}",
                lambda other=other, there=there: translated(known, other, there, lambda request: request)[0],
            )
        clock.take(f"dumps, {name}", lambda outgoing=outgoing: orjson.dumps(outgoing))


def measure(protocol: str, at: int, most: int) -> Figures:
    """Step → microseconds at turn `at` of a session."""
    session, memory, clock = Session(protocol, "m", at + MEASURED), Memory(), Clock()
    requests = [session.request(number) for number in range(max(at - BEFORE, 0), at + MEASURED)]
    for raw in requests[:-MEASURED]:
        turn(protocol, raw, memory, most, Clock())
    for raw in requests[-MEASURED:]:
        turn(protocol, raw, memory, most, clock)
    common = sum(clock.least[step] for step in ("read", "survey", "prefix"))
    for name in PROTOCOLS:
        step = "rewrite" if name == protocol else f"to {name}"
        clock.least[f"ALL, {name}"] = common + clock.least[step] + clock.least[f"dumps, {name}"]
    return clock.least


def layers(turns: list[int]) -> dict[str, dict[str, dict[int, Figures]]]:
    """Protocol → whole or memory → turn → step → microseconds."""
    found: dict[str, dict[str, dict[int, Figures]]] = {}
    for protocol in PROTOCOLS:
        ways: dict[str, dict[int, Figures]] = {"whole": {}, "memory": {}}
        for at in turns:  # side by side: the machine is not always equally fast
            ways["whole"][at] = measure(protocol, at, 0)
            ways["memory"][at] = measure(protocol, at, 64 * MIB)
        found[protocol] = ways
    return found


def table(found: dict[str, dict[str, dict[int, Figures]]]) -> str:
    """The figures as text."""
    lines: list[str] = []
    for protocol, ways in found.items():
        heads = [f"{way} {at}" for way, figures in ways.items() for at in figures]
        lines.append(f"{protocol:28}" + "".join(f"{head:>12}" for head in heads))
        steps = next(iter(ways["whole"].values()))
        lines += [
            f"  {step:26}" + "".join(f"{figures[step]:12.0f}" for at in ways.values() for figures in at.values())
            for step in steps
        ]
        lines.append("")
    return "\n".join(lines)


async def gateway(turns: list[int]) -> dict[str, dict[int, Figures]]:
    """Bare proxy, whole or memory → turn → way → microseconds of CPU for a request, a few turns from each on."""
    found: dict[str, dict[int, Figures]] = {}
    with tempfile.TemporaryDirectory(prefix="sbgw-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        upstream = stack.enter_context(Server([sys.executable, str(bench_gateway.ROOT / "tests/bench/upstream.py")]))
        bare = [sys.executable, str(bench_gateway.ROOT / "tests/bench/bare_proxy.py"), upstream.url]
        servers = {"bare": stack.enter_context(Server(bare))}
        for number, (way, more) in enumerate({"whole": "cache: {memory_mib: 0}\n", "memory": ""}.items()):
            (folder / way).mkdir()
            servers[way] = stack.enter_context(bench_gateway.gateway(folder / way, upstream, number, more=more))
        for way, server in servers.items():
            found[way] = {}
            await _play(server, "keep", 5)  # imports and first connections are nobody's turn
        for at in turns:
            for way, server in servers.items():
                kinds = bench_gateway.MODELS.items()
                found[way][at] = {kind: await _play(server, ref.split("/")[1], at) for kind, ref in kinds}
    return found


async def _play(server: Server, model: str, at: int) -> float:
    """The least of a few sessions' means around turn `at`."""
    url, headers = f"{server.url}/v1/messages", {**bodies.HEADERS, "x-api-key": bench_gateway.KEY}
    means: list[float] = []
    for seed in range(_SESSIONS):
        session = Session("anthropic-messages", model, at + MEASURED, seed=100 * at + seed)
        before = 0.0
        for number in range(max(at - BEFORE, 0), at + MEASURED):
            if number == at:
                before = server.cpu_seconds()
            raw = session.request(number)
            answers = await load.run(url, raw, headers, requests=1, connections=1, contains=b"end_turn")
            if answers.failures:
                raise RuntimeError(answers.failures[0])
        means.append((server.cpu_seconds() - before) * 1e6 / MEASURED)
    return min(means)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=200, help="longest session")
    parser.add_argument("--gateway", action="store_true", help="measure a whole gateway, not the layers")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    turns = [at for at in AT if at <= options.turns] or [options.turns]
    found: Any = {"anthropic-messages client": asyncio.run(gateway(turns))} if options.gateway else layers(turns)
    sys.stdout.write((json.dumps(found, indent=1) if options.json else table(found)) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
