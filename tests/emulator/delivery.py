"""How an answer goes out: whole or in frames, at a pace, in odd pieces, or broken in one of the ways a test ordered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import orjson
from aiohttp import web

from tests.emulator.bill import Delivered
from tests.emulator.faults import HTML, Fault
from tests.emulator.odd import ODD
from tests.emulator.refusal import Refusal
from tests.emulator.wires import Reply, State, Wire

EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


@dataclass(slots=True)
class Delivery:
    """Sends one answer to one request."""

    request: web.Request
    wire: Wire
    state: State
    pace: float = 0.0
    cut: int = 0
    delivered: Delivered = "nothing"
    """What the vendor may charge for."""
    sent: list[bytes] = field(default_factory=list)
    """Frames that went out."""

    def refuse(self, refusal: Refusal, headers: dict[str, str] | None = None) -> web.Response:
        """The vendor's error answer."""
        request_id = self.wire.request_id()
        body = orjson.dumps(self.wire.envelope(refusal, self.state, request_id))
        sent = self.wire.headers(request_id) | (headers or {})
        if refusal.status == 529:
            sent.setdefault("x-should-retry", "true")
        return web.Response(status=refusal.status, body=body, content_type="application/json", headers=sent)

    async def send(self, reply: Reply, fault: Fault | None = None) -> web.StreamResponse:
        """The answer, spoilt by `fault` if there is one."""
        if fault is None:
            return await (self._stream(reply.frames) if reply.frames else self._whole(reply))
        if fault.kind in ODD:
            return await ODD[fault.kind](self, reply, fault)
        if fault.kind.startswith("slow"):
            return await self._late(reply, fault)
        early = await self._early(fault)
        if early is not None:
            return early
        if fault.kind == "error-first-frame":
            return await self._first_frame(reply, fault)
        return await (self._broken_stream(reply, fault) if reply.frames else self._broken_whole(reply, fault))

    async def _late(self, reply: Reply, fault: Fault) -> web.StreamResponse:
        """The whole answer, with a long pause before or in it."""
        if fault.kind == "slow" or not reply.frames:
            await asyncio.sleep(fault.seconds)
            return await (self._stream(reply.frames) if reply.frames else self._whole(reply))
        response = await self._open()
        before = 0 if fault.kind == "slow-after-headers" else len(reply.frames) // 2
        await self._write(response, reply.frames[:before])
        await asyncio.sleep(fault.seconds)
        await self._write(response, reply.frames[before:])
        self.delivered = "whole"
        await response.write_eof()
        return response

    async def _early(self, fault: Fault) -> web.StreamResponse | None:
        """Faults that never come to the answer itself."""
        headers = dict(fault.headers)
        if fault.retry_after is not None:
            headers["retry-after"] = f"{fault.retry_after:g}"
        refusal = fault.refusal(self.wire.family)
        if refusal is not None:
            return self.refuse(refusal, headers)
        match fault.kind:
            case "html502":
                return web.Response(status=502, text=HTML, content_type="text/html", headers=headers)
            case "520":
                return web.Response(status=520, text=HTML, content_type="text/html", headers=headers)
            case "html200":
                return web.Response(text=HTML, content_type="text/html", headers=headers)
            case "empty200":
                return web.Response(body=b"", content_type="application/json", headers=headers)
            case "204":
                return web.Response(status=204, headers=headers)
            case "empty-object":
                return web.Response(body=b"{}", content_type="application/json", headers=headers)
            case "redirect":
                return web.Response(status=307, headers={"location": fault.location, **headers})
            case "drop-before-headers":
                return self._abort(web.Response())
            case "stall":
                await asyncio.sleep(fault.seconds)
                return self._abort(web.Response())
        return None

    def _abort(self, response: web.StreamResponse) -> web.StreamResponse:
        """Cut the connection at once."""
        if self.request.transport is not None:
            self.request.transport.abort()
        return response

    async def _whole(self, reply: Reply) -> web.Response:
        self.delivered = "whole"
        headers = self.wire.headers(self.wire.request_id())
        return web.Response(body=orjson.dumps(reply.whole), content_type="application/json", headers=headers)

    async def _open(self) -> web.StreamResponse:
        response = web.StreamResponse(headers=self.wire.headers(self.wire.request_id()) | EVENT_STREAM)
        await response.prepare(self.request)
        return response

    async def _write(self, response: web.StreamResponse, frames: list[bytes]) -> None:
        if self.cut:
            text = b"".join(frames)
            frames = [text[i : i + self.cut] for i in range(0, len(text), self.cut)]
        for frame in frames:
            await response.write(frame)
            self.sent.append(frame)
            self.delivered = "part"
            if self.pace:
                await asyncio.sleep(self.pace)

    async def _stream(self, frames: list[bytes]) -> web.StreamResponse:
        response = await self._open()
        await self._write(response, frames)
        self.delivered = "whole"
        await response.write_eof()
        return response

    def _overload(self, fault: Fault) -> Refusal:
        kind = "529" if self.wire.family == "anthropic" else "503"
        refusal = Fault(kind, message=fault.message).refusal(self.wire.family)
        assert refusal is not None
        return refusal

    async def _first_frame(self, reply: Reply, fault: Fault) -> web.StreamResponse:
        """An error inside a 200 before any content; for a whole answer, an error body with status 200."""
        refusal = self._overload(fault)
        if reply.frames:
            response = await self._stream(self.wire.error_frames(refusal, self.state))
            self.delivered = "nothing"
            return response
        body = orjson.dumps(self.wire.envelope(refusal, self.state, self.wire.request_id()))
        return web.Response(
            body=body, content_type="application/json", headers=self.wire.headers(self.wire.request_id())
        )

    async def _broken_stream(self, reply: Reply, fault: Fault) -> web.StreamResponse:
        response = await self._open()
        if fault.kind == "drop-after-headers":
            return self._abort(response)
        if fault.kind == "stall-after-headers":
            await asyncio.sleep(fault.seconds)
            return self._abort(response)
        half = max(2, len(reply.frames) // 2)
        if fault.kind == "bad-json":
            await self._write(response, [*reply.frames[:half], b'data: {"type":"content_bl\n\n', *reply.frames[half:]])
        else:
            await self._write(response, reply.frames[:half])
        if fault.kind == "error-mid-stream":
            await self._write(response, self.wire.error_frames(self._overload(fault), self.state))
        if fault.kind == "stall-mid-stream":
            await asyncio.sleep(fault.seconds)
        if fault.kind in ("drop-mid-stream", "stall-mid-stream"):
            return self._abort(response)
        await response.write_eof()
        return response

    async def _broken_whole(self, reply: Reply, fault: Fault) -> web.StreamResponse:
        body = orjson.dumps(reply.whole)
        headers = self.wire.headers(self.wire.request_id()) | {"content-type": "application/json"}
        if fault.kind in ("truncated", "bad-json", "error-mid-stream"):
            return web.Response(body=body[: len(body) // 2], headers=headers)
        response = web.StreamResponse(headers=headers | {"content-length": str(len(body))})
        await response.prepare(self.request)
        if fault.kind.startswith("stall"):
            await asyncio.sleep(fault.seconds)
        elif fault.kind != "drop-after-headers":
            await response.write(body[: len(body) // 2])
        return self._abort(response)
