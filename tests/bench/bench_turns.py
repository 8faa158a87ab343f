"""What a turn of a growing session costs, by layer: `python -m tests.bench.bench_turns [--turns 200] [--json]`.

Microseconds of CPU per request at turns 10, 50, 100 and 200, the best of several; asserts nothing about time. A client speaks
each protocol to a provider of each: where both are the same the request is rewritten, else decoded and encoded.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import orjson

from engine.llm.catalogue import Model, Provider, Quirks
from engine.llm.protocol import Target
from engine.protocols.registry import PROTOCOLS
from engine.stages.decode import parse
from engine.store.prefixes import Prefixes
from tests.bench.growing import Session

AT = (10, 50, 100, 200)
CONVERSATION = {"anthropic-messages": "messages", "openai-responses": "input", "openai-chat": "messages"}
"""Field of a request that holds the conversation."""


def best(work: Callable[[], object], times: int = 7) -> float:
    """Microseconds of this process's CPU, the least of several."""
    least = float("inf")
    for _ in range(times):
        began = time.process_time()
        work()
        least = min(least, time.process_time() - began)
    return least * 1e6


def target(protocol: str) -> Target:
    """A capable model behind a provider of `protocol`."""
    quirks = Quirks()
    model = Model(
        provider="other", name="m", protocols=(protocol,), tools=True, reasoning=True, vision=True, quirks=quirks
    )
    return Target(Provider("other", {protocol: "http://127.0.0.1:1"}), model, protocol, quirks)


def layers(protocol: str, raw: bytes) -> dict[str, float]:
    """Layer → microseconds for one request of a client of `protocol`."""
    wire = PROTOCOLS[protocol]
    body = parse(raw)
    found = {
        "parse": best(lambda: parse(raw)),
        "survey": best(lambda: wire.survey(body)),
        "prefix": best(
            lambda: Prefixes().look("s", wire.segments(body), lambda ref: None, 0.0, marking=False)  # type: ignore[arg-type, return-value]
        ),
    }
    for name, other in PROTOCOLS.items():
        there = target(name)
        if name == protocol:
            found["rewrite"] = best(lambda other=other, there=there: other.rewrite(body, there))
            outgoing = other.rewrite(body, there)
        else:
            request = wire.decode_request(body)
            found["decode"] = best(lambda: wire.decode_request(body))
            found[f"encode to {name}"] = best(
                lambda other=other, there=there, request=request: other.encode_request(request, there)
            )
            outgoing, _ = other.encode_request(request, there)
        found[f"dumps to {name}"] = best(lambda outgoing=outgoing: orjson.dumps(outgoing))
    return found


def measure(protocol: str, turns: list[int]) -> dict[int, dict[str, float]]:
    """Turn → layer → microseconds."""
    session = Session(protocol, "m", max(turns))
    return {turn: layers(protocol, session.request(turn)) for turn in turns}


def table(protocol: str, measured: dict[int, dict[str, float]]) -> str:
    """The figures as text."""
    lines = [f"{protocol:32}" + "".join(f"{f'turn {turn}':>12}" for turn in measured)]
    lines += [
        f"  {layer:30}" + "".join(f"{figures[layer]:12.0f}" for figures in measured.values())
        for layer in next(iter(measured.values()))
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=200, help="longest session")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    turns = [turn for turn in AT if turn <= options.turns] or [options.turns]
    results: dict[str, Any] = {protocol: measure(protocol, turns) for protocol in PROTOCOLS}
    if options.json:
        sys.stdout.write(json.dumps(results, indent=1) + "\n")
    else:
        sys.stdout.write("\n\n".join(table(protocol, figures) for protocol, figures in results.items()) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
