"""Sessions through the real gateway, vendors by their rules, time by hand: what each policy makes of the same work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from engine.exchange import Exchange
from engine.gateway import Gateway
from engine.policy.load import load_policy, load_text
from engine.policy.model import Policy
from engine.protocols.registry import PROTOCOLS
from tests.savings.sessions import Session
from tests.savings.vendors import Clock, Vendors

KEYS = dict.fromkeys(("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GROQ_API_KEY", "CEREBRAS_API_KEY", "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ACCOUNT_ID"), "k")  # fmt: skip

_CLASSES = ("cheap_edit", "fast_code", "deep_reasoning", "tool_heavy", "long_context", "fallback_safe")
_PLAIN = {
    "tool_heavy": "requested, anthropic, openai, groq, cerebras",
    "long_context": "requested, anthropic, openai",
    "deep_reasoning": "requested, anthropic, openai, cerebras",
}

_STICKY = "session.warm_tokens > 0 && model.ref == session.warm_model ? -1.0 : double(candidate.position)"
_BY_CLASS = """version: 1
name: alternating
extends: [default]
routes:
  tool_heavy:
    use: [{{use: anthropic/claude-sonnet-5-5, when: 'request.model.startsWith("claude-")'}}, {{use: openai/gpt-6.1-terra, when: 'request.model.startsWith("gpt-")'}}, requested]
    order: '{order}'
classify:
  - {{id: users-word, class: fast_code, when: request.last_role == "user" && request.tools > 0, before: tools-in-play}}
"""
"""A user's word goes to the model asked for, the tool loop after it to a cheaper one of the same vendor."""

_SMALL_AGENTS = """version: 1
name: small-agents
extends: [default]
classify:
  - {id: sub-agent, class: sub_agent, when: request.purpose == "subagent", before: long-context}
routes:
  sub_agent: [{use: anthropic/claude-haiku-5-5, when: 'request.model.startsWith("claude-")'}, requested, anthropic, openai]
"""

POLICIES: Mapping[str, str] = {
    "requested": "version: 1\nname: requested\nextends: [default]\ncache: {prefix: off}\nroutes:\n"
    + "".join(f"  {name}: [requested]\n" for name in _CLASSES),
    "not sticky": "version: 1\nname: loose\nextends: [default]\nroutes:\n"
    + "".join(f"  {name}: {{use: [{use}], order: double(candidate.position)}}\n" for name, use in _PLAIN.items()),
    "no hints": "version: 1\nname: unhinted\nextends: [default]\ncache: {prefix: off}\n",
    "by class": _BY_CLASS.format(order="double(candidate.position)"),
    "by class, sticky": _BY_CLASS.format(order=_STICKY),
    "small agents": _SMALL_AGENTS,
}
"""Besides the shipped ones: everything to the model asked for and nothing added; the default without staying where it is warm;
the default without hints and cache facts; a policy whose classes alternate within a session, as it is and sticky; the default with
sub-agents on the vendor's small model."""


@dataclass
class Told:
    """What came of one request."""

    usd: float
    served: str
    predicted: int
    read: int
    side: bool
    broken: str = ""
    first: bool = False
    hints: tuple[str, ...] = ()
    route_class: str = ""
    agent: bool = False


@dataclass
class Result:
    """One session under one policy."""

    kind: str
    requests: list[Told] = field(default_factory=list)

    @property
    def usd(self) -> float:
        return sum(told.usd for told in self.requests)


def policy(name: str) -> Policy:
    """A shipped policy or one of POLICIES."""
    return load_text(POLICIES[name], file=f"{name}.yaml") if name in POLICIES else load_policy(name)


class Nobody:
    started = False

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        raise AssertionError("nothing here streams")

    async def write(self, data: bytes) -> None:
        raise AssertionError("nothing here streams")


async def simulate(
    name: str, sessions: Sequence[Session], *, outage: Mapping[int, tuple[float, float]] | None = None
) -> list[Result]:
    """Every session after the other; `outage`: place of a session → seconds from and to which its vendor is overloaded."""
    clock = Clock()
    vendors = Vendors(clock)
    log: list[Any] = []
    gateway = Gateway(policy(name), environ=KEYS, state=None, log=lambda *a, **k: log.append((a, k)))
    services = gateway.services
    services.transport = vendors  # type: ignore[assignment]
    services.now = lambda: datetime.fromtimestamp(clock.now, UTC)
    services.monotonic = clock
    services.health._monotonic = clock  # type: ignore[attr-defined]

    async def sleep(seconds: float) -> None:
        clock.now += seconds

    services.sleep = sleep
    results = []
    for place, session in enumerate(sessions):
        clock.now += 2 * 86400.0
        begun = clock.now
        down = (outage or {}).get(place)
        result = Result(session.kind.name)
        for turn in session.requests():
            clock.now = max(clock.now, begun + turn.at)
            off = down is not None and down[0] <= clock.now - begun < down[1]
            host = "api.anthropic.com" if session.kind.model.startswith("claude") else "api.openai.com"
            vendors.down = frozenset({host}) if off and not turn.side else frozenset()
            vendors.output_tokens = turn.output_tokens
            exchange = gateway.exchange(PROTOCOLS[turn.protocol], turn.headers, turn.body, Nobody())
            await gateway.run(exchange)
            told = _told(exchange, side=turn.side, agent=turn.agent)
            assert told is not None or off, (exchange.error, log[-1:])
            if told is not None:
                told.first = len(result.requests) <= int(bool(session.kind.side))
                result.requests.append(told)
        results.append(result)
    return results


def _told(exchange: Exchange, *, side: bool, agent: bool = False) -> Told | None:
    if exchange.answer is None or exchange.bill is None or exchange.tapped is None:
        return None
    usage, ref = exchange.tapped.usage, exchange.answer.candidate.ref
    assert usage is not None
    usd = exchange.bill.total_usd
    assert usd is not None, ref
    session = exchange.facts["session"]
    return Told(usd, ref, session["warm"].get(ref, 0), usage.cached_tokens or 0, side, session["prefix_break"],
                hints=exchange.attempts[-1].hints, route_class=exchange.case.route_class if exchange.case else "", agent=agent)  # fmt: skip


def errors(results: Sequence[Result]) -> list[float]:
    """How far the expected warm tokens were from the reported ones, as a share of them, of requests that had or expected some."""
    told = [told for result in results for told in result.requests if told.read or told.predicted]
    return [abs(t.predicted - t.read) / max(t.read, t.predicted) for t in told]
