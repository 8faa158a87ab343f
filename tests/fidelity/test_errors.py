"""Every recorded failure, as an HTTP error or inside a success, brought to clients of all three protocols."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import anthropic
import openai
import orjson
import pytest

from engine.llm.errors import ProviderError
from engine.llm.stream import Failure
from engine.protocols.registry import PROTOCOLS as WIRES
from tests.fidelity.answers import events_of, recorded, spoken
from tests.fidelity.clients import Sdks
from tests.fidelity.corpus import PROTOCOLS, Exchange, exchanges
from tests.fidelity.meaning import within
from tests.fidelity.read.events import objects

pytestmark = pytest.mark.usefixtures("shared")


def failures() -> Iterator[Exchange]:
    """Answers with an error status."""
    for wire in PROTOCOLS:
        yield from (e for e in exchanges(wire) if e.status >= 400)


def said(body: Any) -> list[str]:
    """Every wording of the failure that an error body of any shape holds, the outer one first."""
    if isinstance(body, list):
        body = body[0]
    error = body.get("error")
    places = [within(error, "message"), error, body.get("message"), body.get("detail"), body.get("title")]
    places += [within(listed, "message") for listed in body.get("errors") or ()]
    raw = within(error, "metadata", "raw")
    if isinstance(raw, str):
        places.append(raw)
        with suppress(orjson.JSONDecodeError, AttributeError):
            places += said(orjson.loads(raw))
    return [text for text in places if isinstance(text, str) and text]


def shown(error: Any) -> str:
    """What the exception of an SDK tells its user."""
    return str(within(error.body, "error", "message") or within(error.body, "message") or error.message)


@pytest.mark.parametrize("client", PROTOCOLS)
def test_clients_read_why_a_provider_refused(client: str) -> None:
    """The words arrive in the exception that fits, with a status of the kind that the failure's meaning has."""
    sdks = Sdks()
    for exchange in failures():
        if exchange.protocol == client:
            continue
        error = WIRES[exchange.protocol].decode_error(exchange.status, exchange.raw, exchange.headers)
        status, body, headers = WIRES[client].encode_error(error, event_id="ev1")
        raised: Any = sdks.error(client, status, body, headers)
        assert isinstance(raised, (anthropic.APIStatusError, openai.APIStatusError))
        words = said(orjson.loads(exchange.raw))
        if error.meaning == "authentication":
            words = ["credential"]  # the provider's words may hold a piece of the gateway's key
        if error.meaning == "context_length" and client == "anthropic-messages":
            words = ["prompt is too long"]  # the words by which agents know that they have to compact
        told = shown(raised)
        assert any(without_query(word) in told or told in without_query(word) for word in words), (
            exchange.short,
            words,
            told,
        )
        at_fault = error.meaning in ("authentication", "broken")  # the gateway's key, the model's slip: not the client
        assert at_fault or (status >= 500) == (exchange.status >= 500), (exchange.short, status)


def without_query(text: str) -> str:
    """`text` up to the query of an address in it, since queries may hold keys, and with single spaces."""
    return " ".join(text.partition("?linkid")[0].split())


@pytest.mark.parametrize("wire", PROTOCOLS)
def test_a_provider_s_own_error_passes_unmodified(wire: str) -> None:
    """To a client of the same protocol the body is what the provider sent."""
    for exchange in failures():
        body = orjson.loads(exchange.raw)
        if exchange.protocol != wire or not isinstance(body, dict):
            continue
        error = WIRES[wire].decode_error(exchange.status, exchange.raw, exchange.headers)
        status, told, _ = WIRES[wire].encode_error(error, event_id="ev1")
        assert (status, told) == (exchange.status, body), exchange.short


@pytest.mark.parametrize("client", PROTOCOLS)
def test_a_failure_inside_a_success_ends_the_stream_as_one(client: str) -> None:
    """A stream that broke off after it had begun tells its client why, and never looks like a whole answer."""
    seen = 0
    for wire in PROTOCOLS:
        for exchange in exchanges(wire):
            if exchange.status != 200 or not (why := recorded(exchange).error):
                continue
            seen += 1
            try:
                events = events_of(exchange)
            except ProviderError as error:
                events = [Failure(error)]
            assert isinstance(events[-1], Failure), exchange.short
            raw = spoken(client, events).decode()
            ends = {"message_stop", "response.completed", "response.incomplete"}
            kinds = [event.get("type") for _, event in objects(raw)]
            assert "[DONE]" not in raw.rpartition("error")[0], exchange.short
            assert ends.isdisjoint(kinds), exchange.short
            assert why.startswith(("status ", "no end")) or _tells(raw, why, exchange), (exchange.short, raw[-300:])
    assert seen >= 12


def _tells(raw: str, why: str, exchange: Exchange) -> bool:
    """The words of the failure stand in the client's stream, those of the provider behind the provider where it gave them."""
    wordings = {without_query(why), *(said(orjson.loads(exchange.raw)) if not exchange.streamed else ())}
    return any(orjson.dumps(word)[1:-1].decode() in raw for word in wordings) or "prompt is too long" in raw
