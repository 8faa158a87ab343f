"""A state folder with recorded requests, for the commands that read one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from engine.cli import cli
from engine.gateway import Gateway
from engine.policy.load import load_policy
from engine.protocols.registry import PROTOCOLS

CANARY = "canary-3f9a6b"
"""Stands in every recorded prompt, and in no output of any command."""


class Sink:
    """A client that keeps nothing."""

    started = False

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True

    async def write(self, data: bytes) -> None:
        return


def body(number: int) -> dict[str, Any]:
    """One of a session's requests: questions, a design question, work with tools."""
    asked = f"{CANARY} {'what is the architecture here' if number % 3 == 1 else 'hello'}"
    made: dict[str, Any] = {"model": "claude-opus-5-5", "max_tokens": 256, "system": CANARY}
    made["messages"] = [{"role": "user", "content": asked}]
    if number % 3:
        made["tools"] = [{"name": "Bash", "description": CANARY, "input_schema": {"type": "object"}}]
    return made


async def _record(state: Path, requests: int) -> None:
    gateway = Gateway(load_policy("offline"), environ={}, state=state, log=lambda *_, **__: None)
    await gateway.start()
    headers = {"user-agent": "claude-cli/2.1.4 (external, cli)", "x-claude-code-session-id": "session-1"}
    for number in range(requests):
        wire = PROTOCOLS["anthropic-messages"]
        await gateway.run(gateway.exchange(wire, headers, orjson.dumps(body(number)), Sink()))
    await gateway.run(gateway.exchange(PROTOCOLS["openai-chat"], {}, f'{{"{CANARY}'.encode(), Sink()))
    await gateway.close()


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven requests, the last of them no JSON, decided by the shipped policy `offline`."""
    folder = tmp_path_factory.mktemp("state")
    asyncio.run(_record(folder, 6))
    return folder


@pytest.fixture
def run(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command line in an empty folder on the recorded state, without any provider's key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SBGW_STATE_DIR", str(state))
    monkeypatch.setenv("COLUMNS", "100")
    for row in load_policy("default").providers.values():
        for name in row.api_key_env:
            monkeypatch.delenv(name, raising=False)

    def invoke(*words: str, typed: bytes | None = None) -> Result:
        result = CliRunner().invoke(cli, words, input=typed)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert CANARY not in result.output
        return result

    return invoke
