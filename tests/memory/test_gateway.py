"""Two gateways play the same session, one with a memory and one without: providers get the same bytes, events say the same."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.bench.growing import Session
from tests.emulator import Emulator
from tests.emulator.models import Model
from tests.spine import PATHS, PROTOCOLS, Behind, policy, spine

TURNS = (0, 1, 2, 6, 9, 12, 13, 14, 5, 15, 19, 20, 24, 25)
"""Answers before each request; once the user goes back."""


async def _played(client: str, wire: str, *, memory: int) -> tuple[list[Any], int]:
    """(what each event says of its request, bytes that were reused)."""
    session, told = Session(client, "m", max(TURNS)), []
    async with Emulator(models={"m": Model()}) as emu:
        text = policy(Behind("first", emu.url, (wire,)), cache={"memory_mib": memory})
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            for turn in TURNS:
                raw = session.request(turn, stream=turn % 2 == 0)
                answer = await gate.send("POST", PATHS[client], raw, protocol=client, stream=turn % 2 == 0)
                assert answer.status == 200, answer.body
                event = await gate.event(answer.headers["x-sbgw-event"])
                facts = event["facts"]
                request, estimate = dict(facts["request"]), dict(facts["estimate"])
                warm = {name: value for name, value in facts["session"].items() if name.startswith(("warm", "prefix"))}
                told.append((event["requestDigest"], event.get("losses"), request, estimate, warm))
            reused = gate.gateway.services.memory.reused
            metrics = await gate.send("GET", "/metrics")
            assert f"sbgw_memory_reused_bytes_total {reused}".encode() in metrics.body.replace(b"{}", b"")
    return told, reused


@pytest.mark.parametrize("wire", PROTOCOLS)
@pytest.mark.parametrize("client", PROTOCOLS)
async def test_a_session_is_the_same_with_a_memory(client: str, wire: str) -> None:
    """Digest of the provider's request, losses, facts, warm prompts: at every turn, after a step back as well."""
    whole, nothing = await _played(client, wire, memory=0)
    known, reused = await _played(client, wire, memory=64)
    for turn, one, other in zip(TURNS, whole, known, strict=True):
        assert orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(other, option=orjson.OPT_SORT_KEYS), turn
    assert nothing == 0
    assert reused > 100_000
