"""The simulated provider's Responses API: requests read, answers said."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from engine.llm.messages import JsonObject
from engine.providers.simulated.answer import CREATED, Answer, Call, pieces
from engine.providers.simulated.asked import Asked, OfferedTool, count, objects, section, whole

_ERRORS = {
    "rate_limit": ("rate_limit_exceeded", "tokens", "Rate limit reached (simulated)."),
    "overloaded": ("server_is_overloaded", "service_unavailable_error", "Our servers are overloaded (simulated)."),
}


def read(body: JsonObject) -> Asked:
    """The shape of a Responses request."""
    given = body.get("input")
    items = objects(given)
    wanted = section(section(body.get("text")).get("format"))
    schema = wanted.get("schema")
    include = body.get("include")
    return Asked(
        messages=1 if isinstance(given, str) else len(items),
        turns=count(items, "role", "assistant")
        + sum(1 for item in items if str(item.get("type", "")).endswith("_call")),
        tools=tuple(tool for offered in objects(body.get("tools")) for tool in _tools(offered, "")),
        choice=_choice(body.get("tool_choice")),
        parallel=body.get("parallel_tool_calls") is not False,
        tool_results=sum(1 for item in items if str(item.get("type", "")).endswith("_call_output")),
        thinking=section(body.get("reasoning")).get("effort") not in (None, "", "none", "minimal"),
        schema=schema if isinstance(schema, dict) else None,
        json_object=wanted.get("type") == "json_object",
        max_tokens=whole(body.get("max_output_tokens")),
        sealed=isinstance(include, list) and "reasoning.encrypted_content" in include,
    )


def _tools(offered: JsonObject, namespace: str) -> list[OfferedTool]:
    name = str(offered.get("name", ""))
    match offered.get("type"):
        case "function" if not offered.get("defer_loading"):
            return [OfferedTool(name, section(offered.get("parameters")), namespace)]
        case "custom":
            return [OfferedTool(name, None, namespace)]
        case "namespace":
            return [tool for member in objects(offered.get("tools")) for tool in _tools(member, name)]
        case _:
            return []


def _choice(choice: Any) -> str:
    if isinstance(choice, str):
        return choice if choice in ("none", "required") else "auto"
    named = section(choice)
    if named.get("type") in ("function", "custom") and named.get("name"):
        return f"={named['name']}"
    return "required" if named.get("mode") == "required" else "auto"


def headers(answer: Answer) -> dict[str, str]:
    """Response headers beside the content type."""
    return {"x-request-id": f"req_{answer.mark[:24]}"}


def document(answer: Answer) -> JsonObject:
    """A whole answer."""
    return _response(answer, _finished(answer), [item for item, _ in _items(answer)])


def frames(answer: Answer) -> list[bytes]:
    """A streamed answer, event by event."""
    stream = _Stream()
    stream.say("response.created", response=_response(answer, "in_progress", []))
    stream.say("response.in_progress", response=_response(answer, "in_progress", []))
    items = _items(answer)
    for index, (item, text) in enumerate(items):
        _SAY[item["type"]](stream, index, item, text)
        stream.say("response.output_item.done", output_index=index, item=item)
    ending = "response.incomplete" if answer.stop == "length" else "response.completed"
    stream.say(ending, response=_response(answer, _finished(answer), [item for item, _ in items]))
    return stream.frames


def error(kind: str) -> JsonObject:
    """An error body."""
    code, name, message = _ERRORS[kind]
    return {"error": {"message": message, "type": name, "param": None, "code": code}}


def error_frame(kind: str) -> bytes:
    """An error told inside a stream."""
    code, _, message = _ERRORS[kind]
    data = {"type": "error", "sequence_number": 0, "code": code, "message": message, "param": None}
    return b"event: error\ndata: " + orjson.dumps(data) + b"\n\n"


class _Stream:
    """Events with their running number."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def say(self, name: str, /, **fields: Any) -> None:
        data = {"type": name, "sequence_number": len(self.frames), **fields}
        self.frames.append(b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data)))


def _say_reasoning(stream: _Stream, index: int, item: JsonObject, text: str) -> None:
    at = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    stream.say("response.output_item.added", output_index=index, item={**item, "summary": []})
    stream.say("response.reasoning_summary_part.added", **at, part={"type": "summary_text", "text": ""})
    for piece in pieces(text):
        stream.say("response.reasoning_summary_text.delta", **at, delta=piece)
    stream.say("response.reasoning_summary_text.done", **at, text=text)
    stream.say("response.reasoning_summary_part.done", **at, part={"type": "summary_text", "text": text})


def _say_message(stream: _Stream, index: int, item: JsonObject, text: str) -> None:
    at = {"item_id": item["id"], "output_index": index, "content_index": 0}
    stream.say("response.output_item.added", output_index=index, item={**item, "status": "in_progress", "content": []})
    stream.say("response.content_part.added", **at, part=_part(""))
    for piece in pieces(text):
        stream.say("response.output_text.delta", **at, delta=piece, logprobs=[])
    stream.say("response.output_text.done", **at, text=text, logprobs=[])
    stream.say("response.content_part.done", **at, part=_part(text))


def _say_function_call(stream: _Stream, index: int, item: JsonObject, text: str) -> None:
    at = {"item_id": item["id"], "output_index": index}
    stream.say(
        "response.output_item.added", output_index=index, item={**item, "status": "in_progress", "arguments": ""}
    )
    for piece in pieces(text):
        stream.say("response.function_call_arguments.delta", **at, delta=piece)
    stream.say("response.function_call_arguments.done", **at, name=item["name"], arguments=text)


def _say_custom_call(stream: _Stream, index: int, item: JsonObject, text: str) -> None:
    at = {"item_id": item["id"], "output_index": index}
    stream.say("response.output_item.added", output_index=index, item={**item, "status": "in_progress", "input": ""})
    for piece in pieces(text):
        stream.say("response.custom_tool_call_input.delta", **at, delta=piece)
    stream.say("response.custom_tool_call_input.done", **at, input=text)


_SAY = {
    "reasoning": _say_reasoning,
    "message": _say_message,
    "function_call": _say_function_call,
    "custom_tool_call": _say_custom_call,
}


def _items(answer: Answer) -> list[tuple[JsonObject, str]]:
    """The output items, each with the text that its deltas carry."""
    out: list[tuple[JsonObject, str]] = []
    if answer.thinking:
        summary = [{"type": "summary_text", "text": answer.thinking}]
        reasoning: JsonObject = {"id": f"rs_{answer.mark[:24]}", "type": "reasoning", "summary": summary}
        if answer.asked.sealed:
            reasoning["encrypted_content"] = base64.b64encode(bytes.fromhex(answer.mark)).decode()
        out.append((reasoning, answer.thinking))
    if answer.text:
        message: JsonObject = {
            "id": f"msg_{answer.mark[:24]}",
            "type": "message",
            "status": "incomplete" if answer.stop == "length" else "completed",
            "role": "assistant",
            "content": [_part(answer.text)],
        }
        out.append((message, answer.text))
    out.extend((_call(call), call.arguments) for call in answer.calls)
    return out


def _call(call: Call) -> JsonObject:
    custom = call.tool.schema is None
    item: JsonObject = {
        "id": f"{'ctc' if custom else 'fc'}_{call.mark}",
        "type": "custom_tool_call" if custom else "function_call",
        "status": "completed",
        "call_id": f"call_{call.mark}",
        "name": call.tool.name,
        "input" if custom else "arguments": call.arguments,
    }
    if call.tool.namespace:
        item["namespace"] = call.tool.namespace
    return item


def _part(text: str) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _finished(answer: Answer) -> str:
    return "incomplete" if answer.stop == "length" else "completed"


def _response(answer: Answer, status: str, output: list[JsonObject]) -> JsonObject:
    """The response object. The request's own words (instructions, tools) are not echoed."""
    return {
        "id": f"resp_{answer.mark[:24]}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": answer.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None if status == "in_progress" else _usage(answer),
        "user": None,
    }


def _usage(answer: Answer) -> JsonObject:
    return {
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens},
        "output_tokens": answer.answer_tokens,
        "output_tokens_details": {"reasoning_tokens": answer.thinking_tokens},
        "total_tokens": answer.prompt_tokens + answer.answer_tokens,
    }
