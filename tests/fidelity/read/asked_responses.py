"""Requests in the Responses protocol, read plainly."""

from __future__ import annotations

from typing import Any

from tests.fidelity.asking import Asking, Result, Tool, mark, setting
from tests.fidelity.meaning import within

KNOWN = frozenset(
    [
        "model",
        "input",
        "instructions",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "max_output_tokens",
        "temperature",
        "top_p",
        "top_logprobs",
        "reasoning",
        "text",
        "user",
        "safety_identifier",
        "stream",
        "service_tier",
        "prompt_cache_key",
    ]
)
ROLES = {"developer": "system"}
TEXTS = ("input_text", "output_text", "text")


def asked(body: dict[str, Any]) -> Asking:
    """What the request asks for."""
    asking = Asking()
    asking.say("system", body.get("instructions") or "")
    for tool in body.get("tools") or ():
        _tool(asking, tool)
    given = body.get("input") or []
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        _item(asking, item)
    _settings(asking, body)
    return asking


def _item(asking: Asking, item: dict[str, Any]) -> None:
    match item.get("type") or "message":
        case "message":
            role = ROLES.get(item["role"], item["role"])
            content = item["content"]
            for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
                _part(asking, role, part)
        case "function_call":
            asking.call(item["call_id"], joined(item), item.get("arguments"))
        case "custom_tool_call":
            asking.call(item["call_id"], joined(item), item["input"], "custom")
        case "function_call_output" | "custom_tool_call_output":
            asking.answer(item["call_id"], _result(asking, item["output"]))
        case "reasoning":
            parts = item.get("content") or item.get("summary") or ()
            asking.turn("assistant").reasoning += "".join(part.get("text") or "" for part in parts)
            asking.state.append(item.get("encrypted_content") or "")
        case "additional_tools" | "tool_search_output":
            for tool in item.get("tools") or ():
                _tool(asking, {**tool, "defer_loading": False})
            if item["type"] == "tool_search_output":
                asking.other.append("tool_search_output")
        case "configuration_update":
            setting(asking, effort=within(item, "reasoning", "effort"))
        case kind:
            asking.other.append(kind)


def joined(item: dict[str, Any]) -> str:
    """A tool's name with its namespace before it."""
    return f"{item['namespace']}__{item['name']}" if item.get("namespace") else str(item["name"])


def _part(asking: Asking, role: str, part: dict[str, Any]) -> None:
    mark(asking, part)
    match part.get("type"):
        case kind if kind in TEXTS:
            asking.say(role, part["text"])
        case "refusal":
            asking.say(role, part["refusal"])
        case "input_image" if part.get("image_url"):
            asking.turn(role).images.append(image(part))
        case "input_file" if not part.get("file_id"):
            asking.turn(role).documents.append(file(part))
        case kind:
            asking.other.append(str(kind))


def image(part: dict[str, Any]) -> str:
    """The bytes or the address of an image."""
    held = part["image_url"]
    url = str(held.get("url") if isinstance(held, dict) else held)
    return url.rpartition(",")[2] if url.startswith("data:") else url


def file(part: dict[str, Any]) -> str:
    """The bytes or the address of a file."""
    return str(part.get("file_url") or part["file_data"].rpartition(",")[2])


def _result(asking: Asking, output: Any) -> Result:
    result = Result()
    for part in [{"type": "text", "text": output}] if isinstance(output, str) else output:
        match part.get("type"):
            case kind if kind in TEXTS:
                result.text += part["text"] + "\n"
            case "input_image" if part.get("image_url"):
                result.images.append(image(part))
            case "input_file" if not part.get("file_id"):
                result.documents.append(file(part))
            case kind:
                asking.other.append(str(kind))
    return result


def _tool(asking: Asking, tool: dict[str, Any], space: str = "") -> None:
    held = tool.get("function") or tool
    deferred = tool.get("defer_loading") is True
    match tool.get("type", "function"):
        case "namespace":
            for member in tool.get("tools") or ():
                _tool(asking, member, tool["name"] + "__")
        case "function":
            _offer(
                asking,
                Tool(space + held["name"], held.get("description") or "", held.get("parameters"), deferred=deferred),
            )
        case "custom":
            _offer(asking, Tool(space + tool["name"], tool.get("description") or "", kind="custom", deferred=deferred))
        case kind:
            asking.provider_tools.append(kind)


def _offer(asking: Asking, tool: Tool) -> None:
    asking.tools = [offered for offered in asking.tools if offered.name != tool.name] + [tool]


def _settings(asking: Asking, body: dict[str, Any]) -> None:
    choice = body.get("tool_choice")
    form = within(body, "text", "format") or {}
    listed = within(choice, "type") == "allowed_tools"
    if listed:
        names = {entry.get("name") for entry in choice["tools"]}
        asking.tools = [tool for tool in asking.tools if tool.name in names]
    setting(
        asking,
        max_output=body.get("max_output_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        logprobs=str(body.get("top_logprobs") or 0)
        if body.get("top_logprobs") or "message.output_text.logprobs" in (body.get("include") or ())
        else None,
        effort=within(body, "reasoning", "effort"),
        off=within(body, "reasoning", "effort") == "none" or None,
        choice=choice if isinstance(choice, str) else within(choice, "mode") if listed else "tool" if choice else None,
        tool=within(choice, "name"),
        parallel=body.get("parallel_tool_calls"),
        schema=form.get("schema"),
        json=form.get("type") == "json_object" or None,
        user=body.get("user") or body.get("safety_identifier"),
        stream=body.get("stream") or None,
        tier=None if body.get("service_tier") in ("auto", "default") else body.get("service_tier"),
        key=body.get("prompt_cache_key"),
    )
    asking.other += [
        f"field {name}" for name, value in body.items() if name not in KNOWN and value not in (None, False, [], {})
    ]
