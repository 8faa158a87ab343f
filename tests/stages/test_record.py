"""One event per request: complete before the client's last byte, whatever ends the request, defects included."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest

from engine.exchange import Exchange, Services
from engine.stages import BUILT_IN
from engine.stages.record import Record
from engine.stages.stage import Stage
from tests.emulator import Emulator, Fault
from tests.emulator.models import Model
from tests.judge import judged
from tests.spine import KEY, PATHS, PROTOCOLS, Behind, Spine, body, policy, spine

ROWS = {"m": Model()}


def statuses(folder: Path) -> list[str]:
    """What stands in the ledger's file, read by somebody else."""
    with sqlite3.connect(f"file:{folder / 'ledger.sqlite'}?mode=ro", uri=True) as file:
        found = [row[0] for row in file.execute("SELECT status FROM events ORDER BY id")]
    file.close()
    return found


async def last_byte(gate: Spine, protocol: str, folder: Path, *, stream: bool) -> list[str]:
    """The ledger's rows at the moment the answer's last byte arrives."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    asked = orjson.dumps(body(protocol, stream=stream))
    writer.write(
        f"POST {PATHS[protocol]} HTTP/1.1\r\nHost: localhost:{gate.port}\r\nx-sbgw-key: {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(asked)}\r\n\r\n".encode()
        + asked
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if b"chunked" in head.lower():
        while (size := int((await reader.readline()).strip(), 16)) != 0:
            piece = await reader.readexactly(size + 2)
            if END[protocol] in piece:
                break
    else:
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    found = statuses(folder)
    writer.close()
    return found


END = {"anthropic-messages": b"message_stop", "openai-responses": b"response.completed", "openai-chat": b"[DONE]"}


@pytest.mark.parametrize("wire", ["anthropic-messages", "openai-chat"])
async def test_the_event_is_on_disk_before_the_last_byte(wire: str, tmp_path: Path) -> None:
    """Whole or streamed, preserved or translated: when the client has its answer, the file has the event."""
    async with Emulator(models=ROWS) as emu:
        text = policy(Behind("first", emu.url, (wire,)))
        async with spine(text, env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
            asked = 0
            for _ in range(3):
                for protocol in PROTOCOLS:
                    for stream in (False, True):
                        asked += 1
                        seen = await asyncio.wait_for(last_byte(gate, protocol, tmp_path, stream=stream), 10)
                        assert seen == ["success"] * asked


async def test_an_error_is_on_disk_before_its_last_byte(tmp_path: Path) -> None:
    """Refused and failed requests as well."""
    async with Emulator(models=ROWS) as emu:
        text = policy(Behind("first", emu.url, ("openai-chat",)), fallback={"attempts": 1})
        async with spine(text, env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
            emu.fail_next(Fault("500"), Fault("error-first-frame"))
            for asked, stream in enumerate((False, True), start=1):
                answer = await gate.ask("anthropic-messages", stream=stream)
                assert answer.status >= 400
                assert statuses(tmp_path) == ["error"] * asked
            await gate.send("POST", "/v1/messages", b"{not json")
            assert statuses(tmp_path) == ["error"] * 3


async def test_a_request_under_way_has_an_open_row(tmp_path: Path) -> None:
    """So that a crash leaves a trace of it."""
    async with Emulator(models=ROWS) as emu:
        text = policy(Behind("first", emu.url, ("openai-chat",)))
        async with spine(text, env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
            emu.fail_next(Fault("slow", seconds=0.4))
            asking = asyncio.create_task(gate.ask("openai-chat"))
            await asyncio.sleep(0.2)
            assert statuses(tmp_path) == ["open"]
            assert (await asking).status == 200
            assert statuses(tmp_path) == ["success"]


class Defective(Stage):
    """A plugin's stage with a bug: it runs until a request names where to fail."""

    needs: ClassVar[frozenset[str]] = frozenset({"request"})
    exits: ClassVar[Mapping[str, frozenset[str]]] = {"failed": frozenset({"outcome"})}
    failing: ClassVar[str | None] = "failed"

    async def run(self, exchange: Exchange, services: Services) -> str | None:
        raise ZeroDivisionError("canary-of-a-prompt")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_defect_costs_its_request_only(protocol: str, monkeypatch: pytest.MonkeyPatch, *, stream: bool) -> None:
    """500 in the protocol's envelope with the event's id, recorded as an error; the text of the exception stays inside."""
    kinds = {**BUILT_IN, "defective": Defective}
    monkeypatch.setattr("engine.pipeline.BUILT_IN", kinds)
    steps: list[Any] = ["decode", "classify", {"use": "defective", "when": "request.max_output_tokens == 77"}]
    limits = {"anthropic-messages": "max_tokens", "openai-responses": "max_output_tokens", "openai-chat": "max_tokens"}
    async with Emulator(models=ROWS) as emu:
        text = policy(
            Behind("first", emu.url, ("openai-chat",)),
            pipeline=[*steps, "gate", "cache", "dispatch", "encode", "record"],
        )
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            answer = await gate.ask(protocol, body(protocol, stream=stream) | {limits[protocol]: 77})
            event = await gate.event(answer.headers["x-sbgw-event"])
            fine = await gate.ask(protocol, stream=stream)
    assert answer.status == 500
    assert event["id"] in judged(answer).error
    assert (event["status"], event["errorClass"], event["path"][-2:]) == (
        "error",
        "internal_error",
        ["defective.failed", "encode"],
    )
    assert (gate.logged[0]["event"], gate.logged[0]["stage"]) == ("defect", "defective")
    assert "canary-of-a-prompt" not in answer.body.decode() + repr(event)
    assert judged(fine).text


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_defect_of_the_record_costs_no_answer(
    protocol: str, monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    """The client has its answer, whole, and the log says what happened."""

    async def broken(self: Record, exchange: Exchange, services: Services) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Record, "run", broken)
    async with Emulator(models=ROWS) as emu:
        text = policy(Behind("first", emu.url, PROTOCOLS[2:]))
        async with spine(text, env={"FIRST_KEY": emu.key}) as gate:
            answer = await gate.ask(protocol, stream=stream)
    assert judged(answer).text
    assert gate.logged[0]["stage"] == "record"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_ledger_that_cannot_write_costs_no_answer(tmp_path: Path, *, stream: bool) -> None:
    """A file that can't be made: answers come, the event is kept in memory, health says so."""
    (tmp_path / "ledger.sqlite").mkdir()
    async with Emulator(models=ROWS) as emu:
        text = policy(Behind("first", emu.url, ("openai-chat",)))
        async with spine(text, env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
            answer = await gate.ask("openai-chat", stream=stream)
            health = (await gate.send("GET", "/health")).json
            assert (await gate.event(answer.headers["x-sbgw-event"]))["status"] == "success"
    assert answer.status == 200
    assert health["status"] == "degraded"


async def test_the_event_tells_the_whole_story() -> None:
    """Who asked for what, what was decided, tried and paid."""
    async with Emulator(models=ROWS) as one, Emulator(models=ROWS) as two:
        behind = (Behind("first", one.url, ("anthropic-messages",)), Behind("second", two.url, ("openai-chat",)))
        async with spine(policy(*behind), env={"FIRST_KEY": one.key, "SECOND_KEY": two.key}) as gate:
            one.fail_next(Fault("529"))
            headers = {"user-agent": "claude-cli/2.1.3 (external, cli)", "x-sbgw-project": "house"}
            answer = await gate.ask("anthropic-messages", stream=True, headers=headers)
            event = await gate.event(answer.headers["x-sbgw-event"])
    assert {
        "client": "claude-code", "clientVersion": "2.1.3", "project": "house", "protocol": "anthropic-messages",
        "requestedModel": "m", "selectedProvider": "second", "selectedModel": "m", "status": "fallback_success",
        "fallbackChain": ["first/m", "second/m"], "stream": True, "httpStatus": 200, "stopReason": "end_turn",
        "path": ["decode", "classify", "gate", "cache", "dispatch", "encode"],
    }.items() <= event.items()  # fmt: skip
    assert [(a["provider"], a["protocol"], a["preserve"], a.get("meaning")) for a in event["attempts"]] == [
        ("first", "anthropic-messages", True, "overloaded"),
        ("second", "openai-chat", False, None),
    ]
    assert event["inputTokens"] > 0
    assert event["costEstimateUsd"] > 0
    assert 0 < event["firstEventMs"] <= event["latencyMs"]


async def test_many_at_once_have_one_event_each(tmp_path: Path) -> None:
    """200 parallel requests, 200 answers, 200 rows, none open."""
    async with Emulator(models=ROWS) as emu:
        text = policy(Behind("first", emu.url, ("openai-chat",), {"timeouts": {"connect": 60}}))
        async with spine(text, env={"FIRST_KEY": emu.key}, state=tmp_path) as gate:
            asked = [gate.ask(PROTOCOLS[n % 3], stream=n % 2 == 0) for n in range(200)]
            answers = await asyncio.gather(*asked)
    assert {answer.status for answer in answers} == {200}
    assert len({answer.headers["x-sbgw-event"] for answer in answers}) == 200
    assert statuses(tmp_path) == ["success"] * 200
