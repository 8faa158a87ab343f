"""Answers in Anthropic's Messages protocol, read plainly. `input_tokens` there leaves out what a cache gave or took."""

from __future__ import annotations

from typing import Any

import orjson

from tests.fidelity.meaning import Answer, Call, arguments, known, within
from tests.fidelity.read.events import objects

STOPS = {
    "end_turn": "end",
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
    "pause_turn": "pause",
    "compaction": "pause",
    "model_context_window_exceeded": "context",
}


def whole(body: Any) -> Answer:
    """A whole answer."""
    if not isinstance(body.get("content"), list):
        return Answer(error=str(within(body, "error", "message") or "no content"))
    answer = Answer()
    for block in body["content"]:
        _block(answer, block)
    answer.stop = STOPS[body.get("stop_reason") or "end_turn"]
    answer.stop_sequence = body.get("stop_sequence")
    answer.usage = usage(body.get("usage"))
    return answer


def stream(raw: str) -> Answer:
    """A streamed answer, its blocks put together from their deltas."""
    body: dict[str, Any] = {"content": [], "usage": {}}
    places: dict[int, dict[str, Any]] = {}
    for _, event in objects(raw):
        match event.get("type"):
            case "message_start":
                body["usage"] = dict(event["message"].get("usage") or {})
            case "content_block_start":
                places[event["index"]] = block = dict(event["content_block"])
                body["content"].append(block)
            case "content_block_delta":
                _grow(places[event["index"]], event["delta"])
            case "message_delta":
                body |= {k: v for k, v in event["delta"].items() if v is not None}
                body["usage"] |= {k: v for k, v in (event.get("usage") or {}).items() if v is not None}
            case "error":
                return Answer(error=str(within(event, "error", "message")))
    if "stop_reason" not in body:
        return Answer(error="no end")
    for block in body["content"]:
        if "_json" in block:
            block["input"] = arguments(block.pop("_json"))
    return whole(body)


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] = block.get("text", "") + delta["text"]
        case "thinking_delta":
            block["thinking"] = block.get("thinking", "") + delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "input_json_delta" if delta["partial_json"]:
            block["_json"] = block.get("_json", "") + delta["partial_json"]
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]


def _block(answer: Answer, block: dict[str, Any]) -> None:
    match block["type"]:
        case "text":
            if block["text"]:
                answer.text += block["text"]
                answer.saw("t")
            answer.sources += [
                str(c.get("url") or f"file {c.get('document_title')}") for c in block.get("citations") or ()
            ]
        case "thinking":
            if block["thinking"].strip():
                answer.reasoning += block["thinking"] + "\n"
                answer.saw("r")
            if block.get("signature"):
                answer.state.append(block["signature"])
        case "redacted_thinking":
            answer.state.append(block["data"])
        case "tool_use":
            answer.calls.append(Call(block["id"], block["name"], arguments(block["input"])))
            answer.saw("c")
        case kind:
            answer.other.append(kind)


def usage(value: Any) -> dict[str, int]:
    """Token counts, cached ones counted as input."""
    held = value or {}
    read, written = held.get("cache_read_input_tokens"), held.get("cache_creation_input_tokens")
    fresh = held.get("input_tokens")
    return known(
        input=None if fresh is None else fresh + (read or 0) + (written or 0),
        output=held.get("output_tokens"),
        cached=read,
        written=written,
        reasoning=within(held, "output_tokens_details", "thinking_tokens"),
    )


def error(body: Any) -> str:
    """The message of an error body."""
    return str(within(body, "error", "message") or orjson.dumps(body).decode())
