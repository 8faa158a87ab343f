"""Histories of tool calls as clients leave them when something went wrong, in the words of each client protocol.

A history is a list of steps; what stands next to each other in one protocol's message does so here. `mended` says, by wire, what
has to be named: nothing on a wire that takes the history as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

MESSAGES, CHAT, RESPONSES = "anthropic-messages", "openai-chat", "openai-responses"
MISSING, ORPHAN, ORDER = "tool_result.missing", "tool_result.orphan", "tool_result.order"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


@dataclass(frozen=True, slots=True)
class Step:
    """`call` (one of a turn's calls), `result`, or what `user`, `system` or `assistant` says."""

    kind: Literal["call", "result", "user", "system", "assistant"]
    text: str = ""
    """What is said; of a result, its content."""
    id: str = ""
    name: str = "f"
    arguments: str = '{"a":1}'


def call(call_id: str, name: str = "f", arguments: str = '{"a":1}') -> Step:
    return Step("call", id=call_id, name=name, arguments=arguments)


def result(call_id: str, text: str = "") -> Step:
    return Step("result", text or f"of {call_id or 'none'}"[:40], id=call_id)


def user(text: str) -> Step:
    return Step("user", text)


@dataclass(frozen=True, slots=True)
class History:
    name: str
    steps: tuple[Step, ...]
    mended: Mapping[str, set[str]] = field(default_factory=dict)


def everywhere(*codes: str) -> dict[str, set[str]]:
    return {wire: set(codes) for wire in (MESSAGES, CHAT, RESPONSES)}


GO, ON = user("go"), user("go on")
MOVED = {MESSAGES: {ORDER}, CHAT: {ORDER}}
HISTORIES = [
    History("in order", (GO, call("a"), call("b"), result("a"), result("b"), ON)),
    History("one after the other", (GO, call("a"), result("a"), call("b"), result("b"), ON)),
    History("the other way round", (GO, call("a"), call("b"), result("b"), result("a"), ON), {CHAT: {ORDER}}),
    History("the user speaks first", (GO, call("a"), user("wait"), result("a"), ON), MOVED),
    History("the system speaks first", (GO, call("a"), Step("system", "brief"), result("a"), ON), MOVED),
    History("one is late", (GO, call("a"), call("b"), result("a"), user("wait"), result("b"), ON), MOVED),
    History("one is a turn late", (GO, call("a"), call("b"), result("a"), Step("assistant", "hm"), ON, result("b"), user("well")), MOVED),
    History("one is missing", (GO, call("a"), call("b"), result("a"), ON), everywhere(MISSING)),
    History("all are missing", (GO, call("a"), call("b"), ON), everywhere(MISSING)),
    History("the last one is missing", (GO, call("a")), everywhere(MISSING)),
    History("nobody asked", (GO, Step("assistant", "hm"), result("z"), ON), everywhere(ORPHAN)),
    History("nobody asked, beside one who did", (GO, call("a"), result("a"), result("z"), ON), everywhere(ORPHAN)),
    History("answered twice", (GO, call("a"), result("a", "one"), result("a", "two"), ON), everywhere(ORPHAN)),
    History("answered before it was asked", (GO, Step("assistant", "hm"), result("a"), call("a"), ON), everywhere(ORPHAN, MISSING)),
    History("one id twice in a turn", (GO, call("a", "f"), call("a", "g"), result("a", "one"), result("a", "two"), ON)),
    History("one id in each turn", (GO, call("a"), result("a", "one"), call("a", "g"), result("a", "two"), ON)),
    History("one id in each turn, the first unanswered", (GO, call("a"), ON, call("a", "g"), result("a"), ON), everywhere(MISSING)),
    History("one id in each turn, the first answered last", (GO, call("a"), ON, call("a", "g"), result("a", "two"), result("a", "one"), ON), MOVED),
    History("empty ids", (GO, call(""), call("", "g"), result("", "one"), result("", "two"), ON)),
    History("ids of a foreign alphabet", (GO, call("functions.f:0"), call("日本 語\n"), result("functions.f:0"), result("日本 語\n"), ON)),
    History("ids too long", (GO, call("x" * 500), call("x" * 501), result("x" * 500, "one"), result("x" * 501, "two"), ON)),
    History("ids that look like ours", (GO, call("call_b64_YSBi"), call("a b", "g"), result("call_b64_YSBi"), result("a b"), ON)),
    History("arguments that are none", (GO, call("a", arguments=""), call("b", arguments="{"), result("a"), result("b"), ON)),
]  # fmt: skip


def asked(client: str, steps: tuple[Step, ...] | list[Step], tools: list[str] | None = None) -> dict[str, Any]:
    """The request of `client` that holds this history and offers these functions."""
    names = ["f", "g"] if tools is None else tools
    match client:
        case "anthropic-messages":
            offered: list[Any] = [{"name": name, "input_schema": SCHEMA} for name in names]
            return {"model": "m", "max_tokens": 100, "messages": _messages(steps), "tools": offered}
        case "openai-chat":
            offered = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in names]
            return {"model": "m", "messages": _chat(steps), "tools": offered}
    offered = [{"type": "function", "name": name, "parameters": SCHEMA} for name in names]
    return {"model": "m", "input": [_item(step) for step in steps], "tools": offered}


def _messages(steps: tuple[Step, ...] | list[Step]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for step in steps:
        role = {"call": "assistant", "result": "user"}.get(step.kind, step.kind)
        block: dict[str, Any] = {"type": "text", "text": step.text}
        if step.kind == "call":
            block = {"type": "tool_use", "id": step.id, "name": step.name, "input": _object(step.arguments)}
        elif step.kind == "result":
            block = {"type": "tool_result", "tool_use_id": step.id, "content": step.text}
        if not messages or messages[-1]["role"] != role:
            messages.append({"role": role, "content": []})
        messages[-1]["content"].append(block)
    return messages


def _object(arguments: str) -> Any:
    """As a Messages client has it: an object, whatever the model wrote."""
    try:
        return orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return {"raw_arguments": arguments}


def _chat(steps: tuple[Step, ...] | list[Step]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for step in steps:
        last = messages[-1] if messages else {}
        match step.kind:
            case "call":
                if last.get("role") != "assistant":
                    last = {"role": "assistant", "content": None, "tool_calls": []}
                    messages.append(last)
                function = {"name": step.name, "arguments": step.arguments}
                last.setdefault("tool_calls", []).append({"id": step.id, "type": "function", "function": function})
            case "result":
                messages.append({"role": "tool", "tool_call_id": step.id, "content": step.text})
            case role:
                messages.append({"role": role, "content": step.text})
    return messages


def _item(step: Step) -> dict[str, Any]:
    match step.kind:
        case "call":
            return {"type": "function_call", "call_id": step.id, "name": step.name, "arguments": step.arguments}
        case "result":
            return {"type": "function_call_output", "call_id": step.id, "output": step.text}
        case "assistant":
            return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": step.text}]}
    role = "developer" if step.kind == "system" else step.kind
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": step.text}]}
