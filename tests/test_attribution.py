"""Who a request belongs to: project, repository, agent and its parent, by header, address, key and what clients tell."""

from __future__ import annotations

import json

import pytest

from engine.guard import Guard
from engine.policy.clients import identify
from tests.emulator import Emulator
from tests.emulator.models import Model
from tests.spine import KEY, PATHS, PROTOCOLS, Behind, policy, spine

WIRES = ("anthropic-messages", "openai-responses", "openai-chat")
ROWS = {"m": Model()}


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_project_by_header_address_or_key(protocol: str) -> None:
    """The header goes before the address, the address before the key; all are served alike and recorded."""
    ways = [
        ({}, "", ""),
        ({"x-sbgw-key": "shop-key"}, "", "shop"),
        ({"x-sbgw-key": "shop-key"}, "/p/api", "api"),
        ({"x-sbgw-project": "said"}, "/p/api", "said"),
        ({}, "/p/caf%C3%A9%20two", "café two"),
    ]
    async with Emulator(models=ROWS) as emu:
        async with spine(policy(Behind("first", emu.url, (protocol,))), env={"FIRST_KEY": emu.key}) as gate:
            gate.server.guard = Guard.of(port=gate.port, names=[], keys=[KEY], named={"shop": "shop-key"})
            for headers, prefix, expected in ways:
                answer = await gate.ask(protocol, headers=headers, path=prefix + PATHS[protocol])
                event = await gate.event(answer.headers["x-sbgw-event"])
                assert (answer.status, event.get("project", "")) == (200, expected), (headers, prefix)
                assert event["facts"]["client"]["project"] == expected


@pytest.mark.parametrize("path", ["/p/x/v1/nothing", "/p//v1/messages", "/p/x/y/v1/messages", "/p/x/metrics"])
async def test_other_addresses_are_404(path: str) -> None:
    """A project's address leads to the protocols' paths only."""
    async with spine(policy(Behind("first", lambda _: "http://127.0.0.1:9", WIRES)), env={"FIRST_KEY": "k"}) as gate:
        assert (await gate.send("POST", path, b"{}")).status == 404


async def test_an_agent_and_where_it_works() -> None:
    """Sub-agent, parent and repository are recorded as the client tells them."""
    headers = {
        "user-agent": "codex_exec/0.169.0 (Debian)", "x-openai-subagent": "collab_spawn", "thread-id": "t-2",
        "session-id": "s-1", "x-codex-parent-thread-id": "t-1",
        "x-codex-turn-metadata": json.dumps({"workspaces": {"/home/me/shop": {"has_changes": True}}}),
    }  # fmt: skip
    async with Emulator(models=ROWS) as emu:
        async with spine(policy(Behind("first", emu.url, ("openai-responses",))), env={"FIRST_KEY": emu.key}) as gate:
            answer = await gate.ask("openai-responses", headers=headers)
            event = await gate.event(answer.headers["x-sbgw-event"])
    told = {
        name: event.get(name) for name in ("client", "clientVersion", "sessionId", "agent", "parentAgent", "repoPath")
    }
    assert told == {
        "client": "codex", "clientVersion": "0.169.0", "sessionId": "s-1", "agent": "t-2", "parentAgent": "t-1",
        "repoPath": "/home/me/shop",
    }  # fmt: skip


@pytest.mark.parametrize("said", ["{}", '{"workspaces": []}', '{"workspaces": {}}', '{"workspaces": 3}', "no JSON"])
def test_no_workspace(said: str) -> None:
    """Metadata without a workspace names no repository; the header names one all the same."""
    headers = {"user-agent": "codex_exec/0.169.0", "x-codex-turn-metadata": said}
    assert (identify(headers).repo, identify(headers | {"x-sbgw-repo": "/r\x1b[2J"}).repo) == ("", "/r[2J")
