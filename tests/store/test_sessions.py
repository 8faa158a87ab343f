"""What is remembered of a session."""

from __future__ import annotations

import pytest

from engine.store.sessions import MAX_SESSIONS, Sessions, prompt_digest
from tests.emulator import Emulator, Fault
from tests.emulator.models import Model
from tests.spine import Behind, body, policy, spine

LONG = "Why does the parser lose the last line of a file?"


def note(sessions: Sessions, prompt: str = "", *, model: str = "p/m", session: str = "s") -> None:
    sessions.note(session, model=model, tool_results=0, tool_errors=0, cost_usd=None, prompt=prompt)


def test_what_is_the_same_prompt() -> None:
    """The words of the user, newly said and of some length, by the same agent; however long they are."""
    one = prompt_digest(LONG, role="user")
    assert one == prompt_digest(LONG, role="user")
    assert one not in ("", prompt_digest(LONG + "!", role="user"), prompt_digest(LONG, role="user", agent="a"))
    assert [
        prompt_digest("continue", role="user"),
        prompt_digest(LONG, role="tool"),
        prompt_digest("", role="user"),
    ] == [""] * 3
    assert prompt_digest("x" * 10**6, role="user") != prompt_digest("x" * (10**6 + 1), role="user")


def test_answered_prompts_are_counted() -> None:
    """One that nobody answered is not, and what comes between does not matter."""
    sessions = Sessions()
    for prompt, model in (("a", "p/m"), ("b", "p/m"), ("a", ""), ("a", "p/m"), ("", "p/m")):
        note(sessions, prompt, model=model)
    assert sessions.get("s").prompts == {"b": 1, "a": 2}


def test_the_memory_is_bounded() -> None:
    """The newest prompts of a session, the newest sessions."""
    sessions = Sessions()
    for number in range(20):
        note(sessions, f"p{number}")
    assert list(sessions.get("s").prompts) == [f"p{number}" for number in range(12, 20)]
    for number in range(MAX_SESSIONS):
        note(sessions, session=f"other{number}")
    assert sessions.get("s").requests == 0


@pytest.mark.parametrize("protocol", ["anthropic-messages", "openai-responses", "openai-chat"])
async def test_repeats_reach_the_rules(protocol: str) -> None:
    """Asked, failed, asked again, asked once more: only the answered ones count."""
    async with Emulator(models={"m": Model()}) as emu:
        text = policy(Behind("first", emu.url, (protocol,)))
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            seen = []
            for fails in (False, True, False, False):
                if fails:
                    emu.fail_next(Fault("403", times=1))
                answer = await gate.ask(
                    protocol, body(protocol, text=LONG), headers={"session-id": "s", "x-claude-code-session-id": "s"}
                )
                seen.append((await gate.event(answer.headers["x-sbgw-event"]))["facts"]["session"]["repeats"])
                emu._faults.clear()
    assert seen == [0, 1, 1, 2]
