"""A client's request in neutral words.

The assistant's items in a row (reasoning, message, calls) are one message, since that is what they are on every other
protocol: reasoning stays before what it led to. Tool outputs in a row are one user message. A second message item of the
same turn starts a message of its own, so that each keeps its `id` and `phase`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.llm.errors import ClientError
from engine.llm.messages import (
    Block,
    JsonObject,
    LLMRequest,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from engine.protocols import arguments
from engine.protocols.openai_responses import reasoning
from engine.protocols.openai_responses.parts import read_content
from engine.protocols.openai_responses.shapes import SETTINGS, strange
from engine.protocols.openai_responses.tools import allowed, read_choice, read_tools
from engine.protocols.openai_responses.words import HELD, LOGPROBS, NAME, field_losses, made_by_model, text

_CALL_FIELDS = frozenset({"type", "id", "call_id", "name", "namespace", "arguments", "input"})
_RESULT_FIELDS = frozenset({"type", "call_id", "output"})
_MESSAGE_FIELDS = frozenset({"type", "role", "content"})


def decode_request(body: JsonObject) -> LLMRequest:
    """See `WireProtocol.decode_request`."""
    conversation = _Conversation()
    if instructions := body.get("instructions"):
        conversation.messages.append(Message("system", read_content(instructions)))
    given = body.get("input", "")
    if isinstance(given, str):
        conversation.messages.append(Message("user", (Text(given),)))
    elif isinstance(given, list):
        for index, item in enumerate(given):
            conversation.item(item, index)
        conversation.close()
    else:
        raise ClientError("input must be a string or a list of items", field="input")
    choice = body.get("tool_choice")
    offered = _with_loaded(_last_of_each(read_tools(body.get("tools")) + conversation.tools), conversation.loaded)
    tools = allowed(offered, choice)
    extra = {name: value for name, value in body.items() if name not in HELD and value is not None}
    extra.pop("text", None)
    wanted = body.get("text")
    known = ("format", "verbosity")
    if isinstance(wanted, dict) and (rest := {k: v for k, v in wanted.items() if k not in known and v is not None}):
        extra["text"] = rest
    limit = body.get("max_output_tokens")
    parallel = body.get("parallel_tool_calls")
    return LLMRequest(
        model=text(body.get("model")),
        messages=tuple(conversation.messages),
        tools=tuple(tools),
        tool_choice=read_choice(choice),
        parallel_tool_calls=parallel if isinstance(parallel, bool) else None,
        max_output_tokens=limit if isinstance(limit, int) else None,
        temperature=_number(body.get("temperature")),
        top_p=_number(body.get("top_p")),
        stream=body.get("stream") is True,
        reasoning=_reasoning(body.get("reasoning"), conversation.effort),
        output_format=_format(wanted.get("format")) if isinstance(wanted, dict) else None,
        user=text(body.get("user")) or text(body.get("safety_identifier")),
        cache_key=text(body.get("prompt_cache_key")),
        service_tier=text(body.get("service_tier")),
        logprobs=_logprobs(body),
        verbosity=text(wanted.get("verbosity")) if isinstance(wanted, dict) else "",
        protocol=NAME,
        strange=SETTINGS.strange(body),
        extra=extra,
        extra_losses=_extra_losses(body, extra),
    )


def _extra_losses(body: JsonObject, extra: JsonObject) -> frozenset[str]:
    beside = {name: body.get(name) for name in (*extra, "reasoning")}
    losses = {code for name, value in beside.items() for code in field_losses(name, value)}
    return frozenset(losses - {"user", "logprobs"})


def _logprobs(body: JsonObject) -> int | None:
    """How many alternatives are asked for; without the word in `include` a count is taken for the wish."""
    most, told = body.get("top_logprobs"), body.get("include")
    most = most if isinstance(most, int) else 0
    return most if most or (isinstance(told, list) and LOGPROBS in told) else None


class _Conversation:
    """Gathers input items into messages."""

    __slots__ = ("_blocks", "_extra", "_role", "_strange", "effort", "loaded", "messages", "tools")

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.tools: list[Tool] = []
        """Offered by items of the conversation."""
        self.loaded: list[Tool] = []
        """Found by a tool search."""
        self.effort = ""
        """The last effort that an item in the conversation changed to."""
        self._role = ""
        self._blocks: list[Block] = []
        self._extra: JsonObject = {}
        self._strange = False

    def item(self, item: Any, index: int) -> None:
        """Adds one item. Raises ClientError for what is no item."""
        if not isinstance(item, dict):
            raise ClientError("an input item must be an object", field=f"input[{index}]")
        match item.get("type") or "message":
            case "message":
                self._message(item, index)
            case "function_call" | "custom_tool_call":
                self._add("assistant", read_call(item), odd=strange(item))
            case "function_call_output" | "custom_tool_call_output":
                self._add("result", _result(item, index), odd=strange(item))
            case "reasoning":
                self._add("assistant", reasoning.read(item), odd=strange(item))
            case "additional_tools":
                self.tools += read_tools(item.get("tools"))
            case "configuration_update":
                changed = item.get("reasoning")
                self.effort = text(changed.get("effort")) if isinstance(changed, dict) else self.effort
            case kind:
                self._opaque(item, text(kind))

    def close(self) -> None:
        """Ends the message that is open."""
        if self._blocks:
            role: Role = "assistant" if self._role == "assistant" else "user"
            self.messages.append(Message(role, tuple(self._blocks), self._extra, self._strange))
        self._role, self._blocks, self._extra, self._strange = "", [], {}, False

    def _add(self, role: str, *blocks: Block, odd: bool = False) -> None:
        if role != self._role:
            self.close()
            self._role = role
        self._strange = self._strange or odd
        self._blocks += blocks

    def _message(self, item: JsonObject, index: int) -> None:
        role = item.get("role")
        blocks = read_content(item.get("content"))
        extra = {name: value for name, value in item.items() if name not in _MESSAGE_FIELDS and value is not None}
        match role:
            case "assistant":
                if self._role == "assistant" and any(isinstance(block, Text) for block in self._blocks):
                    self.close()
                self._add("assistant", *blocks, odd=strange(item))
                self._extra = extra
            case "user" | "system" | "developer":
                self.close()
                if blocks:
                    self.messages.append(Message(role, blocks, extra, strange(item)))
            case _:
                message = "an input message needs a role: user, assistant, system or developer"
                raise ClientError(message, field=f"input[{index}].role")

    def _opaque(self, item: JsonObject, kind: str) -> None:
        if kind == "tool_search_output":
            self.loaded += read_tools(item.get("tools"))
        if made_by_model(kind):
            self._add("assistant", Opaque(NAME, item))
        else:
            self.close()
            self.messages.append(Message("user", (Opaque(NAME, item),)))


def read_call(item: JsonObject) -> ToolCall:
    """The call of a `function_call` or `custom_tool_call` item; its `call_id` may be empty."""
    custom = item.get("type") == "custom_tool_call"
    given = item.get("input") if custom else item.get("arguments")
    return ToolCall(
        id=text(item.get("call_id")),
        name=text(item.get("name")),
        arguments=text(given) if custom else arguments.to_text(given),
        kind="custom" if custom else "function",
        namespace=text(item.get("namespace")),
        item_id=text(item.get("id")),
        extra={name: value for name, value in item.items() if name not in _CALL_FIELDS and value is not None},
    )


def _result(item: JsonObject, index: int) -> ToolResult:
    call_id = item.get("call_id")
    if not isinstance(call_id, str):
        raise ClientError("a tool output needs the call_id that it answers", field=f"input[{index}].call_id")
    return ToolResult(
        call_id,
        read_content(item.get("output")),
        kind="custom" if item.get("type") == "custom_tool_call_output" else "function",
        extra={name: value for name, value in item.items() if name not in _RESULT_FIELDS and value is not None},
    )


def _reasoning(value: Any, effort: str) -> Reasoning | None:
    asked = value if isinstance(value, dict) else {}
    effort = effort or text(asked.get("effort"))
    summary = text(asked.get("summary"))
    extra = {k: v for k, v in asked.items() if k not in ("effort", "summary") and v is not None}
    if not (effort or summary or extra):
        return None
    enabled = None if not effort else effort != "none"
    return Reasoning(enabled=enabled, effort=effort, summary=summary, extra=extra)


def _format(value: Any) -> OutputFormat | None:
    if not isinstance(value, dict):
        return None
    match value.get("type"):
        case "json_object":
            return OutputFormat("json_object")
        case "json_schema":
            schema, strict = value.get("schema"), value.get("strict")
            return OutputFormat(
                "json_schema",
                name=text(value.get("name")),
                schema=schema if isinstance(schema, dict) else None,
                strict=strict if isinstance(strict, bool) else None,
                extra={
                    k: v for k, v in value.items() if k not in ("type", "name", "schema", "strict") and v is not None
                },
            )
    return None


def _last_of_each(offered: list[Tool]) -> list[Tool]:
    """A tool that an item in the conversation offers anew is what it is there, in its first place."""
    if len({(tool.kind, tool.name) for tool in offered if tool.kind != "server"}) == len(offered):
        return offered
    last = {(tool.kind, tool.name): tool for tool in offered if tool.kind != "server"}
    return [
        kept for tool in offered if (kept := tool if tool.kind == "server" else last.pop((tool.kind, tool.name), None))
    ]


def _with_loaded(offered: list[Tool], loaded: list[Tool]) -> list[Tool]:
    """What a tool search found is offered from then on, whether it was listed before or not."""
    found = {tool.name: replace(tool, deferred=False) for tool in loaded}
    return [found.pop(tool.name, tool) for tool in offered] + list(found.values()) if found else offered


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
