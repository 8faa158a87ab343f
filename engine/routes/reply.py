"""JSON answers of our own routes."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web


def json_response(value: Any, status: int = 200) -> web.Response:
    """`value` as a JSON answer."""
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")
