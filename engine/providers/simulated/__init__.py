"""The simulated provider: answers in process and offline, on the provider's side of all three wires.

It is deterministic: the same request to the same model gets the same answer, ids and token counts included, whatever the
time, whole or streamed. It knows a request's shape and size, never its words, and so never repeats them. It shares no code with the protocols
that talk to it, so that a mistake there shows.

Models choose its behaviour:

    small   large           one sentence, or a paragraph
    slow                    the same as large, in paced pieces
    flaky                   the first attempt at each request fails: overloaded (529), or an error as the first frame of a 200
    …fault-429              rate limited, with `retry-after: 1`
    …fault-529              overloaded
    …fault-error-first      a 200 whose first frame (or whole body) is an error
    …fault-drop             the connection breaks in mid-answer; before it, when the answer is whole
    …fault-truncated        the answer ends in the middle without its terminal event; a whole one is cut JSON
    …fault-html             a web page with status 200
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Literal, Protocol

import orjson

from engine.llm.errors import ProviderError
from engine.llm.messages import JsonObject
from engine.providers.simulated import chat_wire, messages_wire, responses_wire
from engine.providers.simulated.answer import Answer, answer
from engine.providers.simulated.asked import Asked

Fault = Literal["", "429", "529", "error-first", "drop", "truncated", "html"]

_FAULTS: tuple[Fault, ...] = ("429", "529", "error-first", "drop", "truncated", "html")

_REMEMBERED = 4_096
"""Requests whose first attempt by `flaky` is remembered to have failed."""

_PAGE = b"<!doctype html><html><head><title>502</title></head><body>Bad gateway (simulated)</body></html>"


class _Wire(Protocol):
    """What a wire's module does."""

    def read(self, body: JsonObject) -> Asked: ...
    def headers(self, answer: Answer) -> dict[str, str]: ...
    def document(self, answer: Answer) -> JsonObject: ...
    def frames(self, answer: Answer) -> list[bytes]: ...
    def error(self, kind: str) -> JsonObject: ...
    def error_frame(self, kind: str) -> bytes: ...


_WIRES: Mapping[str, _Wire] = {
    "anthropic-messages": messages_wire,
    "openai-responses": responses_wire,
    "openai-chat": chat_wire,
}


class SimulatedAnswer:
    """An answer under way, used like an HTTP one."""

    def __init__(self, status: int, headers: Mapping[str, str], body: AsyncGenerator[bytes, None]) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Raises ProviderError where the connection is scripted to break."""
        return self._body

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([chunk async for chunk in self._body])

    def close(self) -> None:
        """Nothing to let go of."""


class SimulatedProvider:
    """Answers requests. One instance remembers which requests `flaky` has failed already."""

    def __init__(self, *, pace: float = 0.04, sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep) -> None:
        """`pace` is the time between two pieces of the model `slow`, in seconds."""
        self._pace = pace
        self._sleep = sleep
        self._failed: OrderedDict[str, None] = OrderedDict()

    async def __call__(self, protocol: str, body: JsonObject, *, model: str, stream: bool) -> SimulatedAnswer:
        """The answer to `body`, like an HTTP one. Raises ProviderError for a scripted lost connection."""
        return SimulatedAnswer(*await self.respond(protocol, body, model, stream=stream))

    async def respond(
        self, protocol: str, body: JsonObject, model_name: str, *, stream: bool
    ) -> tuple[int, dict[str, str], AsyncGenerator[bytes, None]]:
        """(status, headers in lower case, body in chunks) of the answer to a request in `protocol`.

        Raises ProviderError for a scripted lost connection, KeyError for a protocol that is none of the three.
        """
        wire = _WIRES[protocol]
        asked = {key: value for key, value in body.items() if key not in ("stream", "stream_options")}
        canonical = orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)
        mark = hashlib.sha256(f"{protocol} {model_name} ".encode() + canonical).hexdigest()
        made = answer(wire.read(body), model=model_name, mark=mark, characters=len(canonical))
        fault = self._fault(model_name, mark)
        match fault:
            case "429":
                return self._refusal(wire, made, 429, "rate_limit")
            case "529":
                return self._refusal(wire, made, 529, "overloaded")
            case "html":
                return 200, {"content-type": "text/html; charset=utf-8"}, _parts([_PAGE])
        paced = self._pace if model_name.startswith("slow") else 0.0
        if stream:
            headers = {"content-type": "text/event-stream; charset=utf-8", **wire.headers(made)}
            return 200, headers, self._streamed(wire, made, fault, paced)
        await self._wait(10 * paced)
        if fault == "drop":
            raise _dropped()
        document = orjson.dumps(wire.error("overloaded") if fault == "error-first" else wire.document(made))
        if fault == "truncated":
            document = document[: len(document) // 2]
        return 200, {"content-type": "application/json", **wire.headers(made)}, _parts([document])

    def _fault(self, model_name: str, mark: str) -> Fault:
        if model_name.startswith("flaky"):
            if mark in self._failed:
                return ""
            self._failed[mark] = None
            if len(self._failed) > _REMEMBERED:
                self._failed.popitem(last=False)
            return "529" if int(mark[0], 16) % 2 else "error-first"
        return next((fault for fault in _FAULTS if model_name.endswith(f"fault-{fault}")), "")

    def _refusal(
        self, wire: _Wire, made: Answer, status: int, kind: str
    ) -> tuple[int, dict[str, str], AsyncGenerator[bytes, None]]:
        headers = {"content-type": "application/json", **wire.headers(made)}
        if kind == "rate_limit":
            headers["retry-after"] = "1"
        return status, headers, _parts([orjson.dumps(wire.error(kind))])

    async def _streamed(self, wire: _Wire, made: Answer, fault: Fault, paced: float) -> AsyncGenerator[bytes, None]:
        if fault == "error-first":
            yield wire.error_frame("overloaded")
            return
        frames = wire.frames(made)
        if fault in ("drop", "truncated"):
            frames = frames[: len(frames) // 2 + 1]
        for frame in frames:
            await self._wait(paced)
            yield frame
        if fault == "drop":
            raise _dropped()

    async def _wait(self, seconds: float) -> None:
        if seconds:
            await self._sleep(seconds)


def _dropped() -> ProviderError:
    return ProviderError("the simulated provider's connection broke", meaning="unreachable")


async def _parts(parts: list[bytes]) -> AsyncGenerator[bytes, None]:
    for part in parts:
        yield part
