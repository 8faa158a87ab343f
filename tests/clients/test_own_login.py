"""A subscription's login passes through the gateway to its own vendor, and to nobody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.clients.gateway import Gateway
from tests.clients.install import Clients
from tests.clients.run import Agent
from tests.clients.test_tool_loops import check_session
from tests.emulator import Emulator, Fault, Scenario

pytestmark = pytest.mark.clients
Start = Callable[..., Awaitable[Gateway]]

LOGIN = "sk-ant-oat01-canary-login-0123456789abcdef"


async def test_claude_codes_login_goes_to_its_vendor_alone(
    agents: Clients, scenario: Scenario, gateway: Start, tmp_path: Path
) -> None:
    """As README says it: the gateway's key in a header of its own, the login as it is. A fall back goes out with the
    gateway's key for the other vendor, and what the login is stands in no file."""
    async with Emulator(scenario.script, key=LOGIN) as vendor, Emulator(scenario.script) as other:
        vendor.fail_next(Fault("529", at=2, times=9))
        gate = await gateway(
            f"""
version: 1
name: login
extends: [default]
providers:
  anthropic-login: {{enabled: true, protocols: {{anthropic-messages: "{vendor.url("anthropic-messages")}"}}}}
  other: {{protocol: openai-chat, base_url: "{other.url("openai-chat")}", api_key_env: OTHER_KEY, quirks: {{max_tokens_field: max_completion_tokens, system_role: developer}}}}
models:
  other/gpt-5.5: {{tools: true, context: 200000, max_output: 64000, claude_code_safe: true}}
routes: {{ {", ".join(f"{name}: [anthropic-login, other/gpt-5.5]" for name in CLASSES)} }}
""",
            OTHER_KEY=other.key,
        )
        own = {
            "ANTHROPIC_AUTH_TOKEN": "",
            "CLAUDE_CODE_OAUTH_TOKEN": LOGIN,
            "ANTHROPIC_CUSTOM_HEADERS": f"x-sbgw-key: {gate.key}",
        }
        agent = Agent("claude-code", agents, gate.url, "", "claude-opus-5-5", own)
        ended = await agent.run(scenario.prompt, scenario.folder)
        check_session(scenario, [vendor, other], ended)
        assert {f"Bearer {LOGIN}"} == {seen.headers.get("authorization") for seen in vendor.requests}
        assert other.served
        assert other.saw(LOGIN) == vendor.saw(gate.key) == other.saw(gate.key) == vendor.saw(other.key) == []
        assert LOGIN not in "".join(gate.printed)
    assert holding(tmp_path) == []


def holding(folder: Path) -> list[Path]:
    """Files below `folder` that hold the login."""
    return [path for path in folder.rglob("*") if path.is_file() and LOGIN.encode() in path.read_bytes()]


CLASSES = ("cheap_edit", "fast_code", "deep_reasoning", "tool_heavy", "long_context", "fallback_safe")
