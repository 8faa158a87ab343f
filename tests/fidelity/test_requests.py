"""Every recorded and captured request, sent to providers of all three protocols.

`python -m tests.fidelity` prints the same as a table.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from typing import Any

import orjson
import pytest

from engine.llm.catalogue import Quirks
from engine.llm.errors import ClientError
from engine.llm.losses import CARRIES, LOSSES
from engine.protocols.registry import PROTOCOLS as WIRES
from tests.fidelity.corpus import PROTOCOLS, captures, exchanges
from tests.fidelity.requests import ABLE, Tally, differences, judge, target
from tests.fidelity.requests import READ as READ_ASKED

PAIRS = [(client, wire) for client in PROTOCOLS for wire in PROTOCOLS if client != wire]
pytestmark = pytest.mark.usefixtures("shared")


@cache
def requests(client: str) -> list[tuple[str, dict[str, Any]]]:
    """(name, body) of each different request that a provider of the protocol answered, and of each captured one."""
    found: dict[bytes, tuple[str, dict[str, Any]]] = {}
    for exchange in exchanges(client):
        if exchange.request and exchange.status == 200:
            found.setdefault(orjson.dumps(exchange.request), (exchange.short, exchange.request))
    return [*found.values(), *((name, body) for name, protocol, body in captures() if protocol == client)]


@pytest.mark.parametrize(("client", "wire"), PAIRS, ids=lambda name: name.partition("-")[2])
def test_providers_take_what_other_clients_ask(client: str, wire: str) -> None:
    """Accepted by a strict server, every loss announced by the survey and named by the encoder, everything else as it was."""
    tally = Tally()
    for name, body in requests(client):
        judge(name, body, client, wire, tally)
    assert (tally.wrong, tally.refused) == ([], [])
    assert tally.tried > 300
    assert tally.losses.keys() <= LOSSES.keys()
    assert CARRIES.keys() == set(PROTOCOLS)


@pytest.mark.parametrize("client", PROTOCOLS)
def test_the_same_protocol_changes_the_model_and_nothing_else(client: str) -> None:
    """Fields, values and their order stay, and the client's own object is not touched."""
    for name, body in requests(client):
        before = copy.deepcopy(body)
        sent = WIRES[client].rewrite(body, target(client, replace(ABLE, name=body["model"], max_output=10**9)))
        moved = WIRES[client].rewrite(body, target(client, replace(ABLE, name="another", max_output=10**9)))
        assert orjson.dumps(body) == orjson.dumps(before), name
        assert orjson.dumps(sent) == orjson.dumps(before), name
        if (
            client == "openai-chat"
        ):  # which word another model has for the system, and for any tool, is a matter of its row
            moved["messages"] = [_said_by_system(message) for message in moved["messages"]]
            before["messages"] = [_said_by_system(message) for message in before["messages"]]
            if before.get("tool_choice") == "any":
                before["tool_choice"] = "required"
        assert orjson.dumps(moved) == orjson.dumps({**before, "model": "another"}), name


def _said_by_system(message: dict[str, Any]) -> dict[str, Any]:
    return {**message, "role": "system"} if message["role"] == "developer" else message


@pytest.mark.parametrize("client", PROTOCOLS)
def test_a_request_survives_its_own_words(client: str) -> None:
    """Decoded and encoded for the same protocol it asks for the same, provider-run tools and unknown items included."""
    for name, body in requests(client):
        try:
            request = WIRES[client].decode_request(body)
        except ClientError:
            continue
        sent, losses = WIRES[client].encode_request(
            request, target(client, replace(ABLE, max_output=10**9), Quirks(compaction=True))
        )
        found = [
            line
            for line, codes in differences(READ_ASKED[client](body), READ_ASKED[client](sent), client, client)
            if not codes & {*losses, "output_format.json"}
        ]
        assert found == [], name
