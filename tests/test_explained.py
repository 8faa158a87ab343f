"""Events with the reasons for what was done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import orjson
import pytest

from engine.explained import NotExplained, deciding_policy, explain_event, with_explanation
from engine.gateway import Gateway
from engine.policy.load import load_policy
from engine.protocols.registry import PROTOCOLS
from engine.store.event import Event, decision_json

CANARY = "canary-7c1f0e"


class Sink:
    """A client that keeps nothing."""

    started = False

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True

    async def write(self, data: bytes) -> None:
        return


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    gateway = Gateway(load_policy("offline"), environ={}, state=tmp_path, log=lambda *_, **__: None)
    await gateway.start()
    yield gateway
    await gateway.close()


async def ask(gateway: Gateway, protocol: str = "anthropic-messages") -> Event:
    body = {"model": "x", "max_tokens": 64, "messages": [{"role": "user", "content": CANARY}]}
    exchange = gateway.exchange(PROTOCOLS[protocol], {}, orjson.dumps(body), Sink())
    await gateway.run(exchange)
    event = gateway.services.ledger.get(exchange.id)
    assert event is not None
    return event


async def test_an_event_is_explained_by_the_policy_of_its_time(gateway: Gateway) -> None:
    """After another policy took over, the old one still explains what it decided, to the same decision."""
    event = await ask(gateway)
    gateway.swap(load_policy("strict"))
    policy = deciding_policy(event, gateway.policies, gateway.loaded.policy)
    explained = explain_event(event, policy)
    assert policy.label == event.policy
    assert decision_json(explained.decision) == event.decision
    assert (*event.path, "record") == explained.path


async def test_the_event_route_holds_the_explanation(gateway: Gateway) -> None:
    """What `GET /events/{id}` answers has the event's fields and an explanation, and no text of the request."""
    event = await ask(gateway)
    answered = with_explanation(event, gateway.policies, gateway.loaded.policy)
    assert answered["id"] == event.id
    assert answered["explanation"]["model"] == f"{event.selected_provider}/{event.selected_model}"
    assert CANARY not in orjson.dumps(answered).decode()


async def test_a_policy_that_is_gone_is_said(gateway: Gateway) -> None:
    """Without the policy there is a reason instead of an explanation, and the event is whole."""
    event = await ask(gateway)
    answered = with_explanation(event, None, load_policy("strict"))
    assert "not kept" in answered["explanationMissing"]
    assert Event.from_json(answered) == event


async def test_a_request_without_facts_is_said(gateway: Gateway) -> None:
    """An event of a request that could not be read has nothing to be explained."""
    exchange = gateway.exchange(PROTOCOLS["openai-chat"], {}, b"{", Sink())
    await gateway.run(exchange)
    event = gateway.services.ledger.get(exchange.id)
    assert event is not None
    with pytest.raises(NotExplained, match="no facts"):
        explain_event(event, gateway.loaded.policy)
