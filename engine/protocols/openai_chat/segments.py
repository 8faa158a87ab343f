"""A Chat Completions request as the segments of its prompt: tools and the output schema come before the messages."""

from __future__ import annotations

from typing import Any

from engine.llm.messages import JsonObject
from engine.llm.prefix import Segments

_TEXT = frozenset({"type", "text"})


def segments(body: JsonObject) -> Segments:
    """See `WireProtocol.segments`."""
    found = Segments()
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        found.add("tools", tool)
    if body.get("response_format") is not None:
        found.add("settings", body["response_format"], 0)
    messages = body.get("messages")
    leading = True
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            found.add("message", message)
            continue
        role, content = message.get("role"), message.get("content")
        leading = leading and role in ("system", "developer")
        bare, marked = _bare(content)
        value = message if bare is content else {**message, "content": bare}
        found.add("system" if leading else "message", value, _blocks(message, bare))
        if marked:
            found.mark()
    return found


def _blocks(message: Any, content: Any) -> int:
    """Content blocks that the message becomes where messages are made of blocks: its parts, and each call."""
    calls = message.get("tool_calls")
    parts = len(content) if type(content) is list else 1 if content else 0
    return parts + (len(calls) if type(calls) is list else 0)


def _bare(content: Any) -> tuple[Any, bool]:
    """(content without breakpoints, whether there were any); a single text is plain."""
    if type(content) is not list:
        return content, False
    marked = any(type(part) is dict and "cache_control" in part for part in content)
    if marked:
        content = [
            {k: v for k, v in part.items() if k != "cache_control"} if type(part) is dict else part for part in content
        ]
    if len(content) == 1 and type(content[0]) is dict and content[0].keys() == _TEXT:
        return content[0]["text"], marked
    return content, marked
