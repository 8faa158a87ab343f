"""The tools of a request as Chat functions, and which of them the model is shown.

Namespaces are flattened and custom tools become functions of one text (`engine.protocols.tool_names`). Tools that a search
must find first are hidden until the conversation names them; tools that a provider would run are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.llm.catalogue import Quirks
from engine.llm.messages import JsonObject, LLMRequest, Tool, ToolChoice
from engine.protocols import deferred
from engine.protocols.openai_chat.fields import NAME
from engine.protocols.tool_names import ToolNames, custom_description, custom_schema
from engine.protocols.tool_schemas import object_schema
from engine.protocols.unshared import tool_loss


def tool_fields(request: LLMRequest, quirks: Quirks, names: ToolNames, losses: set[str]) -> JsonObject:
    """`tools`, `tool_choice` and `parallel_tool_calls` of the body; none of them when no tool is left to show."""
    own = request.protocol == NAME and not quirks.strict
    shown = list(_shown(request, losses, own=own))
    offered = [_wire(tool, namespace, names) for tool, namespace in shown]
    if not offered:
        return {}  # being forced to call a tool that is lost is no loss of its own
    callable_names: set[str] = set()
    if request.tool_choice is not None:
        callable_names = {names.wire(tool.name, namespace) for tool, namespace in shown if tool.kind != "server"}
    choice = _choice(request, quirks, names, losses, callable_names)
    fields: JsonObject = {"tools": offered}
    if choice is not None:
        fields["tool_choice"] = choice
    if request.parallel_tool_calls is not None:
        if quirks.parallel_tools:
            fields["parallel_tool_calls"] = request.parallel_tool_calls
        else:
            losses.add("parallel_tools")
    return fields


def _shown(request: LLMRequest, losses: set[str], *, own: bool) -> Iterator[tuple[Tool, str]]:
    """(tool, its namespace) of every tool that the model shall see, in order."""
    loaded = deferred.loaded(request) if any(map(deferred.has_deferred, request.tools)) else None
    for tool in request.tools:
        if tool.kind == "server":
            if own and tool.extra:
                yield tool, ""
            else:
                losses.add(_server_loss(tool))
            continue
        if tool.kind == "namespace":
            losses.add("namespace")
        group = tool.members if tool.kind == "namespace" else (tool,)
        for member in group:
            if member.kind == "server":
                losses.add(_server_loss(member))
                continue
            if member.deferred or tool.deferred:
                losses.add("tool_search")
                if not deferred.is_shown(member, loaded, group=tool):
                    continue
            if "cache_control" in member.extra:
                losses.add("cache_control")
            yield member, tool.name if tool.kind == "namespace" else ""


def _wire(tool: Tool, namespace: str, names: ToolNames) -> JsonObject:
    if tool.kind == "server":
        return dict(tool.extra)
    function: JsonObject = {"name": names.wire(tool.name, namespace)}
    description = tool.description
    if tool.kind == "custom":
        function["description"] = custom_description(tool)
        function["parameters"] = custom_schema("The whole input as plain text.")
        return {"type": "function", "function": function}
    if description:
        function["description"] = description
    function["parameters"] = object_schema(tool.schema)
    if tool.strict and tool.protocol != "anthropic-messages":  # strict mode asks more of a schema here than there
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(request: LLMRequest, quirks: Quirks, names: ToolNames, losses: set[str], offered: set[str]) -> Any:
    choice = request.tool_choice
    if choice is None:
        return None
    if choice.extra and request.protocol == NAME and not quirks.strict:
        return dict(choice.extra)
    match choice.mode:
        case "auto" | "none":
            return choice.mode
        case "required" if quirks.forced_tools and offered:
            return quirks.tool_choice_any
        case "tool" if quirks.forced_tools:
            wire = _named(choice, request, names)
            if wire in offered:
                return {"type": "function", "function": {"name": wire}}
    losses.add("forced_tool")
    return "auto"


def _named(choice: ToolChoice, request: LLMRequest, names: ToolNames) -> str:
    namespace = str(choice.extra.get("namespace") or "")
    for tool in request.tools:
        if tool.kind != "namespace" and tool.name == choice.name and not namespace:
            return names.wire(choice.name)
        if tool.kind == "namespace" and any(member.name == choice.name for member in tool.members):
            namespace = namespace or tool.name
    return names.wire(choice.name, namespace)


def _server_loss(tool: Tool) -> str:
    return tool_loss(str(tool.extra.get("type") or tool.name))
