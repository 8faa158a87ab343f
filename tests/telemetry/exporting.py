"""What the tests of exports share: a policy that exports, requests, patience."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.emulator import Emulator
from tests.emulator.models import Model
from tests.spine import Behind, Spine, policy, spine

ROWS = {"m": Model()}
CANARY = "canary-prompt-71c2"


def text(emu: Emulator, telemetry: dict[str, Any], **more: Any) -> str:
    return policy(Behind("first", emu.url, ("openai-chat",)), settings={"telemetry": telemetry}, **more)


async def until(condition: Callable[[], Any]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("did not happen within ten seconds")


async def ask(gate: Spine, count: int = 1, **more: Any) -> list[dict[str, Any]]:
    """Requests that must be answered; their events."""
    found = []
    for number in range(count):
        streamed = {"stream": True, "stream_options": {"include_usage": True}} if number % 2 else {}
        body = {"model": "m", "messages": [{"role": "user", "content": CANARY}], **streamed}
        answer = await gate.ask("openai-chat", body, **more)
        assert answer.status == 200
        found.append(await gate.event(answer.headers["x-sbgw-event"]))
    return found


async def dead_receiver(settings: dict[str, Any], tmp_path: Path) -> None:
    """Requests of a gateway whose one export can't deliver: all are answered, the export is told of, nothing is delivered."""
    async with Emulator(models=ROWS) as emu:
        async with spine(text(emu, settings), env={"FIRST_KEY": emu.key}, state=tmp_path / "state") as gate:
            events = await ask(gate, 6)
            await until(lambda: not gate.gateway.services.exports.state()[0]["ok"])
            metrics = (await gate.send("GET", "/metrics")).body.decode()
            [state] = gate.gateway.services.exports.state()
    assert ([event["status"] for event in events], state["backlog"]) == (["success"] * 6, 6)
    assert f'sbgw_export_ok{{export="{state["export"]}"}} 0' in metrics
    assert [line["event"] for line in gate.logged if line["event"].startswith("export")] == [
        "export_failed",
        "export_waits",
    ]
