"""A model behind Chat Completions that signs its tool calls and refuses a history without the signatures.

Whatever protocol the client speaks, the signature of a call comes back to its vendor, with the call that bore it, and goes to
nobody else; a call that another model made is sent with what the vendor takes instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson
import pytest

from tests.agent import TALKS
from tests.emulator import AnyTool, Emulator, Script, Turn
from tests.emulator.chat_rules import UNSIGNED
from tests.spine import CLASSES, PROTOCOLS, Behind, Spine, policy, spine

SIGNS = {
    "strict": True,
    "drop": ["prompt_cache_key", "user"],
    "call_extra": {"google": {"thought_signature": UNSIGNED}},
}
ADAPTIVE = {"sampling": False, "prefill": False, "thinking": "adaptive"}
STRICT = {"strict": True, "tool_id": "alnum9", "reasoning_field": "reasoning", "drop": ["prompt_cache_key"]}
VENDORS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "gemini": ("openai-chat", "gemini-3.5-pro", "gemini", SIGNS),
    "claude": ("anthropic-messages", "claude-opus-5-5", "openai", ADAPTIVE),
    "gpt": ("openai-responses", "gpt-5.6-sol", "openai", {"sampling": False}),
    "strict": ("openai-chat", "openai/gpt-oss-120b", "strict", STRICT),
}
"""Wire, model, profile of the emulator, quirks."""
ORDER = ("gemini", "gemini", "claude", "gemini", "gpt", "gemini", "strict", "gemini", "gemini")


@asynccontextmanager
async def vendors(**quirks: Any) -> AsyncIterator[tuple[Spine, dict[str, Emulator]]]:
    """A gateway before all of them; every turn calls tools, every second one two at once."""
    turns = tuple(Turn(f"Step {n}.", f"Thought {n}.", (AnyTool(),) * (1 + n % 2)) for n in range(len(ORDER)))
    async with AsyncExitStack() as stack:
        emulators = {
            name: await stack.enter_async_context(Emulator(Script(turns), profile=profile))
            for name, (_, _, profile, _) in VENDORS.items()
        }
        behind = [Behind(name, emulators[name].url, (wire,)) for name, (wire, _, _, _) in VENDORS.items()]
        document = orjson.loads(policy(*behind))
        models = document.pop("models")
        document["models"] = {
            f"{n}/{model}": {
                **models[f"{n}/m"],
                "reasoning": True,
                "vision": False,
                "quirks": {**own, **quirks.get(n, {})},
            }
            for n, (_, model, _, own) in VENDORS.items()
        }
        document["routes"] = {name: ["requested"] for name in CLASSES}
        env = {f"{name.upper()}_KEY": emulators[name].key for name in VENDORS}
        yield await stack.enter_async_context(spine(orjson.dumps(document).decode(), env=env)), emulators


def signatures(raw: bytes) -> list[str]:
    """What stands in a request to a Chat vendor as signatures of its calls, one a message with calls."""
    found = []
    for message in orjson.loads(raw)["messages"]:
        if calls := message.get("tool_calls"):
            held = [(c.get("extra_content") or {}).get("google", {}).get("thought_signature") for c in calls]
            assert not any(held[1:])  # it belongs to the first call, in parallel ones, too
            found.append(held[0])
    return found


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_signatures_come_back_to_their_vendor_alone(protocol: str, stream: bool) -> None:
    """Nine turns over four vendors: nobody refuses anything, and only the signing vendor ever sees a signature of its calls."""
    talk = TALKS[protocol](VENDORS[ORDER[0]][1], stream=stream)
    async with vendors() as (gate, emulators):
        made: list[str] = []
        for number, name in enumerate(ORDER):
            answer = await talk.turn(gate, VENDORS[name][1])
            said = [f"{r.verdict}" for e in emulators.values() for r in e.refused]
            assert (answer.status, said) == (200, []), (number, name, answer.body[:300])
            assert emulators[name].surprises == []
            raw = emulators[name].requests[-1].raw
            if name == "gemini":
                told = signatures(raw)
                assert [UNSIGNED if maker != "gemini" else "own" for maker in made] == [
                    s if s == UNSIGNED else "own" for s in told
                ]
                assert None not in told
            else:
                assert b"thought_signature" not in raw
                assert b"sbgw" not in raw
            made.append(name)
        assert all(len(e.requests) == made.count(n) for n, e in emulators.items())  # nothing was asked twice


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_emulated_vendor_is_strict(protocol: str) -> None:
    """Without the quirk a call of another model is refused: the test above can fail."""
    talk = TALKS[protocol](VENDORS["strict"][1])
    async with vendors(gemini={"call_extra": {}}) as (gate, emulators):
        assert (await talk.turn(gate)).status == 200
        answer = await talk.turn(gate, VENDORS["gemini"][1])
        assert answer.status == 400
        assert "missing a thought_signature" in answer.body.decode()
        assert emulators["gemini"].refused
