"""What the gateway adds to a request, as ratios to a bare aiohttp proxy in the same run; asserts nothing about time.

    python tests/bench/bench_gateway.py [--rounds 5] [--scale 1.0] [--json] [--only WORD]

Both stand before the same mock provider, each in a process of its own, and take turns: every round measures every case on
both, and the figures are medians over rounds. CPU is what the process used, all threads together, per request (per chunk
for paced streams). Latency is that of one client at a time. Requests carry a real agent's headers, tools and history, and
the gateway runs its default policy with its ledger. Only the ratios are portable. Linux only (/proc).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench import bodies, load  # noqa: E402
from tests.bench.processes import Server, compiled  # noqa: E402
from tests.bench.upstream import CHUNKS  # noqa: E402

KEY = "bench-local-key"
GATEWAY = (sys.executable, "-c", "from engine.cli import main; main()", "run")
STREAMS = 16

POLICY = """\
version: 1
name: bench
extends: [default]
providers:
  same: {{protocol: anthropic-messages, base_url: "{url}", api_key_env: MOCK_KEY}}
  other: {{protocol: openai-chat, base_url: "{url}/v1", api_key_env: MOCK_KEY}}
models:
{models}
routes: {{cheap_edit: [requested], fast_code: [requested], deep_reasoning: [requested], tool_heavy: [requested],
  long_context: [requested], fallback_safe: [requested]}}
"""
MODEL = (
    "  {ref}: {{tools: true, streaming: true, reasoning: true, context: 400000, max_output: 64000, claude_code_safe: true, "
    "price: {{input: 3, output: 15}}}}"
)
MODELS = {"preserve": "same/keep", "translate": "other/turn"}


@dataclass(slots=True, frozen=True)
class Case:
    """One kind of request."""

    name: str
    body: bytes
    baseline: bytes
    """What the bare proxy gets: the same, for a model that the mock answers alike."""
    requests: int
    connections: int
    chunks: int = 1
    """Units that CPU is counted by."""
    stream: bool = False


@dataclass(slots=True)
class Measured:
    """One target in one case. CPU in microseconds per unit, times in milliseconds; a value per round."""

    cpu_us: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def cases(scale: float) -> Iterator[Case]:
    """Small and 120 kB bodies, whole, streamed at once and paced, to the same and to another protocol."""
    makers: dict[str, Callable[..., bytes]] = {"small": bodies.small, "120 kB": bodies.agent}
    for way, ref in MODELS.items():
        model = ref.split("/")[1]
        for size, make in makers.items():
            count = max(int((600 if size == "small" else 300) * scale), 8)
            for stream in (False, True):
                name = f"{size}, {'streamed' if stream else 'whole'}, {way}"
                made = make(model, stream=stream)
                yield Case(name, made, made, count, 8, stream=stream)
        paced = bodies.agent(f"{model}-paced", stream=True)
        count = max(int(2 * STREAMS * scale), STREAMS)
        yield Case(f"paced, {STREAMS} streams, {way}", paced, paced, count, STREAMS, CHUNKS, stream=True)


async def measure(case: Case, server: Server, into: Measured, *, alone: bool) -> None:
    """Send the case's requests; add a round's figures to `into`."""
    headers = {**bodies.HEADERS, "x-api-key": KEY}
    url, contains = f"{server.url}/v1/messages", b"message_stop" if case.stream else b"end_turn"
    before = server.cpu_seconds()
    loaded = await load.run(
        url, case.body, headers, requests=case.requests, connections=case.connections, contains=contains
    )
    into.cpu_us.append((server.cpu_seconds() - before) * 1e6 / case.requests / case.chunks)
    into.failures += loaded.failures
    if case.chunks > 1:
        times = loaded
    elif alone:
        count = max(case.requests // 4, 4)
        times = await load.run(url, case.body, headers, requests=count, connections=1, contains=contains)
    into.latency_ms.append(statistics.median(times.total) * 1e3)
    into.p99_ms.append(sorted(times.total)[int(len(times.total) * 0.99)] * 1e3)
    into.first_ms.append(statistics.median(times.first) * 1e3)


@dataclass(slots=True)
class Start:
    """Seconds and MB of a fresh gateway."""

    ready_seconds: list[float] = field(default_factory=list)
    memory_first_mb: float = 0.0
    memory_loaded_mb: float = 0.0


def gateway(folder: Path, upstream: Server, number: int, *, more: str = "") -> Server:
    """A gateway on a free port with a state folder of its own; `more` goes into its policy."""
    refs = [name for ref in MODELS.values() for name in (ref, f"{ref}-paced")]
    policy = folder / "bench.yaml"
    made = POLICY.format(url=upstream.url, models="\n".join(MODEL.format(ref=ref) for ref in refs))
    policy.write_text(made + more)
    command = [*GATEWAY, "--policy", str(policy), "--port", "0", "--state-dir", str(folder / f"state{number}")]
    env = {**compiled(), "STACKBILT_GATEWAY_KEY": KEY, "MOCK_KEY": "mock-key", "PYTHONPATH": str(ROOT)}
    return Server(command, env=env, cwd=folder)


async def bench(rounds: int, scale: float, only: str) -> tuple[dict[str, dict[str, Measured]], Start]:
    """Everything: case → target → figures."""
    chosen = [case for case in cases(scale) if only in case.name]
    results = {case.name: {"bare": Measured(), "sbgw": Measured()} for case in chosen}
    start = Start()
    with tempfile.TemporaryDirectory(prefix="sbgw-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        upstream = stack.enter_context(Server([sys.executable, str(ROOT / "tests/bench/upstream.py")]))
        bare = stack.enter_context(Server([sys.executable, str(ROOT / "tests/bench/bare_proxy.py"), upstream.url]))
        for number in range(3):
            with gateway(folder, upstream, number) as fresh:
                start.ready_seconds.append(fresh.ready_seconds)
        ours = stack.enter_context(gateway(folder, upstream, 9))
        servers = {"bare": bare, "sbgw": ours}
        warm = next(cases(0.05))
        for server in servers.values():
            await measure(warm, server, Measured(), alone=True)
        start.memory_first_mb = ours.memory_mb()
        for number in range(rounds):
            for case in chosen:
                order = list(servers.items())
                for target, server in order if number % 2 else order[::-1]:
                    await measure(case, server, results[case.name][target], alone=True)
        start.memory_loaded_mb = ours.memory_mb()
    return results, start


def table(results: dict[str, dict[str, Measured]], start: Start) -> str:
    """The figures as text."""
    lines = [
        f"{'':32}{'CPU us per request or chunk':>30}{'latency ms, one client':>28}",
        f"{'case':32}{'bare':>10}{'sbgw':>10}{'ratio':>10}{'bare':>10}{'added':>9}{'first':>9}",
    ]
    for name, targets in results.items():
        bare, ours = targets["bare"], targets["sbgw"]
        cpu = [statistics.median(m.cpu_us) for m in (bare, ours)]
        ratio = statistics.median(o / b for o, b in zip(ours.cpu_us, bare.cpu_us, strict=True))
        base = statistics.median(bare.latency_ms)
        added = statistics.median(o - b for o, b in zip(ours.latency_ms, bare.latency_ms, strict=True))
        first = statistics.median(o - b for o, b in zip(ours.first_ms, bare.first_ms, strict=True))
        lines.append(f"{name:32}{cpu[0]:10.1f}{cpu[1]:10.1f}{ratio:10.2f}{base:10.2f}{added:9.2f}{first:9.2f}")
        failed = len(bare.failures) + len(ours.failures)
        if failed:
            lines.append(f"    {failed} FAILED, first: {(bare.failures + ours.failures)[0]}")
    ready = statistics.median(start.ready_seconds)
    lines.append(
        f"\nready in {ready:.2f} s; memory {start.memory_first_mb:.0f} MB at first, {start.memory_loaded_mb:.0f} MB after load"
    )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 when a request failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual number of requests")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    results, start = asyncio.run(bench(options.rounds, options.scale, options.only))
    if options.json:
        plain = {name: {target: asdict(m) for target, m in targets.items()} for name, targets in results.items()}
        shown = json.dumps({"cases": plain, "start": asdict(start)}, indent=1)
    else:
        shown = table(results, start)
    sys.stdout.write(f"{shown}\n")
    return int(any(m.failures for targets in results.values() for m in targets.values()))


if __name__ == "__main__":
    sys.exit(main())
