"""A whole gateway in this process, on loopback, with what a test puts behind it; and raw HTTP to talk to it.

async with Emulator() as emu, spine(policy(Behind("first", emu.url, ("openai-chat",))), env={"FIRST_KEY": emu.key}) as gate:
    answer = await gate.ask("anthropic-messages", stream=True)
    assert judged(answer).text == "Hello from the emulator."
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import aiohttp
import orjson

from engine.gateway import Gateway
from engine.guard import Guard
from engine.policy.load import load_text
from engine.policy.model import Policy
from engine.server import Server, listen

PROTOCOLS = ("anthropic-messages", "openai-responses", "openai-chat")
PATHS = {
    "anthropic-messages": "/v1/messages",
    "openai-responses": "/v1/responses",
    "openai-chat": "/v1/chat/completions",
}
CLASSES = ("cheap_edit", "fast_code", "deep_reasoning", "tool_heavy", "long_context", "fallback_safe")
KEY = "sbgw-canary-gateway-key-5f0c"
"""The gateway's own key: it may stand in no answer, event or log, and at no provider."""


def body(
    protocol: str, *, stream: bool = False, model: str = "m", text: str = "Say hello.", **more: Any
) -> dict[str, Any]:
    """A small request of one user message."""
    said = [{"role": "user", "content": text}]
    asked: dict[str, Any] = {"model": model}
    match protocol:
        case "anthropic-messages":
            asked |= {"max_tokens": 100, "messages": said}
        case "openai-responses":
            asked |= {"input": said}
        case _:
            asked |= {"messages": said}
    return {**asked, **({"stream": True} if stream else {}), **more}


@dataclass(slots=True, frozen=True)
class Behind:
    """A provider row: `url` gives the base URL of each wire, its one model is `m`, its key is `NAME_KEY`'s value."""

    name: str
    url: Callable[[str], str]
    wires: Sequence[str]
    row: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the provider's row."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the model's row."""

    @property
    def key_env(self) -> str:
        return f"{self.name.upper()}_KEY"


CALM = {"connect": 5, "first_event": 10, "idle": 10, "total": 30}
HURRIED = {"connect": 0.1, "first_event": 0.2, "idle": 0.2, "total": 5}
"""Timeouts for faults that only time ends."""


def policy(*behind: Behind, **sections: Any) -> str:
    """A policy whose every route leads to these providers in this order; `sections` are further top-level keys."""
    able = {"tools": True, "vision": True, "context": 200_000, "max_output": 64_000, "price": {"input": 1, "output": 2}}
    safe = {"claude_code_safe": True, "codex_safe": True}
    document = {
        "version": 1,
        "name": "spine",
        "providers": {
            b.name: {
                "protocols": {wire: b.url(wire) for wire in b.wires},
                "api_key_env": [b.key_env],
                "auth": "x-api-key" if b.wires[0] == "anthropic-messages" else "bearer",
                "timeouts": CALM,
                **b.row,
            }
            for b in behind
        },
        "models": {f"{b.name}/m": {**able, **safe, **b.model} for b in behind},
        "routes": {name: [f"{b.name}/m" for b in behind] for name in CLASSES},
        **sections,
    }
    return orjson.dumps(document).decode()


@dataclass(slots=True)
class Answer:
    """An HTTP answer as it came."""

    protocol: str
    stream: bool
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    took: float = 0.0

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def streamed(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")


class Spine:
    """The running gateway."""

    def __init__(self, gateway: Gateway, server: Server, port: int, logged: list[dict[str, Any]]) -> None:
        self.gateway = gateway
        self.server = server
        self.port = port
        self.logged = logged
        self.session = aiohttp.ClientSession(
            auto_decompress=False, connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=30)
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(
        self,
        protocol: str,
        asked: Mapping[str, Any] | None = None,
        *,
        stream: bool = False,
        headers: Mapping[str, str] | None = None,
        path: str = "",
    ) -> Answer:
        """One request of a model, read to its end."""
        sent = dict(body(protocol, stream=stream) if asked is None else asked)
        return await self.send(
            "POST",
            path or PATHS[protocol],
            orjson.dumps(sent),
            headers,
            protocol=protocol,
            stream=bool(sent.get("stream")),
        )

    async def send(
        self,
        method: str,
        path: str,
        data: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        protocol: str = "",
        stream: bool = False,
    ) -> Answer:
        """Any request; with the gateway's key unless `headers` bring one."""
        given = {k.lower(): v for k, v in (headers or {}).items()}
        if not given.keys() & {"x-api-key", "authorization", "x-sbgw-key"}:
            given["x-sbgw-key"] = KEY
        if method == "POST":
            given.setdefault("content-type", "application/json")
        began = time.monotonic()
        async with self.session.request(method, self.url + path, data=data, headers=given) as answer:
            read = await answer.read()
            found = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(protocol, stream, answer.status, found, read, time.monotonic() - began)

    async def raw(self, data: bytes, *, wait: float = 5.0) -> bytes:
        """Bytes to a fresh connection; everything that comes back until it is closed, or for `wait` seconds."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            got = b""
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(wait):
                    while piece := await reader.read(65536):
                        got += piece
            return got
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def events(self) -> list[dict[str, Any]]:
        """Recorded events, newest first."""
        return [event.to_json() for event in self.gateway.services.ledger.recent(1000)]

    async def event(self, event_id: str) -> dict[str, Any]:
        """The finished event of that id; waits until it is no longer open."""
        for _ in range(100):
            found = self.gateway.services.ledger.get(event_id)
            if found is not None and found.status != "open":
                return found.to_json()
            await asyncio.sleep(0.01)
        raise AssertionError(f"event {event_id} is not finished")

    async def newest(self, *, after: int = 0) -> dict[str, Any]:
        """The newest event, once there are more than `after` finished ones."""
        for _ in range(300):
            done = [event for event in self.events() if event["status"] != "open"]
            if len(done) > after:
                return done[0]
            await asyncio.sleep(0.01)
        raise AssertionError("no such event")

    def heal(self) -> None:
        """Forget what earlier attempts told about the providers."""
        from engine.providers.health import Health
        from engine.providers.retries import RetryBudgets

        self.gateway.services.health = Health(self.gateway.services.monotonic)
        self.gateway.services.retries = RetryBudgets()


@asynccontextmanager
async def spine(
    text: str | Policy,
    *,
    env: Mapping[str, str] | None = None,
    state: Path | None = None,
    keys: Sequence[str] = (KEY,),
    patient: bool = False,
    **more: Any,
) -> AsyncIterator[Spine]:
    """A gateway that serves `text`. Unless `patient`, waits between attempts take no time."""
    logged: list[dict[str, Any]] = []

    def log(event: str, **fields: Any) -> None:
        logged.append({"event": event, **fields})

    loaded = load_text(text) if isinstance(text, str) else text
    gateway = Gateway(loaded, environ=dict(env or {}), state=state, log=log, **more)
    if not patient:
        gateway.services.uniform = lambda low, _: low
        gateway.services.sleep = lambda _: asyncio.sleep(0)
    await gateway.start()
    server = Server(gateway, Guard.of(port=0, names=[], keys=keys), state=state)
    runner, port = await listen(server, "127.0.0.1", 0)
    server.guard = Guard.of(port=port, names=[], keys=keys)
    gate = Spine(gateway, server, port, logged)
    try:
        yield gate
    finally:
        await gate.session.close()
        await runner.cleanup()
        await gateway.close()


# ── a provider that sends what it is told, to the byte ──

Play = Callable[["Call"], Any]


class Call:
    """One request at a `Wire`, and the connection to answer it on."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes, sent: bytes) -> None:
        self.reader = reader
        self.writer = writer
        self.head = head
        self.body = sent
        self.gone = asyncio.Event()
        """Set when the caller has closed the connection."""

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}

    async def write(self, data: bytes) -> None:
        """Send raw bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def open(self, kind: str = "text/event-stream", status: str = "200 OK", **headers: str) -> None:
        """Status line and headers of an answer that ends with its connection."""
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        await self.write(f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{more}connection: close\r\n\r\n".encode())


class Wire:
    """A provider on loopback that plays a script of bytes for each request."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.calls: list[Call] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, wire: str) -> str:
        """The base URL that a provider row names."""
        return f"http://127.0.0.1:{self.port}" + ("" if wire == "anthropic-messages" else "/v1")

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        call = Call(reader, writer, head, b"")
        call.body = await reader.readexactly(int(call.headers.get("content-length", "0")))
        self.calls.append(call)
        watch = asyncio.create_task(self._watch(call))
        try:
            await self.play(call)
        finally:
            watch.cancel()

    async def _watch(self, call: Call) -> None:
        with suppress(ConnectionError):
            await call.reader.read()
        call.gone.set()
