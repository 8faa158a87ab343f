"""Budgets in a running gateway: no overspending under parallel requests, refusals in each protocol, restarts, thresholds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest

from engine.exchange import Exchange, Services
from engine.guard import Guard
from engine.policy.problems import PolicyInvalid
from engine.stages import BUILT_IN
from engine.stages.stage import Stage
from tests.emulator import Emulator, Fault, Script, Turn, Usage
from tests.emulator.models import Model
from tests.spine import KEY, PROTOCOLS, Answer, Behind, Spine, body, policy, spine

ROWS = {"m": Model()}
PRICE = {"input": 10, "output": 100}
"""A thousand tokens out are ten cents."""


def emulator(**usage: int) -> Emulator:
    counts = Usage(usage.get("input", 100), usage.get("output", 1000))
    return Emulator(Script((Turn("Hello.", usage=counts),)), models=ROWS)


def rules(emu: Emulator, budgets: dict[str, Any], *wires: str, **sections: Any) -> str:
    behind = Behind("first", emu.url, wires or ("openai-chat",), model={"price": PRICE})
    return policy(behind, budgets=budgets, **sections)


async def ask(gate: Spine, protocol: str = "openai-chat", **headers: str) -> Answer:
    limit = {"openai-responses": {"max_output_tokens": 1000}}.get(protocol, {"max_tokens": 1000})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await gate.ask(protocol, body(protocol, **limit), headers=named)


async def test_two_hundred_at_once_do_not_overspend() -> None:
    """A dollar, ten cents each: ten are served while their reservations are under way, all others are refused at once."""
    async with emulator() as emu:
        text = rules(emu, {"all": {"usd": 1.01}})
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            answers = await asyncio.gather(*(ask(gate) for _ in range(200)))
            events = gate.events()
            purses = gate.gateway.services.purses
            facts = next(e["facts"] for e in events)
            left = purses.figures(gate.gateway.loaded.policy.budgets, facts, datetime.now(UTC))
    served = [a for a in answers if a.status == 200]
    spent = sum(e.get("costEstimateUsd", 0.0) for e in events)
    reservation = (facts["estimate"]["input_tokens"] * 10 + 1000 * 100) / 1e6
    assert len(served) == len(emu.served) == int(1.01 / reservation)
    assert spent <= 1.01 + len(served) * abs(0.101 - reservation)
    assert left["all"]["spent_usd"] == pytest.approx(spent)
    assert {a.status for a in answers} == {200, 402}
    assert {e["errorClass"] for e in events if e["status"] == "error"} == {"budget_exceeded"}


async def test_an_answer_that_costs_more_than_estimated_is_the_last() -> None:
    """The one reservation in flight is all that can be overspent."""
    async with emulator(output=20_000) as emu:
        async with spine(rules(emu, {"all": {"usd": 1.0}}), env={"FIRST_KEY": emu.key}) as gate:
            statuses = [(await ask(gate)).status for _ in range(3)]
    assert statuses == [200, 402, 402]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_refusal_ends_the_agents_turn(protocol: str) -> None:
    """In the client's own protocol, with words, and such that no client asks again."""
    text = {"day": {"usd": 0, "per": "day"}}
    async with emulator() as emu, spine(rules(emu, text), env={"FIRST_KEY": emu.key}) as gate:
        answer = await ask(gate, protocol)
    error = answer.json["error"]
    assert answer.status == (400 if protocol == "openai-responses" else 402)
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    assert error["message"].startswith("The budget 'day' is used up: 0 of today's 0 dollars")
    told = {"anthropic-messages": ("type", "billing_error"), "openai-responses": ("code", "invalid_prompt")}
    name, value = told.get(protocol, ("code", "budget_exceeded"))
    assert error[name] == value
    assert emu.requests == []


async def test_each_project_has_its_own_pot() -> None:
    """One project's money is not another's; a request that names none is not counted."""
    async with emulator() as emu:
        text = rules(emu, {"team": {"usd": 0.15, "by": "project", "per": "month"}})
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            found = [(await ask(gate, **{"x_sbgw_project": name} if name else {})).status
                     for name in ("shop", "shop", "blog", "", "", "")]  # fmt: skip
    assert found == [200, 402, 200, 200, 200, 200]


async def test_each_key_has_its_own_pot(tmp_path: Path) -> None:
    """Whatever the headers say of the project; over a restart too. The key without a name is not counted."""
    found: list[int] = []
    async with emulator() as emu:
        text = rules(emu, {"key": {"usd": 0.15, "by": "key"}})
        for _ in range(2):
            async with spine(text, env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
                named = {"shop": "sbgw-shop-key-0001", "blog": "sbgw-blog-key-0002"}
                gate.server.guard = Guard.of(port=gate.port, names=[], keys=[KEY], named=named)
                for key in (*named.values(), KEY):
                    answer = await ask(gate, x_sbgw_key=key, x_sbgw_project=f"any-{len(found)}")
                    found.append(answer.status)
                events = gate.events()
    assert found == [200, 200, 200, 402, 402, 200]
    assert [e.get("keyName") for e in reversed(events)] == ["shop", "blog", None] * 2
    assert not any("sbgw-shop-key" in str(e) for e in events)


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    """What was spent is read from the ledger, also under an edited amount and for a budget with a condition."""
    budgets = {"day": {"usd": 0.25, "per": "day"}, "some": {"usd": 9, "when": "request.messages > 0"}}
    async with emulator() as emu:
        env = {"FIRST_KEY": emu.key}
        async with spine(rules(emu, budgets), env=env, state=tmp_path) as gate:
            before = [(await ask(gate)).status for _ in range(3)]
        async with spine(rules(emu, budgets), env=env, state=tmp_path) as gate:
            refused = await ask(gate)
            facts = (await gate.event(refused.headers["x-sbgw-event"]))["facts"]["budget"]
        budgets["day"]["usd"] = 0.35
        async with spine(rules(emu, budgets), env=env, state=tmp_path) as gate:
            after = [(await ask(gate)).status for _ in range(2)]
    assert (before, refused.status, after) == ([200, 200, 402], 402, [200, 402])
    assert facts["day"]["spent_usd"] == facts["some"]["spent_usd"] == pytest.approx(0.202)


async def test_thresholds_are_told_once() -> None:
    """In the log, in the event of the request that passed it, and in the metrics."""
    async with emulator() as emu:
        text = rules(emu, {"all": {"usd": 0.4, "thresholds": [0.25, 0.5, 0.75]}})
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            for _ in range(3):
                await ask(gate)
            told = [entry for entry in gate.logged if entry["event"] == "budget_threshold"]
            events = [e.get("budgetThresholds") for e in reversed(gate.events())]
            metrics = gate.gateway.services.metrics.prometheus()
    assert events == [["all:0.25"], ["all:0.5"], ["all:0.75"]]
    assert [(t["budget"], t["threshold"], t["limit_usd"]) for t in told] == [
        ("all", 0.25, 0.4), ("all", 0.5, 0.4), ("all", 0.75, 0.4)
    ]  # fmt: skip
    assert 'sbgw_budget_thresholds_total{budget="all",threshold="0.5"} 1' in metrics


async def test_what_fails_gives_its_reservation_back() -> None:
    """An error of the provider costs nothing, and holds nothing."""
    async with emulator() as emu:
        text = rules(emu, {"all": {"usd": 0.15}}, "openai-chat")
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            emu.fail_next(Fault("400", times=3))
            failed = [(await ask(gate)).status for _ in range(3)]
            gate.heal()
            served = await ask(gate)
    assert (failed, served.status) == ([400] * 3, 200)


async def test_another_class_serves_when_nothing_is_left() -> None:
    """The way down: same client, another model, and the event says why."""
    async with emulator() as emu:
        text = orjson.loads(rules(emu, {"all": {"usd": 0.1, "on_exceed": {"class": "cheap_edit"}}}, "openai-chat"))
        text["models"]["first/cheap"] = {**text["models"]["first/m"], "price": {"input": 1, "output": 1}}
        text["routes"]["cheap_edit"] = ["first/cheap"]
        emu.models = {"m": Model(), "cheap": Model()}
        emu._state.extra_models = emu.models
        async with spine(orjson.dumps(text).decode(), env={"FIRST_KEY": emu.key}) as gate:
            found = [await ask(gate) for _ in range(3)]
            event = await gate.event(found[-1].headers["x-sbgw-event"])
    assert [a.headers["x-sbgw-model"] for a in found] == ["first/m", "first/cheap", "first/cheap"]
    assert (event["routeClass"], event["decision"]["classReason"]) == ("cheap_edit", "BUDGET")


class Pause(Stage):
    """A stage of somebody's own that waits between the facts and the gate."""

    needs: ClassVar[frozenset[str]] = frozenset({"request"})
    continues: ClassVar[bool] = True

    async def run(self, exchange: Exchange, services: Services) -> str | None:
        await asyncio.sleep(0.01)
        return None


async def test_waiting_before_the_gate_takes_nobodys_money(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that decided by old figures decide anew when somebody has spent meanwhile."""
    monkeypatch.setitem(BUILT_IN, "pause", Pause)  # type: ignore[index]
    pipeline = ["decode", "classify", "pause", "gate", "dispatch", "encode", "record"]
    async with emulator() as emu:
        text = rules(emu, {"all": {"usd": 0.35}}, pipeline=pipeline)
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            answers = await asyncio.gather(*(ask(gate) for _ in range(20)))
    assert sorted(a.status for a in answers) == [200] * 3 + [402] * 17


async def test_the_policys_clocks_count() -> None:
    """`settings.timezone` decides which day it is."""
    async with emulator() as emu:
        text = rules(emu, {"day": {"usd": 1, "per": "day"}}, settings={"timezone": "Pacific/Kiritimati"})
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            gate.gateway.services.now = lambda: datetime(2026, 11, 30, 11, 30, tzinfo=UTC)
            event = await gate.event((await ask(gate)).headers["x-sbgw-event"])
    assert event["facts"]["now"]["date"] == "2026-12-01"
    assert event["facts"]["now"]["hour"] == 1


def test_a_time_zone_that_is_none_is_refused() -> None:
    """At load, not at the first request."""
    from engine.policy.load import load_text

    with pytest.raises(PolicyInvalid):
        load_text(policy(settings={"timezone": "Mars/Olympus"}))
