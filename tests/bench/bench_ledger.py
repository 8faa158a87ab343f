"""How the ledger fares with many events: bytes per event, and how long the usual questions take; asserts nothing about time.

    python tests/bench/bench_ledger.py [--events 1000000] [--days 30] [--keep FILE]

Events are decided by the default policy from drawn facts and written as the gateway writes them, packed and summed. All of them
lie within the days, so that a month's cost is asked of all. Times are medians over several askings by a reader of its own.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.pipeline import compile_pipeline  # noqa: E402
from engine.policy.availability import availability_json  # noqa: E402
from engine.policy.case import ProviderState  # noqa: E402
from engine.policy.load import load_policy  # noqa: E402
from engine.providers.prices import PriceTable  # noqa: E402
from engine.store import costs  # noqa: E402
from engine.store.detail import Details  # noqa: E402
from engine.store.event import AttemptEvent, Event, decision_json, timestamp_of  # noqa: E402
from engine.store.ledger import read_only  # noqa: E402
from engine.store.rows import SAVE, SAVE_VIOLATION, Filter, row_of, violations_of  # noqa: E402
from engine.store.upgrades import up_to_date  # noqa: E402
from tests.bench.bench_dry_run import facts  # noqa: E402

END = datetime(2026, 11, 27, tzinfo=UTC)
PROJECTS = [f"project-{number}" for number in range(20)]
TOOLS = ("Bash", "Read", "Edit", "Grep", "WebFetch")


def kinds(count: int, draw: random.Random) -> list[Event]:
    """Events of `count` different requests, as the default policy decides them."""
    policy = load_policy("default")
    prices = PriceTable.load(policy.models.values(), policy.providers)
    policy = policy.priced(prices.rates())
    ready = {"anthropic", "openai", "groq"}
    states = {name: ProviderState(key=name in ready or row.auth == "none") for name, row in policy.providers.items()}
    decide = compile_pipeline(policy).decide
    found = []
    for number in range(count):
        asked = facts(draw, number, policy)
        decision = decide(asked, states)
        chosen = decision.chosen
        tokens = asked["estimate"]["input_tokens"]
        tried = (
            (AttemptEvent(chosen.provider, chosen.model, chosen.protocol, latency_ms=812.25, status=200),)
            if chosen
            else ()
        )
        found.append(
            Event(
                id="", timestamp="", client=asked["client"]["name"], client_version="2.1.330", stream=True,
                protocol=asked["request"]["protocol"], route_class=decision.route_class, class_rule=decision.class_rule,
                requested_model=asked["request"]["model"], selected_provider=chosen.provider if chosen else "",
                selected_model=chosen.model if chosen else "", fallback_chain=(chosen.ref,) if chosen else (),
                facts=asked, decision=decision_json(decision), availability=availability_json(states), attempts=tried,
                path=("decode", "classify", "gate", "cache", "dispatch", "encode"), policy=policy.label,
                status="success" if chosen else "error", error_class="" if chosen else "no_candidate",
                input_tokens=tokens, cached_input_tokens=int(tokens * 0.8), cost_provenance="catalogue", cost_basis="usage",
                price_table="genai-prices 0.2.3", stop_reason="tool_use", gateway_version="0.1.0",
                cost_estimate_usd=prices.estimate(chosen.ref, tokens, 400) if chosen else None,
                requested_usd=prices.estimate(f"anthropic/{asked['request']['model']}", tokens, 500),
                violations=() if chosen else ({"kind": "denied", "rule": "", "reason": "INCOMPATIBLE"},),
            )
        )  # fmt: skip
    return found


def events(count: int, days: float, draw: random.Random) -> Iterator[Event]:
    """`count` events, oldest first: sessions of about 60 requests, a few at a time."""
    made = kinds(400, draw)
    start, gap = END - timedelta(days=days), timedelta(days=days) / count
    running = [_session(draw) for _ in range(8)]
    for number in range(count):
        at = draw.randrange(len(running))
        if draw.random() < 1 / 60:
            running[at] = _session(draw)
        session, project = running[at]
        one, when = draw.choice(made), start + gap * number
        milliseconds = int(when.timestamp() * 1000)
        facts = {**one.facts, "session": {**one.facts["session"], "id": session, "requests": draw.randrange(60)}}
        yield replace(
            one, id=f"{milliseconds:012x}{draw.getrandbits(48):012x}", timestamp=timestamp_of(when), session_id=session,
            project=project, facts=facts, latency_ms=round(draw.uniform(400, 9000), 2), output_tokens=draw.randrange(900),
            first_event_ms=round(draw.uniform(200, 900), 2), request_digest=f"{draw.getrandbits(256):064x}",
            workflow={"turn": draw.randrange(60), "results": [{"tool": draw.choice(TOOLS), "ok": True}]},
        )  # fmt: skip


def _session(draw: random.Random) -> tuple[str, str]:
    bits = f"{draw.getrandbits(128):032x}"
    return f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}", draw.choice(PROJECTS)


def fill(path: Path, count: int, days: float) -> tuple[float, float]:
    """Write the events as the ledger does, 500 a commit; (mean bytes of JSON, mean bytes of what is packed)."""
    draw = random.Random(1)
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("auto_vacuum = INCREMENTAL", "journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")
    up_to_date(connection)
    details = Details(connection)
    whole = packed = 0
    batch: list[Event] = []
    for number, event in enumerate(events(count, days, draw), 1):
        batch.append(event)
        if len(batch) == 500 or number == count:
            rows = [row_of(one, details) for one in batch]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(SAVE, rows)
            connection.executemany(SAVE_VIOLATION, [values for one in batch for values in violations_of(one)])
            connection.execute("COMMIT")
            details.learn()
            packed += sum(len(row[-1]) for row in rows)
            whole += len(orjson.dumps(batch[-1].to_json())) * len(batch)
            batch = []
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return whole / count, packed / count


def questions(path: Path) -> Iterator[tuple[str, float, int]]:
    """(question, median milliseconds, results) of the usual ones."""
    with read_only(path) as reader:
        [newest] = reader.recent(1)
        month = END - timedelta(days=30)
        asked: dict[str, Callable[[], Any]] = {
            "recent list, 50": lambda: reader.recent(50),
            "... of a project": lambda: reader.recent(50, Filter(project="project-7")),
            "... of a model, errors only": lambda: reader.recent(
                50, Filter(model=newest.selected_model, status="error")
            ),
            "... errors of the last day": lambda: reader.recent(
                50, Filter(status="error", since=END - timedelta(days=1))
            ),
            "... of a client that is nowhere": lambda: reader.recent(50, Filter(client="nobody")),
            "... of a sub-agent that is nowhere": lambda: reader.recent(50, Filter(agent="nobody")),
            "... of a key that is nowhere": lambda: reader.recent(50, Filter(key="nobody")),
            "one event": lambda: [reader.get(newest.id)],
            "session view": lambda: reader.recent(10_000, Filter(session=newest.session_id)),
            "sessions list, 50": lambda: reader.sessions(50),
            "... of a project ": lambda: reader.sessions(50, project="project-7"),
            "violations list, 50": lambda: reader.violations(50),
            "cost by project, 30 days": lambda: reader.ask(lambda c: costs.spent(c, "project", month)),
            "cost by model, 30 days": lambda: reader.ask(lambda c: costs.spent(c, "model", month)),
            "cost by session, 30 days, dearest 50": lambda: reader.ask(
                lambda c: [*costs.spent(c, "session", month, 50), costs.all_sessions(c, month)]
            ),
            "cost by session, 30 days, all": lambda: reader.ask(lambda c: costs.spent(c, "session", month)),
            "savings, 30 days": lambda: reader.ask(lambda c: costs.saved(c, month)),
            "savings by project, 30 days": lambda: reader.ask(lambda c: costs.saved(c, month, "project")),
            "savings by session, 30 days": lambda: reader.ask(lambda c: costs.saved(c, month, "session", 50)),
            "spent this month": lambda: [reader.spend(Filter(since=month))],
        }
        for name, ask in asked.items():
            times = []
            for _ in range(5):
                began = time.perf_counter()
                found = ask()
                times.append((time.perf_counter() - began) * 1e3)
            yield name, statistics.median(times), len(found)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--keep", type=Path, help="write the ledger there, and leave it")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sbgw-bench-") as folder:
        path = options.keep or Path(folder) / "ledger.sqlite"
        began = time.perf_counter()
        whole, packed = fill(path, options.events, options.days)
        took = time.perf_counter() - began
        size = path.stat().st_size / options.events
        sys.stdout.write(
            f"{options.events:,} events over {options.days:g} days: {size:,.0f} bytes each in the file, all indexes and sums "
            f"included\n(JSON {whole:,.0f} bytes, {packed:,.0f} of what no query asks for when packed); "
            f"{options.events / took:,.0f} events a second written\n\n"
        )
        for name, milliseconds, results in questions(path):
            sys.stdout.write(f"{name:36}{milliseconds:9.1f} ms{results:8,} results\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
