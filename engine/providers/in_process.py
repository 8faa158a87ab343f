"""A provider in this process, with the face of one on the network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from engine.llm.errors import ProviderError
from engine.llm.messages import JsonObject
from engine.providers.transport import Upstream

Respond = Callable[[str, JsonObject, str, bool], Awaitable[tuple[int, Mapping[str, str], AsyncIterator[bytes]]]]
"""(protocol, request, model, stream) → (status, headers, body). Raises ConnectionError for a connection that drops."""


class InProcess:
    """Makes an `Upstream` of what `respond` answers."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond

    async def __call__(self, protocol: str, body: JsonObject, *, model: str, stream: bool) -> Upstream:
        """The answer to `body`. Raises ProviderError(unreachable) when the connection drops before it."""
        try:
            status, headers, chunks = await self._respond(protocol, body, model, stream)
        except ConnectionError:
            raise ProviderError("the simulated connection was lost", meaning="unreachable") from None
        return _Answer(status, headers, chunks)


class _Answer:
    __slots__ = ("_chunks", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> None:
        self.status = status
        self.headers = headers
        self._chunks = chunks

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks:
                yield chunk
        except ConnectionError:
            raise ProviderError("the simulated connection broke", meaning="unreachable") from None

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])

    def close(self) -> None:
        """Nothing is held open."""
