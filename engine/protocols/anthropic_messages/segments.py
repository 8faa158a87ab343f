"""A Messages request as the segments of its prompt, which the API reads in the order tools, system, messages."""

from __future__ import annotations

from typing import Any

from engine.llm.messages import JsonObject
from engine.llm.prefix import Segments

_ACCOUNTING = "x-anthropic-billing-header:"
"""A client's accounting in the first system block: it differs from session to session and is no part of the prompt."""

_INJECTED = "<system-reminder>"


def segments(body: JsonObject) -> Segments:
    """See `WireProtocol.segments`. A deferred tool is no segment: the model does not see it before it is referred to."""
    found = Segments()
    for tool in _list(body.get("tools")):
        if not isinstance(tool, dict) or tool.get("defer_loading"):
            continue
        marked = "cache_control" in tool
        found.add("tools", _bare(tool) if marked else tool)
        if marked:
            found.mark()
    system = body.get("system")
    for block in [system] if isinstance(system, str) else _list(system):
        _system(found, block)
    settings = [body[name] for name in ("tool_choice", "thinking") if body.get(name) is not None]
    if settings:
        found.add("settings", settings, 0)
    _messages(found, _list(body.get("messages")))
    if body.get("cache_control"):
        found.mark()
    return found


def _system(found: Segments, block: Any) -> None:
    text = block.get("text") if isinstance(block, dict) else block
    if isinstance(text, str) and text.startswith(_ACCOUNTING):
        return
    if isinstance(block, dict) and block.get("type") == "text" and block.keys() <= _PLAIN:
        found.add("system", text)
    else:
        found.add("system", _bare(block) if isinstance(block, dict) else block)
    if isinstance(block, dict) and block.get("cache_control"):
        found.mark()


_PLAIN = frozenset({"type", "text", "cache_control"})


def _messages(found: Segments, messages: list[Any]) -> None:
    leading = True
    kinds, values, marks, blocks = found.kinds, found.values, found.marks, found.blocks
    for message in messages:
        if not isinstance(message, dict):
            found.add("message", message)
            continue
        role, content = message.get("role"), message.get("content")
        marked = False
        count = 1
        if type(content) is list:
            count = len(content)
            for block in content:
                if type(block) is dict and "cache_control" in block:
                    content = [_bare(b) if type(b) is dict else b for b in content]
                    marked = True
                    break
            if len(content) == 1 and type(content[0]) is dict and content[0].keys() == _TEXT:
                content = content[0]["text"]
        leading = leading and role != "assistant"
        kinds.append("instructions" if leading and _injected(role, content) else "message")
        values.append((role, content))
        blocks.append(count)
        if marked:
            marks.append(len(kinds) - 1)


_TEXT = frozenset({"type", "text"})


def _injected(role: Any, content: Any) -> bool:
    if role == "system":
        return True
    texts = [content] if isinstance(content, str) else [b.get("text") for b in content or () if isinstance(b, dict)]
    return bool(texts) and all(isinstance(text, str) and text.startswith(_INJECTED) for text in texts)


def _bare(block: JsonObject) -> JsonObject:
    return {key: value for key, value in block.items() if key != "cache_control"}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
