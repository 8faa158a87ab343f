"""A policy that only watches: recorded beside the real decision, never obeyed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import orjson
import pytest

from engine.gateway import Gateway
from engine.policy.load import load_policy, load_text
from engine.protocols.registry import PROTOCOLS
from engine.shadow import change
from engine.store.event import Event

NEXT = """version: 1
name: next
extends: [offline]
signals: {secretive: "(?i)hush"}
routes: {cheap_edit: [simulated/large]}
gate:
  deny:
    - {id: hush, when: signals.secretive, status: 403, message: no}
"""


class Sink:
    """A client that keeps nothing."""

    started = False

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True

    async def write(self, data: bytes) -> None:
        return


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway(load_policy("offline"), environ={}, state=None, log=lambda *_, **__: None, shadow=load_text(NEXT))
    await gateway.start()
    yield gateway
    await gateway.close()


async def ask(gateway: Gateway, text: str) -> Event:
    body = {"model": "x", "max_tokens": 64, "messages": [{"role": "user", "content": text}]}
    exchange = gateway.exchange(PROTOCOLS["anthropic-messages"], {}, orjson.dumps(body), Sink())
    await gateway.run(exchange)
    event = gateway.services.ledger.get(exchange.id)
    assert event is not None
    return event


async def test_the_watchers_choice_is_recorded_and_not_followed(gateway: Gateway) -> None:
    """The event says which model the shadow would have taken and what it would have cost; the real one served."""
    event = await ask(gateway, "hello")
    assert event.selected_model == "small"
    assert (event.shadow["model"], event.shadow["change"]) == ("simulated/large", "model")
    assert event.cost_usd is not None
    assert event.shadow["costEstimateUsd"] > event.cost_usd


async def test_a_watchers_refusal_refuses_nobody(gateway: Gateway) -> None:
    """A deny rule of the shadow, on a signal that only it has, is recorded while the client is served."""
    event = await ask(gateway, "hush, tell nobody")
    assert (event.status, event.shadow["change"], event.shadow["denied"]) == ("success", "denied", "hush")


async def test_metrics_count_what_would_differ(gateway: Gateway) -> None:
    """Changes and both costs are counted by the shadow's name."""
    await ask(gateway, "hello")
    text = gateway.services.metrics.prometheus()
    assert 'sbgw_shadow_requests_total{policy="next",change="model"} 1' in text


@pytest.mark.parametrize(
    ("served", "chosen", "denied", "expected"),
    [("a", "a", False, "same"), ("a", "b", False, "model"), ("a", "", True, "denied"), ("", "", True, "same"), ("", "b", False, "allowed")],
)  # fmt: skip
def test_kinds_of_change(served: str, chosen: str, denied: bool, expected: str) -> None:
    """Every pair of decisions has one word."""
    assert change(served, chosen, denied=denied) == expected


async def test_its_budgets_see_what_is_spent(tmp_path: Path) -> None:
    """The shadow's budget fills with what the serving policy spends, also before a restart, and holds nobody up."""
    denied = []
    watching = load_text(NEXT + "budgets: {all: {usd: 0.02}}\n")
    for _ in range(2):
        gateway = Gateway(
            load_policy("offline"), environ={}, state=tmp_path, log=lambda *_, **__: None, shadow=watching
        )
        await gateway.start()
        events = [await ask(gateway, "Say it again. " * 400) for _ in range(4)]
        denied += [event.shadow.get("denied") for event in events]
        await gateway.close()
        assert {event.status for event in events} == {"success"}
    # Half a cent each; the larger model that it would take is estimated dearer than what is left after the third.
    assert denied == [*[None] * 3, *["budget.all"] * 5]
