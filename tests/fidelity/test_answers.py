"""Every recorded answer, brought to clients of all three protocols and read there by the official SDKs.

`python -m tests.fidelity` prints the same as a table. The default run takes the shorter streams, `-m slow` takes all of them.
"""

from __future__ import annotations

from functools import cache

import pytest

from tests.fidelity.answers import MADE_UP, Tally, arrive, events_of, judge
from tests.fidelity.clients import Sdks
from tests.fidelity.corpus import PROTOCOLS, Exchange, exchanges
from tests.fidelity.expected import DECLARED

PAIRS = [(client, wire) for wire in PROTOCOLS for client in PROTOCOLS if client != wire]
EVERY = [(client, wire) for wire in PROTOCOLS for client in PROTOCOLS]
SHORT = 12_000
"""Bytes of the streams that the default run reads: most of them, and all kinds."""
MODES = ("whole", "stream", "retold")
"""Whole to whole, stream to stream, and a whole answer to a client that asked for a stream."""

pytestmark = pytest.mark.usefixtures("shared")


@pytest.fixture(scope="module")
def sdks() -> Sdks:
    return Sdks()


@cache
def answers(wire: str) -> list[Exchange]:
    """The recorded answers of a protocol that mean something."""
    return [e for e in exchanges(wire) if e.status == 200 and e.capture not in MADE_UP]


def tally(client: str, wire: str, mode: str, sdks: Sdks, *, longest: int) -> Tally:
    """How the answers of one pair and mode fared."""
    counted = Tally()
    for exchange in answers(wire):
        if exchange.streamed == (mode == "stream") and len(exchange.raw) <= longest:
            judge(exchange, client, sdks, counted, stream=mode != "whole")
    return counted


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("client", "wire"), PAIRS, ids=lambda name: name.partition("-")[2])
def test_a_client_reads_what_the_provider_said(client: str, wire: str, mode: str, sdks: Sdks) -> None:
    """Text, calls, reasoning, stop and usage arrive; what can't is named and justified."""
    counted = tally(client, wire, mode, sdks, longest=SHORT if mode == "stream" else 10**9)
    assert counted.wrong == []
    assert counted.tried > 20
    assert counted.declared.keys() <= DECLARED.keys()


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("client", "wire"), EVERY, ids=lambda name: name.partition("-")[2])
def test_a_client_reads_every_recorded_answer(client: str, wire: str, mode: str, sdks: Sdks) -> None:
    """The same for streams of every length, and for answers translated into their own protocol."""
    assert tally(client, wire, mode, sdks, longest=10**9).wrong == []


@pytest.mark.parametrize("wire", PROTOCOLS)
@pytest.mark.parametrize("size", [61, pytest.param(7, marks=pytest.mark.slow)])
def test_cuts_change_nothing(wire: str, size: int, request: pytest.FixtureRequest) -> None:
    """A stream gives the same events however it is cut on its way."""
    every = request.node.get_closest_marker("slow") is not None
    for exchange in answers(wire):
        if exchange.streamed and (every or len(exchange.raw) <= SHORT):
            told, cut = events_of(exchange), events_of(exchange, size=size)
            assert repr(told) == repr(cut), exchange.short


def test_made_up_recordings_do_no_harm(sdks: Sdks) -> None:
    """Several answers in one stream and edited ones end in an answer or an error, for every client."""
    for wire in PROTOCOLS:
        for exchange in exchanges(wire):
            if exchange.capture not in MADE_UP or exchange.status != 200:
                continue
            for client in PROTOCOLS:
                got = arrive(exchange, client, sdks, stream=exchange.streamed)
                assert got.error or got.stop, exchange.short


def test_every_deviation_is_explained() -> None:
    """A name without a reason is no declaration."""
    assert all(len(reason) > 40 for reason in DECLARED.values())
