"""Every event that a gateway really writes is valid by the published schema, from the ledger's file as over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from jsonschema import Draft7Validator

from engine.policy.load import load_text
from engine.store.ledger import read_only
from tests.emulator import Emulator
from tests.emulator.models import Model
from tests.spine import PATHS, PROTOCOLS, Behind, Spine, policy, spine

ROWS = {"m": Model()}
WIRES = ("openai-chat",)


@pytest.fixture(scope="module")
def schema(root: Path) -> Draft7Validator:
    return Draft7Validator(orjson.loads((root / "schemas/event.schema.json").read_bytes()))


def rules() -> dict[str, Any]:
    return {
        "classify": [
            {"id": "small", "class": "cheap_edit", "when": "request.max_output_tokens < 50", "tags": ["small"]}
        ],
        "gate": {
            "deny": [
                {"id": "no-x", "when": 'client.project == "x"', "tags": ["secrets"]},
                {"id": "watched", "when": "request.stream", "mode": "shadow", "since": "2026-11-01"},
            ]
        },
    }


async def everything(gate: Spine) -> None:
    """Requests that end in every way."""
    for protocol in PROTOCOLS:
        for stream in (False, True):
            await gate.ask(protocol, stream=stream, headers={"x-session-id": "s-1", "x-sbgw-project": "shop"})
        await gate.ask(protocol, headers={"x-sbgw-project": "x"})
        await gate.send("POST", PATHS[protocol], b'{"broken')
        await gate.send("POST", PATHS[protocol], b'{"model": "nobody/knows", "messages": 3}')
    leaving = asyncio.create_task(gate.ask("openai-chat", stream=True))
    await asyncio.sleep(0.02)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await asyncio.sleep(0.1)


async def test_recorded_events_are_valid(tmp_path: Path, schema: Draft7Validator) -> None:
    """Successes, fallbacks, refusals, broken requests, those whose client left; beside a policy that watches."""
    behind = (Behind("down", lambda _: "http://127.0.0.1:9/v1", WIRES), Behind("first", lambda _: "", WIRES))
    async with Emulator(models=ROWS) as emu:
        behind = (behind[0], Behind("first", emu.url, WIRES))
        text = policy(*behind, **rules())
        watching = load_text(policy(behind[1]))
        environ = {"FIRST_KEY": emu.key, "DOWN_KEY": "k"}
        async with spine(text, env=environ, state=tmp_path, shadow=watching) as gate:
            await everything(gate)
            listed = (await gate.send("GET", "/events/recent?limit=1000")).json["events"]
    with read_only(tmp_path / "ledger.sqlite") as reader:
        written = [orjson.loads(orjson.dumps(event.to_json())) for event in reader.events()]
    wrong = [
        f"{event['id']}: {e.json_path} {e.message}" for event in (*listed, *written) for e in schema.iter_errors(event)
    ]
    assert wrong == []
    assert {event["status"] for event in written} >= {"fallback_success", "error"}
    assert (len(written) >= 15, {event["id"] for event in listed} == {event["id"] for event in written}) == (True, True)
    seen = set().union(*written)
    assert {"workflow", "violations", "tags", "attempts", "shadow", "path", "project", "sessionId"} <= seen


@pytest.mark.parametrize("stream", [False, True])
async def test_no_event_holds_what_a_provider_quotes_of_the_prompt(stream: bool, tmp_path: Path) -> None:
    """A validator's complaint is kept, the prompt in it is not: neither in the file nor in any list. The client gets it all."""
    prompt = "please tell Mrs Miller that her order of 4711 blue socks is late"

    async def refuse(request: web.Request) -> web.Response:
        said = f"Input should be a list [type=list_type, input_value='{prompt[:50]}...', loc=messages.0]; got {prompt}"
        return web.json_response({"error": {"message": said, "type": "invalid_request_error"}}, status=422)

    app = web.Application()
    app.router.add_post("/{path:.*}", refuse)
    async with TestServer(app) as vendor:
        text = policy(Behind("first", lambda _: str(vendor.make_url("/v1")), WIRES))
        async with spine(text, env={"FIRST_KEY": "k"}, state=tmp_path) as gate:
            body = {"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": stream}
            answer = await gate.ask("openai-chat", body)
            event = await gate.event(answer.headers["x-sbgw-event"])
            listed = (await gate.send("GET", "/events/recent")).body
    assert prompt in answer.body.decode()
    assert event["attempts"][0]["message"].startswith("Input should be a list [type=list_type, input_value='[…]")
    assert not [word for word in ("Mrs Miller", "4711", "blue socks") if word.encode() in listed]
