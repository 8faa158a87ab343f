"""The stream of finished requests: what comes, what was missed, who is slow, and how it ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import aiohttp
import orjson
import pytest

from engine.exports import Listener
from engine.routes import event_stream as module
from engine.store.ended import ended_after
from engine.store.event import end_of
from engine.store.null_ledger import NullLedger
from tests.routes.test_events import ask
from tests.spine import KEY, Spine
from tests.store.builders import event


async def test_the_stream(gate: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished requests and broken rules come as they happen, by the filters; quiet times have signs of life."""
    monkeypatch.setattr(module, "HEARTBEAT", 0.05)
    async with aiohttp.ClientSession(headers={"x-sbgw-key": KEY}) as session:
        async with session.get(f"{gate.url}/events/stream?project=x") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            await stream.content.readuntil(b"from now on\n\n")
            ids = await ask(gate, "a", "x")
            seen = b""
            while b"event: violation" not in seen or not seen.endswith(b": alive\n\n"):
                seen += await asyncio.wait_for(stream.content.readuntil(b"\n\n"), 10)
    frames = [frame for frame in seen.decode().split("\n\n") if frame and not frame.startswith(":")]
    told = [(frame.split("\n")[0], orjson.loads(frame.partition("data: ")[2])) for frame in frames]
    assert [(name, data.get("eventId", data["id"])) for name, data in told] == [
        ("event: request", ids[1]), ("event: violation", ids[1]),
    ]  # fmt: skip


async def test_the_stream_ends_with_the_gateway(gate: Spine) -> None:
    """A listener does not hold up the end, and a listener that leaves is forgotten."""
    exports = gate.gateway.services.exports
    async with aiohttp.ClientSession(headers={"x-sbgw-key": KEY}) as session:
        async with session.get(f"{gate.url}/events/stream") as stream:
            await stream.content.readuntil(b"from now on\n\n")
            assert len(exports._listeners) == 1
            exports.hang_up()
            assert await asyncio.wait_for(stream.content.read(), 10) == b""
    for _ in range(100):
        if not exports._listeners:
            break
        await asyncio.sleep(0.01)
    assert exports._listeners == set()


async def test_listeners_are_bounded(gate: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is told so."""
    monkeypatch.setattr("engine.exports.MAX_LISTENERS", 0)
    answer = await gate.send("GET", "/events/stream")
    assert (answer.status, "too many" in answer.body.decode()) == (503, True)


async def heard(gate: Spine, last: str, query: str = "") -> list[str]:
    """Ids of what somebody is told at once who heard of `last` before."""
    headers = {"x-sbgw-key": KEY, "last-event-id": last}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(gate.url + "/events/stream" + query) as stream,
    ):
        told = await asyncio.wait_for(stream.content.readuntil(b": from now on\n\n"), 10)
    return [line[4:].decode() for line in told.split(b"\n") if line.startswith(b"id: ")]


async def test_who_comes_back_is_told_what_was_missed(gate: Spine) -> None:
    """Whatever ended since, in its order, broken rules too, by the filters; nothing for an id that nobody knows."""
    ids = await ask(gate, "a", "b", "x", "c")
    assert await heard(gate, ids[0]) == [ids[1], ids[2], f"{ids[2]}-1", ids[3]]
    assert await heard(gate, f"{ids[2]}-1") == [ids[3]]
    assert await heard(gate, ids[0], "?project=c") == [ids[3]]
    assert (await heard(gate, ids[3]), await heard(gate, "0" * 24), await heard(gate, "%")) == ([], [], [])


async def test_a_request_that_began_before_and_ended_after_was_missed() -> None:
    """It is the end that is told, so it is the end that counts; what an interrupted one's was nobody knows."""
    store = NullLedger()
    long = event(0, latency_ms=9_000.0)
    last, short, cut = event(5, latency_ms=100.0), event(1, latency_ms=5.0), event(2, status="interrupted")
    for one in (long, last, short, cut):
        store.complete(one)
    store.open(event(6, status="open"))
    found = ended_after(store, end_of(last), limit=100)
    assert [one.id for one in found] == [long.id, cut.id]
    assert end_of(replace(last, latency_ms=1500.0)) - end_of(last) == timedelta(seconds=1.4)


async def test_who_is_slow_is_told_how_much_was_missed(gate: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest wait; nobody is held up."""
    monkeypatch.setattr("engine.exports.LISTENER_BACKLOG", 2)
    slow = Listener()
    for number in range(5):
        slow.tell(event(number))
    assert (slow.missed, [(await slow.next()).id for _ in range(2)]) == (3, [event(3).id, event(4).id])  # type: ignore[union-attr]
    monkeypatch.setattr(module, "HEARTBEAT", 0.05)
    async with aiohttp.ClientSession(headers={"x-sbgw-key": KEY}) as session:
        async with session.get(f"{gate.url}/events/stream") as stream:
            await stream.content.readuntil(b"from now on\n\n")
            [listener] = gate.gateway.services.exports._listeners
            for number in range(5):
                listener.tell(event(number))
            seen = b""
            while event(4).id.encode() not in seen:
                seen += await asyncio.wait_for(stream.content.readuntil(b"\n\n"), 10)
    assert seen.startswith(b'event: missed\ndata: {"events":3}\n\nevent: request\nid: ' + event(3).id.encode())


async def test_a_slip_in_a_filter_is_told(gate: Spine) -> None:
    """A stream of everything is not what was asked for."""
    answer = await gate.send("GET", "/events/stream?projct=a")
    assert (answer.status, "no parameter 'projct'" in answer.body.decode()) == (400, True)
