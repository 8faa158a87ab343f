"""A session whose model changes with every turn: nothing is refused, nothing is lost, and nobody reads another's state."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.llm.returning import Makers
from tests.agent import TALKS, Talk
from tests.emulator import AnyTool, Emulator, Script, Turn
from tests.spine import CLASSES, PROTOCOLS, Behind, Spine, policy, spine


@dataclass(slots=True, frozen=True)
class Vendor:
    """One emulated vendor: its wire, its model, what its rows say of it."""

    wire: str
    model: str
    profile: str = "openai"
    quirks: Mapping[str, Any] | None = None
    row: Mapping[str, Any] | None = None


THINKS = {"reasoning": True, "structured": True}
VENDORS = {
    "claude": Vendor("anthropic-messages", "claude-opus-5-5", quirks={"sampling": False, "prefill": False, "thinking": "adaptive"}),
    "kite": Vendor("anthropic-messages", "claude-opus-4-8", quirks={"sampling": False, "prefill": False, "thinking": "adaptive"}),
    "gpt": Vendor("openai-responses", "gpt-5.6-sol", quirks={"sampling": False}),
    "azure": Vendor("openai-responses", "gpt-5.5", quirks={"sampling": False}),
    "strict": Vendor("openai-chat", "openai/gpt-oss-120b", "strict", {"strict": True, "tool_id": "alnum9", "reasoning_field": "reasoning", "drop": ["prompt_cache_key"]}, {"vision": False}),
    "whale": Vendor("openai-chat", "deepseek-v4-pro", "deepseek", {"echo_reasoning": True, "reasoning_param": "thinking"}, {"vision": False}),
}  # fmt: skip
"""Two vendors of each wire; a strict one and one that insists on its reasoning among them."""


def every_switch() -> list[str]:
    """A walk on which every vendor follows every other, and itself, once."""
    left = {one: [*VENDORS] for one in VENDORS}
    walk, stack = [], [next(iter(VENDORS))]
    while stack:  # Hierholzer's way through a complete graph
        if left[stack[-1]]:
            stack.append(left[stack[-1]].pop())
        else:
            walk.append(stack.pop())
    return walk[::-1]


WALK = every_switch()


def test_the_walk_holds_every_switch() -> None:
    """36 switches among six vendors."""
    steps = [*pairwise(WALK)]
    assert len(steps) == len(set(steps)) == len(VENDORS) ** 2


def script(turns: int = len(WALK)) -> Script:
    """Thoughts and one call a turn, two in every third."""
    return Script(
        tuple(
            Turn(f"Step {n}.", f"I think of step {n}.", (AnyTool(),) * (2 if n % 3 == 0 else 1)) for n in range(turns)
        )
    )


@asynccontextmanager
async def vendors(state: Path | None = None, **sections: Any) -> AsyncIterator[tuple[Spine, dict[str, Emulator]]]:
    """A gateway before all vendors; a request's model name says which."""
    async with AsyncExitStack() as stack:
        emulators = {
            name: await stack.enter_async_context(Emulator(script(), profile=v.profile)) for name, v in VENDORS.items()
        }
        text = written(emulators, **sections)
        env = {f"{name.upper()}_KEY": emulators[name].key for name in VENDORS}
        gate = await stack.enter_async_context(spine(text, env=env, state=state))
        yield gate, emulators


def written(emulators: Mapping[str, Emulator], **sections: Any) -> str:
    """The policy that puts each vendor's one model under its own name."""
    behind = [Behind(name, emulators[name].url, (v.wire,)) for name, v in VENDORS.items()]
    document = orjson.loads(policy(*behind, **sections))
    models = document.pop("models")
    document["models"] = {
        f"{name}/{v.model}": {**models[f"{name}/m"], **THINKS, **(v.row or {}), "quirks": v.quirks or {}}
        for name, v in VENDORS.items()
    }
    document["routes"] = {name: ["requested"] for name in CLASSES}
    return orjson.dumps(document).decode()


def seals_in(talk: Talk) -> int:
    return orjson.dumps(talk.history).count(b"sbgw1.")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_every_switch_in_one_session(protocol: str, stream: bool) -> None:
    """37 turns over six vendors: no refusal, no altered call or result, every vendor gets its own state back and no other's."""
    talk = TALKS[protocol](VENDORS[WALK[0]].model, stream=stream)
    made: dict[str, int] = dict.fromkeys(VENDORS, 0)
    async with vendors() as (gate, emulators):
        for number, name in enumerate(WALK):
            answer = await talk.turn(gate, VENDORS[name].model)
            said = [f"{r.verdict}" for e in emulators.values() for r in e.refused]
            assert (answer.status, said) == (200, []), (number, name, answer.body[:300])
            assert answer.headers["x-sbgw-model"] == f"{name}/{VENDORS[name].model}"
            emulator = emulators[name]
            assert emulator.surprises == []
            assert emulator.served[-1].step == number + (number + 2) // 3  # every result so far has come
            sent = emulator.requests[-1].raw
            assert b"sbgw" not in sent
            if VENDORS[name].wire != "openai-chat":
                states = sent.count(b'"signature":"') + sent.count(b'"encrypted_content":"')
                assert states == made[name], (number, name)
            made[name] += 1
        assert all(len(e.requests) == made[name] for name, e in emulators.items())  # nothing was asked twice


@pytest.mark.parametrize(("protocol", "first", "second"), [("anthropic-messages", "claude", "kite"), ("openai-responses", "gpt", "azure")])  # fmt: skip
async def test_forgotten_makers(protocol: str, first: str, second: str, tmp_path: Path) -> None:
    """After a restart nobody knows whose bare state a history holds: the vendor that refuses it is asked once more without."""
    talk = TALKS[protocol](VENDORS[first].model)
    async with vendors(tmp_path) as (gate, emulators):
        await talk.turn(gate)
        gate.gateway.services.seals.makers = Makers()
        answer = await talk.turn(gate, VENDORS[second].model)
        assert answer.status == 200, answer.body
        assert "thinking.foreign" in answer.headers["x-sbgw-loss"]
        assert len(emulators[second].refused) == 1
        assert (await talk.turn(gate)).status == 200
        assert (len(emulators[second].refused), emulators[second].surprises) == (1, [])


async def test_envelopes_survive_a_restart(tmp_path: Path) -> None:
    """The key lies in the state folder: state sealed before goes back to its maker after."""
    talk = TALKS["openai-responses"](VENDORS["claude"].model)
    async with AsyncExitStack() as stack:
        emulators = {
            n: await stack.enter_async_context(Emulator(script(), profile=v.profile)) for n, v in VENDORS.items()
        }
        env = {f"{name.upper()}_KEY": emulators[name].key for name in VENDORS}
        for lap in range(3):
            async with spine(written(emulators), env=env, state=tmp_path) as gate:
                assert (await talk.turn(gate)).status == 200
                assert emulators["claude"].requests[-1].raw.count(b'"signature":"') == lap
    assert seals_in(talk) == 3
