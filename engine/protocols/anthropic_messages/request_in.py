"""A client's request → the neutral request."""

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
    Role,
    Text,
    Tool,
    ToolChoice,
)
from engine.protocols.anthropic_messages.blocks_in import decode_content
from engine.protocols.anthropic_messages.shapes import MESSAGE, SETTINGS
from engine.protocols.anthropic_messages.words import BILLING, NAME, REQUEST_FIELDS, field_losses

_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}
_TOOL_KNOWN = frozenset({"type", "name", "description", "input_schema", "strict", "defer_loading"})


def decode_request(body: JsonObject) -> LLMRequest:
    """See `WireProtocol.decode_request`. Raises ClientError for a field whose type can't be read as what it is."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise ClientError("model: a model name is required", field="model")
    choice, parallel = _tool_choice(body.get("tool_choice"))
    config = body.get("output_config")
    config = config if isinstance(config, dict) else {}
    metadata = body.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    messages = _messages(body.get("messages"))
    return LLMRequest(
        model=model,
        messages=(*_system(body.get("system")), *messages),
        tools=tuple(_tools(body.get("tools"))),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        max_output_tokens=_integer(body, "max_tokens"),
        temperature=_number(body, "temperature"),
        top_p=_number(body, "top_p"),
        top_k=_integer(body, "top_k"),
        stop=_strings(body, "stop_sequences"),
        stream=body.get("stream") is True,
        reasoning=decode_reasoning(body.get("thinking"), config),
        output_format=_output_format(config.get("format") or body.get("output_format")),
        user=user if isinstance(user, str) else "",
        service_tier=str(body.get("service_tier") or ""),
        protocol=NAME,
        strange=SETTINGS.strange(body),
        extra=(extra := _extra(body, config)),
        extra_losses=_extra_losses(extra),
    )


def _extra_losses(extra: JsonObject) -> frozenset[str]:
    losses = {code for name, value in extra.items() if name != "metadata" for code in field_losses(name, value)}
    return frozenset(losses)


def decode_reasoning(thinking: Any, config: JsonObject) -> Reasoning | None:
    """What `thinking` and `output_config.effort` ask for together; None when neither is there."""
    effort = config.get("effort")
    effort = effort if isinstance(effort, str) else ""
    if not isinstance(thinking, dict):
        return Reasoning(effort=effort) if effort else None
    kind = thinking.get("type")
    budget = thinking.get("budget_tokens")
    return Reasoning(
        enabled=kind in ("enabled", "adaptive"),
        effort=effort,
        budget_tokens=budget if isinstance(budget, int) else 0,
        adaptive=kind == "adaptive",
        summary=str(thinking.get("display") or ""),
    )


def _system(system: Any) -> list[Message]:
    if system is None or system in ("", []):
        return []
    if isinstance(system, str):
        blocks: tuple[Block, ...] = (Text(system),)
    elif isinstance(system, list):
        blocks = decode_content(system)
    else:
        raise ClientError("system: text or a list of text blocks is expected", field="system")
    kept = tuple(b for b in blocks if not (isinstance(b, Text) and b.text.startswith(BILLING)))
    return [Message("system", kept)] if kept else []


def _messages(messages: Any) -> list[Message]:
    if not isinstance(messages, list) or not messages:
        raise ClientError("messages: a list of at least one message is required", field="messages")
    decoded = []
    for index, message in enumerate(messages):
        role = _ROLES.get(str(message.get("role"))) if isinstance(message, dict) else None
        if role is None:
            raise ClientError(
                f"messages.{index}.role: 'user', 'assistant' or 'system' is expected", field=f"messages[{index}].role"
            )
        content = message.get("content")
        if isinstance(content, str):
            blocks: tuple[Block, ...] = (Text(content),)
        elif isinstance(content, list):
            blocks = decode_content(content)
        else:
            raise ClientError(
                f"messages.{index}.content: text or a list of blocks is expected", field=f"messages[{index}].content"
            )
        plain = len(message) == 2  # both have been read
        extra = {} if plain else {key: value for key, value in message.items() if key not in ("role", "content")}
        decoded.append(Message(role, blocks, extra, MESSAGE.strange(message)))
    return decoded


def _tools(tools: Any) -> list[Tool]:
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise ClientError("tools: a list is expected", field="tools")
    decoded = []
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise ClientError(f"tools.{index}: an object is expected", field=f"tools[{index}]")
        name = tool.get("name")
        if tool.get("type") not in (None, "custom"):
            decoded.append(Tool(name if isinstance(name, str) else "", kind="server", protocol=NAME, extra=tool))
            continue
        if not isinstance(name, str) or not name:
            raise ClientError(f"tools.{index}.name: a name is required", field=f"tools[{index}].name")
        schema = tool.get("input_schema")
        strict = tool.get("strict")
        known = tool.keys() <= _TOOL_KNOWN
        decoded.append(
            Tool(
                name,
                str(tool.get("description") or ""),
                schema if isinstance(schema, dict) else None,
                strict=strict if isinstance(strict, bool) else None,
                deferred=tool.get("defer_loading") is True,
                protocol=NAME,
                extra={} if known else {key: value for key, value in tool.items() if key not in _TOOL_KNOWN},
            )
        )
    return decoded


def _tool_choice(choice: Any) -> tuple[ToolChoice | None, bool | None]:
    if choice is None:
        return None, None
    if not isinstance(choice, dict):
        raise ClientError("tool_choice: an object is expected", field="tool_choice")
    disable = choice.get("disable_parallel_tool_use")
    parallel = not disable if isinstance(disable, bool) else None
    modes: dict[str, Literal["auto", "none", "required", "tool"]] = {
        "auto": "auto",
        "none": "none",
        "any": "required",
        "tool": "tool",
    }
    mode = modes.get(str(choice.get("type")))
    if mode is None:
        raise ClientError("tool_choice.type: 'auto', 'any', 'tool' or 'none' is expected", field="tool_choice.type")
    return ToolChoice(mode, str(choice.get("name") or "")), parallel


def _output_format(value: Any) -> OutputFormat | None:
    if not isinstance(value, dict) or value.get("type") != "json_schema":
        return None
    schema = value.get("schema")
    extra = {key: item for key, item in value.items() if key not in ("type", "schema", "name")}
    return OutputFormat(
        "json_schema", str(value.get("name") or ""), schema if isinstance(schema, dict) else None, extra=extra
    )


def _extra(body: JsonObject, config: JsonObject) -> JsonObject:
    extra = {key: value for key, value in body.items() if key not in REQUEST_FIELDS and key != "output_format"}
    if rest := {key: value for key, value in config.items() if key not in ("effort", "format")}:
        extra["output_config"] = rest
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and (more := {key: item for key, item in metadata.items() if key != "user_id"}):
        extra["metadata"] = more
    return extra


def _integer(body: JsonObject, field: str) -> int | None:
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ClientError(f"{field}: an integer is expected", field=field)
    return value


def _number(body: JsonObject, field: str) -> float | None:
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ClientError(f"{field}: a number is expected", field=field)
    return value


def _strings(body: JsonObject, field: str) -> tuple[str, ...]:
    value = body.get(field)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ClientError(f"{field}: a list of strings is expected", field=field)
    return tuple(value)
