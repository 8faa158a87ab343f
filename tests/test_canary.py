"""Secrets sent by every way in come out by none: no file, log, metric, page, export or error text has them.

Traces and the answer cache are on: what keeps most keeps no secret either.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from engine.cli import cli
from engine.telemetry import courier
from tests.emulator import Emulator, Fault
from tests.emulator.models import Model
from tests.spine import PROTOCOLS, Behind, Spine, body, policy, spine
from tests.telemetry.exporting import until
from tests.telemetry.receiver import Receiver

KEY = "sbgw-c4n4ryKeyOfTheGatewayItself0123456"
PROVIDER_KEY = "a1-canary-of-a-provider-key-77"
IN_HEADERS = "ghp_c4n4ryInHeaders0123456789abcdefghijk"
IN_PROMPT = "gsk_c4n4ryInPrompt0123456789abcdefghijklmnopqrstuvwxyz"
IN_TOOL_RESULT = "sk-or-v1-" + "c4ca1e" * 10 + "0123"
IN_MODEL = "nvapi-c4n4ryInModel_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL"
IN_ERROR = "sk-ant-api03-c4n4ryInError0123456789abcdefghijklmnopqrstuvwxyz"
ALL = (KEY, PROVIDER_KEY, IN_HEADERS, IN_PROMPT, IN_TOOL_RESULT, IN_MODEL, IN_ERROR)

HEADERS = {
    "user-agent": f"claude-cli/2.1.4 (external, {IN_HEADERS})",
    "x-claude-code-session-id": f"session-{IN_HEADERS}",
    "x-sbgw-project": IN_HEADERS,
    "x-sbgw-repo": f"/home/u/{IN_HEADERS}",
    "x-sbgw-class": IN_HEADERS,
    "x-other": IN_HEADERS,
    "x-sbgw-key": KEY,
    "content-type": "application/json",
}

ROWS = {"m": Model()}
KEPT = {"response": "on", "rules": [{"id": "all", "when": "true"}]}


def conversation(protocol: str) -> dict[str, object]:
    """A turn with a prompt, a tool's result and a tool whose name holds a secret."""
    made = body(protocol, text=f"Use {IN_PROMPT} please.")
    name = IN_PROMPT.replace("-", "_")[:64]
    call, said = "call_1", f"export KEY={IN_TOOL_RESULT}"
    match protocol:
        case "anthropic-messages":
            made["messages"] += [
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": call, "name": name, "input": {"k": IN_PROMPT}}],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": call, "content": said, "is_error": True}],
                },
            ]
            made["tools"] = [{"name": name, "input_schema": {"type": "object"}}]
        case "openai-responses":
            made["input"] += [
                {"type": "function_call", "call_id": call, "name": name, "arguments": json.dumps({"k": IN_PROMPT})},
                {"type": "function_call_output", "call_id": call, "output": said},
            ]
            made["tools"] = [{"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}}]
        case _:
            arguments = json.dumps({"k": IN_PROMPT})
            made["messages"] += [
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": call, "type": "function", "function": {"name": name, "arguments": arguments}}
                    ],
                },
                {"role": "tool", "tool_call_id": call, "content": said},
            ]
            made["tools"] = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}]
    return made


async def _talk(gate: Spine, emu: Emulator) -> Iterator[tuple[str, bytes]]:
    """Good requests, failing ones, refused ones; (what it was, the error's or page's text) of each."""
    seen: list[tuple[str, bytes]] = []
    for protocol in PROTOCOLS:
        path = {"anthropic-messages": "/v1/messages", "openai-responses": "/v1/responses"}.get(
            protocol, "/v1/chat/completions"
        )
        for _ in range(2):  # kept, and answered from what is kept: none of the others may be
            assert (await gate.send("POST", path, orjson.dumps(body(protocol)), HEADERS)).status == 200
        for stream in (False, True):
            asked = {**conversation(protocol), "stream": stream}
            answer = await gate.send("POST", path, orjson.dumps(asked), HEADERS)
            assert answer.status == 200, answer.body
            quoting = f"bad key {PROVIDER_KEY} and {IN_ERROR} in {IN_PROMPT}"
            for fault in ("400", "401", "500", "error-first-frame", "error-mid-stream"):
                emu.fail_next(Fault(fault, message=quoting))
                failed = await gate.send("POST", path, orjson.dumps(asked), HEADERS)
                seen.append((f"{fault} {protocol} stream={stream}", failed.body + str(failed.headers).encode()))
            asked["model"] = IN_MODEL
            refused = await gate.send("POST", path, orjson.dumps(asked), HEADERS)
            if refused.status >= 400:  # an answer says to who asked which model was asked for
                seen.append((f"unknown model {protocol} stream={stream}", refused.body))
            asked["messages" if protocol != "openai-responses" else "input"] = {IN_PROMPT: 1}
            seen.append(("invalid", (await gate.send("POST", path, orjson.dumps(asked), HEADERS)).body))
        wrong = {**HEADERS, "x-sbgw-key": KEY + "0"}
        seen.append(("wrong key", (await gate.send("POST", path, b"{}", wrong)).body))
        seen.append(("no JSON", (await gate.send("POST", path, IN_PROMPT.encode(), HEADERS)).body))
    return iter(seen)


def _files(folder: Path) -> list[tuple[str, bytes]]:
    return [(str(file), file.read_bytes()) for file in folder.rglob("*") if file.is_file()]


COMMANDS = (
    ["events", "--json", "-n", "1000"],
    ["events", "-n", "200"],
    ["events", "violations", "--json"],
    ["events", "export"],
    ["events", "export", "--format", "csv"],
    ["events", "export", "--format", "governance"],
    ["sessions"],
    ["sessions", "--json"],
    ["top", "--once", "--minutes", "60"],
    ["top", "--json", "--minutes", "60"],
    ["cost", "--by", "project", "--json"],
    ["cost", "--by", "session"],
    ["cache", "--json"],
    ["trace", "list"],
)
"""What shows recorded requests, all of them."""

OF_ONE = (
    ["events", "ID", "--json"],
    ["explain", "ID"],
    ["explain", "ID", "--json"],
    ["trace", "show", "ID"],
    ["graph", "--event", "ID"],
    ["graph", "--event", "ID", "--format", "svg"],
    ["graph", "--event", "ID", "--format", "mermaid"],
)
"""What shows one of them."""


def _commands(state: Path, event: str) -> Iterator[tuple[str, bytes]]:
    """What each command prints of the recorded requests."""
    for words in (*COMMANDS, *OF_ONE):
        asked = [event if word == "ID" else word for word in words]
        result = CliRunner().invoke(cli, [*asked, "--state-dir", str(state)])
        assert result.exit_code == 0, (words, result.output)
        yield " ".join(words), result.output.encode()


@pytest.mark.parametrize("wire", PROTOCOLS)
async def test_no_secret_comes_out(
    wire: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Preserved and translated, whole and streamed, answered, failed and refused; exported, kept, listed and drawn."""
    monkeypatch.setattr(courier, "GATHER", 0.0)
    async with Emulator(models=ROWS) as emu, Receiver() as receiver:
        emu.key = PROVIDER_KEY
        exported = {"otlp": {"endpoint": receiver.url}, "governance": {"url": f"{receiver.url}/governance"}}
        text = policy(
            Behind("first", emu.url, (wire,)), fallback={"attempts": 1}, cache=KEPT, settings={"telemetry": exported}
        )
        async with spine(
            text, env={"FIRST_KEY": PROVIDER_KEY}, state=tmp_path, keys=(KEY,), secrets=(KEY,), trace=True
        ) as gate:
            outputs = list(await _talk(gate, emu))
            pages = ("/metrics", "/health", "/providers", "/sessions", "/events/violations")
            outputs += [(path, (await gate.send("GET", path, None, HEADERS)).body) for path in pages]
            recent = await gate.send("GET", "/events/recent?limit=1000", None, HEADERS)
            outputs.append(("/events/recent", recent.body))
            ids = [event["id"] for event in gate.events() if event.get("facts")]
            outputs += [(f"event {i}", (await gate.send("GET", f"/events/{i}", None, HEADERS)).body) for i in ids[:40]]
            outputs.append(("logs", orjson.dumps(gate.logged, default=str)))
            for path in ("/v1/traces", "/v1/metrics", "/governance"):
                await until(lambda path=path: any(where == path for where, *_ in receiver.got))
    assert len(ids) > 20
    outputs += _commands(tmp_path, ids[0])
    outputs += [(f"export {path}", body + str(headers).encode()) for path, headers, body in receiver.got]
    outputs += _files(tmp_path)
    printed = capsys.readouterr()
    outputs.append(("printed", (printed.out + printed.err).encode()))
    leaks = [f"{where}: {secret[:24]}" for where, said in outputs for secret in ALL if secret.encode() in said]
    assert leaks == [], "\n".join(leaks)
    shown = {where.partition(" ")[0] for where, said in outputs if b"[secret:" in said}
    assert {"events", "export", "explain", "trace", "/sessions"} <= shown, "the places are shown, not the secrets"
    assert any("/answers/" in where for where, _ in outputs), "the kept answers were looked through"
    assert any("/traces/" in where for where, _ in outputs), "so were the traces"
