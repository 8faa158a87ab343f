"""The floor to compare with: an aiohttp server and client that pass bytes on, and nothing else.

python bare_proxy.py UPSTREAM    prints `listening on http://127.0.0.1:PORT`
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import aiohttp
from aiohttp import web

_KEPT = ("content-type",)


async def main(upstream: str) -> None:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as session:

        async def forward(request: web.Request) -> web.StreamResponse:
            data = await request.read()
            headers = {"content-type": "application/json", "authorization": "Bearer x"}
            async with session.post(upstream + request.path, data=data, headers=headers) as answer:
                passed = {name: answer.headers[name] for name in _KEPT}
                if "text/event-stream" not in passed["content-type"]:
                    return web.Response(status=answer.status, body=await answer.read(), headers=passed)
                response = web.StreamResponse(status=answer.status, headers=passed)
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response

        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/{path:.*}", forward)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sys.stdout.write(f"listening on http://127.0.0.1:{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        try:
            import uvloop
        except ImportError:
            asyncio.run(main(sys.argv[1]))
        else:
            uvloop.run(main(sys.argv[1]))
