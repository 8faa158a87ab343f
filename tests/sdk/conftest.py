"""The gateway fixture of the SDK tests, and SDK clients that are closed afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anthropic
import openai
import pytest

from tests.clients.gateway import Gateway, started


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Gateway]]]:
    """Starts gateways from a policy's text and environment variables for provider keys; stops them afterwards."""
    async with AsyncExitStack() as stack:

        async def start(policy: str, **env: str) -> Gateway:
            return await stack.enter_async_context(started(policy, tmp_path, env))

        yield start


@pytest.fixture
async def claude() -> AsyncIterator[Callable[[Gateway], anthropic.AsyncAnthropic]]:
    """Makes official Anthropic clients for a gateway."""
    async with AsyncExitStack() as opened:

        def make(gate: Gateway) -> anthropic.AsyncAnthropic:
            client = anthropic.AsyncAnthropic(base_url=gate.url, api_key=gate.key, max_retries=0)
            opened.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
async def gpt() -> AsyncIterator[Callable[[Gateway], openai.AsyncOpenAI]]:
    """Makes official OpenAI clients for a gateway."""
    async with AsyncExitStack() as opened:

        def make(gate: Gateway) -> openai.AsyncOpenAI:
            client = openai.AsyncOpenAI(base_url=gate.url + "/v1", api_key=gate.key, max_retries=0)
            opened.push_async_callback(client.close)
            return client

        yield make
