"""`POST /v1/responses/compact`: a conversation in short, asked for by a path instead of by an item.

Codex 0.169 ends its input with a trigger; versions before it asked by the path, and SDKs have the call. Either way
it is one request of the pipeline, and the item is made by whoever serves it: here it stands behind what the user said.
"""

from __future__ import annotations

from typing import Any

import orjson

from engine.exchange import Exchange
from engine.gateway import Gateway
from engine.llm.errors import ProviderError
from engine.llm.messages import JsonObject
from engine.protocols.compaction import ITEM, TRIGGER


async def compact(gateway: Gateway, exchange: Exchange) -> None:
    """Run `exchange` as the request for a summary that its body stands for. Raises ProviderError for an answer that is none."""
    try:
        body = orjson.loads(exchange.raw)
    except orjson.JSONDecodeError:
        body = None
    if isinstance(body, dict):
        exchange.raw = orjson.dumps(_asking(body))
    await gateway.run(exchange)
    reply = exchange.reply
    if reply is not None and reply.status == 200 and isinstance(body, dict):
        reply.body = orjson.dumps(_compacted(body, orjson.loads(reply.body)))


def _asking(body: JsonObject) -> JsonObject:
    """The request whose answer is a compaction item; what can't be one stays, for the pipeline to say so."""
    given = body.get("input")
    if isinstance(given, str):
        given = [_spoken(given)]
    if not isinstance(given, list | None):
        return body
    return {**{k: v for k, v in body.items() if k != "stream"}, "input": [*(given or ()), {"type": TRIGGER}]}


def _compacted(body: JsonObject, answer: JsonObject) -> JsonObject:
    """The answer as the path promises it: all messages of the user, then the one item."""
    made = [item for item in answer.get("output") or () if isinstance(item, dict) and item.get("type") == ITEM]
    if len(made) != 1:
        raise ProviderError("the provider's answer holds no compaction of the conversation", meaning="broken")
    kept = {name: answer.get(name) for name in ("id", "created_at", "usage")}
    return {**kept, "object": "response.compaction", "output": [*_said_by_user(body.get("input"), kept["id"]), made[0]]}


def _said_by_user(given: Any, answer_id: Any) -> list[JsonObject]:
    items = [_spoken(given)] if isinstance(given, str) else given if isinstance(given, list) else []
    said = [
        item
        for item in items
        if isinstance(item, dict) and item.get("role") == "user" and item.get("type") in (None, "message")
    ]
    return [
        {"id": f"msg_{number}_{answer_id}", **_spoken(item.get("content")), "status": "completed"}
        for number, item in enumerate(said)
    ]


def _spoken(content: Any) -> JsonObject:
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
    return {"type": "message", "role": "user", "content": parts}
