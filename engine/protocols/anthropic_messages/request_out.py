"""The neutral request → JSON for a provider of this protocol, with the codes of what it could not say."""

from __future__ import annotations

from typing import Any

import orjson

from engine.llm.messages import JsonObject, LLMRequest, OutputFormat, Tool
from engine.llm.protocol import Target
from engine.protocols import deferred
from engine.protocols.anthropic_messages.conversation import encode_conversation
from engine.protocols.anthropic_messages.thinking import encode_thinking, may_think, without_thinking_edits
from engine.protocols.anthropic_messages.words import NAME
from engine.protocols.bounds import PLAIN_TIERS
from engine.protocols.compaction import in_words
from engine.protocols.tool_names import ToolNames, custom_description, custom_schema
from engine.protocols.unshared import beside_losses, strange_losses, tool_loss

_LONGEST_USER = 256
_NOT_AT_TOP = ("anyOf", "oneOf", "allOf")


def encode_request(request: LLMRequest, target: Target) -> tuple[JsonObject, list[str]]:
    """See `WireProtocol.encode_request`. `max_tokens` is always there, because the API has no default."""
    losses: set[str] = set()
    request = in_words(request, target, losses)
    quirks = target.quirks
    names = ToolNames(request.tools)
    system, messages = encode_conversation(request, quirks=quirks, names=names, losses=losses)
    body: JsonObject = {"model": target.model.name, "max_tokens": _max_tokens(request, target, losses)}
    if request.output_format is not None and not _native_format(request.output_format, target):
        losses.add("output_format" if request.output_format.kind == "json_schema" else "output_format.json")
        system.append({"type": "text", "text": _format_in_words(request.output_format)})
    if system:
        body["system"] = system
    body["messages"] = messages
    if tools := _tools(request, names, losses):
        body["tools"] = tools
    if choice := _tool_choice(request, target, names, losses, has_tools=bool(tools)):
        body["tool_choice"] = choice
    _reasoning(body, request, target, losses)
    _sampling(body, request, target, losses)
    if stop := [word for word in request.stop if word.strip()]:
        body["stop_sequences"] = stop
    if len(stop) != len(request.stop):
        losses.add("stop.form")
    _rest(body, request, losses)
    if body.get("thinking", {}).get("type") in (None, "disabled") and request.reasoning is not None:
        without_thinking_edits(body)
    if request.stream:
        body["stream"] = True
    _dropped(body, target, losses)
    return body, sorted(losses)


def _max_tokens(request: LLMRequest, target: Target, losses: set[str]) -> int:
    most = target.model.max_output
    asked = request.max_output_tokens
    if asked is None:
        return max(target.quirks.default_max_tokens or most, 1)
    if target.model.known and 0 < most < asked:
        losses.add("max_output_tokens")
        return most
    return max(asked, 1)


def _tools(request: LLMRequest, names: ToolNames, losses: set[str]) -> list[JsonObject]:
    own = request.protocol == NAME
    encoded: list[JsonObject] = []
    loaded = deferred.loaded(request) if not own and any(map(deferred.has_deferred, request.tools)) else None
    for tool in request.tools:
        match tool.kind:
            case "server" if tool.protocol == NAME:
                encoded.append(dict(tool.extra))
            case "server":
                losses.add(tool_loss(str(tool.extra.get("type") or tool.name)))
            case "namespace":
                losses.add("namespace")
                shown = (m for m in tool.members if deferred.is_shown(m, loaded, group=tool))
                encoded += [_tool(m, names.wire(m.name, tool.name), losses, own=own) for m in shown]
            case _ if deferred.is_shown(tool, loaded):
                encoded.append(_tool(tool, names.wire(tool.name), losses, own=own))
            case _:
                losses.add("tool_search")
    return _distinct(encoded, losses)


def _distinct(tools: list[JsonObject], losses: set[str]) -> list[JsonObject]:
    """The API takes a tool's name once."""
    by_name: dict[str, JsonObject] = {}
    for tool in tools:
        if by_name.setdefault(str(tool.get("name")), tool) != tool:
            losses.add("tool.repeated")
    return list(by_name.values())


def _tool(tool: Tool, name: str, losses: set[str], *, own: bool) -> JsonObject:
    encoded: JsonObject = {"name": name}
    if description := custom_description(tool) if tool.kind == "custom" else tool.description:
        encoded["description"] = description
    encoded["input_schema"] = (
        custom_schema("The whole input as plain text.") if tool.kind == "custom" else _schema(tool.schema)
    )
    mark = tool.extra.get("cache_control")
    if own:
        if tool.strict is not None:
            encoded["strict"] = tool.strict
        if tool.deferred:
            encoded["defer_loading"] = True
        encoded.update(tool.extra)
    else:
        if tool.deferred:
            losses.add("tool_search")
        if isinstance(mark, dict):
            encoded["cache_control"] = mark
    return encoded


def _schema(schema: JsonObject | None) -> JsonObject:
    """The API wants an object schema and no alternatives at its top; inside, a schema passes as it is."""
    if not schema:
        return {"type": "object", "properties": {}}
    if schema.get("type") == "object" and not any(key in schema for key in _NOT_AT_TOP):
        return schema
    return {**{key: value for key, value in schema.items() if key not in _NOT_AT_TOP}, "type": "object"}


def _tool_choice(
    request: LLMRequest, target: Target, names: ToolNames, losses: set[str], *, has_tools: bool
) -> JsonObject | None:
    if not has_tools:
        return None
    choice = request.tool_choice
    mode = choice.mode if choice else "auto"
    if mode in ("required", "tool") and not target.quirks.forced_tools:
        losses.add("forced_tool")
        mode = "auto"
    encoded: JsonObject
    match mode:
        case "none":
            return {"type": "none"}
        case "required":
            encoded = {"type": "any"}
        case "tool":
            name = choice.name if choice else ""
            namespace = str(choice.extra.get("namespace") or "") if choice else ""
            encoded = {"type": "tool", "name": names.wire(name, namespace)}
        case _:
            encoded = {"type": "auto"}
    if request.parallel_tool_calls is not None:
        if target.quirks.parallel_tools:
            encoded["disable_parallel_tool_use"] = not request.parallel_tool_calls
        else:
            losses.add("parallel_tools")
    asked = choice is not None or "disable_parallel_tool_use" in encoded
    return encoded if asked else None


def _reasoning(body: JsonObject, request: LLMRequest, target: Target, losses: set[str]) -> None:
    config: JsonObject = {}
    if request.protocol == NAME and isinstance(rest := request.extra.get("output_config"), dict):
        config.update(rest)
    if request.reasoning is not None:
        thinking, effort = encode_thinking(
            request.reasoning, quirks=target.quirks, max_tokens=body["max_tokens"], losses=losses
        )
        if thinking is not None and thinking["type"] != "disabled" and not may_think(body, thinking):
            losses |= {"thinking.budget"} if request.reasoning.budget_tokens else set()
            losses |= {"effort"} if request.reasoning.effort and not effort else set()
            thinking = None
        if thinking is not None:
            body["thinking"] = thinking
        if effort:
            config["effort"] = effort
    if request.output_format is not None and _native_format(request.output_format, target):
        config["format"] = {"type": "json_schema", "schema": request.output_format.schema}
    if config:
        body["output_config"] = config


def _sampling(body: JsonObject, request: LLMRequest, target: Target, losses: set[str]) -> None:
    values: dict[str, Any] = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
    }
    sent = {name: value for name, value in values.items() if value is not None}
    if not target.quirks.sampling:
        kept = {}
    else:
        kept = dict(sent)
        if kept.get("temperature", 0) > 1:
            kept["temperature"] = 1
        if body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
            # Thinking fixes the temperature at 1 and the nucleus at its upper end.
            kept = {n: v for n, v in kept.items() if (n == "temperature" and v == 1) or (n == "top_p" and v >= 0.95)}
        if request.protocol != NAME and "temperature" in kept:
            kept.pop("top_p", None)  # newer models take one of the two
    for name, value in sent.items():
        if kept.get(name) != value:
            losses.add("sampling.range" if target.quirks.sampling else "top_k" if name == "top_k" else "sampling")
    body.update(kept)


def _rest(body: JsonObject, request: LLMRequest, losses: set[str]) -> None:
    own = request.protocol == NAME
    if request.seed is not None:
        losses.add("seed")
    if request.logprobs is not None:
        losses.add("logprobs")
    metadata: JsonObject = {}
    if request.user:
        if not own and len(request.user) > _LONGEST_USER:
            losses.add("user.long")
        else:
            metadata["user_id"] = request.user
    if request.service_tier:
        if own:
            body["service_tier"] = request.service_tier
        elif request.service_tier not in PLAIN_TIERS:
            losses.add("service_tier")
    if own:
        losses |= strange_losses(request)
        for key, value in request.extra.items():
            if key == "metadata" and isinstance(value, dict):
                metadata.update(value)
            elif key != "output_config":
                body[key] = value
    else:
        if isinstance(mark := request.extra.get("cache_control"), dict):
            body["cache_control"] = mark
        losses |= beside_losses(request)
        losses |= {"verbosity"} if request.verbosity else set()
    if metadata:
        body["metadata"] = metadata


def _native_format(output: OutputFormat, target: Target) -> bool:
    return output.kind == "json_schema" and output.schema is not None and target.quirks.json_schema


def _format_in_words(output: OutputFormat) -> str:
    text = "Answer with a single JSON object and nothing else: no words around it, no code fence."
    if output.schema is None:
        return text
    return f"{text} It must be valid against this JSON Schema:\n{orjson.dumps(output.schema).decode()}"


_DROP_CODES = {
    "top_k": "top_k",
    "temperature": "sampling",
    "top_p": "sampling",
    "stop_sequences": "stop",
    "metadata": "user",
    "service_tier": "service_tier",
    "context_management": "context_management",
    "container": "container",
    "mcp_servers": "container",
    "thinking": "thinking.budget",
    "output_config": "effort",
    "cache_control": "cache_control",
}


def _dropped(body: JsonObject, target: Target, losses: set[str]) -> None:
    for name in target.quirks.drop:
        if name in body:
            del body[name]
            losses.add(_DROP_CODES.get(name, "unknown_field"))
