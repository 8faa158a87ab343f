"""Answers as a client reads them: items, usage and the response object around them, whole and as the frame of a stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import re2

from engine.llm.messages import (
    Block,
    JsonObject,
    LLMRequest,
    LLMResponse,
    Opaque,
    Refusal,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from engine.protocols import tool_ids
from engine.protocols.openai_responses import reasoning
from engine.protocols.openai_responses.words import NAME, entries, text

_PREFIX = "resp_"
_NOTES = frozenset({"url_citation", "file_citation", "container_file_citation", "file_path"})
"""Annotations that this protocol has; Chat servers make up others (`file`), on which strict clients fail."""
_OWN_ID = re2.compile(r"([0-9a-f]{12})[0-9a-f]{12}")
"""The gateway's ids begin with the milliseconds since 1970."""


def encode_response(response: LLMResponse, *, model: str) -> JsonObject:
    """See `WireProtocol.encode_response`."""
    answer_id = response_id(response.id)
    body = response_object(answer_id, model, created=created_at(response.extra))
    return {**body, "output": items(response.content, answer_id), **ending(response.stop, response.usage)}


def response_id(answer_id: str) -> str:
    """The id of an answer in this protocol's form."""
    return answer_id if answer_id.startswith(_PREFIX) else _PREFIX + answer_id


def created_at(extra: Any, answer_id: str = "") -> int:
    """Epoch seconds: what the provider said, else what the gateway's own id of the answer tells, else 0 (no clock here)."""
    value = extra.get("created_at") or extra.get("created")
    if isinstance(value, int | float):
        return int(value)
    own = _OWN_ID.fullmatch(answer_id.removeprefix(_PREFIX))
    return int(own.group(1), 16) // 1000 if own else 0


def response_object(answer_id: str, model: str, *, created: int = 0, request: LLMRequest | None = None) -> JsonObject:
    """A response that has begun: every member that a strict client asks for, no output yet."""
    return {
        "id": answer_id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": model,
        "output": [],
        **_echoed(request),
        "usage": None,
    }


def ending(stop: StopReason, usage: Usage) -> JsonObject:
    """The members that an ended answer changes: status, why it is incomplete, usage."""
    match stop:
        case "max_tokens" | "context_exceeded":
            reason = "max_output_tokens"
        case "content_filter":
            reason = "content_filter"
        case _:
            return {"status": "completed", "usage": encode_usage(usage)}
    return {"status": "incomplete", "incomplete_details": {"reason": reason}, "usage": encode_usage(usage)}


def encode_usage(usage: Usage) -> JsonObject:
    """All counts, unknown ones as 0: a missing usage makes agents loop or compact at the wrong time."""
    taken, given = usage.input_tokens or 0, usage.output_tokens or 0
    return {
        "input_tokens": taken,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens or 0,
            "cache_write_tokens": usage.cache_write_tokens or 0,
        },
        "output_tokens": given,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": taken + given,
    }


def items(content: Iterable[Block], answer_id: str) -> list[JsonObject]:
    """The output items of a whole answer. Text blocks in a row are parts of one message."""
    output: list[JsonObject] = []
    parts: list[JsonObject] = []

    def close() -> None:
        if parts:
            output.append(message_item(item_id("msg", answer_id, len(output)), list(parts)))
            parts.clear()

    for block in content:
        if isinstance(block, Text | Refusal):
            parts.append(said_part(block))
            continue
        close()
        match block:
            case Thinking():
                made = item_id("", answer_id, len(output))
                output.append(reasoning.for_client(block, reasoning.client_id(block, made)))
            case ToolCall():
                output.append(call_item(block, call_item_id(block, answer_id, len(output))))
            case Opaque(protocol, value) if protocol == NAME:
                output.append(value)
    close()
    return output


def item_id(prefix: str, answer_id: str, index: int) -> str:
    """An id for an item of ours, unique in its conversation because the answer's id is."""
    made = f"{answer_id.removeprefix(_PREFIX)[:40]}_{index}"
    return f"{prefix}_{made}" if prefix else made


def call_item_id(call: ToolCall, answer_id: str, index: int) -> str:
    """The id of a call's item: its own where it has a valid one."""
    prefix = "ctc" if call.kind == "custom" else "fc"
    return call.item_id if reasoning.valid_id(call.item_id, prefix + "_") else item_id(prefix, answer_id, index)


def message_item(message_id: str, parts: list[JsonObject], status: str = "completed") -> JsonObject:
    """A message of the assistant."""
    return {"type": "message", "id": message_id, "status": status, "role": "assistant", "content": parts}


def said_part(block: Text | Refusal) -> JsonObject:
    """A content part of a message."""
    if isinstance(block, Refusal):
        return {"type": "refusal", "refusal": block.text}
    notes = [_flat(note) for note in entries(block.extra.get("annotations"))]
    annotations = [note for note in notes if text(note.get("type")) in _NOTES]
    tokens = entries(block.extra.get("logprobs"))
    return {"type": "output_text", "text": block.text, "annotations": annotations, "logprobs": tokens}


def call_item(call: ToolCall, its_id: str, status: str = "completed") -> JsonObject:
    """A call's item; `call_id` is what its output will name, so there is always one."""
    item: JsonObject = {
        "type": "custom_tool_call" if call.kind == "custom" else "function_call",
        "id": its_id,
        "status": status,
        "call_id": call.id or tool_ids.synthetic(its_id),
        "name": call.name,
    }
    if call.namespace:
        item["namespace"] = call.namespace
    item["input" if call.kind == "custom" else "arguments"] = call.arguments
    return item


def _flat(annotation: JsonObject) -> JsonObject:
    """Chat Completions nests what a citation says; here it is flat."""
    inner = annotation.get("url_citation")
    return {"type": "url_citation", **inner} if isinstance(inner, dict) else annotation


def _echoed(request: LLMRequest | None) -> JsonObject:
    """The settings of a request that an answer repeats. Tools and instructions are left out: no client reads them there."""
    settings: JsonObject = {
        "max_output_tokens": None,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "metadata": {},
    }
    if request is None:
        return settings
    settings["max_output_tokens"] = request.max_output_tokens
    settings["temperature"], settings["top_p"] = request.temperature, request.top_p
    if request.parallel_tool_calls is not None:
        settings["parallel_tool_calls"] = request.parallel_tool_calls
    if request.tool_choice is not None and request.tool_choice.mode != "tool":
        settings["tool_choice"] = request.tool_choice.mode
    if (asked := request.reasoning) is not None:
        settings["reasoning"] = {"effort": asked.effort or None, "summary": asked.summary or None}
    metadata: Any = request.extra.get("metadata")
    if isinstance(metadata, dict):
        settings["metadata"] = metadata
    return settings
