"""Attempts: whom a login may go to, what is waited for, which failure the client hears of, what an event tells of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.providers.ward import Place
from tests.emulator import Emulator, Fault
from tests.emulator.models import Model
from tests.judge import judged
from tests.spine import CLASSES, KEY, PROTOCOLS, Behind, Call, Spine, Wire, body, policy, spine
from tests.stages.test_preserve import WHOLE

ROWS = {"m": Model()}
LOGIN = {"x-sbgw-key": KEY, "authorization": "Bearer canary-callers-login"}


class Two:
    """Two bare providers that keep what they are sent; `failing` ones answer 500."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Call]] = {"first": [], "second": []}
        self.failing: set[str] = set()
        self.body: dict[str, bytes] = {}
        self.status = "500 Oops"
        self.hold: asyncio.Event | None = None
        """The first one's answers wait for it."""
        self.asked = asyncio.Event()
        """The first one has been asked while its answers wait."""

    def player(self, name: str) -> Any:
        async def play(call: Call) -> None:
            self.calls[name].append(call)
            if name == "first" and self.hold is not None:
                self.asked.set()
                await self.hold.wait()
            if name in self.failing:
                await call.open("application/json", self.status)
                await call.write(self.body.get(name, b'{"error": {"message": "it broke", "type": "server_error"}}'))
            else:
                wire = "anthropic-messages" if "/v1/messages" in call.head.decode() else "openai-chat"
                await call.open("application/json")
                await call.write(WHOLE[wire])

        return play

    def heads(self, name: str) -> str:
        return "".join(call.head.decode() for call in self.calls[name])


@pytest.fixture
def two() -> Two:
    """Both healthy."""
    return Two()


@asynccontextmanager
async def served(two: Two, first: dict[str, Any], second: dict[str, Any], **sections: Any) -> AsyncIterator[Spine]:
    async with Wire(two.player("first")) as one, Wire(two.player("second")) as other:
        wires = (first.pop("wires", ("anthropic-messages",)), second.pop("wires", ("anthropic-messages",)))
        behind = (Behind("first", one.url, wires[0], row=first), Behind("second", other.url, wires[1], row=second))
        async with spine(
            policy(*behind, **sections), env={"FIRST_KEY": "key-of-first", "SECOND_KEY": "key-of-second"}
        ) as gate:
            yield gate


CLIENT = {"auth": "client"}


async def test_the_callers_login_goes_to_its_vendor(two: Two) -> None:
    """`auth: client` passes the caller's credential and no key of ours, and the organisation with it."""
    async with served(two, {**CLIENT}, {}) as gate:
        await gate.ask("anthropic-messages", headers={**LOGIN, "openai-organization": "o", "anthropic-beta": "oauth-1"})
    assert "canary-callers-login" in two.heads("first")
    assert [
        word for word in (KEY, "key-of-first", "key-of-second", "openai-organization") if word in two.heads("first")
    ] == []


async def test_whose_login_it_is_goes_with_it_alone(two: Two) -> None:
    """A subscription's account has a header of its own, which a row names; it is no business of the next vendor."""
    two.failing = {"first"}
    first = {**CLIENT, "quirks": {"login_headers": ["x-account-id"]}}
    async with served(two, first, {"quirks": {"login_headers": ["x-account-id"]}}) as gate:
        await gate.ask("anthropic-messages", headers={**LOGIN, "x-account-id": "canary-account", "x-other": "canary-o"})
    assert "canary-account" in two.heads("first")
    assert "canary-o" not in two.heads("first")
    assert two.heads("second")
    assert "canary-account" not in two.heads("second")


async def test_the_callers_login_stays_out_of_a_fallback(two: Two) -> None:
    """The second vendor gets its own key and nothing of the caller's."""
    two.failing = {"first"}
    async with served(two, {**CLIENT}, {}) as gate:
        answer = await gate.ask("anthropic-messages", headers=LOGIN)
        event = await gate.event(answer.headers["x-sbgw-event"])
    assert answer.status == 200
    assert "key-of-second" in two.heads("second")
    assert "canary-callers-login" not in two.heads("second")
    assert "canary-callers-login" not in repr(event)


async def test_the_callers_login_goes_to_one_vendor_only(two: Two) -> None:
    """Of two rows that take it, the second never sees it."""
    two.failing = {"first"}
    async with served(two, {**CLIENT}, {**CLIENT}) as gate:
        answer = await gate.ask("anthropic-messages", headers=LOGIN)
        event = await gate.event(answer.headers["x-sbgw-event"])
    assert answer.status == 500
    assert two.calls["second"] == []
    assert [attempt["meaning"] for attempt in event["attempts"]] == ["server_error", "incompatible"]


async def test_the_callers_login_is_not_translated_to_another_vendor(two: Two) -> None:
    """A client of one protocol is logged in at that protocol's vendor: the login does not go out on another wire."""
    async with served(two, {**CLIENT, "wires": ("openai-chat",)}, {}) as gate:
        answer = await gate.ask("anthropic-messages", headers=LOGIN)
    assert answer.status == 200
    assert two.calls["first"] == []
    assert "canary-callers-login" not in two.heads("second")


@pytest.mark.parametrize("given", [{"x-sbgw-key": KEY}, {"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}])
async def test_our_own_key_is_no_login(two: Two, given: dict[str, str]) -> None:
    """A caller that presents the gateway's key alone has no login to pass: the vendor is not asked."""
    async with served(two, {**CLIENT}, {}) as gate:
        answer = await gate.ask("anthropic-messages", headers=given)
    assert answer.status == 200
    assert two.calls["first"] == []
    assert KEY not in two.heads("second")


async def test_a_callers_bad_login_does_not_cool_the_vendor_down(two: Two) -> None:
    """The next caller's good one is tried there again."""
    two.failing, two.status = {"first"}, "401 Unauthorized"
    async with served(two, {**CLIENT}, {}) as gate:
        await gate.ask("anthropic-messages", headers=LOGIN)
        two.failing = set()
        await gate.ask("anthropic-messages", headers=LOGIN)
    assert len(two.calls["first"]) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_vendor_that_quotes_our_key_is_not_quoted(two: Two, protocol: str, *, stream: bool) -> None:
    """The key is taken out of the error body, the event and the log."""
    two.failing, two.status = {"first", "second"}, "401 Unauthorized"
    for name in ("first", "second"):
        two.body[name] = (
            b'{"type":"error","error":{"type":"authentication_error","message":"bad key: key-of-%s!"}}' % name.encode()
        )
    async with served(two, {}, {"wires": ("openai-chat",)}) as gate:
        answer = await gate.ask(protocol, stream=stream)
        event = await gate.event(answer.headers["x-sbgw-event"])
        told = answer.body.decode() + repr(answer.headers) + repr(event) + repr(gate.logged)
    assert "key-of" not in told
    assert judged(answer).error


async def test_retry_after_is_waited_for_and_recorded() -> None:
    """With nobody else, a short wait that the vendor names is kept, and the event says so."""
    async with Emulator(models=ROWS) as emu:
        text = policy(Behind("first", emu.url, ("openai-chat",)))
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            waits: list[float] = []
            gate.gateway.services.sleep = lambda seconds: _note(waits, seconds)
            emu.fail_next(Fault("429", retry_after=2))
            answer = await gate.ask("openai-chat")
            event = await gate.event(answer.headers["x-sbgw-event"])
    assert (answer.status, waits) == (200, [2.0])
    assert [attempt["waitedMs"] for attempt in event["attempts"]] == [0, 2000]


async def _note(waits: list[float], seconds: float) -> None:
    waits.append(seconds)


@pytest.mark.parametrize(
    ("fault", "tries"),
    [(Fault("429", retry_after=60, times=9), 1), (Fault("429", times=9), 1), (Fault("529", times=9), 3)],
)
async def test_how_often_one_provider_is_tried(fault: Fault, tries: int) -> None:
    """A long or untold rate limit is the client's to wait for; an overload is tried twice more."""
    async with Emulator(models=ROWS) as emu:
        text = policy(Behind("first", emu.url, ("anthropic-messages",)))
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            emu.fail_next(Fault(fault.kind, fault.retry_after, fault.times))
            answer = await gate.ask("anthropic-messages")
    assert answer.status in (429, 529)
    assert len(emu.requests) == tries


async def test_the_client_hears_the_failure_it_can_act_upon() -> None:
    """Rate limit before server error, whichever came first."""
    async with Emulator(models=ROWS) as one, Emulator(models=ROWS) as two:
        behind = (Behind("first", one.url, ("openai-chat",)), Behind("second", two.url, ("openai-chat",)))
        async with spine(policy(*behind), env={"FIRST_KEY": one.key, "SECOND_KEY": two.key}) as gate:
            one.fail_next(Fault("500", times=9))
            two.fail_next(Fault("429", retry_after=60, times=9))
            answer = await gate.ask("openai-chat")
    assert (answer.status, answer.headers["retry-after"]) == (429, "60")


async def test_a_larger_window_is_asked_when_the_first_is_too_small() -> None:
    """Too long for one model: only candidates with a larger window are tried."""
    async with Emulator(models=ROWS) as one, Emulator(models=ROWS) as two, Emulator(models=ROWS) as three:
        wires = ("openai-chat",)
        behind = (
            Behind("first", one.url, wires),
            Behind("second", two.url, wires, model={"context": 100_000}),
            Behind("third", three.url, wires, model={"context": 400_000}),
        )
        env = {b.key_env: e.key for b, e in zip(behind, (one, two, three), strict=True)}
        async with spine(policy(*behind), env=env) as gate:
            one.fail_next(Fault("context"))
            answer = await gate.ask("openai-chat")
    assert answer.headers["x-sbgw-model"] == "third/m"
    assert two.requests == []


async def test_the_policy_says_what_falls_back(two: Two) -> None:
    """`fallback.on` without server errors: the second provider is not asked."""
    two.failing = {"first"}
    async with served(two, {}, {}, fallback={"on": ["rate_limit"]}) as gate:
        answer = await gate.ask("anthropic-messages")
    assert (answer.status, two.calls["second"]) == (500, [])


async def test_no_attempt_begins_after_the_deadline(two: Two) -> None:
    """The whole chain has one deadline."""
    two.failing = {"first"}
    async with served(two, {}, {}, fallback={"total_seconds": 10}) as gate:
        now = gate.gateway.services.monotonic
        ticks = iter(range(10_000))
        gate.gateway.services.monotonic = lambda: now() + 4 * next(ticks)
        answer = await gate.ask("anthropic-messages")
    assert (answer.status, two.calls["second"]) == (500, [])


async def test_a_request_that_cannot_be_said_is_the_callers_fault(two: Two) -> None:
    """A body that only the translation finds wrong is a 400, its attempt is no cancellation, and nobody was asked."""
    async with served(two, {}, {}) as gate:
        asked = body("openai-chat") | {
            "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": 7}]}]
        }
        answer = await gate.ask("openai-chat", asked)
        events = gate.events()
    assert answer.status == 400
    assert [attempt["meaning"] for attempt in events[0].get("attempts", [])] in ([], ["invalid_request"])
    assert two.calls == {"first": [], "second": []}


async def test_a_name_that_no_header_can_hold() -> None:
    """A wildcard provider serves whatever name the client gives; the answer's headers stay one line of ASCII."""
    async with Wire(Two().player("first")) as wire:
        behind = Behind("first", wire.url, ("openai-chat",), row={"wildcard": True})
        text = policy(behind, routes={"fallback_safe": ["requested", "first"], "cheap_edit": ["requested", "first"]})
        async with spine(text, env={"FIRST_KEY": "k"}) as gate:
            for name in ("a\r\nx-evil: 1", "ä🟢", "a b\tc\x00"):
                for stream in (False, True):
                    answer = await gate.ask("openai-chat", body("openai-chat", model=f"first/{name}", stream=stream))
                    assert answer.status == 200, answer.body
                    assert "x-evil" not in answer.headers
                    assert answer.headers["x-sbgw-model"].isascii()


async def test_a_limit_lets_through_exactly_as_many_as_it_says() -> None:
    """Of thirty parallel requests ten go to the limited provider, the others to the next one."""
    async with Emulator(models=ROWS) as one, Emulator(models=ROWS) as two:
        limited = {"limits": {"requests_per_minute": 10}}
        wires = ("openai-chat",)
        behind = Behind("first", one.url, wires, row=limited), Behind("second", two.url, wires)
        async with spine(policy(*behind), env={"FIRST_KEY": one.key, "SECOND_KEY": two.key}) as gate:
            answers = await asyncio.gather(*(gate.ask("openai-chat") for _ in range(30)))
            decided = (await gate.send("POST", "/v1/route", orjson.dumps(body("openai-chat")))).json["decision"]
    assert {answer.status for answer in answers} == {200}
    assert (len(one.requests), len(two.requests)) == (10, 20)
    assert [(c["provider"], c.get("detail", "")) for c in decided["candidates"]] == [
        ("second", ""),
        ("first", "at its limit; tried last"),
    ]


async def test_at_the_only_providers_limit_the_client_is_told_to_wait() -> None:
    """An error of its own protocol with the seconds, and nothing is sent."""
    async with Emulator(models=ROWS) as one:
        limited = {"limits": {"requests_per_minute": 1}}
        async with spine(
            policy(Behind("first", one.url, ("openai-chat",), row=limited)), env={"FIRST_KEY": one.key}
        ) as gate:
            for protocol in PROTOCOLS:
                gate.gateway.services.limits._used.clear()
                assert (await gate.ask(protocol)).status == 200
                refused = await gate.ask(protocol)
                assert refused.status == 429
                assert 50 <= int(refused.headers["retry-after"]) <= 60
                assert "limit" in judged(refused).error
                event = await gate.event(refused.headers["x-sbgw-event"])
                assert [a["meaning"] for a in event["attempts"]] == ["rate_limit"]
    assert len(one.requests) == 3


async def test_a_limit_about_to_pass_is_waited_for() -> None:
    """Within the patience of the dispatcher, the request goes out after the wait."""
    async with Emulator(models=ROWS) as one:
        limited = {"limits": {"requests_per_minute": 1}}
        async with spine(
            policy(Behind("first", one.url, ("openai-chat",), row=limited)), env={"FIRST_KEY": one.key}
        ) as gate:
            await gate.ask("openai-chat")
            limits = gate.gateway.services.limits
            began = limits._used["first"].minute[0]
            began.at -= 57

            async def sleep(seconds: float) -> None:
                began.at -= seconds

            gate.gateway.services.sleep = sleep
            answer = await gate.ask("openai-chat")
            event = await gate.event(answer.headers["x-sbgw-event"])
    assert answer.status == 200
    assert 1000 < event["attempts"][-1]["waitedMs"] <= 3000


async def test_one_probe_at_a_time_and_the_others_say_who_was_passed_over(two: Two) -> None:
    """A provider that recovers gets one request; those beside it go on to the next and the event says so."""
    two.failing = {"first"}
    async with served(two, {}, {}) as gate:
        for _ in range(3):
            await gate.ask("anthropic-messages")
        assert len(two.calls["first"]) == 3
        await gate.ask("anthropic-messages")
        assert len(two.calls["first"]) == 3  # open: behind the healthy one
        health = gate.gateway.services.health
        now = health._monotonic
        health._monotonic = lambda: now() + 31
        two.failing, two.hold = set(), asyncio.Event()
        probe = asyncio.create_task(gate.ask("anthropic-messages"))
        await two.asked.wait()
        beside = await gate.ask("anthropic-messages")
        two.hold.set()
        first = await probe
        event = await gate.event(beside.headers["x-sbgw-event"])
    assert (beside.headers["x-sbgw-model"], first.headers["x-sbgw-model"]) == ("second/m", "first/m")
    assert event["availability"]["state"]["first/m"] == "recovering"
    assert (
        event["decision"]["candidates"][1]["detail"] == "recovering, with as many attempts as it may have; tried last"
    )


async def test_a_candidate_that_broke_meanwhile_is_passed_over_and_named(two: Two) -> None:
    """Decided while all was well, asked after another request had found it out."""
    async with served(two, {}, {}) as gate:
        services = gate.gateway.services
        pick = services.health.pick

        def found_out(provider: str, keys: Sequence[str], model: str) -> tuple[Place, bool]:
            place, well = pick(provider, keys, model)
            return place, well and provider != "first"

        services.health.pick = found_out  # type: ignore[method-assign]
        answer = await gate.ask("anthropic-messages")
        event = await gate.event(answer.headers["x-sbgw-event"])
    assert [(a["provider"], a.get("passedOver")) for a in event["attempts"]] == [("second", ["first/m"])]


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_the_callers_login_follows_no_redirect(two: Two, status: str) -> None:
    """The host that the vendor points to is never asked, neither with the login nor without."""
    elsewhere: list[Call] = []

    async def listen(call: Call) -> None:
        elsewhere.append(call)

    async with Wire(listen) as other:

        async def redirect(call: Call) -> None:
            await call.open("text/plain", status, location=f"http://localhost:{other.port}/v1/messages")

        async with Wire(redirect) as vendor:
            behind = Behind("first", vendor.url, ("anthropic-messages",), row={**CLIENT})
            async with spine(policy(behind)) as gate:
                answer = await gate.ask("anthropic-messages", headers=LOGIN)
                event = await gate.event(answer.headers["x-sbgw-event"])
    assert (answer.status, elsewhere) == (502, [])
    assert {attempt["meaning"] for attempt in event["attempts"]} == {"broken"}


def written(folder: Path) -> bytes:
    """Everything in every file below `folder`."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_callers_login_stands_nowhere(two: Two, tmp_path: Path, *, stream: bool) -> None:
    """A vendor that quotes it, with an error status or within a stream: not in answer, event, log, state or any file."""
    quoted = b'{"type":"error","error":{"type":"overloaded_error","message":"busy, canary-callers-login!"}}'

    async def play(call: Call) -> None:
        if stream:
            await call.open()
            start = b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}'
            await call.write(b"event: content_block_start\ndata: " + start + b"\n\n")
            await call.write(b"event: error\ndata: " + quoted + b"\n\n")
        else:
            await call.open("application/json", "529 Overloaded", x_request_id="canary-callers-login")
            await call.write(quoted)

    async with Wire(play) as vendor:
        behind = Behind("first", vendor.url, ("anthropic-messages",), row={**CLIENT})
        async with spine(policy(behind), state=tmp_path) as gate:
            answers = [await gate.ask("anthropic-messages", stream=stream, headers=LOGIN) for _ in range(4)]
            events = [await gate.event(answer.headers["x-sbgw-event"]) for answer in answers]
            states = (await gate.send("GET", "/providers")).body + (await gate.send("GET", "/metrics")).body
            told = repr([(a.body, a.headers) for a in answers]) + repr(events) + repr(gate.logged) + states.decode()
    kept = written(tmp_path)
    assert all(judged(answer).error for answer in answers)
    assert (tmp_path / "health.json").exists()
    assert "canary-callers-login" not in told
    assert b"canary-callers-login" not in kept


async def test_one_deadline_holds_for_all_attempts(two: Two) -> None:
    """A provider that says nothing uses up what the whole request has, not the longer time of its own row."""
    two.hold = asyncio.Event()
    async with served(two, {"timeouts": {"first_event": 60}}, {}, fallback={"total_seconds": 0.3}) as gate:
        answer = await gate.ask("anthropic-messages")
        event = await gate.event(answer.headers["x-sbgw-event"])
        two.hold.set()
    assert answer.status == 504
    assert [attempt["meaning"] for attempt in event["attempts"]] == ["timeout"]
    assert two.calls["second"] == []
    assert answer.took < 30


async def test_an_outage_is_not_made_worse(two: Two) -> None:
    """A hundred requests at a provider that fails: ten retries and a fifth, not two for each; the log tells why."""
    two.failing = {"first"}
    async with served(two, {"retries": {"per_request": 2, "share": 0.2, "per_minute": 10}}, {}, routes=ALONE) as gate:
        services, now = gate.gateway.services, [1000.0]
        services.monotonic = lambda: now[0]
        gate.heal()
        answers = [await gate.ask("anthropic-messages") for _ in range(100)]
        spent = [line for line in gate.logged if line["event"] == "retries_spent"]
        assert len(two.calls["first"]) == 100 + 10 + 19  # a full bucket takes nothing of the first request
        assert {answer.status for answer in answers} == {500}
        assert {line["provider"] for line in spent} == {"first"}
        now[0] += 60.0
        await gate.ask("anthropic-messages")
    assert len(two.calls["first"]) == 129 + 3


@pytest.mark.parametrize(("allowed", "calls"), [(0, 1), (1, 2), (3, 4)])
async def test_a_request_is_tried_again_as_often_as_the_row_says(two: Two, allowed: int, calls: int) -> None:
    """At the last candidate only."""
    two.failing = {"first", "second"}
    retries = {"retries": {"per_request": allowed}}
    async with served(two, {**retries}, {**retries}, fallback={"attempts": 20}) as gate:
        await gate.ask("anthropic-messages")
    assert (len(two.calls["first"]), len(two.calls["second"])) == (1, calls)


ALONE = {name: ["first/m"] for name in CLASSES}
"""Every route leads to the first provider."""
