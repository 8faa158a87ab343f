"""Answers in the Responses protocol, read plainly. A stream is read from its finished items, not from its deltas."""

from __future__ import annotations

from typing import Any

from tests.fidelity.meaning import Answer, Call, arguments, known, within
from tests.fidelity.read.events import objects


def whole(body: Any) -> Answer:
    """A whole answer."""
    if body.get("error"):
        return Answer(error=str(within(body, "error", "message") or body["error"]))
    if body.get("status") in ("queued", "in_progress", "cancelled", "failed"):
        return Answer(error=f"status {body['status']}")
    answer = Answer()
    for item in body.get("output") or ():
        _item(answer, item)
    answer.usage = usage(body.get("usage"))
    reason = within(body, "incomplete_details", "reason")
    if body.get("status") == "incomplete":
        answer.stop = "content_filter" if reason == "content_filter" else "max_tokens"
    elif answer.calls:
        answer.stop = "tool_use"
    elif answer.refusal:
        answer.stop = "refusal"
    return answer


def stream(raw: str) -> Answer:
    """A streamed answer: the items of the last event, else those that were said to be done."""
    done: list[dict[str, Any]] = []
    for name, event in objects(raw):
        match event.get("type") or name:
            case "response.output_item.done":
                done.append(event["item"])
            case "response.completed" | "response.incomplete":
                response = event["response"]
                return whole({**response, "output": response.get("output") or done})
            case "response.failed":
                return Answer(error=str(within(event, "response", "error", "message") or "failed"))
            case "error":
                return Answer(error=str(within(event, "error", "message") or event.get("message") or "failed"))
    return Answer(error="no end")


def _item(answer: Answer, item: dict[str, Any]) -> None:
    match item.get("type"):
        case "message":
            for part in item.get("content") or ():
                _part(answer, part)
        case "reasoning":
            parts = item.get("content") or item.get("summary") or ()
            said = "\n".join(part.get("text") or "" for part in parts)
            if said.strip():
                answer.reasoning += said + "\n"
                answer.saw("r")
            if item.get("encrypted_content"):
                answer.state.append(item["encrypted_content"])
        case "function_call":
            said = arguments(item.get("arguments"))
            call_id, space = item.get("call_id") or "", item.get("namespace") or ""
            answer.calls.append(Call(call_id, item["name"], said, namespace=space))
            answer.saw("c")
        case "custom_tool_call":
            space = item.get("namespace") or ""
            answer.calls.append(Call(item["call_id"], item["name"], item["input"], "custom", space))
            answer.saw("c")
        case kind:
            answer.other.append(str(kind))


def _part(answer: Answer, part: dict[str, Any]) -> None:
    match part["type"]:
        case "output_text":
            if part["text"]:
                answer.text += part["text"]
                answer.saw("t")
            answer.sources += [
                str(note.get("url") or f"file {note.get('filename')}") for note in part.get("annotations") or ()
            ]
        case "refusal":
            answer.refusal += part["refusal"]
            answer.saw("t")
        case kind:
            answer.other.append(kind)


def usage(value: Any) -> dict[str, int]:
    """Token counts."""
    held = value or {}
    return known(
        input=held.get("input_tokens"),
        output=held.get("output_tokens"),
        cached=within(held, "input_tokens_details", "cached_tokens"),
        written=within(held, "input_tokens_details", "cache_write_tokens"),
        reasoning=within(held, "output_tokens_details", "reasoning_tokens"),
    )
