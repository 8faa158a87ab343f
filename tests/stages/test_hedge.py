"""Two attempts side by side: one answer, two bills, nothing left behind, and never where two may not have the request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from engine.cli import cli
from engine.exchange import Answer as Committed
from engine.exchange import Attempt, Exchange, Services
from engine.llm.errors import ProviderError
from engine.llm.messages import Usage
from engine.policy.hedging import bound
from engine.providers.ward import Place
from engine.stages import hedge
from engine.stages.booked import carry_out
from engine.store.event import Event
from engine.store.records import record_of
from tests.emulator import Emulator, Fault, Script, Turn
from tests.emulator import Usage as Tokens
from tests.emulator.models import Model
from tests.judge import judged
from tests.spine import CLASSES, KEY, PATHS, PROTOCOLS, Behind, Spine, body, policy, spine
from tests.spine import Answer as HTTPAnswer
from tests.stages.test_faults import descriptors, running, settled

ROWS = {"m": Model()}
FIRST, SECOND, THIRD = "Said by the first one.", "Said by the second one.", "Said by the third one."
WIRE = "anthropic-messages"

EACH = pytest.mark.parametrize("protocol", PROTOCOLS)
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def emulator(said: str) -> Emulator:
    return Emulator(Script((Turn(said),)), models=ROWS)


async def never(_: float) -> None:
    """The time to ask a second one does not come."""
    await asyncio.Event().wait()


class Race:
    """Providers in a route that is hedged; unless told otherwise the second is asked at once."""

    def __init__(self, gate: Spine, providers: list[Emulator], before: list[str]) -> None:
        self.gate = gate
        self.first, self.second, *self.others = providers
        self.before = before

    @property
    def services(self) -> Services:
        return self.gate.gateway.services

    def known(self, provider: str) -> dict[str, Any]:
        """What its health says of a provider."""
        rows = self.services.health.snapshot(self.gate.gateway.loaded.policy, self.services.credentials)
        return next(row for row in rows if row["provider"] == provider)

    async def until(self, found: Callable[[], Any]) -> None:
        for _ in range(500):
            if found():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it did not come to that")

    def begin(self, protocol: str, *, stream: bool = False, **more: Any) -> asyncio.Task[HTTPAnswer]:
        """A request under way."""
        headers = more.pop("headers", None)
        return asyncio.create_task(self.gate.ask(protocol, asking(protocol, stream=stream) | more, headers=headers))

    async def end(self, asked: asyncio.Task[HTTPAnswer]) -> tuple[HTTPAnswer, dict[str, Any]]:
        """Its answer and its event; nothing is left of it then."""
        answer = await asyncio.wait_for(asked, 30)
        event = await self.gate.event(answer.headers["x-sbgw-event"])
        await settled(self.gate, self.before)
        return answer, event

    async def ask(self, protocol: str, *, stream: bool = False, **more: Any) -> tuple[HTTPAnswer, dict[str, Any]]:
        """Both."""
        return await self.end(self.begin(protocol, stream=stream, **more))


def asking(protocol: str, *, stream: bool = False) -> dict[str, Any]:
    """A request whose answer no provider keeps."""
    stateless = {"store": False} if protocol == "openai-responses" else {}
    return body(protocol, stream=stream, **stateless)


@asynccontextmanager
async def racing(
    *,
    wires: tuple[str, ...] = (WIRE,),
    names: tuple[str, ...] = ("first", "second"),
    hedged: bool = True,
    rows: dict[str, dict[str, Any]] | None = None,
    price: dict[str, float] | None = None,
    models: dict[str, dict[str, Any]] | None = None,
    state: Path | None = None,
    **sections: Any,
) -> AsyncIterator[Race]:
    said = {"first": FIRST, "second": SECOND, "third": THIRD}
    providers = [emulator(said[name]) for name in names]
    for provider in providers:
        await provider.__aenter__()
    try:
        behind = [
            Behind(
                name,
                p.url,
                wires,
                row=(rows or {}).get(name, {}),
                model=({"price": price} if price else {}) | (models or {}).get(name, {}),
            )
            for name, p in zip(names, providers, strict=True)
        ]
        route: dict[str, Any] = {"use": [f"{name}/m" for name in names]}
        if hedged:
            route["hedge"] = {"after_ms": 700}
        env = {b.key_env: p.key for b, p in zip(behind, providers, strict=True)}
        text = policy(*behind, routes=dict.fromkeys(CLASSES, route), **sections)
        async with spine(text, env=env, state=state) as gate:
            yield Race(gate, providers, running())
    finally:
        for provider in providers:
            if provider.hold is not None:
                provider.hold.set()
            await provider.__aexit__()


def attempts(event: dict[str, Any]) -> list[tuple[str, str, bool, bool]]:
    """(provider, meaning, begun beside the one before, answered)"""
    return [
        (a["provider"], a.get("meaning", ""), a.get("hedge", False), a.get("answered", False))
        for a in event["attempts"]
    ]


# ── who wins ──


@EACH
@BOTH
async def test_the_second_begins_first(protocol: str, *, stream: bool) -> None:
    """It is served; the slow one is cancelled, its connection closed, and what it may have cost counted as wasted."""
    async with racing() as race:
        race.first.hold = asyncio.Event()
        answer, event = await race.ask(protocol, stream=stream)
        await race.until(lambda: race.first.requests[0].left)
    assert judged(answer).text == SECOND
    assert answer.headers.get("x-sbgw-model") == "second/m"
    assert attempts(event) == [("first", "lost", False, False), ("second", "", True, True)]
    assert (event["status"], event["selectedProvider"]) == ("fallback_success", "second")
    assert event["decision"]["hedgeMs"] == 700
    assert event["wastedUsd"] == event["attempts"][0]["wastedUsd"] > 0
    assert "wastedUsd" not in event["attempts"][1]
    assert event["costEstimateUsd"] > 0


@EACH
@BOTH
async def test_the_first_begins_first_after_all(protocol: str, *, stream: bool) -> None:
    """The second one is cancelled, and what is known of the session is the first one's."""
    async with racing() as race:
        race.first.hold, race.second.hold = asyncio.Event(), asyncio.Event()
        asked = race.begin(protocol, stream=stream, headers={"x-session-id": "s-1"})
        await race.until(lambda: race.second.requests)
        race.first.hold.set()
        answer, event = await race.end(asked)
        await race.until(lambda: race.second.requests[0].left)
        known = race.services.sessions.get("s-1")
    assert judged(answer).text == FIRST
    assert answer.headers.get("x-sbgw-model") == "first/m"
    assert attempts(event) == [("first", "", False, True), ("second", "lost", True, False)]
    assert (event["status"], event["selectedProvider"]) == ("success", "first")
    assert event["wastedUsd"] == event["attempts"][1]["wastedUsd"] > 0
    assert known.model == "first/m"


@EACH
@BOTH
async def test_both_fail(protocol: str, *, stream: bool) -> None:
    """One error, two failed attempts, and the retries are those of an unhedged request."""
    async with racing(fallback={"attempts": 2}) as race:
        race.first.fail_next(Fault("529", times=9))
        race.second.fail_next(Fault("500", times=9))
        answer, event = await race.ask(protocol, stream=stream)
    assert judged(answer).error
    assert attempts(event) == [
        ("first", "overloaded", False, False),
        ("second", "server_error", True, False),
    ]
    assert event["status"] == "error"
    assert "wastedUsd" not in event
    assert (len(race.first.requests), len(race.second.requests)) == (1, 1)


@EACH
@BOTH
async def test_the_first_fails_before_the_second_is_due(protocol: str, *, stream: bool) -> None:
    """An ordinary fallback."""
    async with racing() as race:
        race.services.sleep = never
        race.first.fail_next(Fault("529"))
        answer, event = await race.ask(protocol, stream=stream)
    assert judged(answer).text == SECOND
    assert attempts(event) == [("first", "overloaded", False, False), ("second", "", False, True)]


@EACH
@BOTH
async def test_the_first_fails_while_the_second_runs(protocol: str, *, stream: bool) -> None:
    """The second simply goes on, and no third is asked beside it."""
    async with racing(names=("first", "second", "third")) as race:
        race.first.hold, race.second.hold = asyncio.Event(), asyncio.Event()
        race.first.fail_next(Fault("529"))
        asked = race.begin(protocol, stream=stream)
        await race.until(lambda: race.second.requests)
        race.first.hold.set()
        await race.until(lambda: race.known("first")["errorRate"])
        race.second.hold.set()
        answer, event = await race.end(asked)
        assert race.others[0].requests == []
    assert judged(answer).text == SECOND
    assert attempts(event) == [("first", "overloaded", False, False), ("second", "", True, True)]
    assert event["status"] == "fallback_success"


async def test_a_third_is_asked_only_when_both_have_failed() -> None:
    """And it is not hedged again, though there is a fourth."""
    async with racing(names=("first", "second", "third")) as race:
        race.first.fail_next(Fault("529"))
        race.second.fail_next(Fault("529"))
        answer, event = await race.ask(WIRE)
    assert judged(answer).text == THIRD
    assert attempts(event) == [
        ("first", "overloaded", False, False),
        ("second", "overloaded", True, False),
        ("third", "", False, True),
    ]


@EACH
async def test_an_answer_that_has_begun_is_never_hedged(protocol: str) -> None:
    """The time is over after the first content: the stream goes on alone."""
    due = asyncio.Event()

    async def later(_: float) -> None:
        await due.wait()

    async with racing() as race:
        race.services.sleep = later
        race.first.pace = 0.05
        asked = race.begin(protocol, stream=True)
        await race.until(lambda: race.first.requests and race.first.requests[0].verdict == "ok")
        await asyncio.sleep(0.15)
        due.set()
        answer, event = await race.end(asked)
    assert judged(answer).text == FIRST
    assert attempts(event) == [("first", "", False, True)]
    assert race.second.requests == []


async def test_an_answer_that_is_held_back_has_begun() -> None:
    """The first content is there, but shown only when the tool calls are checked: that is no slowness."""
    tool = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}
    due = asyncio.Event()

    async def later(_: float) -> None:
        await due.wait()

    unproven = {"first": {"claude_code_safe": False, "codex_safe": False}}
    async with racing(models=unproven, answers={"hold": "answer"}) as race:
        race.services.sleep = later
        race.first.pace = 0.05
        asked = race.begin(WIRE, stream=True, tools=[tool])
        await race.until(lambda: race.first.requests and race.first.requests[0].verdict == "ok")
        await asyncio.sleep(0.2)
        due.set()
        answer, event = await race.end(asked)
    assert judged(answer).text == FIRST
    assert attempts(event) == [("first", "", False, True)]


async def test_off_unless_a_route_says_so() -> None:
    """No timer, no second."""
    async with racing(hedged=False) as race:
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)

        race.services.sleep = sleep
        _, event = await race.ask(WIRE)
    assert attempts(event) == [("first", "", False, True)]
    assert (waits, race.second.requests) == ([], [])
    assert "hedgeMs" not in event["decision"]


async def test_the_time_is_the_routes() -> None:
    """In seconds, asked once."""
    async with racing() as race:
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)

        race.services.sleep = sleep
        await race.ask(WIRE)
    assert waits == [0.7]


# ── both begin in the same moment ──


@BOTH
async def test_of_two_that_begin_together_the_first_is_served(monkeypatch: pytest.MonkeyPatch, *, stream: bool) -> None:
    """What the other one's provider has counted by then is its bill, to the token."""
    done: list[Committed] = []
    together = asyncio.Event()

    async def at_once(exchange: Exchange, services: Services, record: Attempt, **more: Any) -> Committed:
        answer = await carry_out(exchange, services, record, **more)
        done.append(answer)
        if len(done) == 2:
            together.set()
        await together.wait()
        return answer

    monkeypatch.setattr(hedge, "carry_out", at_once)
    async with racing(rows={"second": {"limits": {"tokens_per_minute": 10_000}}}) as race:
        answer, event = await race.ask(WIRE, stream=stream)
        used = race.known("second")["limits"]["tokensPerMinute"]["used"]
        cost = race.services.prices.cost("second/m", _told(race.second, stream=stream), race.services.now()).usd
    assert judged(answer).text == FIRST
    assert attempts(event) == [("first", "", False, True), ("second", "lost", True, False)]
    if not stream:
        assert event["wastedUsd"] == pytest.approx(cost)
        assert used == sum(race.second.requests[0].usage[name] for name in ("input_tokens", "output_tokens"))
    assert event["wastedUsd"] > 0


def _told(provider: Emulator, *, stream: bool) -> Usage:
    usage = provider.requests[0].usage
    return Usage(usage["input_tokens"], usage["output_tokens"])


async def test_a_defect_that_an_answer_covers_up_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has its answer; the log has the defect."""

    async def broken(exchange: Exchange, services: Services, record: Attempt, **more: Any) -> Committed:
        if record.hedge:
            record.meaning = "defect"
            raise KeyError("x")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return await carry_out(exchange, services, record, **more)

    monkeypatch.setattr(hedge, "carry_out", broken)
    async with racing() as race:
        answer, event = await race.ask(WIRE)
        assert [line["kind"] for line in race.gate.logged if line["event"] == "defect"] == ["KeyError"]
    assert judged(answer).text == FIRST
    assert attempts(event)[1][1] == "defect"


# ── who leaves ──


@EACH
@BOTH
async def test_a_client_that_leaves_ends_both(protocol: str, *, stream: bool) -> None:
    """Both providers see their caller go; both attempts are in the event, and both may have cost something."""
    async with racing() as race:
        race.first.hold, race.second.hold = asyncio.Event(), asyncio.Event()
        _, writer = await asyncio.open_connection("127.0.0.1", race.gate.port)
        asked = orjson.dumps(asking(protocol, stream=stream))
        writer.write(
            f"POST {PATHS[protocol]} HTTP/1.1\r\nHost: localhost:{race.gate.port}\r\nx-sbgw-key: {KEY}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(asked)}\r\n\r\n".encode()
            + asked
        )
        await race.until(lambda: race.first.requests and race.second.requests)
        writer.transport.abort()
        event = await race.gate.newest()
        await race.until(lambda: race.first.requests[0].left and race.second.requests[0].left)
        await settled(race.gate, race.before)
    assert event["status"] == "cancelled"
    assert attempts(event) == [("first", "cancelled", False, False), ("second", "cancelled", True, False)]
    assert event["wastedUsd"] == pytest.approx(sum(a["wastedUsd"] for a in event["attempts"]))


async def test_no_descriptor_is_left() -> None:
    """Of twenty requests whose slow attempt was cancelled each time."""
    before = descriptors()
    async with racing() as race:
        race.first.hold = asyncio.Event()
        answers = await asyncio.gather(*(race.begin(WIRE, stream=bool(n % 2)) for n in range(20)))
        assert {judged(answer).text for answer in answers} == {SECOND}
        await settled(race.gate, race.before)
    await race.until(lambda: descriptors() <= before)


async def test_the_deadline_is_for_both() -> None:
    """Two that never begin end together, with the request's own time."""
    async with racing(fallback={"total_seconds": 0.3}) as race:
        race.first.hold, race.second.hold = asyncio.Event(), asyncio.Event()
        answer, event = await race.ask(WIRE)
    assert judged(answer).error
    assert [a[:2] for a in attempts(event)] == [("first", "timeout"), ("second", "timeout")]


# ── never ──

THOUGHT = [
    {"role": "user", "content": "Say hello."},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2VhbGVk"},
            {"type": "text", "text": "Hello."},
        ],
    },
    {"role": "user", "content": "Again."},
]


@pytest.mark.parametrize(
    ("protocol", "more", "tied"),
    [
        ("openai-responses", {"previous_response_id": "resp_1"}, "previous_response"),
        ("openai-responses", {"store": True}, "stored"),
        ("anthropic-messages", {"messages": THOUGHT}, "thinking.signature"),
    ],
)
async def test_never_for_what_one_provider_keeps_or_has_sealed(protocol: str, more: dict[str, Any], tied: str) -> None:
    """The first one is waited for, however slow."""
    async with racing(wires=(protocol,)) as race:
        _, event = await race.ask(protocol, **more)
    assert bound(event["facts"]["request"]) == tied
    assert "hedgeMs" not in event["decision"]
    assert [a["provider"] for a in event["attempts"]][:1] == ["first"]
    assert not any(a.get("hedge") for a in event["attempts"])


async def test_never_with_the_callers_own_login() -> None:
    """Neither beside a vendor that has it, nor at one that would."""
    login = {"x-sbgw-key": KEY, "authorization": "Bearer canary-callers-login"}
    async with racing(rows={"first": {"auth": "client"}}) as race:
        _, event = await race.ask(WIRE, headers=login)
    assert event["attempts"][0]["unhedged"] == "login"
    assert not any(a.get("hedge") for a in event["attempts"])
    async with racing(rows={"second": {"auth": "client"}}) as race:
        _, event = await race.ask(WIRE, headers=login)
    assert event["attempts"][0]["unhedged"] == "unfit"
    assert race.second.requests == []


async def test_never_to_one_that_is_unwell_or_at_a_limit() -> None:
    """The next that is fit is asked instead, and who was passed over is told."""
    async with racing(names=("first", "second", "third")) as race:
        health = race.services.health
        trial = health.begin(
            Place(
                "second", race.services.credentials.digests(race.gate.gateway.loaded.policy.providers["second"])[0], "m"
            )
        )
        health.failed(trial, ProviderError("wait", meaning="rate_limit", retry_after=600))
        race.first.hold = asyncio.Event()
        answer, event = await race.ask(WIRE)
        assert race.second.requests == []
    assert judged(answer).text == THIRD
    assert attempts(event)[1] == ("third", "", True, True)
    async with racing(rows={"second": {"limits": {"requests_per_minute": 1}}}) as race:
        policy_of = race.gate.gateway.loaded.policy
        race.services.limits.take(policy_of.providers["second"], 1)
        _, event = await race.ask(WIRE)
        assert race.second.requests == []
    assert event["attempts"][0]["unhedged"] == "unfit"


async def test_never_beyond_the_number_of_attempts() -> None:
    async with racing(fallback={"attempts": 1}) as race:
        _, event = await race.ask(WIRE)
    assert event["attempts"][0]["unhedged"] == "attempts"


async def test_a_model_that_the_gate_dropped_is_not_asked() -> None:
    async with racing(
        names=("first", "second", "third"), gate={"require": [{"id": "no", "require": 'provider.name != "second"'}]}
    ) as race:
        race.first.hold = asyncio.Event()
        answer, _ = await race.ask(WIRE)
        assert race.second.requests == []
    assert judged(answer).text == THIRD


# ── what is reserved and counted ──

PRICE = {"input": 10.0, "output": 100.0}


async def test_a_second_one_is_reserved_for_or_not_asked() -> None:
    """With room for one alone there is no second; with room for two there is, and both are settled."""
    async with racing(price=PRICE, budgets={"all": {"usd": 100}}) as race:
        _, event = await race.ask(WIRE, max_tokens=1000)
        estimate = (event["facts"]["estimate"]["input_tokens"] * 10 + 1000 * 100) / 1e6
    for usd, hedged in ((estimate * 1.5, False), (estimate * 2.001, True)):
        async with racing(price=PRICE, budgets={"all": {"usd": usd}}) as race:
            race.first.hold = asyncio.Event() if hedged else None
            _, event = await race.ask(WIRE, max_tokens=1000)
            purse = next(iter(race.services.purses.pots.values()))
        assert event["attempts"][0].get("unhedged", "") == ("" if hedged else "budget")
        assert len(event["attempts"]) == 1 + hedged
        assert purse.reserved == 0
        assert purse.spent == pytest.approx(event["costEstimateUsd"] + event.get("wastedUsd", 0.0))
        assert purse.spent <= usd


async def test_what_costs_nothing_needs_no_budget() -> None:
    """A free model is asked though not a cent is left beside what is reserved for the first."""
    free = {"second": {"price": {"input": 0, "output": 0}}}
    async with racing(price=PRICE) as race:
        _, event = await race.ask(WIRE, max_tokens=1000)
    estimate = (event["facts"]["estimate"]["input_tokens"] * 10 + 1000 * 100) / 1e6
    async with racing(price=PRICE, models=free, budgets={"all": {"usd": estimate}}) as race:
        race.first.hold = asyncio.Event()
        answer, event = await race.ask(WIRE, max_tokens=1000)
    assert judged(answer).text == SECOND
    assert attempts(event)[1] == ("second", "", True, True)


async def test_a_budget_in_shadow_holds_nobody_back() -> None:
    async with racing(price=PRICE, budgets={"all": {"usd": 0.00001, "mode": "shadow"}}) as race:
        race.first.hold = asyncio.Event()
        _, event = await race.ask(WIRE)
    assert len(event["attempts"]) == 2


async def test_parallel_hedged_requests_do_not_overspend() -> None:
    """Six waves of four at once, a budget for nine and a half: what is spent, wasted included, stays below it."""
    async with racing(price=PRICE, budgets={"all": {"usd": 0.96}}) as race:
        for provider in (race.first, race.second):
            provider.script = Script((Turn(provider.script.turns[0].text, usage=Tokens(10, 1000)),))
        events = []
        for _ in range(6):
            asked = [race.begin(WIRE, max_tokens=1000) for _ in range(4)]
            answers = await asyncio.gather(*asked)
            events += [await race.gate.event(answer.headers["x-sbgw-event"]) for answer in answers]
        purse = next(iter(race.services.purses.pots.values()))
    total = sum(e.get("costEstimateUsd", 0.0) + e.get("wastedUsd", 0.0) for e in events)
    assert purse.spent == pytest.approx(total)
    assert purse.reserved == 0
    assert 0.8 < total <= 0.96
    tried = [e["attempts"] for e in events if e["status"] != "error"]
    assert any(len(attempts) == 2 for attempts in tried)
    assert any(attempts[0].get("unhedged") == "budget" for attempts in tried)
    assert {e.get("errorClass") for e in events} == {None, "budget_exceeded"}


async def test_limits_count_both() -> None:
    """A request each; of the one that lost the prompt's tokens, as long as nothing more is known."""
    limits = {"limits": {"requests_per_minute": 10, "tokens_per_minute": 10_000}}
    async with racing(rows={"first": limits, "second": limits}) as race:
        race.first.hold = asyncio.Event()
        _, event = await race.ask(WIRE)
        rows = race.gate.gateway.loaded.policy.providers
        first, second = (race.services.limits.report(rows[name]) for name in ("first", "second"))
    assert first["requestsPerMinute"]["used"] == second["requestsPerMinute"]["used"] == 1
    assert first["tokensPerMinute"]["used"] == event["facts"]["estimate"]["input_tokens"]
    assert second["tokensPerMinute"]["used"] == event["inputTokens"] + event["outputTokens"]


async def test_being_outrun_is_no_failure() -> None:
    """The breaker and the error rate know of none; the latency knows that it takes at least so long."""
    async with racing() as race:
        race.first.hold = asyncio.Event()
        for _ in range(12):
            await race.ask(WIRE)
        first, second = race.known("first"), race.known("second")
    assert (first["state"], first["errorRate"], first["healthy"]) == ("closed", 0.0, True)
    assert first["latencyMs"] > 0
    assert second["state"] == "closed"


async def test_what_became_of_it_is_told(tmp_path: Path) -> None:
    """`sbgw events` marks the request, `sbgw explain` says who lost to whom, and why nobody was asked."""
    async with racing(state=tmp_path) as race:
        race.first.hold = asyncio.Event()
        _, event = await race.ask(WIRE)
    told = CliRunner().invoke(cli, ["events", "--state-dir", str(tmp_path)], terminal_width=300).output
    assert "fallback_success (hedged)" in told
    shown = CliRunner().invoke(cli, ["explain", "last", "--state-dir", str(tmp_path)]).output
    words = " ".join(shown.split())
    assert "hedged after 700 ms" in words
    assert "first/m lost the race after" in words
    assert "second/m, asked beside it at" in words
    assert record_of(Event.from_json(event)).outrun == {"first/m"}
    async with racing(state=tmp_path, fallback={"attempts": 1}) as race:
        await race.ask(WIRE)
    shown = CliRunner().invoke(cli, ["explain", "last", "--state-dir", str(tmp_path)]).output
    assert "not hedged: no attempt was left" in " ".join(shown.split())


async def test_a_restart_knows_what_the_loser_used_of_its_row(tmp_path: Path) -> None:
    """A request and its prompt, as far as anybody knows."""
    limits = {"limits": {"tokens_per_day": 100_000, "requests_per_day": 10}}
    async with racing(state=tmp_path, rows={"first": limits}) as race:
        race.first.hold = asyncio.Event()
        _, event = await race.ask(WIRE)
    async with racing(state=tmp_path, rows={"first": limits}) as race:
        used = race.known("first")["limits"]
    assert used["requestsPerDay"]["used"] == 1
    assert used["tokensPerDay"]["used"] == event["facts"]["estimate"]["input_tokens"]


async def test_metrics_tell_hedges_from_fallbacks() -> None:
    async with racing() as race:
        race.first.hold = asyncio.Event()
        await race.ask(WIRE)
        text = race.services.metrics.prometheus()
    assert 'sbgw_hedges_total{provider="second",outcome="won"} 1' in text
    assert 'sbgw_attempts_total{provider="first",meaning="lost"} 1' in text
    assert "sbgw_fallbacks_total{" not in text
