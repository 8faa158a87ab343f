"""The simulated provider's Chat Completions API: requests read, answers said."""

from __future__ import annotations

from typing import Any

import orjson

from engine.llm.messages import JsonObject
from engine.providers.simulated.answer import CREATED, Answer, Call, pieces
from engine.providers.simulated.asked import Asked, OfferedTool, count, objects, section, whole

_STOPS = {"end": "stop", "calls": "tool_calls", "length": "length"}
_ERRORS = {
    "rate_limit": ("rate_limit_exceeded", "requests", "Rate limit reached (simulated)."),
    "overloaded": ("overloaded", "server_error", "The model is overloaded (simulated)."),
}


def read(body: JsonObject) -> Asked:
    """The shape of a Chat Completions request."""
    messages = objects(body.get("messages"))
    wanted = section(body.get("response_format"))
    schema = section(wanted.get("json_schema")).get("schema")
    effort = body.get("reasoning_effort") or section(body.get("reasoning")).get("effort")
    return Asked(
        messages=len(messages),
        turns=count(messages, "role", "assistant"),
        tools=tuple(tool for offered in objects(body.get("tools")) for tool in _tool(offered)),
        choice=_choice(body.get("tool_choice")),
        parallel=body.get("parallel_tool_calls") is not False,
        tool_results=count(messages, "role", "tool"),
        thinking=effort not in (None, "", "none", "minimal"),
        schema=schema if isinstance(schema, dict) else None,
        json_object=wanted.get("type") == "json_object",
        max_tokens=whole(body.get("max_completion_tokens")) or whole(body.get("max_tokens")),
        stream_usage=section(body.get("stream_options")).get("include_usage") is True,
    )


def _tool(offered: JsonObject) -> list[OfferedTool]:
    match offered.get("type"):
        case "function":
            function = section(offered.get("function"))
            return [OfferedTool(str(function.get("name", "")), section(function.get("parameters")))]
        case "custom":
            return [OfferedTool(str(section(offered.get("custom")).get("name", "")), None)]
        case _:
            return []


def _choice(choice: Any) -> str:
    if isinstance(choice, str):
        return choice if choice in ("none", "required") else "auto"
    named = section(choice)
    name = section(named.get("function") or named.get("custom")).get("name")
    return f"={name}" if name else "auto"


def headers(answer: Answer) -> dict[str, str]:
    """Response headers beside the content type."""
    return {"x-request-id": f"req_{answer.mark[:24]}"}


def document(answer: Answer) -> JsonObject:
    """A whole answer."""
    message: JsonObject = {"role": "assistant", "content": answer.text or None, "refusal": None, "annotations": []}
    if answer.thinking:
        message["reasoning_content"] = answer.thinking
    if answer.calls:
        message["tool_calls"] = [{**_call(call), **_said(call, call.arguments)} for call in answer.calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _STOPS[answer.stop]}
    return {**_head(answer, "chat.completion"), "choices": [choice], "usage": _usage(answer)}


def frames(answer: Answer) -> list[bytes]:
    """A streamed answer, chunk by chunk; usage is told only when it was asked for."""
    usage = answer.asked.stream_usage
    out: list[bytes] = []

    def say(delta: JsonObject, finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        out.append(_frame({**_head(answer, "chat.completion.chunk"), "choices": [choice], **extra}))

    extra: JsonObject = {"usage": None} if usage else {}
    say({"role": "assistant", "content": "", "refusal": None})
    for piece in pieces(answer.thinking):
        say({"reasoning_content": piece})
    for piece in pieces(answer.text):
        say({"content": piece})
    for index, call in enumerate(answer.calls):
        say({"tool_calls": [{"index": index, **_call(call), **_said(call, "")}]})
        for piece in pieces(call.arguments):
            part = {"custom": {"input": piece}} if call.tool.schema is None else {"function": {"arguments": piece}}
            say({"tool_calls": [{"index": index, **part}]})
    say({}, _STOPS[answer.stop])
    if usage:
        out.append(_frame({**_head(answer, "chat.completion.chunk"), "choices": [], "usage": _usage(answer)}))
    out.append(b"data: [DONE]\n\n")
    return out


def error(kind: str) -> JsonObject:
    """An error body."""
    code, name, message = _ERRORS[kind]
    return {"error": {"message": message, "type": name, "param": None, "code": code}}


def error_frame(kind: str) -> bytes:
    """An error told inside a stream."""
    return _frame(error(kind))


def _frame(data: JsonObject) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


def _head(answer: Answer, kind: str) -> JsonObject:
    return {
        "id": f"chatcmpl-{answer.mark[:24]}",
        "object": kind,
        "created": CREATED,
        "model": answer.model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }


def _call(call: Call) -> JsonObject:
    return {"id": f"call_{call.mark}", "type": "custom" if call.tool.schema is None else "function"}


def _said(call: Call, arguments: str) -> JsonObject:
    if call.tool.schema is None:
        return {"custom": {"name": call.tool.name, "input": arguments}}
    return {"function": {"name": call.tool.name, "arguments": arguments}}


def _usage(answer: Answer) -> JsonObject:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.answer_tokens,
        "total_tokens": answer.prompt_tokens + answer.answer_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": answer.thinking_tokens, "audio_tokens": 0},
    }
