"""A memory changes what a request costs, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.errors import ClientError
from engine.llm.returning import Seals
from engine.memory.conversations import MIB, Memory
from engine.protocols.registry import PROTOCOLS
from engine.stages.decode import parse
from engine.telemetry.metrics import memory_metrics
from tests.bench.growing import Session
from tests.fidelity.conversations import conversation
from tests.memory.differential import QUIRKS, check, grown

SEALS = Seals(b"k" * 32)
NAMES = sorted(PROTOCOLS)


def session(seed: int, protocol: str) -> list[bytes]:
    """The requests of a made-up session."""
    rng = Random(seed)
    pieces = [conversation(rng.randrange(1 << 30), protocol) for _ in range(rng.randint(2, 7))]
    return list(grown(rng, PROTOCOLS[protocol], pieces, apart=rng.random() < 0.8))


@pytest.mark.parametrize("protocol", NAMES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_made_up_sessions_come_out_the_same(protocol: str, seed: int) -> None:
    """Orphaned results, repeated ids, thoughts, marks, edits, steps back: survey, segments, request, translations, losses."""
    memory = Memory(least=0, turns=1)
    for raw in session(seed, protocol):
        check(memory, PROTOCOLS[protocol], raw, SEALS)


@pytest.mark.parametrize("protocol", NAMES)
def test_agents_sessions_come_out_the_same_and_are_reused(protocol: str) -> None:
    """Forty plain turns, two by two: soon nearly all of the conversation is known."""
    memory, talk, wire = Memory(least=0), Session(protocol, "m", 40), PROTOCOLS[protocol]
    for turn in range(0, 41, 2):
        raw = talk.request(turn)
        known = check(memory, wire, raw, SEALS, quirks=QUIRKS[:1])
        elements = known.body[wire.conversation]
        if turn > 12:
            assert len(elements) - known.groups[-1].end <= 27
    assert memory.reused > 15 * len(talk.request(20)) * 0.4


@pytest.mark.slow
@pytest.mark.parametrize("protocol", NAMES)
def test_many_sessions_come_out_the_same(protocol: str) -> None:
    """As above, 150 of them, and most requests late in a session have something known of them."""
    late = known = 0
    for seed in range(150):
        memory = Memory(least=0, turns=1)
        for number, raw in enumerate(session(seed, protocol)):
            groups = check(memory, PROTOCOLS[protocol], raw, SEALS).groups
            late += number > 6
            known += number > 6 and bool(groups)
    assert known > late * 0.3


@pytest.mark.parametrize("protocol", NAMES)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_sessions_side_by_side_do_not_touch_each_other(protocol: str, seed: int) -> None:
    """Sub-agents and other paths that begin alike, in one memory."""
    rng, memory = Random(seed), Memory(least=0, turns=1)
    lines = [session(seed, protocol), session(seed + 1, protocol), session(seed, protocol)[::-1]]
    while any(lines):
        line = rng.choice([line for line in lines if line])
        check(memory, PROTOCOLS[protocol], line.pop(0), SEALS)


def _captured(shared: Path) -> list[tuple[str, list[bytes]]]:
    """(protocol, its requests in order) of each captured session."""
    paths = {"/v1/messages": "anthropic-messages", "/v1/responses": "openai-responses"}
    paths |= {"/v1/chat/completions": "openai-chat"}
    found: dict[tuple[str, str], list[bytes]] = {}
    for file in sorted((shared / "captures").rglob("*.json")):
        record: dict[str, Any] = json.loads(file.read_text())
        protocol = paths.get(str(record.get("path")).partition("?")[0])
        if protocol is not None and isinstance(record.get("body"), dict):
            found.setdefault((str(file.parent), protocol), []).append(orjson.dumps(record["body"]))
    return [(protocol, raws) for (_, protocol), raws in found.items()]


def test_captured_sessions_come_out_the_same(shared: Path) -> None:
    """Every recorded request of real agents, in its order, each twice."""
    sessions = _captured(shared)
    memories = {name: Memory(least=0, turns=1) for name in NAMES}
    for protocol, raws in sessions:
        for raw in raws:
            for _ in range(2):
                check(memories[protocol], PROTOCOLS[protocol], raw, SEALS, quirks=())
    assert len(sessions) > 50
    assert sum(memory.reused for memory in memories.values()) > 1_000_000


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TURN = [
    {"role": "assistant", "content": "a", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "r"},
]


def _chat(*messages: Any, **more: Any) -> bytes:
    return orjson.dumps({"model": "m", "messages": list(messages), **more})


def _plain(count: int) -> list[dict[str, Any]]:
    said = [{"role": "user", "content": "go"}]
    for n in range(count):
        said += [{"role": "assistant", "content": f"a{n}"}, {"role": "user", "content": f"u{n}"}]
    return said


@pytest.mark.parametrize(
    "odd",
    [
        b'{"model":"m","messages":[%s],"messages":[{"role":"user","content":"the last one counts"}]}',
        b'{"metadata":{"messages":[%s]},"model":"m","messages":[{"role":"user","content":"not that one"}]}',
        b'{"model":"m","x\\"messages":[%s],"messages":[{"role":"user","content":"x"}]}',
        b'{"model":"m","messages":[%s]],"stream":true}',
        b'{"model":"m","messages":[%s],{]}',
        b'{"model":"m","messages":[%s,]}',
        b'{"model":"m","messages":[%s],"stream":tru}',
        b'{"model":"m", "messages": [%s]}',
        b'[{"model":"m","messages":[%s]}]',
    ],
)
def test_bytes_that_only_look_like_the_conversation_are_read_as_what_they_are(odd: bytes) -> None:
    """Two fields of that name, one inside another, a broken rest: as without a memory, to the column of the error."""
    memory, wire = Memory(least=0, turns=1), PROTOCOLS["openai-chat"]
    said = _plain(12)
    for count in (15, 19, 23):
        check(memory, wire, _chat(*said[:count]), SEALS)
    raw = odd % orjson.dumps(said)[1:-1]

    def read(parsed: Any) -> Any:
        try:
            return parsed()
        except ClientError as error:
            return str(error)

    whole = read(lambda: parse(raw))
    assert read(lambda: memory.read(wire, raw, parse, session="s", most=MIB).body) == whole


def test_a_word_of_the_memory_in_a_request_means_nothing() -> None:
    """Who has seen the words that stand for what is left out (in a dump, say) can bend no other request by them."""
    from engine.memory.known import WORD

    memory, wire = Memory(least=0, turns=1), PROTOCOLS["anthropic-messages"]
    said = _plain(12)
    said[4] = {"role": "user", "content": WORD}
    said[5] = {"role": "assistant", "content": f"{WORD} said"}
    said[6] = {"role": "user", "content": f"{WORD} heard"}
    said[-2] = {"role": "assistant", "content": f"{WORD} said"}
    said[-1] = {"role": "user", "content": f"{WORD} heard"}
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    for count in (15, 17, 19, 21, 25):
        for first in ({"role": "user", "content": WORD}, said[0]):
            check(memory, wire, _chat(first, *said[1:count], tools=tools, max_tokens=9), SEALS)


def test_an_unknown_field_in_what_is_known_is_a_loss_at_every_turn() -> None:
    """Read once and encoded once, it is announced and reported as if it had been read anew."""
    memory, wire = Memory(least=0, turns=1), PROTOCOLS["anthropic-messages"]
    said = _plain(12)
    said[4] = {"role": "user", "content": [{"type": "text", "text": "u", "novelty_2099": 1}]}
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    for count in (15, 17, 19, 21, 25):
        known = check(memory, wire, _chat(*said[:count], tools=tools, max_tokens=9), SEALS)
        assert "unknown_field" in known.survey().requires
    assert known.groups


def test_memory_is_bounded_and_can_be_off() -> None:
    """Thousands of conversations stay within the bound; 0 forgets everything and reads all the same."""
    memory, wire = Memory(least=0, turns=1), PROTOCOLS["openai-chat"]
    for number in range(2_000):
        said = [{"role": "user", "content": f"{number} " + "x" * 600}, *_plain(4)[1:]]
        memory.read(wire, _chat(*said), parse, session="", most=MIB)
        assert memory.size <= MIB
    assert 0 < len(memory) < 700
    huge = _chat({"role": "user", "content": "y" * MIB}, *_plain(3)[1:])
    for _ in range(3):
        memory.read(wire, huge, parse, session="", most=MIB)
    assert memory.size <= MIB
    reused = memory.reused
    for _ in range(3):
        assert memory.read(wire, huge, parse, session="", most=0).body == parse(huge)
    assert (len(memory), memory.size, memory.reused) == (0, 0, reused)


def test_conversations_that_begin_alike_are_few() -> None:
    """Nobody makes one request search thousands of others."""
    memory, wire = Memory(least=0, turns=1), PROTOCOLS["openai-chat"]
    for number in range(100):
        said = _plain(6)
        said[3] = {"role": "assistant", "content": f"{number} " + "z" * 600}
        memory.read(wire, _chat({"role": "system", "content": "s" * 600}, *said), parse, session="", most=64 * MIB)
    assert len(memory) <= 8


def test_what_is_held_and_saved_is_counted() -> None:
    """`/metrics` tells both."""
    text = memory_metrics(4096, 1_500_000)
    assert "\nsbgw_memory_bytes 4096\n" in text
    assert text.rstrip().splitlines()[-1].split() == ["sbgw_memory_reused_bytes_total", "1500000"]
