"""Requests in Chat Completions, read plainly."""

from __future__ import annotations

from typing import Any

from tests.fidelity.asking import Asking, Result, Tool, mark, setting
from tests.fidelity.meaning import within

KNOWN = frozenset(
    [
        "model",
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "seed",
        "random_seed",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "reasoning",
        "thinking",
        "response_format",
        "user",
        "safety_identifier",
        "stream",
        "stream_options",
        "service_tier",
        "functions",
        "function_call",
        "prompt_cache_key",
    ]
)
ROLES = {"developer": "system"}


def asked(body: dict[str, Any]) -> Asking:
    """What the request asks for."""
    asking = Asking()
    for message in body.get("messages") or ():
        _message(asking, message)
    for tool in [*(body.get("tools") or ()), *({"function": f} for f in body.get("functions") or ())]:
        _tool(asking, tool)
    _settings(asking, body)
    return asking


def _message(asking: Asking, message: dict[str, Any]) -> None:
    role = ROLES.get(message["role"], message["role"])
    if role in ("tool", "function"):
        asking.answer(message.get("tool_call_id") or "", _result(asking, message.get("content")))
        return
    content = message.get("content") or []
    thought = message.get("reasoning_content") or message.get("reasoning") or ""
    if isinstance(thought, str) and thought.strip():
        asking.turn(role).reasoning += thought
    for detail in message.get("reasoning_details") or ():
        asking.state.append(detail.get("signature") or detail.get("data") or "")
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        _part(asking, role, part)
    if message.get("refusal"):
        asking.say(role, message["refusal"])
    calls = message.get("tool_calls") or []
    legacy = message.get("function_call")
    for call in calls or ([{"id": "", "function": legacy}] if legacy else ()):
        if custom := call.get("custom"):
            asking.call(call["id"], custom["name"], custom["input"], "custom")
        else:
            asking.call(call.get("id") or "", call["function"]["name"], call["function"].get("arguments"))
        if sealed := within(call, "extra_content", "google", "thought_signature"):
            asking.state.append(sealed)


def _part(asking: Asking, role: str, part: dict[str, Any]) -> None:
    mark(asking, part)
    match part.get("type"):
        case "text":
            asking.say(role, part["text"])
        case "refusal":
            asking.say(role, part["refusal"])
        case "image_url":
            asking.turn(role).images.append(image(part))
        case "file" if not within(part, "file", "file_id"):
            asking.turn(role).documents.append(part["file"]["file_data"].rpartition(",")[2])
        case "thinking":
            held = part["thinking"]
            asking.turn(role).reasoning += held if isinstance(held, str) else "".join(p.get("text", "") for p in held)
        case kind:
            asking.other.append(str(kind))


def image(part: dict[str, Any]) -> str:
    """The bytes or the address of an image."""
    held = part["image_url"]
    url = str(held["url"] if isinstance(held, dict) else held)
    return url.rpartition(",")[2] if url.startswith("data:") else url


def _result(asking: Asking, content: Any) -> Result:
    result = Result()
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or ():
        mark(asking, part)
        match part.get("type"):
            case "text":
                result.text += part["text"] + "\n"
            case "image_url":
                result.images.append(image(part))
            case kind:
                asking.other.append(str(kind))
    return result


def _tool(asking: Asking, tool: dict[str, Any]) -> None:
    mark(asking, tool)
    if custom := tool.get("custom"):
        asking.tools.append(Tool(custom["name"], custom.get("description") or "", kind="custom"))
    elif (held := tool.get("function")) or tool.get("type") == "function":
        held = held or tool
        asking.tools.append(Tool(held["name"], held.get("description") or "", held.get("parameters")))
    else:
        asking.provider_tools.append(tool["type"])


def _settings(asking: Asking, body: dict[str, Any]) -> None:
    choice = body.get("tool_choice") or body.get("function_call")
    named = within(choice, "function", "name") or within(choice, "custom", "name") or within(choice, "name")
    form, effort = body.get("response_format") or {}, within(body, "reasoning", "effort")
    setting(
        asking,
        max_output=body.get("max_completion_tokens") or body.get("max_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        top_k=body.get("top_k"),
        stop=[body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop"),
        seed=body.get("seed") if body.get("seed") is not None else body.get("random_seed"),
        logprobs=str(body.get("top_logprobs") or 0) if body.get("logprobs") else None,
        effort=body.get("reasoning_effort") or effort,
        off=within(body, "thinking", "type") == "disabled" or "none" in (body.get("reasoning_effort"), effort) or None,
        budget=within(body, "reasoning", "max_tokens"),
        choice="tool" if named else {"any": "required"}.get(choice, choice) if isinstance(choice, str) else None,
        tool=named,
        parallel=body.get("parallel_tool_calls"),
        schema=within(form, "json_schema", "schema"),
        json=form.get("type") == "json_object" or None,
        user=body.get("user") or body.get("safety_identifier"),
        stream=body.get("stream") or None,
        tier=None if body.get("service_tier") in ("auto", "default") else body.get("service_tier"),
        key=body.get("prompt_cache_key"),
    )
    beside = {name: value for name, value in body.items() if name not in KNOWN and (name, value) != ("n", 1)}
    asking.other += [f"field {name}" for name, value in beside.items() if value not in (None, False, [], {})]
