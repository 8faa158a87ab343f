"""A client's Chat Completions request, in neutral words."""

from __future__ import annotations

from typing import Any, Literal

from engine.llm.errors import ClientError
from engine.llm.messages import (
    Block,
    JsonObject,
    LLMRequest,
    Message,
    OutputFormat,
    Reasoning,
    Refusal,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from engine.protocols import arguments, tool_ids
from engine.protocols.openai_chat import reasoning
from engine.protocols.openai_chat.fields import HELD, NAME, field_losses
from engine.protocols.openai_chat.parts import entries, read_content
from engine.protocols.openai_chat.shapes import SETTINGS, strange

_ASSISTANT = frozenset(
    {
        "role",
        "content",
        "tool_calls",
        "function_call",
        "refusal",
        "reasoning_content",
        "reasoning",
        "reasoning_details",
        "extra_content",
    }
)
_SPOKEN = frozenset({"role", "content"})


def decode_request(body: JsonObject) -> LLMRequest:
    """The request in neutral words. Raises ClientError with the field's path; `body` is not changed."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise ClientError("model must be a non-empty string", field="model")
    limit = body.get("max_completion_tokens")
    stop = body.get("stop")
    user = body.get("user")
    extra = {key: value for key, value in body.items() if key not in HELD and value is not None}
    if user and body.get("safety_identifier"):
        extra["safety_identifier"] = body["safety_identifier"]
    messages = _messages(body.get("messages"))
    return LLMRequest(
        model=model,
        messages=messages,
        tools=_tools(body),
        tool_choice=_tool_choice(body),
        parallel_tool_calls=_bool(body, "parallel_tool_calls"),
        max_output_tokens=_int(body, "max_tokens") if limit is None else _int(body, "max_completion_tokens"),
        temperature=_float(body, "temperature"),
        top_p=_float(body, "top_p"),
        top_k=_int(body, "top_k"),
        stop=(stop,) if isinstance(stop, str) else tuple(str(s) for s in stop if s) if isinstance(stop, list) else (),
        seed=_int(body, "seed") if body.get("seed") is not None else _int(body, "random_seed"),
        stream=body.get("stream") is True,
        reasoning=_reasoning(body),
        output_format=_output_format(body.get("response_format")),
        user=str(user or body.get("safety_identifier") or ""),
        cache_key=str(body.get("prompt_cache_key") or ""),
        service_tier=str(body.get("service_tier") or ""),
        logprobs=_logprobs(body),
        verbosity=held if isinstance(held := body.get("verbosity"), str) else "",
        protocol=NAME,
        strange=SETTINGS.strange(body),
        extra=extra,
        extra_losses=_extra_losses(extra),
    )


def _logprobs(body: JsonObject) -> int | None:
    """Some servers take `top_logprobs` for the wish itself."""
    most = _int(body, "top_logprobs")
    return most or 0 if body.get("logprobs") or most else None


def _extra_losses(extra: JsonObject) -> frozenset[str]:
    losses = {code for name, value in extra.items() for code in field_losses(name, value)}
    return frozenset(losses - {"user"})


def _messages(listed: Any) -> tuple[Message, ...]:
    if not isinstance(listed, list) or not listed:
        raise ClientError("messages must be a non-empty list", field="messages")
    messages: list[Message] = []
    results: list[Block] = []
    waiting: list[ToolCall] = []
    odd = False
    for position, message in enumerate(listed):
        field = f"messages[{position}]"
        if not isinstance(message, dict):
            raise ClientError("a message must be an object", field=field)
        role = message.get("role")
        if role in ("tool", "function"):
            results.append(_result(message, waiting, field))
            odd = odd or strange(message)
            continue
        if results:
            messages.append(Message("user", tuple(results), strange=odd))
            results, odd = [], False
        match role:
            case "assistant":
                messages.append(_assistant(message, field))
                waiting = [block for block in messages[-1].content if isinstance(block, ToolCall)]
            case "system" | "developer" | "user":
                content = read_content(message.get("content"), f"{field}.content")
                messages.append(Message(role, content, _beside(message, _SPOKEN), strange(message)))
            case _:
                raise ClientError("unknown role", field=f"{field}.role")
    if results:
        messages.append(Message("user", tuple(results), strange=odd))
    return tuple(messages)


def _assistant(message: JsonObject, field: str) -> Message:
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise ClientError("tool_calls must be a list", field=f"{field}.tool_calls")
    first, led = reasoning.led_to(reasoning.thoughts(message), (call.get("id") for call in entries(calls)))
    told = bool(first and first[0].text)
    blocks: list[Block] = [*first]
    content = read_content(message.get("content"), f"{field}.content")
    # The same reasoning may stand in a field and in the content.
    blocks += [block for block in content if not (told and isinstance(block, Thinking))]
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        blocks.append(Refusal(refusal))
    for number, call in enumerate(calls):
        if not isinstance(call, dict):
            raise ClientError("a tool call must be an object", field=f"{field}.tool_calls[{number}]")
        read = read_call(call, answer_id=field, number=number)
        blocks += led.pop(read.id, ())
        if sealed := reasoning.call_seal(call):
            blocks.append(Thinking(opaque=sealed, origin=NAME))
        blocks.append(read)
    legacy = message.get("function_call")
    if isinstance(legacy, dict) and not calls:
        blocks.append(read_call({"function": legacy}, answer_id=field, number=0))
    return Message("assistant", tuple(blocks), _beside(message, _ASSISTANT), strange(message))


def read_call(call: JsonObject, *, answer_id: str, number: int) -> ToolCall:
    """A tool call as an assistant message holds it; without an id it gets one that `answer_id` and `number` decide."""
    call_id = str(call.get("id") or "") or tool_ids.synthetic(answer_id, number)
    if (custom := custom_of(call)) is not None:
        return ToolCall(call_id, str(custom.get("name") or ""), str(custom.get("input") or ""), kind="custom")
    held = call.get("function")
    function: JsonObject = held if isinstance(held, dict) else {}
    return ToolCall(call_id, str(function.get("name") or ""), arguments.to_text(function.get("arguments")))


def custom_of(call: JsonObject) -> JsonObject | None:
    """The `custom` object of a custom tool call; None for a function's (some servers put an empty one beside it)."""
    custom = call.get("custom")
    return custom if isinstance(custom, dict) and (call.get("type") == "custom" or custom.get("name")) else None


def _result(message: JsonObject, waiting: list[ToolCall], field: str) -> ToolResult:
    """A result, and the call that it answers struck off `waiting`. Without an id it answers by name, else by order."""
    call_id = str(message.get("tool_call_id") or "")
    name = message.get("name")
    answered = next((call for call in waiting if call.id == call_id), None)
    if not call_id and waiting:
        answered = next((call for call in waiting if call.name == name), waiting[0])
    if answered is not None:
        waiting.remove(answered)
        call_id = answered.id
    kind: Literal["function", "custom"] = answered.kind if answered else "function"
    return ToolResult(call_id, read_content(message.get("content"), f"{field}.content"), kind=kind)


def _tools(body: JsonObject) -> tuple[Tool, ...]:
    listed = body.get("tools") or []
    if not isinstance(listed, list):
        raise ClientError("tools must be a list", field="tools")
    tools = []
    for position, tool in enumerate(listed):
        if not isinstance(tool, dict):
            raise ClientError("a tool must be an object", field=f"tools[{position}]")
        tools.append(_tool(tool, position))
    return _allowed([*tools, *(_function(f, {}) for f in entries(body.get("functions")))], body.get("tool_choice"))


def _allowed(tools: list[Tool], choice: Any) -> tuple[Tool, ...]:
    """The tools that an `allowed_tools` choice leaves: the restriction then holds on every protocol."""
    match choice:
        case {"type": "allowed_tools", "allowed_tools": {"tools": list(listed)}}:
            held = (entry.get(str(entry.get("type"))) or entry for entry in entries(listed))
            names = {entry.get("name") for entry in held if isinstance(entry, dict)}
            return tuple(tool for tool in tools if tool.kind == "server" or tool.name in names)
    return tuple(tools)


def _tool(tool: JsonObject, position: int) -> Tool:
    match tool.get("type", "function"):
        case "function":
            held = tool.get("function", tool)
            if not isinstance(held, dict) or not isinstance(held.get("name"), str):
                raise ClientError("a function tool needs a name", field=f"tools[{position}].function.name")
            return _function(held, _beside(tool, frozenset({"type", "function"})) if "function" in tool else {})
        case "custom" if isinstance(custom := tool.get("custom"), dict):
            form = custom.get("format")
            if isinstance(form, dict) and isinstance(inner := form.get("grammar"), dict):
                form = {"type": "grammar", **inner}  # flat, as the Responses API has it
            return Tool(
                str(custom.get("name") or ""),
                str(custom.get("description") or ""),
                kind="custom",
                protocol=NAME,
                extra={"format": form} if form else {},
            )
    return Tool(str(tool.get("name") or tool.get("type") or ""), kind="server", protocol=NAME, extra=tool)


def _function(held: JsonObject, beside: dict[str, Any]) -> Tool:
    schema = held.get("parameters")
    strict = held.get("strict")
    return Tool(
        str(held.get("name") or ""),
        str(held.get("description") or ""),
        schema if isinstance(schema, dict) else None,
        strict=strict if isinstance(strict, bool) else None,
        protocol=NAME,
        extra=beside,
    )


def _tool_choice(body: JsonObject) -> ToolChoice | None:
    choice = body.get("tool_choice")
    if choice is None:
        choice = body.get("function_call")
    match choice:
        case None:
            return None
        case "auto" | "none" | "required":
            return ToolChoice(choice)
        case "any":
            return ToolChoice("required")
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode}}:
            return ToolChoice("required" if mode == "required" else "auto", extra=choice)
        case {"function": {"name": str(name)}} | {"custom": {"name": str(name)}} | {"name": str(name)}:
            return ToolChoice("tool", name)
    raise ClientError("tool_choice must be auto, none, required or name a tool", field="tool_choice")


def _reasoning(body: JsonObject) -> Reasoning | None:
    effort = body.get("reasoning_effort")
    asked = body.get("reasoning")
    switch = body.get("thinking")
    enabled: bool | None = None
    budget = 0
    extra: dict[str, Any] = {}
    if isinstance(asked, dict):
        effort = effort or asked.get("effort")
        budget = held if isinstance(held := asked.get("max_tokens"), int) else 0
        enabled = held if isinstance(held := asked.get("enabled"), bool) else None
        extra = {key: value for key, value in asked.items() if key not in {"effort", "max_tokens", "enabled"}}
    if isinstance(switch, dict) and isinstance(kind := switch.get("type"), str):
        enabled = kind != "disabled"
        budget = held if isinstance(held := switch.get("budget_tokens"), int) else budget
    word = effort if isinstance(effort, str) else ""
    if word == "none":
        enabled = False
    if not (word or budget or extra) and enabled is None:
        return None
    return Reasoning(enabled=enabled, effort=word, budget_tokens=budget, extra=extra)


def _output_format(wanted: Any) -> OutputFormat | None:
    match wanted:
        case {"type": "json_object"}:
            return OutputFormat("json_object")
        case {"type": "json_schema", "json_schema": dict(held)}:
            schema, strict = held.get("schema"), held.get("strict")
            return OutputFormat(
                "json_schema",
                name=str(held.get("name") or ""),
                schema=schema if isinstance(schema, dict) else None,
                strict=strict if isinstance(strict, bool) else None,
                extra=_beside(held, frozenset({"name", "schema", "strict"})),
            )
        case {"type": "json_schema"}:
            raise ClientError("response_format needs a json_schema", field="response_format.json_schema")
    return None


def _beside(held: JsonObject, known: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in held.items() if key not in known and value is not None}


def _int(body: JsonObject, name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ClientError(f"{name} must be a whole number", field=name)
    return int(value)


def _float(body: JsonObject, name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ClientError(f"{name} must be a number", field=name)
    return float(value)


def _bool(body: JsonObject, name: str) -> bool | None:
    value = body.get(name)
    return value if isinstance(value, bool) else None
