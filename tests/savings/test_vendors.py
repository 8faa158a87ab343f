"""Each vendor's own rules of caching against what its row makes the gateway expect."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from engine.gateway import Gateway
from engine.policy.load import load_policy
from engine.protocols.registry import PROTOCOLS
from tests.savings.vendors import Clock, Vendors

KEYS = dict.fromkeys(("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GROQ_API_KEY", "DEEPSEEK_API_KEY", "MISTRAL_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY"), "k")  # fmt: skip
SYSTEM = "Follow the house rules. " * 1500
TOOL = {"type": "function", "function": {"name": "bash", "description": "run", "parameters": {"type": "object"}}}


class Session:
    """One session with a model, in Chat words or in Messages words without breakpoints."""

    def __init__(self, model: str, protocol: str = "openai-chat") -> None:
        self.model, self.protocol = model, protocol
        self.clock = Clock()
        self.gateway = Gateway(load_policy("default"), environ=KEYS, state=None, log=lambda *_, **__: None)
        services = self.gateway.services
        services.transport = Vendors(self.clock)  # type: ignore[assignment]
        services.now = lambda: datetime.fromtimestamp(self.clock.now, UTC)
        services.monotonic = self.clock
        self.said: list[dict[str, Any]] = [{"role": "user", "content": "start"}]

    async def turn(self, *, after: float = 10.0, keyed: bool = True) -> tuple[int, int]:
        """(tokens expected to be read, tokens read); then the conversation goes on."""
        self.clock.now += after
        body: dict[str, Any] = {"model": self.model, "stream": False, "max_tokens": 100}
        if self.protocol == "openai-chat":
            body |= {"messages": [{"role": "system", "content": SYSTEM}, *self.said], "tools": [TOOL]}
        else:
            tool = {"name": "bash", "description": "run", "input_schema": {"type": "object"}}
            body |= {"system": SYSTEM, "messages": self.said, "tools": [tool]}
        headers = {"x-session-id": "ses-1"} if keyed else {}
        exchange = self.gateway.exchange(PROTOCOLS[self.protocol], headers, orjson.dumps(body), Nobody())
        await self.gateway.run(exchange)
        assert exchange.answer is not None, exchange.error
        assert exchange.tapped is not None
        assert exchange.tapped.usage is not None
        ref = exchange.answer.candidate.ref
        assert ref.endswith(self.model), ref
        self.said += [{"role": "assistant", "content": "done " * 50}, {"role": "user", "content": "go on " * 200}]
        return exchange.facts["session"]["warm"].get(ref, 0), exchange.tapped.usage.cached_tokens or 0


class Nobody:
    started = False

    async def start(self, *_: Any) -> None:
        raise AssertionError("nothing here streams")

    write = start


PROMISED = [
    ("claude-opus-5-5", "openai-chat"), ("gpt-6.1-sol", "openai-chat"), ("openai/gpt-oss-120b", "openai-chat"), ("deepseek-v4-pro", "openai-chat"),
    ("anthropic/claude-opus-5.5", "anthropic-messages"),
]  # fmt: skip
LEARNED = ["mistral-large-4", "gemini-3.8-flash"]


@pytest.mark.parametrize(("model", "protocol"), PROMISED, ids=[model for model, _ in PROMISED])
async def test_what_a_row_promises_is_read(model: str, protocol: str) -> None:
    """Nothing for the first request, from the second on all of the one before."""
    session = Session(model, protocol)
    assert await session.turn() == (0, 0)
    for _ in range(4):
        expected, read = await session.turn()
        assert expected == pytest.approx(read, rel=0.05)
        assert read > len(SYSTEM) / 5


@pytest.mark.parametrize("model", LEARNED)
async def test_where_nobody_says_how_long_it_is_learned(model: str) -> None:
    """Nothing is expected until the vendor has reported tokens from its cache."""
    session = Session(model)
    assert await session.turn() == (0, 0)
    expected, read = await session.turn()
    assert expected == 0
    assert read > len(SYSTEM) / 5
    expected, read = await session.turn()
    assert expected == pytest.approx(read, rel=0.05)


@pytest.mark.parametrize(("model", "seconds"), [("openai/gpt-oss-120b", 7000), ("deepseek-v4-pro", 3500)])
async def test_a_pause_is_bridged_where_the_row_says_so(model: str, seconds: float) -> None:
    """Both as expected and as read."""
    session = Session(model)
    await session.turn()
    expected, read = await session.turn(after=seconds)
    assert expected == pytest.approx(read, rel=0.05)
    assert read > 0
    expected, _ = await session.turn(after=2 * seconds)
    assert expected == 0


async def test_units_are_found_whole_or_not_at_all() -> None:
    """A conversation that departs before its newest prompt ended reads the prompt before that, elsewhere what both share."""
    session = Session("deepseek-v4-pro")
    for _ in range(3):
        await session.turn()
    session.said[1:] = [{"role": "assistant", "content": "another answer"}, {"role": "user", "content": "another way"}]
    expected, read = await session.turn()
    assert expected == pytest.approx(read, rel=0.05)
    session.said[0] = {"role": "user", "content": "begin"}
    assert await session.turn() == (0, 0)


async def test_a_vendor_that_wants_a_key_gets_the_sessions_name() -> None:
    """Without a session there is no name, and nothing is kept."""
    session = Session("mistral-large-4")
    for _ in range(3):
        assert (await session.turn(keyed=False))[1] == 0
