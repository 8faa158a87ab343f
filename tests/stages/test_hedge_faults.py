"""What providers do wrong, with a healthy second that is asked at once: the invariants of the fault matrix, hedged.

Whatever the first one does, the second is under way beside it, so the client reads one whole answer, of whichever began first, or
the end of one that broke off after it had begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.emulator import Emulator, Script, Turn
from tests.judge import judged
from tests.spine import CLASSES, HURRIED, KEY, PROTOCOLS, Behind, body, policy, spine
from tests.stages.test_faults import (
    ALWAYS,
    EITHER,
    FAULTS,
    FIRST,
    GAPPED,
    PATIENCE,
    ROWS,
    SECOND,
    SERVES,
    STREAM_ONLY,
    UNREAD,
    WHOLE_ONLY,
    Pair,
    Unworried,
    clean,
    running,
    settled,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ODD = (SERVES, GAPPED, EITHER, STREAM_ONLY, WHOLE_ONLY)
"""What a first one may still win with, well or ill."""


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=["anthropic-messages", *(pytest.param(wire, marks=pytest.mark.slow) for wire in PROTOCOLS[1:])],
)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """A failing provider and a healthy one on a hedged route."""
    wire: str = request.param
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(Emulator(Script((Turn(FIRST),)), models=ROWS))
        second = await stack.enter_async_context(Emulator(Script((Turn(SECOND),)), models=ROWS))
        route = {"use": ["first/m", "second/m"], "hedge": {"after_ms": 1}}
        hurried = {"timeouts": {**HURRIED, "total": 1}}
        behind = (Behind("first", first.url, (wire,), row=hurried), Behind("second", second.url, (wire,)))
        text = policy(*behind, routes=dict.fromkeys(CLASSES, route))
        gate = await stack.enter_async_context(spine(text, env={"FIRST_KEY": first.key, "SECOND_KEY": second.key}))
        gate.gateway.services.health = Unworried(gate.gateway.services.monotonic)
        yield Pair(wire, first, second, {("hedged", True): gate}, [KEY, first.key, second.key])


@pytest.mark.parametrize("name", FAULTS)
async def test_fault(pair: Pair, name: str) -> None:
    """One valid end, one event with both attempts, one of which answered; nothing left behind."""
    fault, expected, _ = FAULTS[name]
    gate = pair.gates["hedged", True]
    pair.first._faults.clear()
    pair.first.fail_next(replace(fault, times=ALWAYS))
    before = running()
    asked = [(protocol, stream) for protocol in PROTOCOLS for stream in (False, True)]
    stateless = {"openai-responses": {"store": False}}
    answers = await asyncio.gather(
        *(gate.ask(p, body(p, stream=stream, **stateless.get(p, {}))) for p, stream in asked)
    )
    for answer in answers:
        event = await gate.event(answer.headers["x-sbgw-event"])
        where = f"{answer.protocol} stream={answer.stream}: {answer.status} {answer.body[-400:]!r} {event['attempts']}"
        clean(pair, gate, answer, event)
        assert answer.took < PATIENCE, where
        assert len(event["attempts"]) <= 2, where
        answered = [a for a in event["attempts"] if a.get("answered")]
        assert len(answered) == 1, where
        assert event["selectedProvider"] == answered[0]["provider"], where
        if name in UNREAD and pair.wire == answer.protocol == "openai-responses" and answer.stream:
            continue
        verdict = judged(answer)
        if answered[0]["provider"] == "second":
            assert verdict.text == SECOND, where
            assert event["attempts"][0]["meaning"] not in ("", "cancelled"), where
        elif expected in (SERVES, WHOLE_ONLY):
            assert verdict.text == FIRST, where
        else:
            assert expected in ODD, where
    assert pair.second.refused == []
    await settled(gate, before)
