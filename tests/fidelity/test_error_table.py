"""Fourteen vendors' errors × the clients' protocols × the ways an error comes, through the whole gateway: one golden table.

The rules by which coding agents compact, wait or stop at once were measured; they are asserted beside the table, so that a new
golden text can't give them up. `SBGW_GOLDEN=write` writes the table anew.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from tests.fidelity.read.events import objects
from tests.fidelity.vendor_errors import VENDORS
from tests.judge import judged
from tests.spine import KEY, PATHS, PROTOCOLS, Answer, Behind, Call, Spine, Wire, body, policy, spine
from tests.stages.test_odd_streams import START

GOLDEN = Path(__file__).parent / "golden" / "errors.txt"
CASES = ("full", "wait", "stop")
WAYS = ("http", "in 200", "at once", "later")
"""As an HTTP error, as the JSON document of a success, as a stream's first event, and after its content has begun to arrive."""


class Told(NamedTuple):
    """What a client got, as far as agents act by it."""

    status: int
    """0 in a stream."""
    kind: str
    code: str
    message: str
    retry_after: str
    retry: str
    """`x-should-retry`."""


class Failing:
    """A provider that answers each request with the failure that is set."""

    def __init__(self) -> None:
        self.status, self.body, self.begins = 200, b"", b""
        self.kind = "application/json"
        self.arrived = asyncio.Event()
        """The client has the beginning of the answer."""

    def set(self, status: int, error: Any, way: str, wire: str) -> None:
        """The next failure."""
        self.status = status if way == "http" else 200
        told = orjson.dumps(error)
        self.begins = START[wire].encode() if way == "later" else b""
        self.kind = "text/event-stream" if way in ("at once", "later") else "application/json"
        head = b"event: error\n" if wire != "openai-chat" else b""
        self.body = told if self.kind == "application/json" else head + b"data: " + _event(error, wire) + b"\n\n"
        self.arrived.clear()

    async def __call__(self, call: Call) -> None:
        await call.open(self.kind, f"{self.status} As Set")
        if self.begins:
            await call.write(self.begins)
            await self.arrived.wait()
        await call.write(self.body)


def _event(error: Any, wire: str) -> bytes:
    """The error as an event of the wire."""
    return orjson.dumps({"type": "error", "sequence_number": 3, **error} if wire == "openai-responses" else error)


def heard(answer: Answer) -> Told:
    """What agents read of an error answer."""
    if answer.status != 200:
        body = answer.json
        error = body["error"] if isinstance(body.get("error"), dict) else body
        headers = answer.headers
        said = error.get("message") or error.get("error") or error.get("detail") or error.get("fault") or error
        told = (answer.status, error.get("type"), error.get("code"), said)
        return Told(*told[:1], *(_text(part) for part in told[1:]), headers.get("retry-after", ""), headers.get("x-should-retry", ""))  # fmt: skip
    event = [event for _, event in objects(answer.body.decode())][-1]
    error = event["response"]["error"] if "response" in event else event.get("error") or event
    error = {"message": error} if isinstance(error, str) else error
    said = error.get("message") or error.get("detail") or error.get("fault") or error.get("errors")
    return Told(0, *(_text(part) for part in (error.get("type"), error.get("code"), said)), "", "")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else orjson.dumps(value).decode()


async def table() -> dict[tuple[str, str, str, str], Told]:
    """(vendor, case, client, way) → what the client got."""
    rows: dict[tuple[str, str, str, str], Told] = {}
    provider = Failing()
    async with Wire(provider) as wire:
        for protocol in PROTOCOLS:
            text = policy(Behind("first", wire.url, (protocol,)), fallback={"attempts": 1})
            async with spine(text, env={"FIRST_KEY": "k"}) as gate:
                for name, vendor in VENDORS.items():
                    if vendor.wire == protocol:
                        rows |= {(name, *key): told for key, told in (await _rows(gate, provider, name)).items()}
    return rows


async def _rows(gate: Spine, provider: Failing, name: str) -> dict[tuple[str, str, str], Told]:
    vendor, rows = VENDORS[name], {}
    for case in CASES:
        for client in PROTOCOLS:
            for way in WAYS:
                provider.set(*getattr(vendor, case), way, vendor.wire)
                gate.heal()
                answer = await _asked(gate, client, provider, stream=way in ("at once", "later"))
                assert client == vendor.wire or judged(answer).error, answer.body  # a vendor's own words are its own
                rows[case, client, way] = heard(answer)
    return rows


async def _asked(gate: Spine, client: str, provider: Failing, *, stream: bool) -> Answer:
    sent = gate.session.post(
        gate.url + PATHS[client], json=body(client, stream=stream), headers={"x-sbgw-key": KEY}
    )  # fmt: skip
    async with sent as answer:
        provider.arrived.set()
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(client, stream, answer.status, headers, await answer.read())


def written(rows: dict[tuple[str, str, str, str], Told]) -> str:
    """The table as text: one line for each row."""
    lines = []
    for (vendor, case, client, way), told in rows.items():
        waits = f" retry-after={told.retry_after}" * bool(told.retry_after)
        waits += f" x-should-retry={told.retry}" * bool(told.retry)
        where = str(told.status or "end")
        lines.append(
            f"{vendor:10} {case:4} {client:18} {way:9} {where:3} {told.kind or '-'}/{told.code or '-'}{waits} | {told.message}"
        )
    return "\n".join(sorted(lines)) + "\n"


def amiss(case: str, client: str, told: Told, *, own: bool) -> str:
    """The rule of the client's agents that a row breaks; `own`: the vendor speaks the client's protocol itself."""
    compacts = (
        "prompt is too long" in told.message
        if client == "anthropic-messages"
        else told.code == "context_length_exceeded"
    )
    if case == "full":
        if own and told.status:
            return ""  # as it came
        return "" if compacts and told.status in (0, 400) else "no compaction"
    if compacts:
        return "a compaction for nothing"
    worth = told.retry != "false" and (told.status in (408, 409, 429) or told.status >= 498)
    if client == "openai-responses" and not (own and told.status):
        return _codex(case, told)
    if case == "wait" and told.status:
        return "" if worth else "told not to wait"
    if case == "stop" and told.status:
        return "asked again for nothing" if worth else ""
    if client == "anthropic-messages":
        waits = told.kind in ("overloaded_error", "rate_limit_error", "api_error", "timeout_error")
        # The gateway's own bad key is no fault of the request, but nothing that the client could mend either.
        return "" if waits == (case == "wait") or "credential" in told.message else f"said as {told.kind}"
    return ""


def _codex(case: str, told: Told) -> str:
    if case == "stop":
        fine = told.code in ("invalid_prompt", "insufficient_quota") or (told.code == "model_not_found" and told.status)
        return "" if fine and told.status in (0, 400, 429) else f"asked again for nothing: {told.code}"
    if told.code == "rate_limit_exceeded":
        waits = bool(told.retry_after) if told.status else "try again in" in told.message.lower()
        return "" if waits else "the message is lost without a time to wait"
    return (
        "" if told.code in ("server_is_overloaded", "server_error") and told.status != 400 else f"stopped: {told.code}"
    )


async def test_the_whole_table() -> None:
    """Each row as in the golden table, and none that leads an agent astray."""
    rows = await table()
    assert len(rows) == len(VENDORS) * len(CASES) * len(PROTOCOLS) * len(WAYS)
    text = written(rows)
    if os.environ.get("SBGW_GOLDEN") == "write":
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text)
    astray = {
        key: (wrong, told)
        for key, told in rows.items()
        if (wrong := amiss(key[1], key[2], told, own=VENDORS[key[0]].wire == key[2]))
    }
    assert astray == {}, "\n".join(f"{key}: {wrong}" for key, wrong in astray.items())
    assert text == GOLDEN.read_text()


@pytest.mark.parametrize("case", CASES)
def test_every_shape_is_another(case: str) -> None:
    """Flat and nested ones, lists, bare words, codes as numbers: no vendor stands in for another."""
    keys = {orjson.dumps(_shape(getattr(vendor, case)[1])) for vendor in VENDORS.values()}
    assert len(keys) >= 7


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shape(held) for key, held in sorted(value.items())}
    return [_shape(held) for held in value[:1]] if isinstance(value, list) else type(value).__name__
