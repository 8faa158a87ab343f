"""Prints what a dry run of 10,000 recorded requests costs, and the time per decision; asserts nothing.

Run: python tests/bench/bench_dry_run.py [RECORDS]
"""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.pipeline import compile_pipeline  # noqa: E402
from engine.policy.availability import availability_json  # noqa: E402
from engine.policy.case import ProviderState  # noqa: E402
from engine.policy.facts import defaults, schema  # noqa: E402
from engine.policy.load import load_policy  # noqa: E402
from engine.policy.model import Policy  # noqa: E402
from engine.providers.prices import PriceTable  # noqa: E402
from engine.store.detail import Details  # noqa: E402
from engine.store.event import AttemptEvent, Event, decision_json, timestamp_of  # noqa: E402
from engine.store.policies import PolicyStore  # noqa: E402
from engine.store.rows import SAVE, row_of  # noqa: E402
from engine.store.upgrades import up_to_date  # noqa: E402

START = datetime(2026, 11, 1, 8, tzinfo=UTC)
CANDIDATES = ("model", "provider", "candidate", "losses", "hard_losses")


def facts(draw: random.Random, number: int, policy: Policy) -> dict[str, Any]:
    """One of an agent's requests: sessions of growing prompts, side calls between them."""
    moment = START + timedelta(seconds=30 * number)
    made = {name: part for name, part in defaults(schema()).items() if name not in CANDIDATES}
    main = draw.random() < 0.7
    made["request"] |= {
        "protocol": draw.choice(["anthropic-messages", "openai-responses"]),
        "model": draw.choice(["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-4-5", "gpt-6-sol"]),
        "tools": 18 if main else 0, "tool_calls": draw.randrange(40) if main else 0, "turns": draw.randrange(30),
        "tool_names": [f"Tool{n}" for n in range(18)] if main else [], "cache_marks": 3 if main else 0,
        "requires": ["cache_control", "thinking.signature"] if main else [], "stream": True,
        "effort": draw.choice(["", "medium", "high"]),
    }  # fmt: skip
    made["client"] |= {"name": draw.choice(["claude-code", "codex"]), "version": "2.1.4"}
    made["session"] |= {"id": f"s{draw.randrange(200)}", "bucket": draw.randrange(10_000)}
    made["estimate"] |= {"input_tokens": draw.randrange(500, 160_000), "output_tokens": 8192}
    made["now"] |= {"unix": int(moment.timestamp()), "hour": moment.hour, "date": moment.date().isoformat()}
    made["signals"] = {name: draw.random() < 0.1 for name in policy.signals}
    return made


def record(state: Path, records: int) -> None:
    """A ledger of `records` events, decided by the default policy."""
    policy = load_policy("default")
    prices = PriceTable.load(policy.models.values(), policy.providers)
    policy = policy.priced(prices.rates())
    PolicyStore(state).save(policy)
    ready = {"anthropic", "openai", "groq"}
    states = {name: ProviderState(key=name in ready or row.auth == "none") for name, row in policy.providers.items()}
    decide, draw = compile_pipeline(policy).decide, random.Random(1)
    rows, times = [], []
    connection = sqlite3.connect(state / "ledger.sqlite", isolation_level=None)
    up_to_date(connection)
    details = Details(connection)
    for number in range(records):
        details.learn()
        asked = facts(draw, number, policy)
        began = time.perf_counter()
        decision = decide(asked, states)
        times.append((time.perf_counter() - began) * 1e6)
        chosen = decision.chosen
        answered = (AttemptEvent(chosen.provider, chosen.model, chosen.protocol),) if chosen else ()
        tokens = asked["estimate"]["input_tokens"]
        rows.append(
            row_of(
                Event(
                    id=f"{number:024x}", timestamp=timestamp_of(START + timedelta(seconds=30 * number)),
                    client=asked["client"]["name"], protocol=asked["request"]["protocol"], session_id=asked["session"]["id"],
                    route_class=decision.route_class, facts=asked, decision=decision_json(decision),
                    availability=availability_json(states), attempts=answered, policy=policy.label,
                    status="success" if chosen else "error", latency_ms=draw.uniform(400, 9000), input_tokens=tokens,
                    output_tokens=400, cached_input_tokens=int(tokens * 0.8),
                    cost_estimate_usd=prices.estimate(chosen.ref, tokens, 400) if chosen else None,
                ),
                details,
            )
        )  # fmt: skip
    connection.execute("BEGIN")
    connection.executemany(SAVE, rows)
    connection.execute("COMMIT")
    connection.close()
    times.sort()
    p50, p99 = (times[int(len(times) * share)] for share in (0.5, 0.99))
    sys.stdout.write(
        f"decision         p50 {p50:6.1f} µs   p99 {p99:6.1f} µs   ({records:,} requests, default policy)\n"
    )


def main() -> None:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        record(state, records)
        for name in ("default", "thrifty", "strict"):
            command = [sys.executable, "-c", "from engine.cli import main; main()", "dry-run", name]
            began = time.perf_counter()
            done = subprocess.run(
                [*command, "--state-dir", folder], cwd=ROOT, capture_output=True, text=True, check=False
            )
            took = time.perf_counter() - began
            last = (done.stdout.strip().splitlines() or [done.stderr])[-1]
            sys.stdout.write(f"dry-run {name:<8} {took:5.2f} s, start included   {last}\n")


if __name__ == "__main__":
    main()
