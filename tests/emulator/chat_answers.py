"""Chat Completions' answers, whole and streamed, with each vendor kind's way to carry reasoning and usage."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from tests.emulator.chat_profiles import ChatProfile
from tests.emulator.conversation import Conversation, Offer, Step
from tests.emulator.ids import random_id
from tests.emulator.models import Model
from tests.emulator.pieces import pieces
from tests.emulator.responses_rules import arguments
from tests.emulator.script import Answer, Usage
from tests.emulator.seals import Seals
from tests.emulator.shape import images, opening, texts
from tests.emulator.tokens import OPENAI, Keeping, PromptCache, count

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "refusal": "content_filter",
}


def read(body: Mapping[str, Any], model: Model) -> Conversation:
    """A valid request as the model reads it."""
    messages = body["messages"]
    choice = body.get("tool_choice") or "auto"
    stop = body.get("stop") or ()
    users = [message for message in messages if message["role"] == "user"]
    form = body.get("response_format") or {}
    thinking = (body.get("thinking") or {}).get("type")
    return Conversation(
        model=body["model"],
        stream=bool(body.get("stream")),
        offers=tuple(_offers(body)),
        steps=tuple(_steps(messages)),
        turns=sum(message["role"] == "assistant" for message in messages),
        thinks=model.always_thinks and thinking != "disabled" and body.get("reasoning_effort") != "none",
        choice=choice
        if isinstance(choice, str)
        else choice.get("function", choice.get("custom", {})).get("name", "auto"),
        parallel=body.get("parallel_tool_calls") is not False,
        max_output=body.get("max_completion_tokens") or body.get("max_tokens") or 0,
        stops=(stop,) if isinstance(stop, str) else tuple(stop),
        schema=(form.get("json_schema") or {}).get("schema"),
        prompt=" ".join(texts(users[-1]["content"])) if users else "",
        opening=opening(messages),
        images=images(messages),
    )


def _offers(body: Mapping[str, Any]) -> Iterator[Offer]:
    for tool in body.get("tools") or ():
        if tool["type"] == "custom":
            yield Offer(tool["custom"]["name"], custom=True)
        else:
            yield Offer(tool["function"]["name"], tool["function"].get("parameters") or {})


def _steps(messages: list[Any]) -> Iterator[Step]:
    results: dict[str, str] = {
        m["tool_call_id"]: "\n".join(texts(m["content"])) for m in messages if m["role"] == "tool"
    }
    for message in messages:
        for call in message.get("tool_calls") or ():
            if call["id"] not in results:
                continue
            if call["type"] == "custom":
                yield Step(call["id"], call["custom"]["name"], call["custom"]["input"], results[call["id"]])
            else:
                yield Step(
                    call["id"], call["function"]["name"], arguments(call["function"]["arguments"]), results[call["id"]]
                )


def usage(body: Mapping[str, Any], answer: Answer, cache: PromptCache, by: Keeping = OPENAI) -> dict[str, Any]:
    """The `usage` object: cached tokens are inside the prompt, reasoning inside the completion."""
    tokens = answer.usage
    if tokens is None:
        segments = [body.get("tools") or [], *body["messages"]]
        cached = cache.keep(segments, by, body)
        reasoning = count(answer.thinking) if answer.thinking else 0
        output = count(answer.text) + reasoning + sum(count(call.input) + 8 for call in answer.calls)
        tokens = Usage(sum(count(segment) for segment in segments), output, cached, 0, reasoning)
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
        **({} if tokens.cost is None else {"cost": tokens.cost}),
    }


def message(answer: Answer, profile: ChatProfile, seals: Seals) -> dict[str, Any]:
    """The assistant message of the answer."""
    made: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    if answer.thinking and profile.reasoning_field:
        made[profile.reasoning_field] = answer.thinking
    if answer.calls:
        made["tool_calls"] = [_call(call, profile) for call in answer.calls]
        if profile.signs_calls:
            made["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": seals.encrypt("")}}
    return made | ({"refusal": None, "annotations": []} if profile.null_fields else {})


def _call(call: Any, profile: ChatProfile) -> dict[str, Any]:
    made = {"id": random_id(*profile.call_id)}
    if call.custom:
        return made | {"type": "custom", "custom": {"name": call.name, "input": call.input}}
    return made | {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def whole(body: Mapping[str, Any], answer: Answer, made: dict[str, Any], used: dict[str, Any]) -> dict[str, Any]:
    """The answer as one JSON object."""
    choice = {"index": 0, "message": made, "logprobs": None, "finish_reason": FINISH[answer.stop]}
    return {
        "id": random_id("chatcmpl-", 29),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [choice],
        "usage": used,
        "service_tier": "default",
        "system_fingerprint": "fp_emulated0",
    }


def stream(body: Mapping[str, Any], completion: dict[str, Any], profile: ChatProfile) -> Iterator[bytes]:
    """The same answer as frames of an event stream, `[DONE]` last."""
    asked = bool((body.get("stream_options") or {}).get("include_usage"))
    base = {key: completion[key] for key in ("id", "created", "model", "service_tier", "system_fingerprint")}
    base["object"] = "chat.completion.chunk"
    own_chunk = asked and not profile.usage_in_last_chunk
    made = completion["choices"][0]["message"]

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _frame({**base, "choices": [choice], **({"usage": None} if own_chunk else {}), **more}, profile)

    first: dict[str, Any] = {"role": "assistant", "content": ""} | ({"refusal": None} if profile.null_fields else {})
    if profile.wants_reasoning:
        first = {"role": "assistant", "content": None, "reasoning_content": ""}
    yield chunk(first)
    for piece in pieces(made.get(profile.reasoning_field) or "" if profile.reasoning_field else ""):
        yield chunk({profile.reasoning_field: piece} | ({"content": None} if profile.wants_reasoning else {}))
    for piece in pieces(made["content"] or ""):
        yield chunk({"content": piece})
    for index, call in enumerate(made.get("tool_calls") or ()):
        yield from (chunk({"tool_calls": [delta]}) for delta in _call_deltas(index, call))
    last = {"usage": completion["usage"]} if profile.usage_in_last_chunk else {}
    yield chunk({"content": ""} if profile.wants_reasoning else {}, completion["choices"][0]["finish_reason"], **last)
    if own_chunk:
        yield _frame({**base, "choices": [], "usage": completion["usage"]}, profile)
    yield b"data: [DONE]\n\n"


def _call_deltas(index: int, call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    kind, name = ("custom", "input") if call["type"] == "custom" else ("function", "arguments")
    signed = {"extra_content": call["extra_content"]} if "extra_content" in call else {}
    yield {"index": index, "id": call["id"], "type": kind, kind: {"name": call[kind]["name"], name: ""}, **signed}
    for piece in pieces(call[kind][name]):
        yield {"index": index, kind: {name: piece}}


def _frame(chunk: dict[str, Any], profile: ChatProfile) -> bytes:
    if profile.obfuscates:
        chunk = chunk | {"obfuscation": random_id("", 9)}
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def model_list(models: Mapping[str, Model]) -> dict[str, Any]:
    """`GET /v1/models`."""
    return {"object": "list", "data": [model_row(name) for name in models]}


def model_row(name: str) -> dict[str, Any]:
    """`GET /v1/models/{id}`."""
    return {"id": name, "object": "model", "created": 1_760_000_000, "owned_by": "emulated"}
