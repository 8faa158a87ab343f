"""Whole answers, both ways, and what a preserved one tells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from engine.llm.errors import ProviderError
from engine.llm.messages import (
    Block,
    JsonObject,
    LLMRequest,
    LLMResponse,
    Opaque,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from engine.llm.protocol import Tapped
from engine.protocols import arguments, error_bodies, tool_ids
from engine.protocols.anthropic_messages.blocks_in import decode_content
from engine.protocols.anthropic_messages.blocks_out import beside, thinking_shown
from engine.protocols.anthropic_messages.usage import decode_usage, encode_usage
from engine.protocols.anthropic_messages.words import NAME, STOP_OUT, stop_reason
from engine.protocols.custom_text import wrapped
from engine.protocols.tool_names import ToolNames

_KNOWN = frozenset({"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"})


def decode_response(body: JsonObject, *, request: LLMRequest | None = None) -> LLMResponse:
    """See `WireProtocol.decode_response`."""
    content = body.get("content")
    if not isinstance(content, list):
        raise no_answer(body)
    names = ToolNames(request.tools if request is not None else ())
    ids = tool_ids.AnswerIds(request)
    answer_id = str(body.get("id") or "")
    blocks: list[Block] = []
    for block in decode_content(content):
        if isinstance(block, ToolCall):
            block = names.restore(block)
            block = replace(block, id=ids.of(block.id, answer_id, len(blocks)))
        if is_nameless_call(block):
            raise nameless()
        blocks.append(block)
    return LLMResponse(
        id=answer_id,
        model=str(body.get("model") or ""),
        content=tuple(blocks),
        stop=stop_reason(body.get("stop_reason"), has_tool_call=any(isinstance(b, ToolCall) for b in blocks)),
        stop_sequence=body["stop_sequence"] if isinstance(body.get("stop_sequence"), str) else None,
        usage=decode_usage(body.get("usage")),
        protocol=NAME,
        extra={key: value for key, value in body.items() if key not in _KNOWN},
    )


def no_answer(body: JsonObject) -> ProviderError:
    """The error for JSON in a success that is no answer: the error it reports, or `broken`."""
    if body.get("error") or body.get("type") == "error":
        seen = error_bodies.from_value(body)
        return error_bodies.provider_error(0, b"", {}, protocol=NAME, in_stream=True, read_as=seen)
    return ProviderError("the provider's answer has no content list", meaning="broken", protocol=NAME, in_stream=True)


def is_nameless_call(block: Block) -> bool:
    """Whether this is a client's tool call that names no tool: nobody could answer it."""
    return (block.name == "") if isinstance(block, ToolCall) else isinstance(block, Opaque) and block.type == "tool_use"


def nameless() -> ProviderError:
    """The error for an answer with such a call."""
    said = "the provider's answer holds a tool call without a name"
    return ProviderError(said, meaning="broken", protocol=NAME, in_stream=True)


def encode_response(response: LLMResponse, *, model: str) -> JsonObject:
    """See `WireProtocol.encode_response`. Blocks that only another protocol understands are left out."""
    own = response.protocol == NAME
    content = [part for block in response.content if (part := answer_block(block, own=own)) is not None]
    body: JsonObject = {
        "id": response.id or "msg_0",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": STOP_OUT[response.stop],
        "stop_sequence": response.stop_sequence,
        "usage": encode_usage(response.usage, with_extra=own),
    }
    return {**body, **response.extra} if own else body


def answer_block(block: Block, *, own: bool) -> JsonObject | None:
    """One block of an answer as a client of this protocol reads it; None when there is nothing to show."""
    match block:
        case Text(text, extra) | Refusal(text, extra):
            return {"type": "text", "text": text, **(extra if own else {})} if text else None
        case Thinking():
            return thinking_shown(block)
        case ToolCall():
            text = wrapped(block.arguments) if block.kind == "custom" else block.arguments
            return {
                "type": "tool_use",
                "id": tool_ids.fit(block.id, "word"),
                "name": block.name,
                "input": arguments.to_object(text),
                **beside(block.extra, own=own),
            }
        case Opaque(protocol, value) if protocol == NAME:
            return value
    return None


def tap_response(body: JsonObject) -> Tapped:
    """See `WireProtocol.tap_response`."""
    content = body.get("content")
    if not isinstance(content, list):
        return Tapped(error=no_answer(body))
    has_call = any(isinstance(block, dict) and block.get("type") == "tool_use" for block in content)
    return Tapped(
        started=True,
        finished=True,
        stop=stop_reason(body.get("stop_reason"), has_tool_call=has_call),
        usage=decode_usage(body.get("usage")),
        model=_text(body.get("model")),
        id=_text(body.get("id")),
        sealed=tuple(
            state
            for block in content
            if isinstance(block, dict)
            and block.get("type") in ("thinking", "redacted_thinking")
            and (state := _text(block.get("signature") or block.get("data")))
        ),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
