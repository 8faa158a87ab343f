"""The Messages API's answers, whole and streamed, as recorded traffic shows them: padded data lines, pings, cumulative usage."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from tests.emulator.anthropic_history import blocks, end_prefix, merged
from tests.emulator.conversation import Conversation, Offer, Step
from tests.emulator.dialects import Raw
from tests.emulator.ids import anthropic_id
from tests.emulator.models import Model
from tests.emulator.pieces import pieces
from tests.emulator.script import Answer, Usage
from tests.emulator.seals import Seals
from tests.emulator.shape import images, opening, texts
from tests.emulator.tokens import SHORT, PromptCache, count

STOPS = {"end_turn": "end_turn", "tool_use": "tool_use", "max_tokens": "max_tokens", "stop_sequence": "stop_sequence"}


def read(body: Mapping[str, Any], model: Model) -> Conversation:
    """A valid request as the model reads it."""
    choice = body.get("tool_choice") or {}
    thinking = body.get("thinking") or {}
    display = thinking.get("display") or ("omitted" if model.bound_thinking else "summarized")
    users = [message for message in body["messages"] if message["role"] == "user"]
    formatted = (body.get("output_config") or {}).get("format") or {}
    return Conversation(
        model=body["model"],
        stream=bool(body.get("stream")),
        offers=tuple(
            Offer(tool["name"], tool["input_schema"])
            for tool in body.get("tools") or ()
            if "input_schema" in tool and not tool.get("defer_loading")
        ),
        steps=tuple(_steps(body)),
        turns=sum(role == "assistant" for role, _ in merged(body["messages"])),
        thinks=thinking.get("type", "adaptive" if model.always_thinks else "disabled") != "disabled",
        shows_thinking=display != "omitted",
        choice={"any": "required", "tool": choice.get("name", "")}.get(
            choice.get("type", "auto"), choice.get("type", "auto")
        ),
        parallel=not choice.get("disable_parallel_tool_use"),
        max_output=body.get("max_tokens", 0),
        stops=tuple(body.get("stop_sequences") or ()),
        schema=formatted.get("schema"),
        prompt=" ".join(texts(blocks(users[-1]["content"]))) if users else "",
        opening=opening(body["messages"]),
        images=images(body["messages"]),
    )


def _steps(body: Mapping[str, Any]) -> Iterator[Step]:
    """Calls with their results, in the order of the calls."""
    turns = merged(body["messages"])
    for index, (role, found) in enumerate(turns):
        if role != "assistant" or index + 1 == len(turns):
            continue
        results = {b["tool_use_id"]: b for _, b in turns[index + 1][1] if b["type"] == "tool_result"}
        for _, call in found:
            if call["type"] == "tool_use" and call["id"] in results:
                result = results[call["id"]]
                text = "\n".join(texts(blocks(result.get("content") or [])))
                yield Step(call["id"], call["name"], call["input"], text, bool(result.get("is_error")))


def usage(body: Mapping[str, Any], answer: Answer, cache: PromptCache, *, smallest: int = 1024) -> dict[str, Any]:
    """The `usage` object of a finished answer: uncached, read and written tokens apart."""
    if answer.usage is not None:
        return _usage(answer.usage)
    segments: list[Any] = []
    ends: dict[int, float] = {}
    for part in (
        [tool for tool in body.get("tools") or [] if not tool.get("defer_loading")],
        blocks(body.get("system") or []),
        *(blocks(m["content"]) for m in body["messages"]),
    ):
        for block in part:
            segments.append({key: value for key, value in block.items() if key != "cache_control"})
            if mark := block.get("cache_control"):
                ends[len(segments) - 1] = 3600.0 if mark.get("ttl") == "1h" else SHORT
    used = cache.use(segments, ends, smallest=smallest)
    total = sum(count(segment) for segment in segments)
    output = count(answer.text + answer.thinking) + sum(count(call.input) + 8 for call in answer.calls)
    plain = max(1, total - used.read - used.written)
    return _usage(Usage(plain, output, used.read, used.written, written_1h=used.written_long))


def _usage(tokens: Usage) -> dict[str, Any]:
    return {
        "input_tokens": tokens.input,
        "cache_creation_input_tokens": tokens.cache_written,
        "cache_read_input_tokens": tokens.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_written - tokens.written_1h,
            "ephemeral_1h_input_tokens": tokens.written_1h,
        },
        "output_tokens": tokens.output,
        "service_tier": "standard",
    }


def content(body: Mapping[str, Any], talk: Conversation, answer: Answer, seals: Seals) -> list[dict[str, Any]]:
    """The answer's content blocks."""
    made: list[dict[str, Any]] = []
    if answer.thinking:
        shown = answer.thinking if talk.shows_thinking else ""
        prefix, signature = end_prefix(body)
        before = _mark(body, signature, seals)
        made.append(
            {"type": "thinking", "thinking": shown, "signature": seals.sign(shown, prefix=prefix, previous=before)}
        )
    if answer.text:
        made.append({"type": "text", "text": answer.text})
    made += [
        {"type": "tool_use", "id": anthropic_id("toolu_"), "name": call.name, "input": call.input}
        for call in answer.calls
    ]
    return made


def _mark(body: Mapping[str, Any], signature: str, seals: Seals) -> bytes:
    for message in body["messages"]:
        for block in blocks(message["content"]):
            if block.get("signature") == signature and (seal := seals.read(block["thinking"], signature)):
                return seal.mark
    return b""


def whole(talk: Conversation, answer: Answer, made: list[dict[str, Any]], used: dict[str, Any]) -> dict[str, Any]:
    """The answer as one JSON object."""
    return {
        "model": talk.model,
        "id": anthropic_id("msg_"),
        "type": "message",
        "role": "assistant",
        "content": made,
        "stop_reason": answer.stop,
        "stop_sequence": answer.stop_sequence or None,
        "stop_details": None,
        "usage": used,
    }


def stream(message: dict[str, Any]) -> Iterator[bytes]:
    """The same answer as frames of an event stream."""
    used = message["usage"]
    start = message | {"content": [], "stop_reason": None, "stop_sequence": None, "usage": used | {"output_tokens": 1}}
    yield frame({"type": "message_start", "message": start})
    for index, block in enumerate(message["content"]):
        yield from _block(index, block)
    cumulative = {key: value for key, value in used.items() if key not in ("cache_creation", "service_tier")}
    delta = {key: message[key] for key in ("stop_reason", "stop_sequence", "stop_details")}
    yield frame({"type": "message_delta", "delta": delta, "usage": cumulative})
    yield frame({"type": "message_stop"})


def _block(index: int, block: dict[str, Any]) -> Iterator[bytes]:
    match block["type"]:
        case "thinking":
            empty: dict[str, Any] = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case "text":
            empty = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        case _:
            empty = block | {"input": {}}
            given = block["input"]
            parts = pieces(given if isinstance(given, Raw) else orjson.dumps(given).decode()) if given else []
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *parts)]
    yield frame({"type": "content_block_start", "index": index, "content_block": empty})
    if index == 0:
        yield b'event: ping\ndata: {"type": "ping"}\n\n'
    for delta in deltas:
        yield frame({"type": "content_block_delta", "index": index, "delta": delta})
    yield frame({"type": "content_block_stop", "index": index})


def frame(event: dict[str, Any]) -> bytes:
    """One server-sent event; the data line is padded before its last brace, as the vendor pads it."""
    data = orjson.dumps(event)
    return b"event: " + event["type"].encode() + b"\ndata: " + data[:-1] + b" " * secrets.randbelow(16) + b"}\n\n"


def model_list(models: Mapping[str, Model]) -> dict[str, Any]:
    """`GET /v1/models`."""
    rows = [model_row(name, model) for name, model in models.items()]
    return {"data": rows, "has_more": False, "first_id": rows[0]["id"], "last_id": rows[-1]["id"]}


def model_row(name: str, model: Model) -> dict[str, Any]:
    """`GET /v1/models/{id}`."""
    return {
        "type": "model",
        "id": name,
        "display_name": name.replace("-", " ").title(),
        "created_at": "2026-02-04T00:00:00Z",
        "lifecycle": "active",
        "line": None,
        "max_input_tokens": model.context,
        "max_tokens": model.max_output,
    }
