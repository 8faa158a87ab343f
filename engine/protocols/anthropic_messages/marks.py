"""Breakpoints of the prompt cache: set where a client set none, and kept longer where that pays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.llm.messages import JsonObject

_UNMARKABLE = frozenset({"thinking", "redacted_thinking"})


def with_marks(body: JsonObject, *, most: int, newest: bool = False) -> JsonObject:
    """`body`, which has no breakpoint, with up to three: after the newest message, after tools and system, and after the user
    message before it, where the previous request ended. With `newest` only the first of them, beside those that are there.
    `body` itself is not changed.
    """
    marked = dict(body)
    for mark in (_mark_newest, _mark_head, _mark_previous)[: 1 if newest else most]:
        mark(marked)
    return marked


def with_mark_at(body: JsonObject, message: int) -> JsonObject:
    """`body` with one more breakpoint, after its message of that index. The same object when there is none to mark there."""
    if not 0 <= message < len(body["messages"]):
        return body
    marked = dict(body)
    _mark_message(marked, message)
    return marked if marked["messages"] is not body["messages"] else body


def with_long_marks(body: JsonObject) -> JsonObject:
    """`body` with the breakpoints in tools and system asking for the longer time. None is moved; `body` is not changed.

    A client that says a time itself has it: the API wants longer ones before shorter ones, so all stay as they are then.
    """
    if any("ttl" in mark for mark in _marks(body)):
        return body
    longer = {
        name: [_longer(block) for block in body[name]]
        for name in ("tools", "system")
        if isinstance(body.get(name), list) and any("cache_control" in b for b in body[name] if isinstance(b, dict))
    }
    return {**body, **longer} if longer else body


def _mark_head(body: JsonObject) -> None:
    system, tools = body.get("system"), body.get("tools")
    if isinstance(system, str) and system:
        body["system"] = [_marked({"type": "text", "text": system})]
    elif isinstance(system, list) and system and _markable(system[-1]):
        body["system"] = [*system[:-1], _marked(system[-1])]
    elif isinstance(tools, list) and tools and isinstance(tools[-1], dict) and not tools[-1].get("defer_loading"):
        body["tools"] = [*tools[:-1], _marked(tools[-1])]


def _mark_newest(body: JsonObject) -> None:
    _mark_message(body, len(body["messages"]) - 1)


def _mark_previous(body: JsonObject) -> None:
    """The last message before the newest answer: what the previous request ended with."""
    messages = body["messages"]
    for index in range(len(messages) - 2, 0, -1):
        message = messages[index]
        if isinstance(message, dict) and message.get("role") == "assistant":
            _mark_message(body, index - 1)
            return


def _mark_message(body: JsonObject, index: int) -> None:
    message = body["messages"][index]
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str) and content:
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        return
    for at in range(len(content) - 1, -1, -1):
        if _markable(content[at]):
            marked = {**message, "content": [*content[:at], _marked(content[at]), *content[at + 1 :]]}
            body["messages"] = [*body["messages"][:index], marked, *body["messages"][index + 1 :]]
            return


def _markable(block: Any) -> bool:
    """Thinking and empty texts take no breakpoint."""
    if not isinstance(block, dict) or block.get("type") in _UNMARKABLE:
        return False
    return block.get("type") != "text" or bool(block.get("text"))


def _marked(block: JsonObject) -> JsonObject:
    return {**block, "cache_control": {"type": "ephemeral"}}


def _marks(body: JsonObject) -> Iterator[JsonObject]:
    messages = [m.get("content") for m in body["messages"] if isinstance(m, dict)]
    for blocks in ([body], body.get("tools"), body.get("system"), *messages):
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, dict) and isinstance(mark := block.get("cache_control"), dict):
                yield mark


def _longer(block: Any) -> Any:
    mark = block.get("cache_control") if isinstance(block, dict) else None
    if not isinstance(mark, dict):
        return block
    return {**block, "cache_control": {**mark, "ttl": "1h"}}
