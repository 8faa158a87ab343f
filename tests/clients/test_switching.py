"""Sessions of twelve turns that go to another vendor, and mostly another protocol, with every turn.

Anthropic → OpenAI Responses → a strict Chat vendor that refuses unknown fields → a Chat vendor that insists on its reasoning coming
back → Anthropic, three times round. The emulated vendors check form, seals and scripted calls; here it is looked at what each of
them was told of the others' turns: results, images, system messages, and of its own ones: the reasoning.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.clients.gateway import Gateway
from tests.clients.install import Clients
from tests.clients.places import DEEPSEEK, MESSAGES, RESPONSES, STRICT_EYES, Place, keys, policy
from tests.clients.run import Agent
from tests.clients.test_media_and_agents import png
from tests.clients.test_tool_loops import AGENTS, check_events, check_session, turns_over
from tests.emulator import Edit, Emulator, Read, Scenario, Script, Shell, Turn, View, Write
from tests.emulator.emulator import Received

pytestmark = pytest.mark.clients
Start = Callable[..., Awaitable[Gateway]]
PLACES = (MESSAGES, RESPONSES, STRICT_EYES, DEEPSEEK)


def twelve_turns(folder: Path) -> Scenario:
    """Eleven tool turns and a final text in `folder`; each turn thinks a thought of its own."""
    notes, dot = folder / "notes.txt", folder / "dot.png"
    steps: list[tuple[Any, ...]] = [
        (Read(notes, expect="title: notes"),),
        (Edit(notes, "colour: red", "colour: “green” 🟢"),),
        (View(dot),),
        (Shell(f"cp '{notes}' '{folder}/copy.txt' && echo copied-4", expect="copied-4"),),
        (Shell("echo from-five && exit 3", expect="from-five"),),
        (Read(notes, expect="🟢"), Shell("echo beside-6", expect="beside-6")),
        (Edit(notes, "size: 1", "size: 2 \\n"),),
        (View(dot), Shell("echo beside-8", expect="beside-8")),
        (Write(folder / "made.txt", "made by nine\n"),),
        (Shell(f"wc -c < '{folder}/made.txt'", expect="13"),),
        (Read(notes, expect="size: 2"),),
    ]
    seen = [0] * 3 + [1] * 5 + [2] * 4
    turns = [
        Turn(f"Step {n}.", thought(n), calls, images=images)
        for n, (calls, images) in enumerate(zip(steps, seen, strict=False), 1)
    ]
    final = "Twelve turns, four vendors, one session."
    after = {
        "notes.txt": "title: notes\ncolour: “green” 🟢\nsize: 2 \\n\n",
        "copy.txt": "title: notes\ncolour: “green” 🟢\nsize: 1\n",
        "made.txt": "made by nine\n",
    }
    script = Script((*turns, Turn(final, thought(12), images=2)))
    dot.write_bytes(png())
    return Scenario(
        script, folder, {"notes.txt": "title: notes\ncolour: red\nsize: 1\n"}, after, "Go through it.", final
    )


def thought(turn: int) -> str:
    """What the model thinks in a turn, counted from one."""
    return f"Thought number {turn}: “ä” comes next."


@pytest.mark.parametrize("name", AGENTS)
async def test_twelve_turns_over_four_vendors(agents: Clients, tmp_path: Path, gateway: Start, name: str) -> None:
    """No refusal, no lost result, reasoning where its vendor needs it, images as images, the work on disk as scripted."""
    folder = tmp_path / "work"
    folder.mkdir()
    scenario = twelve_turns(folder)
    scenario.prepare()
    async with AsyncExitStack() as stack:
        emulators = [await stack.enter_async_context(Emulator(scenario.script, place.profile)) for place in PLACES]
        behind = list(zip(PLACES, emulators, strict=True))
        gate = await gateway(policy(*behind, extra=turns_over(PLACES)), **keys(*behind))
        ended = await Agent(name, agents, gate.url, gate.key, AGENTS[name][0]).run(scenario.prompt, folder, seconds=150)
        check_session(scenario, emulators, ended)
        events = await gate.events(at_least=12)
    check_events(events, name, agents.versions[name])
    assert [PLACES[turn % 4].provider for turn in range(12)] == [event["selectedProvider"] for event in events]
    for place, emu in behind:
        main = [seen for seen in emu.served if seen.body.get("tools")]
        assert [PLACES.index(place) + 4 * lap for lap in range(3)] == [turns_of(seen) for seen in main]
        _keeps_reasoning(place, main)
    told = said_by_the_system([seen for seen in emulators[AS_SENT[name]].served if seen.body.get("tools")][-1].body)
    assert told, "the agent said nothing as the system"
    assert name != "claude-code" or any(turn >= 0 for turn, _ in told), "nor anything in mid-conversation"
    for place, emu in behind:
        for seen in (seen for seen in emu.served if seen.body.get("tools")):
            _keeps_system_messages(place, seen.body, told)


def turns_of(seen: Received) -> int:
    """Turns of the assistant in a request: stretches of what the model made."""
    return turns_of_body(seen.body)


def turns_of_body(body: dict[str, Any]) -> int:
    """The same of its body."""
    marks = ["a" if _is_made(item) else "u" for item in _items(body)]
    return "".join(mark for n, mark in enumerate(marks) if n == 0 or marks[n - 1] != mark).count("a")


def _items(body: dict[str, Any]) -> list[dict[str, Any]]:
    return list(body.get("messages") or body.get("input") or ())


def _is_made(item: dict[str, Any]) -> bool:
    kind = str(item.get("type", "message"))
    return item.get("role") == "assistant" or kind == "reasoning" or kind.endswith("_call")


def _keeps_reasoning(place: Place, main: list[Received]) -> None:
    """Each visit after the first brings back what the vendor itself thought on the visits before."""
    for visit, seen in enumerate(main):
        assert len(list(_sealed(place, seen.body))) >= visit, (place.id, visit)


def _sealed(place: Place, body: dict[str, Any]) -> Iterator[str]:
    """Reasoning of the vendor's own in a request, as that vendor wants it back."""
    for item in _items(body):
        if place is MESSAGES and isinstance(item.get("content"), list):
            yield from (b["signature"] for b in item["content"] if b.get("type") == "thinking" and b.get("signature"))
        if place is RESPONSES and item.get("type") == "reasoning":
            yield item["encrypted_content"]
        if place is DEEPSEEK and "Thought number" in str(item.get("reasoning_content")):
            yield item["reasoning_content"]
        if place is STRICT_EYES and item.get("role") == "assistant":
            yield ""  # it refuses reasoning in a request


AS_SENT = {"claude-code": PLACES.index(MESSAGES), "codex": PLACES.index(RESPONSES)}
"""The vendor that gets each agent's requests as it sends them."""


def said_by_the_system(body: dict[str, Any]) -> list[tuple[int, str]]:
    """(place, text) of each message of the system: the model's turns before it, -1 for what stands before any user's word."""
    found: list[tuple[int, str]] = []
    turns, speaker = -1, ""
    for item in _items(body):
        if item.get("role") in ("system", "developer"):
            found.append((turns, _text(item)))
            continue
        made = _is_made(item)
        turns = max(turns, 0) + (made and speaker != "model")
        speaker = "model" if made else "user"
    return found


def _text(item: dict[str, Any]) -> str:
    content = item.get("content")
    parts = [content] if isinstance(content, str) else [part.get("text") or "" for part in content or ()]
    return "\n".join(part.strip() for part in parts if part.strip())


def _keeps_system_messages(place: Place, body: dict[str, Any], told: list[tuple[int, str]]) -> None:
    """What the agent said as the system in mid-conversation is said by the system: the same words, once, at the same place.

    At the beginning, where each protocol has a place of its own for it, only the words count.
    """
    got = said_by_the_system(body)
    last = turns_of_body(body)
    due = [(turn, text) for turn, text in told if 0 <= turn <= last]
    assert [one for one in got if one[0] >= 0] == due, place.id
    apart = [{"content": body.get("system")}, {"content": body.get("instructions")}]
    before = "\n".join([*(_text(item) for item in apart), *(text for turn, text in got if turn < 0)])
    missing = [line for turn, text in told if turn < 0 for line in text.splitlines() if line.strip() not in before]
    assert missing == [], place.id
