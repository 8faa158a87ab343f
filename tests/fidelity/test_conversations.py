"""Made-up conversations, thousands for each direction: accepted by a strict server, and nothing lost that no code declares."""

from __future__ import annotations

from random import Random

import pytest

from engine.llm.replay import replay
from engine.llm.stream import Finish, StreamEvent
from engine.protocols.registry import PROTOCOLS as WIRES
from engine.protocols.sse import SSEParser
from tests.fidelity.answers import QUIRKS, READ, fit, spoken
from tests.fidelity.conversations import answer, conversation
from tests.fidelity.corpus import PROTOCOLS
from tests.fidelity.expected import told
from tests.fidelity.meaning import differences
from tests.fidelity.requests import Tally, judge

PAIRS = [(client, wire) for client in PROTOCOLS for wire in PROTOCOLS if client != wire]
FEW, MANY = 150, 20_000


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("client", "wire"), PAIRS, ids=lambda name: name.partition("-")[2])
def test_nothing_is_lost_without_a_word(client: str, wire: str, count: int) -> None:
    """Text, calls with their results, media, reasoning, tools and settings: there, or declared."""
    tally = Tally()
    for seed in range(count):
        judge(f"seed {seed}", conversation(seed, client), client, wire, tally)
        assert len(tally.wrong) < 20, tally.wrong
    assert (tally.wrong, tally.refused) == ([], [])


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("client", PROTOCOLS)
@pytest.mark.parametrize("wire", PROTOCOLS)
def test_an_answer_means_the_same_whole_and_streamed(client: str, wire: str, count: int) -> None:
    """A provider's answer, whole and in a stream cut anywhere, reads alike to a client of any protocol, whole and streamed."""
    for seed in range(count):
        made = answer(seed, wire)
        body = WIRES[wire].encode_response(made, model="m")
        raw = spoken(wire, replay(made))
        whole, streamed = WIRES[wire].decode_response(body, quirks=QUIRKS), _events(wire, raw, Random(seed))
        assert isinstance(streamed[-1], Finish), (seed, streamed[-1])
        arrived = {
            "whole": READ[client].whole(WIRES[client].encode_response(whole, model="m")),
            "retold": READ[client].stream(spoken(client, replay(whole)).decode()),
            "stream": READ[client].stream(spoken(client, streamed).decode()),
        }
        for mode, got in arrived.items():
            expected, names = told(READ[wire].whole(body), wire, client)
            fit(expected, got, client, names, stream=mode != "whole")
            assert list(differences(expected, got)) == [], (seed, mode, made)


def _events(wire: str, raw: bytes, rng: Random) -> list[StreamEvent]:
    """What the gateway reads from a stream that is cut at random."""
    parser, decoder = SSEParser(), WIRES[wire].stream_decoder(quirks=QUIRKS)
    found = []
    while raw:
        at = rng.choice((1, 7, 64, 1000, len(raw)))
        found += [out for event in parser.feed(raw[:at]) for out in decoder.feed(event)]
        raw = raw[at:]
    return found + [out for event in parser.close() for out in decoder.feed(event)] + decoder.close()
