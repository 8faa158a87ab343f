"""A gateway whose records are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.emulator import Emulator
from tests.emulator.models import Model
from tests.spine import Behind, Spine, policy, spine


@pytest.fixture
async def gate() -> AsyncIterator[Spine]:
    """It refuses one project."""
    async with Emulator(models={"m": Model()}) as emu:
        rules = {"deny": [{"id": "no-x", "when": 'client.project == "x"', "tags": ["t"]}]}
        text = policy(Behind("first", emu.url, ("openai-chat",)), gate=rules)
        async with spine(text, env={"FIRST_KEY": emu.key}) as made:
            yield made
