"""Several keys of one provider: the next is asked before another provider, a session stays with its own, none is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.judge import judged
from tests.spine import PROTOCOLS, Behind, Call, Spine, Wire, body, policy, spine
from tests.stages.test_preserve import WHOLE

KEYS = {"FIRST_KEY": "canary-key-one", "FIRST_KEY_2": "canary-key-two", "FIRST_KEY_3": "canary-key-three"}
SECOND = {"SECOND_KEY": "canary-key-second"}
SPARE = {"spare_key_env": ["FIRST_KEY_2", "FIRST_KEY_3"]}
REFUSALS = {
    "authentication": ("401 Unauthorized", "invalid x-api-key", {}),
    "permission": ("403 Forbidden", "your key may not use this model", {}),
    "rate_limit": ("429 Too Many Requests", "slow down", {"retry_after": "120"}),
    "quota": ("402 Payment Required", "no credit left", {}),
}
"""Meaning → what a key's provider says."""


class Vendor:
    """A provider that refuses some of its keys; the key of each call, in order."""

    def __init__(self, refused: Mapping[str, str] | None = None) -> None:
        self.refused = dict(refused or {})
        """Key → meaning."""
        self.asked: list[str] = []

    async def play(self, call: Call) -> None:
        key = call.headers.get("x-api-key") or call.headers["authorization"].removeprefix("Bearer ")
        self.asked.append(key.removeprefix("canary-key-"))
        if key not in self.refused:
            await call.open("application/json")
            await call.write(WHOLE["anthropic-messages" if "/v1/messages" in call.head.decode() else "openai-chat"])
            return
        status, words, headers = REFUSALS[self.refused[key]]
        await call.open("application/json", status, **headers)
        await call.write(
            b'{"type": "error", "error": {"type": "x", "message": "%s: %s"}}' % (words.encode(), key.encode())
        )


@asynccontextmanager
async def served(
    first: Vendor, second: Vendor, *, keys: Mapping[str, str] = KEYS, state: Path | None = None, **sections: Any
) -> AsyncIterator[Spine]:
    async with Wire(first.play) as one, Wire(second.play) as other:
        rows = (
            Behind("first", one.url, ("anthropic-messages",), row=SPARE),
            Behind("second", other.url, ("anthropic-messages",)),
        )
        async with spine(policy(*rows, **sections), env={**keys, **SECOND}, state=state) as gate:
            yield gate


async def event(gate: Spine, session: str = "") -> dict[str, Any]:
    """The event of one more request, which must be answered."""
    headers = {"x-claude-code-session-id": session} if session else {}
    answer = await gate.ask("anthropic-messages", headers=headers)
    assert answer.status == 200
    return await gate.event(answer.headers["x-sbgw-event"])


@pytest.mark.parametrize("meaning", REFUSALS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_next_key_is_asked_before_another_provider(protocol: str, meaning: str) -> None:
    """What one key may not, another may: the client sees nothing, the first key steps back, the events name variables."""
    first, second = Vendor({"canary-key-one": meaning}), Vendor()
    async with served(first, second) as gate:
        answer = await gate.ask(protocol)
        told = await gate.event(answer.headers["x-sbgw-event"])
        assert judged(answer).text
        again = await event(gate)
    assert [(a["provider"], a["key"], a.get("meaning")) for a in told["attempts"]] == [
        ("first", "FIRST_KEY", meaning),
        ("first", "FIRST_KEY_2", None),
    ]
    assert told["fallbackChain"] == ["first/m"]
    assert [a["key"] for a in again["attempts"]] == ["FIRST_KEY_2"]
    assert (first.asked, second.asked) == (["one", "two", "two"], [])


@pytest.mark.parametrize("meaning", REFUSALS)
async def test_when_all_keys_step_back_another_provider_answers(meaning: str) -> None:
    """However many keys there are, and though the policy allows two attempts: they are no fallback."""
    first, second = Vendor(dict.fromkeys(KEYS.values(), meaning)), Vendor()
    async with served(first, second, fallback={"attempts": 2}) as gate:
        told = await event(gate)
        again = await event(gate)
        rows = (await gate.send("GET", "/providers")).json["providers"]
    assert [a["provider"] for a in told["attempts"]] == ["first", "first", "first", "second"]
    assert [a["provider"] for a in again["attempts"]] == ["second"]
    row = next(row for row in rows if row["provider"] == "first")
    if meaning in ("authentication", "quota"):  # all that the key reaches, not one model alone
        assert [(k["key"], k["healthy"], k["reason"]) for k in row["keys"]] == [(k, False, meaning) for k in KEYS]
        assert (row["healthy"], row["reason"]) == (False, meaning)
    else:
        assert [(m["key"], m["healthy"], m["reason"]) for m in row["models"]] == [(k, False, meaning) for k in KEYS]


async def test_a_prompt_is_warm_for_the_key_that_has_it() -> None:
    """A prompt cache belongs to an account: when a session has to take another key, nothing of its prompt is warm there at first."""
    first, second = Vendor(), Vendor()
    async with Wire(first.play) as one, Wire(second.play) as other:
        rows = (
            Behind(
                "first", one.url, ("anthropic-messages",), row={**SPARE, "cache": {"kind": "automatic", "minimum": 1}}
            ),
            Behind("second", other.url, ("anthropic-messages",)),
        )
        async with spine(policy(*rows), env={**KEYS, **SECOND}) as gate:
            told = [await event(gate, "s") for _ in range(2)]
            first.refused = {"canary-key-one": "rate_limit"}
            await event(gate, "another")
            told += [await event(gate, "s") for _ in range(2)]
    assert [e["attempts"][-1]["key"] for e in told] == ["FIRST_KEY", "FIRST_KEY", "FIRST_KEY_2", "FIRST_KEY_2"]
    assert [bool(e["facts"]["session"]["warm"]) for e in told] == [False, True, False, True]


async def test_alone_the_key_that_is_soonest_is_tried_again() -> None:
    """Nobody is shut out: with nobody else, the provider is asked with the key that has the shortest wait."""
    first, second = (
        Vendor({"canary-key-one": "quota", "canary-key-two": "rate_limit", "canary-key-three": "quota"}),
        Vendor(),
    )
    async with served(first, second, routes={"fallback_safe": ["first/m"], "cheap_edit": ["first/m"]}) as gate:
        await gate.ask("anthropic-messages")
        assert first.asked == ["one", "two", "three"]
        first.refused.clear()
        await event(gate)
    assert first.asked[3:] == ["two"]


@pytest.mark.parametrize("status", ["400 Bad Request", "500 Oops", "529 Overloaded"])
async def test_what_no_key_helps_against_tries_no_other(status: str) -> None:
    """The caller's mistake, the provider's trouble."""
    REFUSALS["other"] = (status, "no", {})
    first, second = Vendor({"canary-key-one": "other"}), Vendor()
    async with served(first, second) as gate:
        await gate.ask("anthropic-messages")
    del REFUSALS["other"]
    assert first.asked == ["one"]


async def test_a_session_stays_with_its_key(tmp_path: Path) -> None:
    """A prompt cache belongs to a key's account: the session that had to move does not move back, new ones begin in order;
    a restart remembers both the session's key and which key steps back.
    """
    first, second = Vendor({"canary-key-one": "authentication"}), Vendor()
    async with served(first, second, state=tmp_path) as gate:
        await event(gate, session="s-1")
        first.refused.clear()
        gate.heal()
        await event(gate, session="s-1")
        await event(gate, session="s-2")
        assert first.asked == ["one", "two", "two", "one"]
        first.refused["canary-key-two"] = "authentication"
        await event(gate, session="s-1")
        assert first.asked[4:] == ["two", "one"]
        first.refused.clear()
    first.asked.clear()
    async with served(first, second, state=tmp_path) as gate:
        await event(gate, session="s-2")
        await event(gate, session="s-3")
    assert first.asked == ["one", "one"]


async def test_a_restart_keeps_the_cool_downs_of_keys(tmp_path: Path) -> None:
    """And the file tells keys apart without naming one."""
    first, second = Vendor({"canary-key-one": "quota"}), Vendor()
    async with served(first, second, state=tmp_path) as gate:
        await event(gate)
    assert "canary" not in (tmp_path / "health.json").read_text()
    async with served(first, second, state=tmp_path) as gate:
        await event(gate)
    assert first.asked == ["one", "two", "two"]


async def test_one_key_under_two_names_is_one_key() -> None:
    """And a spare one alone is as good as a first one; a single key is not named in events."""
    first, second = Vendor({"canary-key-one": "quota"}), Vendor()
    async with served(first, second, keys={"FIRST_KEY": "canary-key-one", "FIRST_KEY_2": "canary-key-one"}) as gate:
        told = await event(gate)
    assert first.asked == ["one"]
    assert [a["provider"] for a in told["attempts"]] == ["first", "second"]
    assert "key" not in told["attempts"][0]
    async with served(first, second, keys={"FIRST_KEY_3": "canary-key-three"}) as gate:
        await event(gate)
    assert first.asked == ["one", "three"]


async def test_no_key_is_told_anywhere(tmp_path: Path) -> None:
    """A provider that repeats every key in its errors: they stand in no answer, event, log, list or file."""
    first = Vendor(dict.fromkeys(KEYS.values(), "rate_limit"))
    second = Vendor({"canary-key-second": "quota"})
    async with served(first, second, state=tmp_path) as gate:
        answer = await gate.ask("anthropic-messages", body("anthropic-messages"))
        told = await gate.event(answer.headers["x-sbgw-event"])
        listed = (await gate.send("GET", "/providers")).body + (await gate.send("GET", "/metrics")).body
        logged = list(gate.logged)
    assert len(told["attempts"]) == 4
    assert not any("canary-key" in str(output) for output in (answer.body, told, listed, logged, written(tmp_path)))


def written(folder: Path) -> list[bytes]:
    """All that a gateway left in its state folder."""
    found = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert found
    return found
