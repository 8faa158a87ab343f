"""A vendor on loopback: three wires, strict, scripted, with a log of everything it was sent and faults on order.

async with Emulator(script) as emu:
    emu.fail_next(Fault("529"))
    ... requests to emu.url("anthropic-messages") ...
    assert emu.refused == [] and emu.surprises == []
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Self

import orjson
from aiohttp import web

from tests.emulator import anthropic_answers, chat_answers
from tests.emulator import models as rows
from tests.emulator.bill import Delivered, Prices, written
from tests.emulator.chat_profiles import PROFILES
from tests.emulator.delivery import Delivery
from tests.emulator.faults import Fault
from tests.emulator.models import Model
from tests.emulator.refusal import Refusal
from tests.emulator.script import Script, Turn
from tests.emulator.wires import WIRES, State, Wire, count_tokens

LIMIT = 32 * 1024 * 1024


@dataclass(slots=True)
class Received:
    """One request as it came. `verdict`: `ok`, `refused: …`, `fault: …`; `left` when the caller went away early."""

    wire: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: Any = None
    raw: bytes = b""
    verdict: str = ""
    step: int = 0
    """Tool results the conversation held."""
    left: bool = False
    usage: Mapping[str, Any] = field(default_factory=dict)
    """Tokens of the whole answer, as its wire counts them."""
    delivered: Delivered = "nothing"
    frames: list[bytes] = field(default_factory=list)
    """Frames of a stream that went out."""

    @property
    def model(self) -> str:
        """The model asked for, empty if none was."""
        return str(self.body.get("model", "")) if isinstance(self.body, Mapping) else ""


@dataclass(slots=True)
class Emulator:
    """One emulated vendor. `profile` is the Chat Completions row, `models` adds rows to every wire."""

    script: Script = field(default_factory=lambda: Script((Turn("Hello from the emulator."),)))
    profile: str = "openai"
    models: Mapping[str, Model] = field(default_factory=dict)
    key: str = field(default_factory=lambda: "sk-emu-" + secrets.token_hex(16))
    pace: float = 0.0
    """Seconds between frames of a stream."""
    cut: int = 0
    """Bytes per write; 0 writes frame by frame. Odd cuts show whether a reader joins what belongs together."""
    hold: asyncio.Event | None = None
    """No answer begins before it is set."""
    port: int = 0
    requests: list[Received] = field(default_factory=list, init=False)
    surprises: list[str] = field(default_factory=list, init=False)
    """What conversations showed to be not as scripted: altered calls, results without the expected text."""
    _faults: dict[str, list[Fault]] = field(default_factory=dict, init=False)
    _state: State = field(init=False)
    _runner: web.AppRunner | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._state = State(self.script, self.key, self.profile, self.models)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2 * LIMIT)
        app.router.add_post("/v1/messages", self._handler("anthropic-messages"))
        app.router.add_post("/v1/messages/count_tokens", self._count)
        app.router.add_post("/v1/responses", self._handler("openai-responses"))
        app.router.add_post("/v1/chat/completions", self._handler("openai-chat"))
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/v1/models/{name:.+}", self._models)
        app.router.add_get("/api/hello", self._hello)
        app.router.add_route("*", "/{path:.*}", self._nowhere)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def url(self, wire: str) -> str:
        """The base URL a provider row names for this wire."""
        return f"http://127.0.0.1:{self.port}" + ("" if wire == "anthropic-messages" else "/v1")

    def fail_next(self, *faults: Fault, wire: str = "") -> None:
        """Order failures, one after the other, on one wire or (empty) on whichever is asked next."""
        self._faults.setdefault(wire, []).extend(faults)

    @property
    def refused(self) -> list[Received]:
        """Requests that broke a rule of the vendor."""
        return [request for request in self.requests if request.verdict.startswith("refused")]

    @property
    def served(self) -> list[Received]:
        """Model requests that were answered as scripted."""
        return [request for request in self.requests if request.verdict == "ok" and request.wire in WIRES]

    def charge(self, request: Received, prices: Prices) -> Decimal:
        """What this vendor charges for a request."""
        match request.delivered:
            case "nothing":
                return Decimal(0)
            case "whole":
                return prices.charge(request.wire, request.usage)
        return prices.charge(request.wire, request.usage, output=written(request.frames))

    def saw(self, text: str) -> list[Received]:
        """Requests that carried this text in a header or in the body: for secrets that must not travel."""
        needle = text.encode()
        return [r for r in self.requests if needle in r.raw or any(text in value for value in r.headers.values())]

    # ── HTTP ──

    def _handler(self, name: str) -> Any:
        wire = WIRES[name]

        async def handle(request: web.Request) -> web.StreamResponse:
            seen = await self._receive(name, request)
            delivery = Delivery(request, wire, self._state, pace=self.pace, cut=self.cut)
            try:
                return await self._serve(wire, seen, delivery)
            except Refusal as refusal:
                seen.verdict = f"refused: {refusal}"
                return delivery.refuse(refusal)
            except (asyncio.CancelledError, ConnectionResetError):
                seen.left = True
                if seen.usage and delivery.delivered == "nothing":
                    delivery.delivered = "prompt"
                raise
            finally:
                seen.delivered, seen.frames = delivery.delivered, delivery.sent

        return handle

    async def _receive(self, wire: str, request: web.Request) -> Received:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen = Received(wire, request.path_qs, headers)
        self.requests.append(seen)
        seen.raw = await request.read()
        return seen

    async def _serve(self, wire: Wire, seen: Received, delivery: Delivery) -> web.StreamResponse:
        wire.authenticate(seen.headers, self.key)
        if len(seen.raw) > LIMIT:
            raise Refusal("Request exceeds the maximum size", 413)
        seen.body = _json(seen.raw)
        self._state.script = self.script
        reply = wire.reply(seen.body, seen.headers, self._state)
        seen.step = len(reply.talk.steps)
        seen.usage = reply.whole["usage"]
        self.surprises.extend(text for text in reply.complaints if text not in self.surprises)
        fault = self._fault(wire.name, seen.step)
        seen.verdict = f"fault: {fault.kind}" if fault else "ok"
        if self.hold is not None:
            await self.hold.wait()
        return await delivery.send(reply, fault)

    def _fault(self, wire: str, step: int) -> Fault | None:
        """The next ordered fault that fits, counted down."""
        for queue in (self._faults.get(wire, []), self._faults.get("", [])):
            for index, fault in enumerate(queue):
                if fault.at not in (None, step):
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    del queue[index]
                return fault
        return None

    async def _count(self, request: web.Request) -> web.Response:
        wire = WIRES["anthropic-messages"]
        seen = await self._receive("count_tokens", request)
        delivery = Delivery(request, wire, self._state)
        try:
            wire.authenticate(seen.headers, self.key)
            seen.body = _json(seen.raw)
            counted = count_tokens(seen.body, seen.headers, self._state)
        except Refusal as refusal:
            seen.verdict = f"refused: {refusal}"
            return delivery.refuse(refusal)
        seen.verdict = "ok"
        return web.json_response(counted, headers=wire.headers(wire.request_id()))

    async def _models(self, request: web.Request) -> web.Response:
        """Both shapes; a caller that sends `anthropic-version` gets Anthropic's."""
        seen = await self._receive("models", request)
        anthropic = "anthropic-version" in seen.headers
        wire = WIRES["anthropic-messages" if anthropic else "openai-chat"]
        known = {**(rows.CLAUDE if anthropic else PROFILES[self.profile].models), **self.models}
        name = request.match_info.get("name", "")
        missing = f"model: {name}" if anthropic else f"The model '{name}' does not exist"
        refusal = Refusal(missing, 404, code="model_not_found") if name and name not in known else None
        try:
            wire.authenticate(seen.headers, self.key)
        except Refusal as found:
            refusal = found
        seen.verdict = f"refused: {refusal}" if refusal else "ok"
        if refusal:
            return Delivery(request, wire, self._state).refuse(refusal)
        if anthropic:
            body = anthropic_answers.model_row(name, known[name]) if name else anthropic_answers.model_list(known)
        else:
            body = chat_answers.model_row(name) if name else chat_answers.model_list(known)
        return web.json_response(body)

    async def _hello(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _nowhere(self, request: web.Request) -> web.Response:
        seen = await self._receive("none", request)
        seen.verdict = f"refused: 404 {request.method} {request.path}"
        wire = WIRES["anthropic-messages" if "anthropic-version" in seen.headers else "openai-chat"]
        return Delivery(request, wire, self._state).refuse(
            Refusal(f"Invalid URL ({request.method} {request.path})", 404)
        )


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refusal(f"The request body is not valid JSON: {error}") from None
