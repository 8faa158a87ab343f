"""A receiver on loopback that keeps what is POSTed to it, and answers as it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from aiohttp import web


@dataclass(slots=True)
class Receiver:
    statuses: list[int] = field(default_factory=list)
    """Answers to come, in order; 200 when there are none left."""
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with every answer."""
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    """Path, headers and body of everything that was answered with 200."""
    asked: int = 0
    url: str = ""
    _runner: web.AppRunner | None = None

    async def _take(self, request: web.Request) -> web.Response:
        self.asked += 1
        body = await request.read()
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.got.append((request.path, {k.lower(): v for k, v in request.headers.items()}, body))
        return web.Response(status=status, headers=self.headers)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/{path:.*}", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
