"""Sessions and warm prompts survive a restart, as far as the ledger knows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.llm.catalogue import PromptCache
from engine.store.event import LOST, AttemptEvent
from engine.store.memory import remember
from engine.store.prefixes import Prefixes
from engine.store.sessions import Sessions
from tests.emulator import Emulator
from tests.emulator.models import Model
from tests.spine import Behind, policy, spine
from tests.stages.test_hints import MARKS, SESSION, chat
from tests.store.builders import event as made


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


def test_warm_is_what_answered_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be it the last attempt or, of two side by side, the first."""
    kept: list[tuple[str, str]] = []
    prefixes, sessions = Prefixes(), Sessions()
    monkeypatch.setattr(prefixes, "restore", lambda session, ref, tokens, until, *, key: kept.append((ref, key)))
    won = AttemptEvent("p", "m", "openai-chat", preserve=True, started_ms=0.0, latency_ms=2.0, key="ONE", answered=True)
    lost = AttemptEvent(
        "q", "m", "openai-chat", preserve=True, started_ms=1.0, latency_ms=1.0, key="TWO", meaning=LOST, hedge=True
    )
    event = made(
        1, session_id="s", selected_provider="p", selected_model="m", facts={"request": {"tools": 3}},
        cached_input_tokens=5000, cache_write_tokens=0, attempts=(won, lost),
    )  # fmt: skip
    remember([event], sessions, prefixes, lambda _: PromptCache("marks"))
    assert (kept, sessions.get("s").key) == ([("p/m", "ONE")], "ONE")
