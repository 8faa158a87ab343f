"""Gateways for the SDK tests, and SDK clients that are closed afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anthropic
import openai
import pytest
import pytest_asyncio

from tests.clients.gateway import started
from tests.clients.places import Place, keys, policy
from tests.emulator import Emulator, Script
from tests.sdk.through import LOOP, Through


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_gateway(place: Place, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Through]:
    """One gateway for all tests of a place that do no harm: an emulated provider behind it, cutting its writes at odd points."""
    async with Emulator(LOOP, place.profile, cut=41) as emu:
        folder = tmp_path_factory.mktemp(place.id)
        async with started(policy((place, emu)), folder, keys((place, emu))) as gate:
            yield Through(emu, gate)


@pytest.fixture
def through(shared_gateway: Through) -> Through:
    """The shared gateway, with an empty log and the usual script."""
    shared_gateway.reset(LOOP)
    return shared_gateway


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(place: Place, tmp_path: Path) -> AsyncIterator[Through]:
    """A gateway of its own, for tests whose faults it would remember."""
    async with AsyncExitStack() as stack:
        emu = await stack.enter_async_context(Emulator(Script(LOOP.turns, side="word " * 200), place.profile))
        gate = await stack.enter_async_context(started(policy((place, emu)), tmp_path, keys((place, emu))))
        yield Through(emu, gate)


@pytest_asyncio.fixture(loop_scope="module")
async def claude() -> AsyncIterator[Callable[[Through], anthropic.AsyncAnthropic]]:
    """Makes official Anthropic clients for a gateway."""
    async with AsyncExitStack() as opened:

        def make(through: Through) -> anthropic.AsyncAnthropic:
            client = anthropic.AsyncAnthropic(base_url=through.gate.url, api_key=through.gate.key, max_retries=0)
            opened.push_async_callback(client.close)
            return client

        yield make


@pytest_asyncio.fixture(loop_scope="module")
async def gpt() -> AsyncIterator[Callable[[Through], openai.AsyncOpenAI]]:
    """Makes official OpenAI clients for a gateway."""
    async with AsyncExitStack() as opened:

        def make(through: Through) -> openai.AsyncOpenAI:
            client = openai.AsyncOpenAI(base_url=through.gate.url + "/v1", api_key=through.gate.key, max_retries=0)
            opened.push_async_callback(client.close)
            return client

        yield make
