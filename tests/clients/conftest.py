"""Fixtures of the agent tests: the agents themselves, a work folder with the tool loop's files, and a gateway to run them through."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.clients.gateway import Gateway, started
from tests.clients.install import Clients, NotInstalled, clients
from tests.emulator import Scenario, tool_loop


@pytest.fixture(scope="session")
def agents() -> Clients:
    """The installed agents. Skips with the reason where they can't be had, unless SBGW_REQUIRE_CLIENTS asks for failure."""
    if os.name != "posix":
        pytest.skip("the agent tests end processes by their group, which this system has not")
    try:
        return clients()
    except NotInstalled as error:
        if os.environ.get("SBGW_REQUIRE_CLIENTS"):
            raise
        pytest.skip(f"Claude Code and Codex are not here: {error}")


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    """The tool loop, its files written into a fresh work folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    made = tool_loop(folder)
    made.prepare()
    return made


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Gateway]]]:
    """Starts gateways from a policy's text and environment variables for provider keys; stops them afterwards."""
    async with AsyncExitStack() as stack:

        async def start(policy: str, **env: str) -> Gateway:
            return await stack.enter_async_context(started(policy, tmp_path, env))

        yield start
