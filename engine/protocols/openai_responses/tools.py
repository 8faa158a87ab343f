"""Offered tools and the choice among them, both ways. Custom tools and namespaces are at home here."""

from __future__ import annotations

import dataclasses
from typing import Any

from engine.llm.catalogue import Quirks
from engine.llm.messages import JsonObject, LLMRequest, Tool, ToolCall, ToolChoice
from engine.protocols import deferred
from engine.protocols.openai_responses.words import NAME, entries, text
from engine.protocols.tool_names import ToolNames, flat
from engine.protocols.tool_schemas import is_closed, object_schema
from engine.protocols.unshared import MARKS, tool_loss

_KNOWN = frozenset({"type", "name", "description", "parameters", "strict", "defer_loading", "tools"})


def read_tools(value: Any) -> list[Tool]:
    """The tools of a request, of an `additional_tools` item or of a search's output."""
    return [_tool(tool) for tool in entries(value)]


def read_choice(value: Any) -> ToolChoice | None:
    """The choice. An allow-list is `auto` or `required` here; `allowed` applies the list to the tools."""
    if isinstance(value, str):
        return ToolChoice(mode=value) if value in ("auto", "none", "required") else None  # type: ignore[arg-type]
    if not isinstance(value, dict):
        return None
    if value.get("type") == "allowed_tools":
        return ToolChoice("required" if value.get("mode") == "required" else "auto")
    if name := text(value.get("name")):
        return ToolChoice("tool", name, {k: v for k, v in value.items() if k not in ("type", "name")})
    return ToolChoice("tool", text(value.get("type")), {"server": value})


def allowed(tools: list[Tool], choice: Any) -> list[Tool]:
    """The tools that an `allowed_tools` choice leaves: the restriction then holds on every protocol."""
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return tools
    listed = entries(choice.get("tools"))
    names = {text(entry.get("name")) for entry in listed} - {""}
    kinds = {text(entry.get("type")) for entry in listed if not entry.get("name")}
    kept: list[Tool] = []
    for tool in tools:
        if tool.kind == "namespace" and tool.name not in names:
            if members := tuple(member for member in tool.members if member.name in names):
                kept.append(dataclasses.replace(tool, members=members))
        elif tool.name in names or (tool.kind == "server" and text(tool.extra.get("type")) in kinds):
            kept.append(tool)
    return kept


def write_tools(request: LLMRequest, quirks: Quirks, names: ToolNames, losses: set[str]) -> list[JsonObject]:
    """The tools as this protocol says them; adds the codes of those it can't."""
    own = request.protocol == NAME
    searchable = own and any(t.kind == "server" and t.extra.get("type") == "tool_search" for t in request.tools)
    shown = None if searchable or not any(map(deferred.has_deferred, request.tools)) else deferred.loaded(request)
    written: list[JsonObject] = []
    for tool in request.tools:
        if tool.kind == "server":
            if tool.protocol == NAME:
                written.append(dict(tool.extra))
            else:
                losses.add(tool_loss(text(tool.extra.get("type"))))
            continue
        if not own and not MARKS.isdisjoint(tool.extra):
            losses.add("cache_control")
        if deferred.has_deferred(tool) and not searchable:
            losses.add("tool_search")
            if not deferred.is_shown(tool, shown):
                continue
            members = tuple(m for m in tool.members if deferred.is_shown(m, shown, group=tool))
            if tool.members and not members:
                continue
            tool = dataclasses.replace(tool, members=members)
        written.append(_written(tool, names, own=own and not quirks.strict, searchable=searchable))
    return written


def write_choice(choice: ToolChoice, quirks: Quirks, names: ToolNames, written: list[JsonObject]) -> Any:
    """`tool_choice`; None where a forced call can't be had: the model refuses it, or the tool is not among `written`."""
    if choice.mode in ("auto", "none"):
        return choice.mode
    if not quirks.forced_tools:
        return None
    if choice.mode == "required":
        return "required"
    if (server := choice.extra.get("server")) is not None:
        return server
    wire = names.wire(choice.name)
    kind = next((tool["type"] for tool in written if tool.get("name") == wire), None)
    return {"type": kind, "name": wire} if kind in ("function", "custom") else None


def restored(call: ToolCall, names: ToolNames) -> ToolCall:
    """A provider's call under the client's own name: shortened names, lost namespaces, custom tools called as functions."""
    if call.namespace:
        # A tool that the provider's own search found may come under a namespace that the client never made.
        made_up = names.offers(call.name) and not names.offers(call.name, call.namespace)
        return dataclasses.replace(call, namespace="") if made_up else call
    if names.plain:
        return call
    if call.kind == "custom":
        return dataclasses.replace(call, name=names.origin(call.name).name)
    return names.restore(call)


def _tool(tool: JsonObject) -> Tool:
    kind = tool.get("type", "function")
    inner = tool.get("function")
    if kind == "function" and isinstance(inner, dict) and "parameters" not in tool:
        tool = {**inner, **{k: v for k, v in tool.items() if k != "function"}}  # the Chat form
    name, description = text(tool.get("name")), text(tool.get("description"))
    extra = {k: v for k, v in tool.items() if k not in _KNOWN}
    deferred = tool.get("defer_loading") is True
    match kind:
        case "function":
            schema, strict = tool.get("parameters"), tool.get("strict")
            return Tool(
                name,
                description,
                schema if isinstance(schema, dict) else None,
                strict=strict if isinstance(strict, bool) else None,
                deferred=deferred,
                protocol=NAME,
                extra=extra,
            )
        case "custom":
            return Tool(name, description, kind="custom", deferred=deferred, protocol=NAME, extra=extra)
        case "namespace":
            listed = [member for member in entries(tool.get("tools")) if member.get("type") != "namespace"]
            members = tuple(_tool(member) for member in listed)  # namespaces do not nest
            return Tool(name, description, kind="namespace", members=members, protocol=NAME, extra=extra)
    return Tool(name or text(kind), description, kind="server", protocol=NAME, extra=tool)


def _written(tool: Tool, names: ToolNames, *, own: bool, searchable: bool, member: bool = False) -> JsonObject:
    out: JsonObject = {"type": tool.kind, "name": flat(tool.name) if member else names.wire(tool.name)}
    if tool.description:
        out["description"] = tool.description
    match tool.kind:
        case "namespace":
            out["name"] = tool.name
            out["tools"] = [_written(m, names, own=own, searchable=searchable, member=True) for m in tool.members]
        case "function":
            out["parameters"] = (tool.schema if own else None) or object_schema(tool.schema)
            # This protocol alone takes silence for strict, and strict refuses most schemas written for the others.
            strict = tool.strict if own else bool(tool.strict) and is_closed(out["parameters"])
            if strict is not None:
                out["strict"] = strict
        case "custom" if isinstance(wanted := tool.extra.get("format"), dict):
            out["format"] = wanted
    if tool.deferred and searchable:
        out["defer_loading"] = True
    return {**out, **tool.extra} if own else out
