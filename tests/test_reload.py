"""Hot reload: a good policy is taken over, a broken one never serves, and no request notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.gateway import Gateway
from engine.policy.load import load_policy, load_text
from engine.protocols.registry import PROTOCOLS
from engine.reload import Reloader

POLICY = "version: 1\nname: r\nextends: [offline]\nroutes: {cheap_edit: [simulated/%s]}\n"
BROKEN = "classify:\n  - {id: broken, class: cheap_edit, when: request.tols == %d}\n"


class Sink:
    """A client that keeps nothing."""

    started = False

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True

    async def write(self, data: bytes) -> None:
        return


class Served:
    """A gateway on a policy file that a test rewrites."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.save("small")
        self.gateway = Gateway(load_policy(str(path)), environ={}, state=None, log=lambda *_, **__: None)
        self.reloader = Reloader(self.gateway, lambda: load_policy(str(path)), log=lambda *_, **__: None)

    def save(self, model: str, more: str = "") -> None:
        self.path.write_text(POLICY % model + more, "utf-8")

    async def ask(self) -> str:
        body = {"model": "x", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}
        exchange = self.gateway.exchange(PROTOCOLS["anthropic-messages"], {}, orjson.dumps(body), Sink())
        await self.gateway.run(exchange)
        assert exchange.reply is not None
        assert exchange.reply.status == 200
        assert exchange.answer is not None
        return exchange.answer.candidate.ref


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    served = Served(tmp_path / "mine.yaml")
    await served.gateway.start()
    yield served
    await served.gateway.close()


async def test_a_good_policy_is_taken_over(served: Served) -> None:
    """The next request after a look is served by the saved policy."""
    assert await served.ask() == "simulated/small"
    served.save("large")
    assert await served.reloader.look()
    assert await served.ask() == "simulated/large"
    assert (served.gateway.reload.ok, served.gateway.reload.count) == (True, 1)


@pytest.mark.parametrize(
    ("telemetry", "waiting"),
    [
        ("{otlp: {endpoint: 'http://127.0.0.1:4318'}}", ["otlp_endpoint"]),
        ("{governance: {url: 'http://127.0.0.1:1/', file: g.jsonl}}", ["governance_file", "governance_url"]),
        ("{enabled: false}", ["telemetry_enabled"]),
        ("{keep_days: 3}", []),
    ],
)
async def test_settings_that_wait_for_a_restart_are_told(served: Served, telemetry: str, waiting: list[str]) -> None:
    """Exports are made at the start: who changes them must know that nothing goes there yet."""
    told: list[Any] = []
    reloader = Reloader(
        served.gateway, lambda: load_policy(str(served.path)), log=lambda name, **said: told.append(said)
    )
    served.save("small", f"settings: {{telemetry: {telemetry}}}\n")
    assert await reloader.look()
    assert [said["needs_restart"] for said in told] == [waiting]


async def test_a_new_bound_for_kept_answers_holds_at_once(tmp_path: Path) -> None:
    """`cache.max_mib` of the saved policy is that of the answers that are kept from then on."""
    mib = 1024 * 1024
    gateway = Gateway(load_policy("offline"), environ={}, state=tmp_path, log=lambda *_, **__: None)
    store = gateway.services.answers
    assert store is not None
    assert store.size_limit == 64 * mib
    gateway.swap(load_text("version: 1\nname: r\nextends: [offline]\ncache: {max_mib: 2}\n", file="mine.yaml"))
    assert gateway.services.answers is store
    assert store.size_limit == 2 * mib
    await gateway.close()


async def test_a_broken_policy_never_serves(served: Served) -> None:
    """Broken saves under way of requests: every request is served by the old policy, the first error is told."""
    for number in range(5):
        served.save("large", BROKEN % number)
        asked = [asyncio.create_task(served.ask()) for _ in range(10)]
        assert not await served.reloader.look()
        assert set(await asyncio.gather(*asked)) == {"simulated/small"}
    state = served.gateway.reload
    assert (state.ok, state.failures) == (False, 5)
    assert "mine.yaml:6:" in state.error
    assert "did you mean 'tools'?" in state.error
    served.save("large")
    assert await served.reloader.look()
    assert served.gateway.reload.ok


async def test_the_same_bytes_are_no_change(served: Served) -> None:
    """A save without a change reloads nothing."""
    served.save("small")
    assert not await served.reloader.look()
    assert served.gateway.reload.count == 0


async def test_a_policy_that_vanishes_is_a_broken_one(served: Served) -> None:
    """The old policy goes on while the file is away, and the file's return is noticed."""
    served.path.unlink()
    assert not await served.reloader.look()
    assert await served.ask() == "simulated/small"
    served.save("large")
    assert await served.reloader.look()
    assert await served.ask() == "simulated/large"
