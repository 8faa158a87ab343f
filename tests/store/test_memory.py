"""Sessions and warm prompts survive a restart, as far as the ledger knows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.emulator import Emulator
from tests.emulator.models import Model
from tests.spine import Behind, policy, spine
from tests.stages.test_hints import MARKS, SESSION, chat


async def test_a_restart_forgets_neither_the_session_nor_what_is_warm(tmp_path: Path) -> None:
    """The first request after it is expected to read what the last one before it left, and does."""
    async with Emulator(models={"m": Model(context=200_000)}) as emu:
        text = policy(Behind("first", emu.url, ("anthropic-messages",), {"cache": MARKS}))
        for turns in ((0, 1), (2,)):
            async with spine(text, env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
                for turn in turns:
                    answer = await gate.ask("openai-chat", chat(turn), headers=SESSION)
                    event = await gate.event(answer.headers["x-sbgw-event"])
    session = event["facts"]["session"]
    assert (session["requests"], session["model"]) == (2, "first/m")
    assert session["cost_usd"] > 0
    assert session["output_tokens"] > 0
    assert session["warm_model"] == "first/m"
    assert event["cachedInputTokens"] == pytest.approx(session["warm_tokens"], rel=0.02)
    assert event["cachedInputTokens"] > 1000


async def test_another_conversation_is_not_expected_to_be_warm(tmp_path: Path) -> None:
    """A session that begins anew after a restart has nothing in a cache, as far as we know."""
    async with Emulator(models={"m": Model(context=200_000)}) as emu:
        text = policy(Behind("first", emu.url, ("anthropic-messages",), {"cache": MARKS}))
        for turn in (1, 0):
            async with spine(text, env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
                answer = await gate.ask("openai-chat", chat(turn), headers=SESSION)
                event = await gate.event(answer.headers["x-sbgw-event"])
    assert event["facts"]["session"]["requests"] == 1
    assert event["facts"]["session"]["warm"] == {}
