"""What providers do wrong, on every wire, behind every client, whole and streamed, alone and with a healthy second.

Whatever happens: one whole answer or one error that the client's SDK reads, one event with the attempts, no connection, task or
secret left behind, and all of it in time.

Two wires by default; `-m slow` adds the third. Faults x clients x whole and streamed x wires x alone and with a second:
`CELLS` says how many that is.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engine.llm.errors import ProviderError
from engine.providers.health import Health
from engine.providers.ward import Trial
from tests.emulator import Emulator, Fault, Script, Turn
from tests.emulator.models import Model
from tests.emulator.odd import bomb
from tests.judge import judged
from tests.spine import HURRIED, KEY, PROTOCOLS, Answer, Behind, Spine, policy, spine

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST = "Said by the first one, in several words, so that the stream has some frames."
SECOND = "Said by the second one, in several words, so that the stream has some frames."
PATIENCE = 5.0
"""Seconds in which every request must be over, though the machine be busy: the longest are those of two short timeouts."""

ROWS = {"m": Model()}


class Unworried(Health):
    """Never lets a provider step back, so that each request meets the fault."""

    def failed(self, trial: Trial, error: ProviderError) -> None:
        self.left(trial)


@dataclass(slots=True)
class Pair:
    """A failing provider and a healthy one, and gateways before them."""

    wire: str
    first: Emulator
    second: Emulator
    gates: dict[tuple[str, bool], Spine]
    """By how the first provider is reached (`calm`, `hurried` with short timeouts, `brief` with a short total one as well, `closed`) and whether there is a second."""
    canaries: list[str]


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[
        "anthropic-messages",
        pytest.param("openai-responses", marks=pytest.mark.slow),
        "openai-chat",
    ],
)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """Providers that speak one wire."""
    wire: str = request.param
    bomb()  # takes a while, and is made once
    async with AsyncExitStack() as stack:
        said = Script((Turn(FIRST),))
        first = await stack.enter_async_context(Emulator(said, models=ROWS))
        second = await stack.enter_async_context(Emulator(Script((Turn(SECOND),)), models=ROWS))
        env = {"FIRST_KEY": first.key, "SECOND_KEY": second.key}
        ways = {
            "calm": Behind("first", first.url, (wire,)),
            "hurried": Behind("first", first.url, (wire,), row={"timeouts": HURRIED}),
            "brief": Behind("first", first.url, (wire,), row={"timeouts": {**HURRIED, "total": 1}}),
            "closed": Behind("first", lambda _: "http://127.0.0.1:1", (wire,)),
        }
        healthy = Behind("second", second.url, (wire,))
        gates: dict[tuple[str, bool], Spine] = {}
        for name, way in ways.items():
            for behind in ((way,), (way, healthy)):
                gate = await stack.enter_async_context(spine(policy(*behind), env=env))
                gate.gateway.services.health = Unworried(gate.gateway.services.monotonic)
                gates[name, len(behind) == 2] = gate
        yield Pair(wire, first, second, gates, [KEY, first.key, second.key])


FALLS = "falls back"
STAYS = "the caller's own fault"
EITHER = "breaks after the first content, or falls back if that was not read yet"
SERVES = "odd, but an answer"
WHOLE_ONLY = "in a stream as the SSE standard says: replaced, and an event of unknown kind; no JSON in a whole answer"
STREAM_ONLY = "as EITHER in a stream; a whole answer is not touched by it"
GAPPED = "an answer that lacks what one frame of a stream said: where frames bear no numbers, nobody can know"
ALWAYS = 10**6

SOON = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20ms"}
DATED = {"date": "Fri, 27 Nov 2026 10:00:00 GMT", "retry-after": "Fri, 27 Nov 2026 10:00:30 GMT"}

FAULTS: dict[str, tuple[Fault, str, str]] = {
    # statuses
    "400": (Fault("400"), STAYS, "invalid_request"),
    "401": (Fault("401"), FALLS, "authentication"),
    "402": (Fault("402"), FALLS, "quota"),
    "403": (Fault("403"), FALLS, "permission"),
    "404": (Fault("404"), FALLS, "not_found"),
    "408": (Fault("408"), FALLS, "timeout"),
    "413": (Fault("413"), STAYS, "context_length"),
    "418": (Fault("418"), STAYS, "invalid_request"),
    "429": (Fault("429"), FALLS, "rate_limit"),
    "429-now": (Fault("429", retry_after=0), FALLS, "rate_limit"),
    "429-soon": (Fault("429", retry_after=2), FALLS, "rate_limit"),
    "429-in-an-hour": (Fault("429", retry_after=3600), FALLS, "rate_limit"),
    "429-at-a-time": (Fault("429", headers=DATED), FALLS, "rate_limit"),
    "429-in-milliseconds": (Fault("429", headers={"retry-after-ms": "20"}), FALLS, "rate_limit"),
    "429-empty-bucket": (Fault("429", headers=SOON), FALLS, "rate_limit"),
    "429-nonsense": (Fault("429", headers={"retry-after": "a while"}), FALLS, "rate_limit"),
    "500": (Fault("500"), FALLS, "server_error"),
    "502": (Fault("502"), FALLS, "server_error"),
    "503": (Fault("503"), FALLS, "overloaded"),
    "504": (Fault("504"), FALLS, "timeout"),
    "520": (Fault("520"), FALLS, "server_error"),
    "529": (Fault("529"), FALLS, "overloaded"),
    "529-soon": (Fault("529", retry_after=1), FALLS, "overloaded"),
    "quota": (Fault("quota"), FALLS, "quota"),
    "context": (Fault("context"), STAYS, "context_length"),
    "redirect": (Fault("redirect", location="http://127.0.0.1:1/elsewhere"), FALLS, "broken"),
    # connections
    "drop-before-headers": (Fault("drop-before-headers"), FALLS, "unreachable"),
    "drop-after-headers": (Fault("drop-after-headers"), FALLS, ""),
    "cut-headers": (Fault("cut-headers"), FALLS, ""),
    "garbage": (Fault("garbage"), FALLS, "broken"),
    "stall": (Fault("stall"), FALLS, "timeout"),
    "stall-after-headers": (Fault("stall-after-headers"), FALLS, "timeout"),
    "stall-mid-stream": (Fault("stall-mid-stream"), EITHER, "timeout"),
    "drop-mid-stream": (Fault("drop-mid-stream"), EITHER, ""),
    "slow-drip": (Fault("slow-drip"), SERVES, ""),
    # bodies
    "html502": (Fault("html502"), FALLS, "server_error"),
    "html200": (Fault("html200"), FALLS, "broken"),
    "html-for-stream": (Fault("html-for-stream"), FALLS, "broken"),
    "empty200": (Fault("empty200"), FALLS, "broken"),
    "204": (Fault("204"), FALLS, "broken"),
    "empty-object": (Fault("empty-object"), FALLS, "broken"),
    "error-json": (Fault("error-json"), FALLS, "overloaded"),
    "array-json": (Fault("array-json"), FALLS, "broken"),
    "short-body": (Fault("short-body"), EITHER, ""),
    "wrong-type": (Fault("wrong-type"), SERVES, ""),
    "no-type": (Fault("no-type"), SERVES, ""),
    "gzip-bomb": (Fault("gzip-bomb"), FALLS, "broken"),
    "unknown-encoding": (Fault("unknown-encoding"), FALLS, "broken"),
    # streams
    "json-for-stream": (Fault("json-for-stream"), SERVES, ""),
    "empty-stream": (Fault("empty-stream"), FALLS, "broken"),
    "comments-only": (Fault("comments-only"), FALLS, "broken"),
    "endless-pings": (Fault("endless-pings"), FALLS, "timeout"),
    "endless-text": (Fault("endless-text"), EITHER, "timeout"),
    "error-first-frame": (Fault("error-first-frame"), FALLS, "overloaded"),
    "error-mid-stream": (Fault("error-mid-stream"), EITHER, ""),
    "truncated": (Fault("truncated"), EITHER, ""),
    "missing-terminal": (Fault("missing-terminal"), STREAM_ONLY, "broken"),
    "duplicate-terminal": (Fault("duplicate-terminal"), SERVES, ""),
    "left-open": (Fault("left-open"), SERVES, ""),
    "oversized-frame": (Fault("oversized-frame"), STREAM_ONLY, "broken"),
    "bad-json": (Fault("bad-json"), EITHER, ""),
    "invalid-utf8": (Fault("invalid-utf8"), WHOLE_ONLY, "broken"),
    "unknown-events": (Fault("unknown-events"), SERVES, ""),
    "skipped-frame": (Fault("skipped-frame"), GAPPED, ""),
}
"""name → (what is ordered, what a healthy second leads to, what the first attempt means; empty: one of several things)."""

CELLS = (len(FAULTS) + 1) * len(PROTOCOLS) * 2 * len(PROTOCOLS) * 2
"""Requests that the whole matrix judges, with a refused connection as one more fault; two thirds of them by default."""

HURRIES = ("stall", "endless-pings")
"""Beginnings of the names of faults that only a timeout ends."""

UNREAD = ("bad-json", "skipped-frame")
"""Frames between a stream's first and last pass unread where client and provider speak Responses: as the vendor sent them."""


async def test_the_matrix_is_as_large_as_promised() -> None:
    """At least 36 faults."""
    assert len(FAULTS) + 1 >= 36
    assert CELLS == 2340


async def ask_all(gate: Spine) -> list[tuple[Answer, dict[str, Any]]]:
    """Every protocol, whole and streamed, at once; each answer with its event."""
    asked = [(protocol, stream) for protocol in PROTOCOLS for stream in (False, True)]
    before = {event["id"] for event in gate.events()}
    answers = await asyncio.gather(*(gate.ask(protocol, stream=stream) for protocol, stream in asked))
    new = {event["id"] for event in gate.events()} - before
    assert new == {answer.headers["x-sbgw-event"] for answer in answers}
    assert len(new) == len(asked)
    return [(answer, await gate.event(answer.headers["x-sbgw-event"])) for answer in answers]


def running() -> list[str]:
    """What runs in this loop, but for connections that wait for a request."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return sorted(name for name in names if name != "RequestHandler.start")


async def settled(gate: Spine, before: list[str]) -> None:
    """Everything that a request started is over: tasks here and connections at the provider."""
    pool = gate.gateway.services.transport._session.connector._acquired  # type: ignore[union-attr]
    for _ in range(100):
        if running() == before and not pool:
            return
        await asyncio.sleep(0.01)
    assert (running(), pool) == (before, set())


def clean(pair: Pair, gate: Spine, answer: Answer, event: dict[str, Any]) -> None:
    """No secret in anything that leaves the gateway."""
    told = answer.body.decode("utf-8", "replace") + repr(answer.headers) + repr(event) + repr(gate.logged)
    assert [secret for secret in pair.canaries if secret in told] == []


def check(pair: Pair, gate: Spine, answer: Answer, event: dict[str, Any], *, expected: str, meaning: str) -> None:
    """The invariants of one faulted request."""
    if expected == STREAM_ONLY:
        expected = EITHER if answer.stream else SERVES
    if expected == WHOLE_ONLY:
        expected = (
            SERVES
            if answer.stream
            else FALLS
            if any(gate is g for (_, second), g in pair.gates.items() if second)
            else STAYS
        )
    where = f"{answer.protocol} stream={answer.stream}: {answer.status} {answer.body[-600:]!r} {event.get('attempts')}"
    try:
        verdict = judged(answer)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{where}") from None
    if expected in (SERVES, GAPPED):
        whole = verdict.text == FIRST
        gapped = (
            expected == GAPPED and answer.stream and verdict.text[:10] + verdict.text[-4:] == FIRST[:10] + FIRST[-4:]
        )
        assert whole or gapped, where
        assert (event["status"], len(event["attempts"])) == ("success", 1), where
        clean(pair, gate, answer, event)
        return
    if expected == FALLS or (expected == EITHER and verdict.text):
        assert verdict.text == SECOND, where
        assert event["status"] == "fallback_success", where
        assert len(event["fallbackChain"]) == 2, where
    else:
        assert verdict.error, where
        assert event["status"] == "error", where
        assert event["errorClass"], where
    assert event["attempts"][0]["meaning"] == (meaning or event["attempts"][0]["meaning"]), where
    assert event["attempts"][0]["meaning"] not in ("", "cancelled"), where
    assert answer.took < PATIENCE, where
    clean(pair, gate, answer, event)


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("second", [False, True], ids=["alone", "healthy-second"])
async def test_fault(pair: Pair, name: str, *, second: bool) -> None:
    """One valid end, one event, nothing left behind; a healthy second answers what is not the caller's fault."""
    fault, expected, meaning = FAULTS[name]
    if expected == GAPPED and pair.wire == "openai-responses":
        expected, meaning = STREAM_ONLY, "broken"
    way = "hurried" if name.startswith(HURRIES) else "brief" if name == "endless-text" else "calm"
    gate = pair.gates[way, second]
    pair.first._faults.clear()
    pair.first.fail_next(replace(fault, times=ALWAYS))
    pair.second.requests.clear()
    before = running()
    for answer, event in await ask_all(gate):
        if name in UNREAD and pair.wire == answer.protocol == "openai-responses" and answer.stream:
            continue
        alone = expected if expected in (SERVES, GAPPED, STREAM_ONLY, WHOLE_ONLY) else STAYS
        check(pair, gate, answer, event, expected=expected if second else alone, meaning=meaning)
    if expected in (STAYS, SERVES, GAPPED):
        assert pair.second.requests == []
    assert pair.second.refused == []
    await settled(gate, before)


@pytest.mark.parametrize("second", [False, True], ids=["alone", "healthy-second"])
async def test_nobody_listens(pair: Pair, *, second: bool) -> None:
    """A refused connection is unreachable; a healthy second answers."""
    gate = pair.gates["closed", second]
    before = running()
    for answer, event in await ask_all(gate):
        check(pair, gate, answer, event, expected=FALLS if second else STAYS, meaning="unreachable")
    await settled(gate, before)


@pytest.mark.parametrize("second", [False, True], ids=["alone", "healthy-second"])
async def test_a_connection_that_never_stands(pair: Pair, *, second: bool) -> None:
    """A listener whose queue is full answers nobody: the time to connect ends it."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, ExitStack() as queue:
        for _ in range(4):
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        nobody = Behind(
            "first", lambda _: f"http://127.0.0.1:{deaf.getsockname()[1]}", (pair.wire,),
            row={"timeouts": {**HURRIED, "first_event": 60}},  # so that nothing but the time to connect can end it
        )  # fmt: skip
        healthy = Behind("second", pair.second.url, (pair.wire,))
        env = {"FIRST_KEY": pair.first.key, "SECOND_KEY": pair.second.key}
        async with spine(policy(*(nobody, healthy)[: 1 + second]), env=env) as gate:
            gate.gateway.services.health = Unworried(gate.gateway.services.monotonic)
            before = running()
            for answer, event in await ask_all(gate):
                judge = pair if not second else replace(pair, gates={**pair.gates, ("deaf", True): gate})
                check(judge, gate, answer, event, expected=FALLS if second else STAYS, meaning="unreachable")
            await settled(gate, before)


async def test_our_key_reaches_its_own_provider_only(pair: Pair) -> None:
    """After all this, no provider has seen the gateway's key or another's."""
    assert pair.first.saw(KEY) == pair.second.saw(KEY) == []
    assert pair.second.saw(pair.first.key) == pair.first.saw(pair.second.key) == []


def descriptors() -> int:
    """How many this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_no_descriptor_is_left(pair: Pair) -> None:
    """Connections that wait for a next request close with their pools; then as many descriptors are open as before."""
    before = descriptors()
    async with Emulator(Script((Turn(FIRST),)), models=ROWS) as emu:
        behind = Behind("first", emu.url, (pair.wire,), row={"timeouts": HURRIED})
        for fault, _, _ in FAULTS.values():
            if fault.kind in ("gzip-bomb", "left-open", "oversized-frame", "endless-text"):
                continue  # slow, and of the same ways out as others
            async with spine(policy(behind), env={"FIRST_KEY": emu.key}) as gate:
                emu._faults.clear()
                emu.fail_next(replace(fault, times=ALWAYS))
                await ask_all(gate)
    for _ in range(100):
        if descriptors() <= before:
            break
        await asyncio.sleep(0.02)
    assert descriptors() <= before
