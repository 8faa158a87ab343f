"""A thousand mixed requests: what the gateway says they cost is what the emulated vendors charge by their own arithmetic.

Three vendors with price lists of their own behind clients of three protocols, whole and streamed, preserved and translated;
prompt caches read and written (for an hour too), questions that the response cache answers, a vendor that reports what it
charges, retries and fallbacks, streams that break off, vendors that take too long, clients that leave, refusals, providers that
tell no counts.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.store.costs import saved, spent, total
from engine.store.reader import Reader
from tests.emulator import Emulator, Fault, Script, Turn, Usage
from tests.emulator.bill import Prices
from tests.emulator.emulator import Received
from tests.emulator.models import Model
from tests.spine import KEY, PATHS, PROTOCOLS, Behind, Spine, body, policy, spine

PRICES = {
    "alpha": Prices("3", "15", "0.3", "3.75", "6"),
    "beta": Prices("0.59", "0.79", "0.295", "0.59", "0.59"),
    "gamma": Prices("1.25", "10", "0.125", "1.5625", "1.5625"),
}
CACHES = {
    "alpha": {"kind": "marks"},
    "beta": {"kind": "automatic", "step": 128},
    "gamma": {"kind": "automatic", "step": 128},
}
"""How they keep prompts, as the shipped rows say it of vendors like these."""
WIRES = {"alpha": "anthropic-messages", "beta": "openai-chat", "gamma": "openai-responses"}

PROJECTS = 3

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
WORDS = (
    "the",
    "parser",
    "reads",
    "a",
    "token",
    "and",
    "returns",
    "its",
    "kind",
    "to",
    "caller",
    "when",
    "done",
    "colour",
)

HOUR = "Keep this for an hour."
CHARGED = "Say what you charge."
AGAIN = "Explain this once more."

BREAKS = ("truncated", "drop-mid-stream", "error-mid-stream")
REFUSALS = ("429", "500", "503", "529", "error-first-frame", "html502", "drop-before-headers")


def prose(dice: random.Random, words: int) -> str:
    return " ".join(dice.choices(WORDS, k=words))


def script(dice: random.Random) -> Script:
    """Answers of many lengths, found by a word of the question."""
    lengths = {f"#{n:02}": Script((Turn(prose(dice, 20 + 37 * n)),)) for n in range(20)}
    hour = Usage(input=7000, output=90, cached=2048, cache_written=4096, written_1h=3000)
    charged = Usage(input=5000, output=700, cost=0.004321)
    marked = {HOUR: Script((Turn("Kept.", usage=hour),)), CHARGED: Script((Turn("Charged.", usage=charged),))}
    return Script((Turn("Nothing was asked."),), branches={**lengths, **marked})


@dataclass(slots=True)
class Bench:
    """The three vendors, the gateway, and what was asked of it."""

    vendors: dict[str, Emulator]
    gate: Spine
    dice: random.Random
    shared: list[str]
    """Long system texts that many requests begin with, for the prompt caches."""
    left: int = 0

    async def one(self, number: int) -> None:
        """One request of the mix."""
        dice, protocol = self.dice, self.dice.choice(PROTOCOLS)
        vendor, stream = dice.choice(list(self.vendors)), dice.random() < 0.6
        luck = dice.random()
        question = f"{number} #{dice.randrange(20):02} {prose(dice, dice.choice((5, 40, 400, 2000)))}"
        if luck < 0.02:
            question, protocol, vendor = f"{number} {HOUR}", "anthropic-messages", "alpha"
        elif luck < 0.04:
            question, vendor = f"{number} {CHARGED}", "beta"
        elif luck < 0.12:
            self.vendors[vendor].fail_next(Fault(dice.choice(REFUSALS)))  # type: ignore[arg-type]
        elif luck < 0.16 and stream:
            self.vendors[vendor].fail_next(Fault(dice.choice(BREAKS)))  # type: ignore[arg-type]
        elif luck < 0.17:
            self.vendors[vendor].fail_next(Fault("stall", seconds=30))
        elif 0.23 <= luck < 0.33:
            number = dice.randrange(6)
            question, vendor = f"{number} {AGAIN}", list(self.vendors)[number % 3]
        sent = self.asked(protocol, question, stream=stream, denied=0.17 <= luck < 0.19, plain=AGAIN in question)
        headers = {"x-sbgw-model": f"{vendor}/m", "x-sbgw-project": f"project-{number % PROJECTS}"}
        if 0.19 <= luck < 0.23:
            self.vendors[vendor].fail_next(Fault("slow-mid-stream", seconds=0.5))
            await self.leave(protocol, sent | {"stream": True}, headers)
        else:
            await self.gate.ask(protocol, sent, headers=headers)
        if number % 10 == 0:
            self.gate.heal()

    def asked(self, protocol: str, question: str, *, stream: bool, denied: bool, plain: bool = False) -> dict[str, Any]:
        """A request's body, often with a long beginning that others have too, and marks for the cache where there are any."""
        dice = self.dice
        limit = 7 if denied else 4000
        begin = dice.choice(self.shared) if dice.random() < 0.5 and not plain else ""
        match protocol:
            case "anthropic-messages":
                more: dict[str, Any] = {"max_tokens": limit}
                if begin:
                    more["system"] = [{"type": "text", "text": begin, "cache_control": {"type": "ephemeral"}}]
            case "openai-responses":
                more = {"max_output_tokens": limit, **({"instructions": begin} if begin else {})}
            case _:
                more = {"max_tokens": limit}
                if stream and (plain or dice.random() < 0.8):
                    more["stream_options"] = {"include_usage": True}
        made = body(protocol, stream=stream, text=question, **more)
        if protocol == "openai-chat" and begin:
            made["messages"].insert(0, {"role": "system", "content": begin})
        return made

    async def leave(self, protocol: str, sent: dict[str, Any], headers: dict[str, str]) -> None:
        """Ask, and go away in the middle of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gate.port)
        data = orjson.dumps(sent)
        named = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(
            f"POST {PATHS[protocol]} HTTP/1.1\r\nHost: localhost:{self.gate.port}\r\nx-sbgw-key: {KEY}\r\n{named}"
            f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode()
            + data
        )
        await reader.read(2000)
        writer.close()
        self.left += 1

    def received(self) -> list[tuple[str, Received]]:
        """Everything that any vendor was asked."""
        return [(name, request) for name, vendor in self.vendors.items() for request in vendor.requests]

    def project(self, request: Received) -> str:
        """Whose request it was: the number at the beginning of its question tells."""
        found = re.findall(rb'"(\d+) (?=#|Keep|Say|Explain)', request.raw)
        return f"project-{int(found[-1]) % PROJECTS}"

    def charge(self, name: str, request: Received) -> Decimal:
        """What a vendor charges for a request; what its answer says it charges, if it does."""
        said = request.usage.get("cost") if request.delivered == "whole" else None
        return Decimal(str(said)) if said is not None else self.vendors[name].charge(request, PRICES[name])

    async def settled(self, count: int) -> list[dict[str, Any]]:
        """All events, once every request has ended."""
        for _ in range(1000):
            events = [e.to_json() for e in self.gate.gateway.services.ledger.recent(5000)]
            if len(events) == count and not any(e["status"] == "open" for e in events):
                return events
            await asyncio.sleep(0.02)
        raise AssertionError("requests are still under way")


def rules(vendors: dict[str, Emulator]) -> str:
    """Whom a header names serves, else the next one; the price lists as the rows say them."""
    names = {"input": "input", "output": "output", "cached": "cached_input", "written": "cache_write",
             "written_1h": "cache_write_1h"}  # fmt: skip
    behind = [
        Behind(
            name, vendor.url, [WIRES[name]], {"timeouts": {"connect": 1, "first_event": 2, "idle": 30, "total": 60}},
            {"price": {names[key]: float(usd) for key, usd in asdict(PRICES[name]).items()}, "cache": CACHES[name]},
        )
        for name, vendor in vendors.items()
    ]  # fmt: skip
    chain = ["pinned", *(f"{name}/m" for name in vendors)]
    return policy(
        *behind,
        overrides=[{"id": "named", "when": 'request.pinned_model != ""', "use": chain}],
        gate={"deny": [{"id": "small", "when": "request.max_output_tokens == 7"}]},
        budgets={"all": {"usd": 1_000_000}},
        signals={"again": AGAIN},
        cache={"response": "on", "rules": [{"id": "again", "when": "signals.again"}]},
    )


def cents(usd: Decimal | float) -> Decimal:
    return Decimal(str(usd)).quantize(Decimal("0.01"))


@pytest.mark.parametrize("count", [150, pytest.param(1000, marks=pytest.mark.slow)])
async def test_the_gateways_costs_are_the_vendors_bill(
    count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the cent, in all and by project, for all answers whose tokens were told, each of them by itself; what is estimated is
    marked and near; a kept answer costs nothing, what it avoids is told; ledger, budgets and metrics hold one sum."""
    dice = random.Random(20261127)
    async with AsyncExitStack() as stack:
        vendors = {
            name: await stack.enter_async_context(Emulator(script(dice), models={"m": Model()})) for name in PRICES
        }
        env = {f"{name.upper()}_KEY": vendor.key for name, vendor in vendors.items()}
        gate = await stack.enter_async_context(spine(rules(vendors), env=env, state=tmp_path))
        bench = Bench(vendors, gate, dice, [prose(dice, 1500) for _ in range(4)])
        for start in range(0, count, 10):
            await asyncio.gather(*(bench.one(n) for n in range(start, min(start + 10, count))))
        events = await bench.settled(count)
        services = gate.gateway.services
        pot = services.purses.figures(gate.gateway.loaded.policy.budgets, events[0]["facts"], services.now())
        metrics = services.metrics.as_json()
        today = services.spend(services.now()).day_usd
    with Reader(tmp_path / "ledger.sqlite") as reader:
        kept = reader.ask(lambda c: total(spent(c, "project", LONG_AGO)))
        (compared,) = reader.ask(lambda c: saved(c, LONG_AGO))

    asked: dict[str, list[tuple[str, Received]]] = defaultdict(list)
    for name, request in bench.received():
        asked[hashlib.sha256(request.raw).hexdigest()].append((name, request))
    told = [e for e in events if e.get("costBasis") == "usage"]
    mine: dict[str, Decimal] = defaultdict(Decimal)
    theirs: dict[str, Decimal] = defaultdict(Decimal)
    for event in told:
        said = event.get("costReportedUsd", event["costEstimateUsd"])
        # The same bytes may have been sent before, in an attempt that failed: each is charged for once.
        sent = asked[event["requestDigest"]]
        charges = [bench.charge(*one) for one in sent]
        found = [n for n, usd in enumerate(charges) if said == pytest.approx(float(usd), abs=1e-9)]
        assert found, (event["id"], charges)
        assert bench.project(sent[found[0]][1]) == event["project"]
        mine[event["project"]] += Decimal(said)
        theirs[event["project"]] += charges[found[0]]
        del sent[found[0]]
    exact, billed = sum(mine.values(), Decimal(0)), sum(theirs.values(), Decimal(0))
    assert {name: cents(usd) for name, usd in mine.items()} == {name: cents(usd) for name, usd in theirs.items()}
    assert (len(mine), cents(exact)) == (PROJECTS, cents(billed))

    whole_bill = sum((bench.charge(name, request) for name, request in bench.received()), Decimal(0))
    totals = [e.get("costReportedUsd", e.get("costEstimateUsd", 0.0)) + e.get("wastedUsd", 0.0) for e in events]
    whole = sum(map(Decimal, totals), Decimal(0))
    estimated, rest = whole - exact, whole_bill - billed
    # What nobody told is a twentieth off at most; few requests say less than many.
    assert abs(estimated - rest) <= rest / (20 if count == 1000 else 4)
    assert abs(whole - whole_bill) <= whole_bill / (500 if count == 1000 else 100)
    # Of an answer that broke off the prompt's count may have been told: that is no estimate.
    marked = sum((Decimal(e.get("estimatedUsd", 0.0)) for e in events), Decimal(0))
    assert 0 < marked <= estimated + Decimal("1e-9")
    assert all("estimatedUsd" in e or "wastedUsd" not in e for e in events)
    assert kept.cost_usd == pytest.approx(float(whole)) == pytest.approx(pot["all"]["spent_usd"], abs=1e-6)
    assert sum(m["value"] for m in metrics["cost_usd_total"]) == pytest.approx(float(whole)) == pytest.approx(today)

    hits = [e for e in events if e["cacheHit"]]
    assert all("costEstimateUsd" not in e and "wastedUsd" not in e and e["requestedUsd"] > 0 for e in hits)
    avoided = sum(Decimal(e["requestedUsd"]) for e in hits)
    assert (compared.cached, compared.cached_usd) == (len(hits), pytest.approx(float(avoided)))
    assert [m["value"] for m in metrics["saved_usd_total"] if m["kind"] == "cache"] == pytest.approx([float(avoided)])

    kinds = Counter(e.get("costBasis", e.get("errorClass", "none")) for e in events)
    statuses = Counter(e["status"] for e in events)
    retried = sum(len(e.get("attempts", ())) > 1 for e in events)
    cached = sum(e.get("cachedInputTokens", 0) > 0 for e in events)
    assert hits
    some = (kinds["usage"], kinds["sizes"], kinds["policy_denied"], statuses["fallback_success"], retried, cached)
    rare = (kinds["partial"], statuses["cancelled"], bench.left, sum("wastedUsd" in e for e in events))
    assert min(some if count < 1000 else (*some, *rare)) > 0
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{count} requests, {len(bench.received())} at the vendors: {dict(statuses)}, {dict(kinds)}, {retried} retried, "
            f"{cached} with cached tokens\n  told by the vendor: {exact:.6f} USD here, {billed:.6f} billed\n  estimated: "
            f"{estimated:.6f} here, {rest:.6f} billed ({(estimated / rest - 1):+.1%}), {marked:.6f} marked as such\n  in all: {whole:.6f} here, "
            f"{whole_bill:.6f} billed\n  {len(hits)} answered by the response cache, {avoided:.6f} USD avoided"
        )
