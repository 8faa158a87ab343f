"""HTTP in and out: which path means what, bodies read and answers written. What happens in between is the pipeline's.

Every answer, errors of the server itself included, is in the protocol of the path it was asked on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import orjson
from aiohttp import web

from engine import __version__
from engine.bodies import read_body
from engine.callers import CALLER, Callers
from engine.exchange import Exchange
from engine.gateway import Gateway
from engine.guard import Guard
from engine.llm.errors import ClientError, GatewayError, InternalError
from engine.llm.protocol import WireProtocol
from engine.patience import Patience
from engine.routes.compact import compact
from engine.routes.event_stream import EventStream
from engine.routes.events import Events
from engine.routes.inspection import Inspection
from engine.routes.models import list_models, one_model
from engine.routes.reply import json_response
from engine.routes.tokens import count_tokens

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_HEADER_LINE = 16 * 1024
MAX_HEADERS = 32 * 1024
LINGER = 2.0
"""Seconds in which the rest of a refused body is read and dropped: closed at once, its sender sees a reset, not our answer."""

WRITE_BUFFER = 256 * 1024
"""Bytes that wait for a slow client before the provider's stream is held up."""


class _Streamed(web.StreamResponse):
    """A stream whose headers go out with its first bytes, which are there already: one write less."""

    _send_headers_immediately = False


class HTTPResponder:
    """A streamed answer over HTTP."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.response: web.StreamResponse | None = None

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        response = self.response = _Streamed(status=status, headers=headers)
        await response.prepare(self._request)
        transport = self._request.transport
        if transport is not None:
            transport.set_write_buffer_limits(WRITE_BUFFER)

    async def write(self, data: bytes) -> None:
        assert self.response is not None, "started before written"
        await self.response.write(data)

    @property
    def started(self) -> bool:
        return self.response is not None


class Server:
    """The routes of a gateway."""

    def __init__(self, gateway: Gateway, guard: Guard, *, state: Path | None = None) -> None:
        self._gateway = gateway
        self._callers = Callers(guard)
        self.patience: Patience | None = None
        """Set while the server listens."""
        self._inspection = Inspection(gateway)
        self._events = Events(gateway)
        self._stream = EventStream(gateway)
        self._draining = False
        self.state = state

    @property
    def guard(self) -> Guard:
        """Who may come in."""
        return self._callers.guard

    @guard.setter
    def guard(self, guard: Guard) -> None:
        self._callers = Callers(guard)

    def application(self) -> web.Application:
        """The aiohttp application: the guard around everything, 404 in the right envelope for the rest."""
        limit = self._gateway.loaded.policy.settings.max_body_mib << 20
        app = web.Application(middlewares=[self._around], client_max_size=limit)
        protocols = self._gateway.services.protocols
        for prefix in ("/v1", "/v1/v1", "/p/{project}/v1", "/p/{project}/v1/v1"):
            app.router.add_post(f"{prefix}/messages", self._serve(protocols["anthropic-messages"]))
            app.router.add_post(f"{prefix}/messages/count_tokens", self._count(protocols["anthropic-messages"]))
            app.router.add_post(f"{prefix}/responses", self._serve(protocols["openai-responses"]))
            app.router.add_post(f"{prefix}/responses/input_tokens", self._count(protocols["openai-responses"]))
            app.router.add_post(f"{prefix}/responses/compact", self._compact)
            app.router.add_get(f"{prefix}/responses", self._no_websocket)
            app.router.add_post(f"{prefix}/chat/completions", self._serve(protocols["openai-chat"]))
            app.router.add_get(f"{prefix}/models", self._models)
            app.router.add_get(f"{prefix}/models/{{id:.+}}", self._model)
        app.router.add_post("/v1/route", self._inspection.route)
        app.router.add_get("/", self._hello)
        app.router.add_get("/api/hello", self._hello)
        app.router.add_get("/p/{project}/api/hello", self._hello)
        app.router.add_get("/health", self._inspection.health)
        app.router.add_get("/metrics", self._inspection.metrics)
        app.router.add_get("/providers", self._inspection.providers)
        app.router.add_get("/budgets", self._inspection.budgets)
        app.router.add_get("/events/recent", self._events.recent)
        app.router.add_get("/events/stream", self._stream.serve)
        app.router.add_get("/events/violations", self._events.violations)
        app.router.add_get("/events/{id}", self._events.event)
        app.router.add_get("/sessions", self._events.sessions)
        app.router.add_get("/sessions/{id}", self._events.session)
        app.on_shutdown.append(self._hang_up)
        return app

    async def _hang_up(self, _: web.Application) -> None:
        """End the streams of events, which would go on for ever."""
        self._gateway.services.exports.hang_up()

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        callers = self._callers
        caller = request[CALLER] = callers.of(request)
        try:
            if self.patience is not None:
                self.patience.heard(request.protocol)
            callers.admit(request.method, request.raw_path, caller)
            return await handler(request)
        except GatewayError as error:
            return self._error(request, error)
        except web.HTTPNotFound:
            return self._error(
                request, ClientError(f"no such path: {request.method} {request.path}", code="not_found", status=404)
            )
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            return self._error(
                request,
                ClientError(
                    f"{request.path} takes {allowed}, not {request.method}", code="method_not_allowed", status=405
                ),
            )
        except web.HTTPException as error:
            return self._error(request, ClientError(error.reason, code="bad_request", status=error.status))
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 (the request boundary)
            self._gateway.services.log("defect", stage="server", kind=type(error).__name__, error=error)
            return self._error(request, InternalError("the gateway failed; its log says where"))
        finally:
            if self.patience is not None:
                self.patience.done(request.protocol)

    def _error(self, request: web.Request, error: GatewayError) -> web.Response:
        status, body, headers = self._wire_of(request).encode_error(error)
        return web.Response(
            status=status, body=orjson.dumps(body), headers={**headers, "content-type": "application/json"}
        )

    def _wire_of(self, request: web.Request) -> WireProtocol:
        """The protocol whose clients use this path; Anthropic's clients show themselves by a header elsewhere."""
        protocols, path = self._gateway.services.protocols, request.path.rpartition("/v1")[2]
        if "/messages" in path or "anthropic-version" in request.headers:
            return protocols["anthropic-messages"]
        return protocols["openai-responses" if "/responses" in path else "openai-chat"]

    def _serve(self, wire: WireProtocol) -> Handler:
        async def serve(request: web.Request) -> web.StreamResponse:
            exchange = await self._exchange(request, wire)
            await self._gateway.run(exchange)
            return await _finish(exchange)

        return serve

    async def _compact(self, request: web.Request) -> web.StreamResponse:
        exchange = await self._exchange(request, self._gateway.services.protocols["openai-responses"])
        await compact(self._gateway, exchange)
        return await _finish(exchange)

    def _count(self, wire: WireProtocol) -> Handler:
        async def count(request: web.Request) -> web.StreamResponse:
            exchange = await self._exchange(request, wire)
            counted, whose = await count_tokens(self._gateway, exchange)
            answer = json_response(counted)
            answer.headers["x-sbgw-count"] = whose
            return answer

        return count

    async def _exchange(self, request: web.Request, wire: WireProtocol) -> Exchange:
        limit = self._gateway.loaded.policy.settings.max_body_mib << 20
        raw = await read_body(request, limit)
        caller = request[CALLER]
        return self._gateway.exchange(
            wire,
            caller.headers,
            raw,
            HTTPResponder(request),
            caller.credential,
            identity=caller.identity(request.match_info.get("project", "")),
            passed=caller.passed,
        )

    async def _models(self, request: web.Request) -> web.StreamResponse:
        return json_response(list_models(self._gateway, self._wire_of(request)))

    async def _model(self, request: web.Request) -> web.StreamResponse:
        return json_response(one_model(self._gateway, self._wire_of(request), request.match_info["id"]))

    async def _no_websocket(self, request: web.Request) -> web.StreamResponse:
        """Codex tries a WebSocket first; 426 makes it fall back to POST at once (measured; 404 costs it six seconds)."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return web.Response(status=426, headers={"Upgrade": "HTTP/1.1"}, text="use POST")
        raise web.HTTPMethodNotAllowed("GET", ["POST"])

    async def _hello(self, request: web.Request) -> web.StreamResponse:
        return json_response({"name": "sbgw", "version": __version__})


async def _finish(exchange: Exchange) -> web.StreamResponse:
    """Send what waited for the record: the whole answer, or the end of the stream."""
    reply, responder = exchange.reply, exchange.responder
    assert reply is not None, "the pipeline leaves a reply"
    assert isinstance(responder, HTTPResponder)
    if responder.response is None:
        return web.Response(status=reply.status, headers=reply.headers, body=reply.body)
    await responder.response.write_eof(reply.body)
    return responder.response


async def listen(server: Server, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Start to serve. Returns the runner, to be cleaned up, and the port really used. Raises OSError for a busy port."""
    app = server.application()
    loop = asyncio.get_running_loop()
    watch: list[asyncio.Task[None]] = []

    async def stop_watching(_: web.Application) -> None:
        for task in watch:
            task.cancel()

    app.on_shutdown.append(stop_watching)
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        handler_cancellation=True,
        auto_decompress=False,
        lingering_time=LINGER,
        max_line_size=MAX_HEADER_LINE,
        max_field_size=MAX_HEADERS,
        shutdown_timeout=30.0,
        keepalive_timeout=75.0,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=256)
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    listener = runner.server
    assert listener is not None, "set up"
    server.patience = Patience(lambda: listener.connections, loop.time)
    watch.append(loop.create_task(server.patience.run()))
    addresses = runner.addresses
    return runner, int(addresses[0][1])
