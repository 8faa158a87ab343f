"""Requests in Anthropic's Messages protocol, read plainly."""

from __future__ import annotations

from typing import Any

from tests.fidelity.asking import Asking, Result, Tool, mark, setting
from tests.fidelity.meaning import within

KNOWN = frozenset(
    [
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "stream",
        "thinking",
        "output_config",
        "metadata",
        "service_tier",
        "output_format",
        "cache_control",
    ]
)
BILLING = "x-anthropic-billing-header"
CHOICES = {"any": "required", "tool": "tool", "none": "none", "auto": "auto"}


def asked(body: dict[str, Any]) -> Asking:
    """What the request asks for."""
    asking = Asking()
    system = body.get("system") or []
    for block in [{"text": system}] if isinstance(system, str) else system:
        mark(asking, block)
        if not block["text"].startswith(BILLING):  # accounting of one client, no instruction
            asking.say("system", block["text"])
    for message in body.get("messages") or ():
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            _block(asking, message["role"], block)
    for tool in body.get("tools") or ():
        _tool(asking, tool)
    _settings(asking, body)
    return asking


def _block(asking: Asking, role: str, block: dict[str, Any]) -> None:
    mark(asking, block)
    match block.get("type"):
        case "text":
            asking.say(role, block["text"])
        case "image" if within(block, "source", "type") != "file":
            asking.turn(role).images.append(source(block["source"]))
        case "document" if within(block, "source", "type") in ("base64", "url", "text"):
            asking.turn(role).documents.append(source(block["source"]))
        case "tool_use":
            asking.call(block["id"], block["name"], block["input"])
        case "tool_result":
            asking.answer(block["tool_use_id"], _result(asking, block))
        case "thinking" | "redacted_thinking":
            asking.turn(role).reasoning += block.get("thinking") or ""
            asking.state.append(block.get("signature") or block.get("data") or "")
        case "compaction" if block.get("content"):
            del asking.turns[:]  # what stands before it counts no longer
            asking.say("user", f"What was said before has been shortened. This is its summary:\n\n{block['content']}")
        case kind:
            asking.other.append(str(kind))


def _result(asking: Asking, block: dict[str, Any]) -> Result:
    result = Result(is_error=block.get("is_error") is True)
    content = block.get("content") or []
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        mark(asking, part)
        match part.get("type"):
            case "text":
                result.text += part["text"] + "\n"
            case "image" if within(part, "source", "type") != "file":
                result.images.append(source(part["source"]))
            case "document" if within(part, "source", "type") in ("base64", "url", "text"):
                result.documents.append(source(part["source"]))
            case kind:
                asking.other.append(str(kind))
    return result


def source(held: dict[str, Any]) -> str:
    """The bytes or the address of an image or a document."""
    return str(held.get("data") or held.get("url"))


def _tool(asking: Asking, tool: dict[str, Any]) -> None:
    mark(asking, tool)
    if tool.get("type") not in (None, "custom"):
        asking.provider_tools.append(tool["type"])
        return
    deferred = tool.get("defer_loading") is True
    asking.tools.append(Tool(tool["name"], tool.get("description") or "", tool.get("input_schema"), deferred=deferred))


def _settings(asking: Asking, body: dict[str, Any]) -> None:
    choice, thinking, config = (
        body.get("tool_choice") or {},
        body.get("thinking") or {},
        body.get("output_config") or {},
    )
    disable = choice.get("disable_parallel_tool_use")
    form = config.get("format") or body.get("output_format") or {}
    setting(
        asking,
        max_output=body.get("max_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        top_k=body.get("top_k"),
        stop=body.get("stop_sequences"),
        effort=config.get("effort"),
        off=thinking.get("type") == "disabled" or None,
        budget=thinking.get("budget_tokens"),
        choice=CHOICES.get(choice.get("type", "")),
        tool=choice.get("name"),
        parallel=None if disable is None else not disable,
        schema=form.get("schema"),
        user=within(body, "metadata", "user_id"),
        stream=body.get("stream") or None,
        tier=None if body.get("service_tier") in ("auto", "standard_only") else body.get("service_tier"),
    )
    asking.marks += bool(body.get("cache_control"))
    asking.other += [
        f"field {name}" for name, value in body.items() if name not in KNOWN and value not in (None, False, [], {})
    ]
