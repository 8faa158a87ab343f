"""The simulated provider's Messages API: requests read, answers said."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from engine.llm.messages import JsonObject
from engine.providers.simulated.answer import Answer, Call, pieces
from engine.providers.simulated.asked import Asked, OfferedTool, count, objects, section, whole

_STOPS = {"end": "end_turn", "calls": "tool_use", "length": "max_tokens"}
_ERRORS = {
    "rate_limit": ("rate_limit_error", "Too many requests (simulated)."),
    "overloaded": ("overloaded_error", "Overloaded"),
}


def read(body: JsonObject) -> Asked:
    """The shape of a Messages request."""
    messages = objects(body.get("messages"))
    choice = section(body.get("tool_choice"))
    kind = choice.get("type", "auto")
    wanted = section(section(body.get("output_config")).get("format") or body.get("output_format"))
    schema = wanted.get("schema")
    return Asked(
        messages=len(messages),
        turns=count(messages, "role", "assistant"),
        tools=tuple(
            OfferedTool(str(tool.get("name", "")), tool["input_schema"])
            for tool in objects(body.get("tools"))
            if isinstance(tool.get("input_schema"), dict) and not tool.get("defer_loading")
        ),
        choice={"any": "required", "none": "none", "tool": f"={choice.get('name', '')}"}.get(str(kind), "auto"),
        parallel=not choice.get("disable_parallel_tool_use"),
        tool_results=sum(count(objects(message.get("content")), "type", "tool_result") for message in messages),
        thinking=section(body.get("thinking")).get("type") in ("enabled", "adaptive"),
        schema=schema if isinstance(schema, dict) else None,
        max_tokens=whole(body.get("max_tokens")),
        marked=b'"cache_control"' in orjson.dumps(body),
    )


def headers(answer: Answer) -> dict[str, str]:
    """Response headers beside the content type."""
    return {"request-id": f"req_{answer.mark[:24]}"}


def document(answer: Answer) -> JsonObject:
    """A whole answer."""
    content: list[JsonObject] = []
    if answer.thinking:
        content.append({"type": "thinking", "thinking": answer.thinking, "signature": _signature(answer)})
    if answer.text:
        content.append({"type": "text", "text": answer.text})
    content += [
        {"type": "tool_use", "id": _id(call), "name": call.tool.name, "input": orjson.loads(call.arguments)}
        for call in answer.calls
    ]
    return _message(answer, content, _STOPS[answer.stop], answer.answer_tokens)


def frames(answer: Answer) -> list[bytes]:
    """A streamed answer, event by event."""
    out = [_frame("message_start", message=_message(answer, [], None, 1)), _frame("ping")]
    index = 0

    def block(start: JsonObject, deltas: list[JsonObject]) -> None:
        nonlocal index
        out.append(_frame("content_block_start", index=index, content_block=start))
        out.extend(_frame("content_block_delta", index=index, delta=delta) for delta in deltas)
        out.append(_frame("content_block_stop", index=index))
        index += 1

    if answer.thinking:
        thoughts: list[JsonObject] = [
            {"type": "thinking_delta", "thinking": piece} for piece in pieces(answer.thinking)
        ]
        sealed = {"type": "signature_delta", "signature": _signature(answer)}
        block({"type": "thinking", "thinking": "", "signature": ""}, [*thoughts, sealed])
    if answer.text:
        block({"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces(answer.text)])
    for call in answer.calls:
        parts = ["", *pieces(call.arguments)]
        block(
            {"type": "tool_use", "id": _id(call), "name": call.tool.name, "input": {}},
            [{"type": "input_json_delta", "partial_json": part} for part in parts],
        )
    out.append(
        _frame(
            "message_delta",
            delta={"stop_reason": _STOPS[answer.stop], "stop_sequence": None},
            usage=_usage(answer, answer.answer_tokens),
        )
    )
    out.append(_frame("message_stop"))
    return out


def error(kind: str) -> JsonObject:
    """An error body."""
    name, message = _ERRORS[kind]
    return {"type": "error", "error": {"type": name, "message": message}}


def error_frame(kind: str) -> bytes:
    """An error told inside a stream."""
    return b"event: error\ndata: " + orjson.dumps(error(kind)) + b"\n\n"


def _frame(name: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps({"type": name, **fields}))


def _id(call: Call) -> str:
    return f"toolu_{call.mark}"


def _signature(answer: Answer) -> str:
    return base64.b64encode(bytes.fromhex(answer.mark)).decode()


def _message(answer: Answer, content: list[JsonObject], stop: str | None, tokens: int) -> JsonObject:
    return {
        "id": f"msg_{answer.mark[:24]}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": _usage(answer, tokens),
    }


def _usage(answer: Answer, tokens: int) -> JsonObject:
    # This wire's input_tokens leaves out what was read from or written to the cache.
    return {
        "input_tokens": answer.prompt_tokens - answer.cached_tokens - answer.written_tokens,
        "cache_creation_input_tokens": answer.written_tokens,
        "cache_read_input_tokens": answer.cached_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": answer.written_tokens, "ephemeral_1h_input_tokens": 0},
        "output_tokens": tokens,
        "service_tier": "standard",
    }
