"""What captured requests of real agents are, and what the default makes of each: by client, class and the model that serves."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from engine.gateway import Gateway
from engine.policy.load import load_policy
from engine.protocols.registry import PROTOCOLS
from tests.savings.sessions import CAPTURES
from tests.savings.simulation import KEYS, Nobody
from tests.savings.vendors import Clock, Vendors

CLIENTS = ("claude", "codex", "opencode", "qwen", "cn", "aider")
PATHS: Mapping[str, str] = {
    "/v1/messages": "anthropic-messages",
    "/v1/responses": "openai-responses",
    "/v1/chat/completions": "openai-chat",
}


def requests(client: str) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """(protocol, headers, body) of each different request."""
    seen: set[bytes] = set()
    for path in sorted((CAPTURES / client).glob("*/*.json")):
        told = json.loads(path.read_bytes())
        body = told.get("body")
        protocol = next((p for end, p in PATHS.items() if str(told.get("path", "")).endswith(end)), None)
        if protocol is None or not isinstance(body, dict):
            continue
        asked = orjson.dumps({**body, "stream": False} | ({"stream_options": None} if "stream_options" in body else {}))
        if asked not in seen:
            seen.add(asked)
            yield protocol, {name.lower(): value for name, value in told["headers"]}, asked


async def classified(client: str) -> dict[tuple[str, str, str], list[int]]:
    """(class, rule, what it is to the model asked for) → estimated prompt tokens of each request, under the default policy."""
    gateway = Gateway(load_policy("default"), environ=KEYS, state=None, log=lambda *_, **__: None)
    gateway.services.transport = Vendors(Clock())  # type: ignore[assignment]
    found: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for protocol, headers, body in requests(client):
        exchange = gateway.exchange(PROTOCOLS[protocol], headers, body, Nobody())
        await gateway.run(exchange)
        assert exchange.decision is not None, exchange.error
        decision: Any = exchange.decision
        asked = json.loads(body).get("model")
        served = decision.chain[0].ref if decision.chain else "refused"
        known = gateway.loaded.policy.knows(asked)
        where = (
            "as asked for"
            if served.endswith(f"/{asked}")
            else f"on {served}"
            if known or decision.route_class == "cheap_edit"
            else "on a model for its class"
        )
        purpose = exchange.facts["request"]["purpose"]
        rule = " ".join(
            filter(None, (decision.class_rule or "-", f"({purpose})" if purpose not in ("", "main") else ""))
        )
        found[decision.route_class, rule, where].append(exchange.facts["estimate"]["input_tokens"])
    return found


def tell(say: Callable[[str], None]) -> None:
    """Print the table; nothing where the captures are not there."""
    say(f"{'client':<10}{'class':<16}{'rule':<28}{'requests':>9}{'tokens':>9}{'share':>8}   served")
    for client in CLIENTS:
        found = asyncio.run(classified(client))
        whole = sum(map(sum, found.values()))
        for (route_class, rule, where), tokens in sorted(found.items(), key=lambda item: -sum(item[1])):
            share = sum(tokens) / whole
            say(f"{client:<10}{route_class:<16}{rule:<28}{len(tokens):>9}{sum(tokens):>9,}{share:>8.1%}   {where}")
