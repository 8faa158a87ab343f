"""Traces: kept only when asked for, whole, without secrets, for their owner alone; and never at a request's cost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from engine.cli import cli
from engine.llm.messages import JsonObject
from engine.store import traces
from engine.store.traces import TraceStore
from tests.emulator import Emulator, Fault
from tests.emulator.models import Model
from tests.emulator.script import Script, Turn
from tests.judge import judged
from tests.spine import PROTOCOLS, Behind, Spine, body, policy, spine

ROWS = {"m": Model()}
TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ012345"


async def ask(
    state: Path, *protocols: str, more: JsonObject | None = None, text: str = "Say hello.", **options: Any
) -> Spine:
    """Ask once per protocol, whole and streamed; the gateway is closed afterwards."""
    async with Emulator(models=ROWS) as emu:
        loaded = policy(Behind("first", emu.url, ("openai-chat", "anthropic-messages")), **(more or {}))
        async with spine(loaded, env={"FIRST_KEY": emu.key}, state=state, **options) as gate:
            for protocol in protocols:
                for stream in (False, True):
                    answer = await gate.ask(protocol, body(protocol, stream=stream, text=text))
                    assert answer.status == 200
    return gate


def kept(state: Path) -> list[JsonObject]:
    return [traces.read(path) for path in traces.traces(state / "traces")]


def run(*args: str, state: Path) -> Result:
    return CliRunner().invoke(cli, ["trace", *args, "--state-dir", str(state)])


async def test_nothing_is_kept_by_default(tmp_path: Path) -> None:
    await ask(tmp_path, "openai-chat")
    assert not (tmp_path / "traces").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"trace": True},
        {"more": {"settings": {"telemetry": {"store_prompts": True}}}},
        {"more": {"trace": [{"id": "all-of-it", "when": "request.messages > 0"}]}},
    ],
    ids=["run", "setting", "rule"],
)
async def test_all_is_kept_on_request(options: dict[str, Any], tmp_path: Path) -> None:
    """Request and answer as they were, but for secrets, in every protocol; files and folder for their owner alone."""
    await ask(tmp_path, *PROTOCOLS, text=f"Say hello, {TOKEN}.", **options)
    found = kept(tmp_path)
    assert len(found) == 2 * len(PROTOCOLS)
    for data in found:
        text = json.dumps(data)
        assert TOKEN not in text
        assert "[secret:github-token:" in json.dumps(data["trace"]["request"])
        answer = data["trace"]["answer"]
        assert "emulator" in json.dumps(answer)
        assert isinstance(answer, str) == data.get("stream", False), "a stream is text, a whole answer JSON"
        assert data["trace"]["rule"] == ("all-of-it" if "trace" in options.get("more", {}) else "")
        assert not data["trace"]["truncated"]
    assert (tmp_path / "traces").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in traces.traces(tmp_path / "traces")} == {0o600}


async def test_a_stream_is_kept_to_its_last_byte(tmp_path: Path) -> None:
    await ask(tmp_path, "anthropic-messages", "openai-chat", trace=True)
    ends = [data["trace"]["answer"] for data in kept(tmp_path) if data.get("stream")]
    assert "message_stop" in ends[1]
    assert ends[0].rstrip().endswith("data: [DONE]")


async def test_a_rule_chooses(tmp_path: Path) -> None:
    """By the request's facts; a shadow rule keeps nothing."""
    rules = [
        {"id": "streams", "when": "request.stream"},
        {"id": "trial", "when": "true", "mode": "shadow"},
        {"id": "idle", "when": "true", "mode": "off"},
    ]
    await ask(tmp_path, "openai-chat", more={"trace": rules})
    assert [(data["stream"], data["trace"]["rule"]) for data in kept(tmp_path)] == [(True, "streams")]


@pytest.mark.parametrize("wire", ["anthropic-messages", "openai-chat"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_secret_told_in_pieces_is_taken_out(wire: str, protocol: str, tmp_path: Path) -> None:
    """A stream cuts it anywhere: neither it nor its pieces are kept, whether the answer ends well or breaks off."""
    said = Script((Turn(f"Your token is {TOKEN}, keep it safe."),))
    async with Emulator(said, models=ROWS) as emu:
        loaded = policy(Behind("first", emu.url, (wire,)))
        async with spine(loaded, env={"FIRST_KEY": emu.key}, state=tmp_path, trace=True) as gate:
            answer = await gate.ask(protocol, body(protocol, stream=True))
            assert TOKEN in judged(answer).text
    (data,) = kept(tmp_path)
    assert "Your token is [secret:github-token:" in data["trace"]["answer"]["said"]
    assert TOKEN[-6:] not in json.dumps(data)


async def test_errors_are_kept_too(tmp_path: Path) -> None:
    async with Emulator(models=ROWS) as emu:
        loaded = policy(Behind("first", emu.url, ("openai-chat",)), fallback={"attempts": 1})
        async with spine(loaded, env={"FIRST_KEY": emu.key}, state=tmp_path, trace=True) as gate:
            emu.fail_next(Fault("400", message=f"not {emu.key}"))
            assert (await gate.ask("openai-chat")).status == 400
    (data,) = kept(tmp_path)
    assert data["status"] == "error"
    assert "[secret:" in json.dumps(data["trace"]["answer"])
    assert emu.key not in json.dumps(data)


async def test_no_credential_is_kept(tmp_path: Path) -> None:
    """Not the gateway's key, not the caller's own login, whatever header it comes in."""
    login = "caller-login-0123456789"
    async with Emulator(models=ROWS) as emu:
        async with spine(
            policy(Behind("first", emu.url, ("openai-chat",))), env={"FIRST_KEY": emu.key}, state=tmp_path, trace=True
        ) as gate:
            headers = {
                "authorization": f"Bearer {login}",
                "x-api-key": login,
                "x-sbgw-key": "sbgw-canary-gateway-key-5f0c",
                "user-agent": "it",
            }
            asked = orjson.dumps(body("openai-chat", text=f"I am {login}"))
            assert (await gate.send("POST", "/v1/chat/completions", asked, headers)).status == 200
    (data,) = kept(tmp_path)
    assert data["trace"]["headers"]["user-agent"] == "it"
    assert "canary-gateway-key" not in json.dumps(data)
    assert login not in json.dumps(data)


async def test_a_full_disk_costs_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers come, one line says why nothing is kept, no half a file stays."""
    real = os.fdopen

    def full(descriptor: int, *args: Any, **more: Any) -> Any:
        file = real(descriptor, *args, **more)
        if "/traces/" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            file.close()
            raise OSError(28, "No space left on device")
        return file

    monkeypatch.setattr("engine.store.traces.os.fdopen", full)
    gate = await ask(tmp_path, *PROTOCOLS, trace=True)
    assert [line["event"] for line in gate.logged if line["event"].startswith("trace")] == ["trace_not_kept"]
    assert kept(tmp_path) == []


def test_the_folder_is_bounded(tmp_path: Path) -> None:
    """The oldest go first."""
    from tests.store.test_traces import trace

    store = TraceStore(tmp_path, limit=64 * 1024, log=lambda *_, **__: None)
    for number in range(20):
        store.put(trace(number, b'"' + b"x" * 10_000 + b'"'))
    store.close()
    found = list(traces.traces(tmp_path))
    assert sum(path.stat().st_size for path in found) <= 64 * 1024
    assert [int(path.stem, 16) for path in found] == list(range(19, 19 - len(found), -1))
    assert len(found) >= 4


# ── the command ──


async def test_traces_are_listed_shown_replayed_and_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = tmp_path / "state"
    await ask(state, "anthropic-messages", trace=True)
    listed = [json.loads(line) for line in run("list", "--json", state=state).stdout.splitlines()]
    assert len(listed) == 2
    assert listed[0]["id"][:16] in run("list", state=state).stdout
    event = listed[0]["id"]
    assert json.loads(run("show", event[:14], state=state).stdout)["id"] == event
    asked = run("show", event, "--request", state=state).stdout
    assert json.loads(asked)["messages"][0]["content"] == "Say hello."
    assert "message_stop" in run("show", event, "--answer", state=state).stdout
    where = run("path", event, state=state).stdout.strip()
    explained = CliRunner().invoke(cli, ["explain", where, "--policy", "offline", "--state-dir", str(state)])
    assert explained.exit_code == 0, explained.output
    assert event in explained.output
    again = CliRunner().invoke(cli, ["explain", "-", "--policy", "offline", "--state-dir", str(state)], input=asked)
    assert again.exit_code == 0, again.output
    made = CliRunner().invoke(cli, ["test", "--from-record", where, "--state-dir", str(state)])
    assert made.exit_code == 0, made.output
    assert event in made.output
    assert run("delete", state=state).exit_code == 2
    assert run("delete", event, state=state).stdout == "1 trace deleted\n"
    assert run("show", event, state=state).exit_code == 1
    assert run("delete", "--before", "1h", state=state).stdout == "0 traces deleted\n"
    assert run("delete", "--all", state=state).stdout == "1 trace deleted\n"
    assert "no traces" in run("list", state=state).stdout


def test_a_name_leads_nowhere_else(tmp_path: Path) -> None:
    """An id is hex; a path is none."""
    (tmp_path / "traces").mkdir()
    (tmp_path / "secret.json").write_text('{"trace": {}}')
    for name in ("../secret", "..", "/etc/passwd", "*", ""):
        assert run("show", name, state=tmp_path).exit_code == 1
