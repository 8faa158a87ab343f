"""A provider's whole answer in neutral words, and the pieces that its stream and its tap share: usage, stop, failure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from engine.llm.catalogue import Quirks
from engine.llm.errors import ProviderError
from engine.llm.messages import Block, JsonObject, LLMRequest, LLMResponse, Opaque, Refusal, StopReason, ToolCall, Usage
from engine.protocols import error_bodies, tool_ids
from engine.protocols.openai_responses import reasoning
from engine.protocols.openai_responses.parts import read_said
from engine.protocols.openai_responses.request_in import read_call
from engine.protocols.openai_responses.tools import restored
from engine.protocols.openai_responses.words import NAME, entries, text
from engine.protocols.tool_names import ToolNames

_KEPT = ("created_at", "service_tier")
_USAGE = frozenset(
    {"input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details", "cost"}
)
NAMELESS = "the provider's answer holds a tool call without a name"
_UNFINISHED = frozenset({"queued", "in_progress", "cancelled"})


def decode_response(body: JsonObject, *, quirks: Quirks, request: LLMRequest | None) -> LLMResponse:
    """See `WireProtocol.decode_response`."""
    if (error := failure(body) or unlike(body)) is not None:
        raise error
    output = body["output"]
    names = ToolNames(request.tools if request is not None else ())
    answer_id = text(body.get("id"))
    ids = tool_ids.AnswerIds(request)
    content: list[Block] = []
    for index, item in enumerate(entries(output)):
        for block in blocks(item, names):
            if isinstance(block, ToolCall):
                if not block.name:
                    raise broken(NAMELESS)
                block = replace(block, id=ids.of(block.id, answer_id, index))
            content.append(block)
    return LLMResponse(
        id=answer_id,
        model=text(body.get("model")),
        content=tuple(content),
        stop=stop_reason(body, content),
        usage=decode_usage(body.get("usage"), quirks),
        protocol=NAME,
        extra=kept(body),
    )


def blocks(item: JsonObject, names: ToolNames) -> list[Block]:
    """The blocks of one finished output item. A message gives one per part; parts without text give none. A call has the
    client's own name, and the provider's id, if any.
    """
    match item.get("type"):
        case "message":
            said = [read_said(part) for part in entries(item.get("content"))]
            return [block for block in said if isinstance(block, Opaque) or block.text]
        case "reasoning":
            return [reasoning.read(item)]
        case "function_call" | "custom_tool_call":
            return [restored(read_call(item), names)]
    return [Opaque(NAME, item)]


def failure(body: JsonObject) -> ProviderError | None:
    """The error that a response object, or an error body in its place, tells of; None for an answer."""
    if isinstance(body.get("error"), dict | str) and body["error"]:
        return error_bodies.provider_error(
            0, b"", {}, protocol=NAME, in_stream=True, read_as=error_bodies.from_value(_error_part(body))
        )
    status = text(body.get("status"))
    if status == "failed":
        return ProviderError(
            "the provider failed without saying why", meaning="server_error", protocol=NAME, in_stream=True
        )
    if status in _UNFINISHED:
        return broken(f"the provider's answer is {status}, not finished")
    return None


def unlike(body: JsonObject) -> ProviderError | None:
    """The error that a whole JSON document is when it is something else than a response: a list, a count, another wire's answer."""
    if body.get("object") not in (None, "response"):
        return broken(f"the provider sent a {text(body['object'])[:80] or 'document'} where a response was due")
    return None if isinstance(body.get("output"), list) else broken("the provider's answer has no output")


def broken(message: str) -> ProviderError:
    """The error for an answer that is none."""
    return ProviderError(message, meaning="broken", protocol=NAME, in_stream=True)


def stop_reason(response: JsonObject, content: Iterable[Block]) -> StopReason:
    """Why the answer ended. A cut-off answer is never `tool_use`: its last call may be half a call."""
    if response.get("status") == "incomplete" or isinstance(response.get("incomplete_details"), dict):
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else ""
        return "content_filter" if reason == "content_filter" else "max_tokens"
    refused = False
    for block in content:
        if isinstance(block, ToolCall):
            return "tool_use"
        refused = refused or isinstance(block, Refusal)
    return "refusal" if refused else "end_turn"


def decode_usage(value: Any, quirks: Quirks) -> Usage:
    """Usage of an answer; what has no field of its own stays in `extra`."""
    if not isinstance(value, dict):
        return Usage()
    taken, given = value.get("input_tokens_details"), value.get("output_tokens_details")
    taken, given = taken if isinstance(taken, dict) else {}, given if isinstance(given, dict) else {}
    output, thought = _count(value.get("output_tokens")), _count(given.get("reasoning_tokens"))
    if quirks.reasoning_outside_output and output is not None and thought:
        output += thought
    cost = value.get("cost")
    return Usage(
        input_tokens=_count(value.get("input_tokens")),
        output_tokens=output,
        cached_tokens=_count(taken.get("cached_tokens")),
        cache_write_tokens=_count(taken.get("cache_write_tokens")),
        reasoning_tokens=thought,
        cost_usd=float(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) else None,
        extra={name: part for name, part in value.items() if name not in _USAGE},
    )


def kept(response: JsonObject) -> JsonObject:
    """Members of a response that ride along."""
    return {name: response[name] for name in _KEPT if response.get(name) is not None}


def _error_part(body: JsonObject) -> JsonObject:
    """A failed response says its error beside members of the same names (`status`, `type`): only the error counts."""
    return {"error": body["error"]} if isinstance(body["error"], dict) else {**body, "status": None}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
