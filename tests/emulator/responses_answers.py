"""The Responses API's answers, whole and streamed: every event the API sends for text, reasoning and calls, in its order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from tests.emulator.conversation import Conversation, Offer, Step
from tests.emulator.ids import item_id, random_id
from tests.emulator.models import Model
from tests.emulator.pieces import pieces
from tests.emulator.responses_rules import arguments
from tests.emulator.script import Answer, Usage
from tests.emulator.seals import Seals
from tests.emulator.shape import images, opening, texts
from tests.emulator.tokens import OPENAI, PromptCache, count

SPOKEN = ("function_call", "custom_tool_call", "reasoning")


def read(body: Mapping[str, Any], history: list[Any], model: Model) -> Conversation:
    """A valid request as the model reads it."""
    choice = body.get("tool_choice") or "auto"
    form = (body.get("text") or {}).get("format") or {}
    users = [item for item in history if item.get("role") == "user"]
    return Conversation(
        model=body["model"],
        stream=bool(body.get("stream")),
        offers=tuple(_offers(body, history)),
        steps=tuple(_steps(history)),
        turns=_turns(history),
        thinks=model.always_thinks and (body.get("reasoning") or {}).get("effort") != "none",
        shows_thinking=(body.get("reasoning") or {}).get("summary") is not None,
        choice=choice if isinstance(choice, str) else choice.get("name", "auto"),
        parallel=body.get("parallel_tool_calls") is not False,
        max_output=body.get("max_output_tokens") or 0,
        schema=form.get("schema"),
        prompt=" ".join(texts(users[-1]["content"])) if users else "",
        opening=opening(history),
        images=images(history),
    )


def _offers(body: Mapping[str, Any], history: list[Any]) -> Iterator[Offer]:
    groups = [body.get("tools") or (), *(item["tools"] for item in history if item.get("type") == "additional_tools")]
    for tools in groups:
        for tool in tools:
            match tool["type"]:
                case "function":
                    yield Offer(tool["name"], tool.get("parameters") or {})
                case "custom":
                    yield Offer(tool["name"], custom=True)
                case "namespace":
                    yield from (
                        Offer(i["name"], i.get("parameters") or {}, tool["name"], i["type"] == "custom")
                        for i in tool["tools"]
                    )


def _steps(history: list[Any]) -> Iterator[Step]:
    outputs = {
        i["call_id"]: i["output"] for i in history if str(i.get("type")).endswith("_call_output") and "call_id" in i
    }
    for item in history:
        kind = item.get("type")
        if kind in ("function_call", "custom_tool_call") and item["call_id"] in outputs:
            given = item["input"] if kind == "custom_tool_call" else arguments(item["arguments"])
            yield Step(item["call_id"], item["name"], given, "\n".join(texts(outputs[item["call_id"]])))


def _turns(history: list[Any]) -> int:
    """Runs of items that the model spoke."""
    spoken = [item.get("type") in SPOKEN or item.get("role") == "assistant" for item in history]
    return sum(now and not before for before, now in zip([False, *spoken], spoken, strict=False))


def usage(body: Mapping[str, Any], history: list[Any], answer: Answer, cache: PromptCache) -> dict[str, Any]:
    """The `usage` object: cached tokens are inside the input, reasoning inside the output."""
    tokens = answer.usage
    if tokens is None:
        segments = [body.get("tools") or [], body.get("instructions") or "", *history]
        cached = cache.keep(segments, OPENAI, body)
        reasoning = count(answer.thinking) if answer.thinking else 0
        output = count(answer.text) + reasoning + sum(count(call.input) + 8 for call in answer.calls)
        tokens = Usage(sum(count(segment) for segment in segments), output, cached, 0, reasoning)
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": tokens.cache_written},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    }


def output(body: Mapping[str, Any], talk: Conversation, answer: Answer, seals: Seals) -> list[dict[str, Any]]:
    """The answer's items."""
    made: list[dict[str, Any]] = []
    given = body["input"]
    if isinstance(given, list) and given[-1].get("type") == "compaction_trigger":
        its_id = item_id("cmp")
        return [{"id": its_id, "type": "compaction", "encrypted_content": seals.encrypt(its_id)}]
    if talk.thinks and answer.thinking:
        item = {"id": item_id("rs"), "type": "reasoning", "summary": []}
        if talk.shows_thinking:
            item["summary"] = [{"type": "summary_text", "text": answer.thinking}]
        if "reasoning.encrypted_content" in (body.get("include") or ()):
            item["encrypted_content"] = seals.encrypt(item["id"])
        made.append(item)
    if answer.text:
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": answer.text}
        made.append(
            {"id": item_id("msg"), "type": "message", "status": "completed", "content": [part], "role": "assistant"}
        )
    for call in answer.calls:
        call_id = random_id("call_")
        if call.custom:
            item = {
                "id": item_id("ctc"),
                "type": "custom_tool_call",
                "status": "completed",
                "call_id": call_id,
                "input": call.input,
                "name": call.name,
            }
        else:
            item = {
                "id": item_id("fc"),
                "type": "function_call",
                "status": "completed",
                "arguments": call.arguments,
                "call_id": call_id,
                "name": call.name,
            }
        made.append(item | ({"namespace": call.namespace} if call.namespace else {}))
    return made


def whole(body: Mapping[str, Any], answer: Answer, made: list[dict[str, Any]], used: dict[str, Any]) -> dict[str, Any]:
    """The answer as one JSON object: the request's settings echoed, as the API does."""
    cut = answer.stop == "max_tokens"
    now = int(time.time())
    return {
        "id": item_id("resp"),
        "object": "response",
        "created_at": now,
        "status": "incomplete" if cut else "completed",
        "background": False,
        "completed_at": None if cut else now,
        "error": None,
        "frequency_penalty": 0.0,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": None,
        "model": body["model"],
        "output": made,
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "presence_penalty": 0.0,
        "previous_response_id": body.get("previous_response_id"),
        "prompt_cache_key": body.get("prompt_cache_key"),
        "prompt_cache_retention": None,
        "reasoning": {"effort": None, "summary": None} | (body.get("reasoning") or {}),
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": "default",
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_logprobs": 0,
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": used,
        "user": None,
        "metadata": body.get("metadata") or {},
    }


class Events:
    """Numbers and frames the events of one stream."""

    def __init__(self) -> None:
        self._next = 0

    def frame(self, event: dict[str, Any]) -> bytes:
        """One server-sent event with the next sequence number."""
        numbered = event | {"sequence_number": self._next}
        self._next += 1
        return b"event: " + event["type"].encode() + b"\ndata: " + orjson.dumps(numbered) + b"\n\n"

    def delta(self, event: dict[str, Any]) -> bytes:
        """A delta, padded as the vendor pads it against traffic analysis."""
        return self.frame(event | {"obfuscation": random_id("", 16 - len(event["delta"]) % 16)})


def stream(response: dict[str, Any], events: Events | None = None) -> Iterator[bytes]:
    """The same answer as frames of an event stream."""
    events = events or Events()
    begun = response | {
        "status": "in_progress",
        "completed_at": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
    }
    yield events.frame({"type": "response.created", "response": begun})
    yield events.frame({"type": "response.in_progress", "response": begun})
    for index, item in enumerate(response["output"]):
        match item["type"]:
            case "reasoning":
                yield from _reasoning(events, index, item)
            case "message":
                yield from _message(events, index, item)
            case "compaction":
                yield events.frame({"type": "response.output_item.added", "item": item, "output_index": index})
                yield events.frame({"type": "response.output_item.done", "item": item, "output_index": index})
            case _:
                yield from _call(events, index, item)
    yield events.frame({"type": f"response.{response['status']}", "response": response})


def _reasoning(events: Events, index: int, item: dict[str, Any]) -> Iterator[bytes]:
    early = item | {"summary": []}
    if "encrypted_content" in item:
        sealed = item["encrypted_content"]
        early["encrypted_content"] = sealed[:8] + sealed[24:] + sealed[8:24]  # not yet the one to keep
    yield events.frame({"type": "response.output_item.added", "item": early, "output_index": index})
    for number, part in enumerate(item["summary"]):
        at = {"item_id": item["id"], "output_index": index, "summary_index": number}
        yield events.frame(
            {"type": "response.reasoning_summary_part.added", **at, "part": {"type": "summary_text", "text": ""}}
        )
        for piece in pieces(part["text"]):
            yield events.delta({"type": "response.reasoning_summary_text.delta", **at, "delta": piece})
        yield events.frame({"type": "response.reasoning_summary_text.done", **at, "text": part["text"]})
        yield events.frame({"type": "response.reasoning_summary_part.done", **at, "part": part})
    yield events.frame({"type": "response.output_item.done", "item": item, "output_index": index})


def _message(events: Events, index: int, item: dict[str, Any]) -> Iterator[bytes]:
    yield events.frame(
        {
            "type": "response.output_item.added",
            "item": item | {"status": "in_progress", "content": []},
            "output_index": index,
        }
    )
    part = item["content"][0]
    at = {"content_index": 0, "item_id": item["id"], "output_index": index}
    yield events.frame({"type": "response.content_part.added", **at, "part": part | {"text": ""}})
    for piece in pieces(part["text"]):
        yield events.delta({"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []})
    yield events.frame({"type": "response.output_text.done", **at, "logprobs": [], "text": part["text"]})
    yield events.frame({"type": "response.content_part.done", **at, "part": part})
    yield events.frame({"type": "response.output_item.done", "item": item, "output_index": index})


def _call(events: Events, index: int, item: dict[str, Any]) -> Iterator[bytes]:
    custom = item["type"] == "custom_tool_call"
    name, word = ("input", "custom_tool_call_input") if custom else ("arguments", "function_call_arguments")
    yield events.frame(
        {
            "type": "response.output_item.added",
            "item": item | {"status": "in_progress", name: ""},
            "output_index": index,
        }
    )
    at = {"item_id": item["id"], "output_index": index}
    for piece in pieces(item[name]):
        yield events.delta({"type": f"response.{word}.delta", **at, "delta": piece})
    yield events.frame({"type": f"response.{word}.done", **at, name: item[name]})
    yield events.frame({"type": "response.output_item.done", "item": item, "output_index": index})
