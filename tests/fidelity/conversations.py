"""Made-up conversations in the words of each client protocol: what agents send, and what they send when something went wrong.

A conversation is a pure function of its seed. It holds everything a translation may trip over: parallel calls, ids of every
form, repeated and unanswered calls, orphaned results, images and documents in results, errors, thoughts with and without seal,
system messages in between, empty texts, provider-run tools, every setting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

from engine.llm.messages import Block, LLMResponse, Refusal, StopReason, Text, Thinking, ToolCall, Usage

IMAGE, PDF = "aGk=", "JVBERi0="
WORDS = (
    "hi",
    "two\nlines",
    "é😀 “日本”",
    "  padded  ",
    "",
    "Error: it broke",
    "<system-reminder>note</system-reminder>",
    "a" * 300,
)
IDS = (
    "toolu_{}",
    "call_{}",
    "functions.weather:{}",
    "a b{}",
    "x" * 60 + "{}",
    "{}",
    "call-8215581e-670f-4de6-be8a-56c7d3d27c34-{}",
)
NAMES = ("read", "mcp__server__tool", "n" * 64)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
ARGUMENTS: tuple[dict[str, Any], ...] = ({}, {"a": 1}, {"a": 'é\n"q"', "b": [1, {"c": None}]}, {"input": "*** Begin"})  # fmt: skip


@dataclass(slots=True)
class Call:
    """One call and how it ended: `answer` None was never answered."""

    id: str
    name: str
    arguments: dict[str, Any]
    answer: list[tuple[str, str]] | None
    is_error: bool


@dataclass(slots=True)
class Said:
    """One turn: `user`, `system` or `assistant`. `parts` are (kind, value); results of an assistant's calls follow it."""

    role: str
    parts: list[tuple[str, str]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


def conversation(seed: int, protocol: str) -> dict[str, Any]:
    """The request of that seed in `protocol`."""
    rng = Random(seed)
    return WRITERS[protocol](rng, _turns(rng))


def _turns(rng: Random) -> list[Said]:
    turns = [Said("user", _parts(rng, ("text", "text", "image", "url", "document"), least=1))]
    turns[0].parts.insert(0, ("text", "go"))
    number = 0
    for _ in range(rng.randrange(6)):
        if rng.random() < 0.15:
            turns.append(Said("system", [("text", rng.choice(("be brief", "now in French")))]))
        said = Said("assistant", _parts(rng, ("text", "thought", "sealed"), most=2))
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            number += 1
            answer = _parts(rng, ("text", "text", "image", "document"), most=2) if rng.random() < 0.93 else None
            call_id = rng.choice(IDS).format(number if rng.random() < 0.95 else 1)
            said.calls.append(Call(call_id, rng.choice(NAMES), rng.choice(ARGUMENTS), answer, rng.random() < 0.15))
        if not said.calls and not any(text.strip() for kind, text in said.parts if kind == "text"):
            said.parts.append(("text", "well"))
        turns.append(said)
        if not said.calls or rng.random() < 0.3:
            turns.append(Said("user", [("text", rng.choice(("go on", "and now?")))]))
    if rng.random() < 0.05:
        turns.append(Said("orphan", [("text", "late result")]))
    return turns


def _parts(rng: Random, kinds: tuple[str, ...], *, least: int = 0, most: int = 3) -> list[tuple[str, str]]:
    return [(rng.choice(kinds), rng.choice(WORDS)) for _ in range(rng.randint(least, most))]


def _some(rng: Random, **choices: tuple[Any, ...]) -> dict[str, Any]:
    """A few of these settings."""
    return {name: rng.choice(values) for name, values in choices.items() if rng.random() < 0.25}


# ── Messages ──


def _messages(rng: Random, turns: list[Said]) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for turn in turns:
        match turn.role:
            case "assistant":
                content = [part for part in (_messages_part(rng, *p) for p in turn.parts) if part]
                content += [{"type": "tool_use", "id": c.id, "name": c.name, "input": c.arguments} for c in turn.calls]
                messages.append({"role": "assistant", "content": content})
                results = [_messages_result(rng, call) for call in turn.calls if call.answer is not None]
                if results:
                    messages.append({"role": "user", "content": results})
            case "orphan":
                messages.append(
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "gone", "content": "late"}]}
                )
            case role:
                messages.append(
                    {"role": role, "content": [part for p in turn.parts if (part := _messages_part(rng, *p))]}
                )
    body: dict[str, Any] = {
        "model": "m",
        "max_tokens": rng.choice((16, 4000)),
        "messages": [m for m in messages if m["content"]],
    }
    body |= _some(
        rng, system=("be good", [{"type": "text", "text": "be good", "cache_control": {"type": "ephemeral"}}])
    )
    body |= _some(
        rng,
        temperature=(0, 0.7, 1),
        top_k=(5,),
        stop_sequences=(["a"], ["a", "b", "c", "d", "e"], ["\n"]),
        stream=(True,),
    )
    body |= _some(rng, metadata=({"user_id": "me"}, {"user_id": "u" * 90}), service_tier=("auto", "standard_only"))
    body |= _some(
        rng, thinking=({"type": "disabled"}, {"type": "adaptive"}, {"type": "enabled", "budget_tokens": 2000})
    )
    body |= _some(
        rng, output_config=({"effort": "low"}, {"effort": "max"}, {"format": {"type": "json_schema", "schema": SCHEMA}})
    )
    body |= _some(rng, context_management=({"edits": [{"type": "clear_tool_uses_20250919"}]},), top_p=(0.99,))
    if rng.random() < 0.8:
        body["tools"] = [{"name": name, "description": "d", "input_schema": SCHEMA} for name in NAMES]
        body["tools"] += rng.choice(([], [{"type": "web_search_20250305", "name": "web_search"}]))
        choices = (
            {"type": "any"},
            {"type": "tool", "name": "read"},
            {"type": "none"},
            {"type": "auto", "disable_parallel_tool_use": True},
        )
        body |= _some(rng, tool_choice=choices)
    return body


def _messages_part(rng: Random, kind: str, text: str) -> dict[str, Any] | None:
    mark = {"cache_control": {"type": "ephemeral"}} if rng.random() < 0.1 else {}
    match kind:
        case "image":
            return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE}, **mark}
        case "url":
            return {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
        case "document":
            return {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}}
        case "thought" | "sealed":
            return {"type": "thinking", "thinking": text, "signature": "c2ln"}
    return {"type": "text", "text": text, **mark} if text.strip() else None


def _messages_result(rng: Random, call: Call) -> dict[str, Any]:
    content = [part for p in call.answer or () if (part := _messages_part(Random(1), *p))]
    error = {"is_error": True} if call.is_error and all(part["type"] == "text" for part in content) else {}
    plain = len(content) == 1 and content[0]["type"] == "text" and rng.random() < 0.5
    return {"type": "tool_result", "tool_use_id": call.id, "content": content[0]["text"] if plain else content, **error}


# ── Chat ──


def _chat(rng: Random, turns: list[Said]) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for turn in turns:
        texts = [text for kind, text in turn.parts if kind == "text"]
        match turn.role:
            case "assistant":
                told: dict[str, Any] = {"role": "assistant", "content": "\n".join(texts) or None}
                if thoughts := [text for kind, text in turn.parts if kind in ("thought", "sealed") and text.strip()]:
                    told["reasoning_content"] = thoughts[0]
                if turn.calls:
                    told["tool_calls"] = [_chat_call(call) for call in turn.calls]
                messages.append(told)
                for call in turn.calls:
                    if call.answer is not None:
                        said = "\n".join(text for kind, text in call.answer if kind == "text")
                        messages.append({"role": "tool", "tool_call_id": call.id, "content": said})
            case "orphan":
                messages.append({"role": "tool", "tool_call_id": "gone", "content": "late"})
            case "system":
                messages.append({"role": rng.choice(("system", "developer")), "content": texts[0]})
            case _:
                messages.append({"role": "user", "content": [part for p in turn.parts if (part := _chat_part(*p))]})
    if rng.random() < 0.7:
        messages.insert(0, {"role": "system", "content": "be good"})
    body: dict[str, Any] = {"model": "m", "messages": messages}
    body |= _some(
        rng,
        max_tokens=(100,),
        max_completion_tokens=(200,),
        temperature=(0, 1, 1.6),
        top_p=(0.5,),
        top_k=(5,),
        seed=(7,),
    )
    body |= _some(
        rng, stop=("a", ["a", "b"], ["\n"]), stream=(True,), user=("me", "u" * 90), service_tier=("auto", "flex")
    )
    body |= _some(
        rng, reasoning_effort=("none", "minimal", "low", "high", "xhigh", "default"), n=(1, 2), logprobs=(True,)
    )
    formats = ({"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}})
    body |= _some(rng, response_format=formats, prompt_cache_key=("k",), frequency_penalty=(0.5,))
    if rng.random() < 0.8:
        body["tools"] = [
            {"type": "function", "function": {"name": n, "description": "d", "parameters": SCHEMA}} for n in NAMES
        ]
        choices = ("auto", "none", "required", {"type": "function", "function": {"name": "read"}})
        body |= _some(rng, tool_choice=choices, parallel_tool_calls=(True, False))
    return body


def _chat_call(call: Call) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": orjson.dumps(call.arguments).decode()},
    }


def _chat_part(kind: str, text: str) -> dict[str, Any] | None:
    match kind:
        case "image":
            return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}
        case "url":
            return {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
        case "document":
            return {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}
    return {"type": "text", "text": text} if text else None


# ── Responses ──


def _responses(rng: Random, turns: list[Said]) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    for number, turn in enumerate(turns):
        match turn.role:
            case "assistant":
                items += [item for p in turn.parts if (item := _responses_made(number, len(items), *p))]
                items += [_responses_call(call) for call in turn.calls]
                for call in turn.calls:
                    if call.answer is not None:
                        kind = "custom_tool_call_output" if call.name == "read" else "function_call_output"
                        items.append({"type": kind, "call_id": call.id, "output": _responses_output(rng, call)})
            case "orphan":
                items.append({"type": "function_call_output", "call_id": "gone", "output": "late"})
            case role:
                parts = [part for p in turn.parts if (part := _responses_part(*p))]
                items.append({"type": "message", "role": "developer" if role == "system" else role, "content": parts})
    body: dict[str, Any] = {"model": "m", "input": [i for i in items if i.get("content") != []], "store": False}
    body |= _some(
        rng,
        instructions=("be good",),
        max_output_tokens=(16, 400),
        temperature=(0, 1, 1.6),
        top_p=(0.5,),
        stream=(True,),
    )
    body |= _some(
        rng,
        reasoning=({"effort": "none"}, {"effort": "minimal"}, {"effort": "high", "summary": "auto"}),
        user=("u" * 90,),
    )
    formats = ({"type": "json_object"}, {"type": "json_schema", "name": "x", "schema": SCHEMA})
    body |= _some(rng, text=tuple({"format": form} for form in formats), service_tier=("auto", "priority"))
    body |= _some(rng, prompt_cache_key=("k",), include=(["reasoning.encrypted_content"],), truncation=("disabled",))
    if rng.random() < 0.8:
        body["tools"] = [{"type": "custom", "name": "read", "description": "d"}]
        body["tools"] += [
            {"type": "function", "name": n, "description": "d", "parameters": SCHEMA, "strict": True} for n in NAMES[1:]
        ]
        group = {
            "type": "namespace",
            "name": "fs",
            "description": "d",
            "tools": [{"type": "function", "name": "stat", "parameters": SCHEMA}],
        }
        body["tools"] += rng.choice(([], [group], [{"type": "web_search"}]))
        choices = ("auto", "none", "required", {"type": "custom", "name": "read"})
        body |= _some(rng, tool_choice=choices, parallel_tool_calls=(True, False))
    return body


def _responses_made(turn: int, place: int, kind: str, text: str) -> dict[str, Any] | None:
    if kind in ("thought", "sealed"):
        sealed = {"encrypted_content": "c2ln"} if kind == "sealed" else {}
        summary = [{"type": "summary_text", "text": text}] if text.strip() else []
        return (
            {"type": "reasoning", "id": f"rs_{turn}_{place}", "summary": summary, **sealed}
            if sealed or summary
            else None
        )
    said = [{"type": "output_text", "text": text, "annotations": []}]
    return (
        {"type": "message", "role": "assistant", "id": f"msg_{turn}_{place}", "content": said} if text.strip() else None
    )


def _responses_call(call: Call) -> dict[str, Any]:
    if call.name == "read":
        return {
            "type": "custom_tool_call",
            "call_id": call.id,
            "name": "read",
            "input": orjson.dumps(call.arguments).decode(),
        }
    return {
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": orjson.dumps(call.arguments).decode(),
    }


def _responses_output(rng: Random, call: Call) -> Any:
    parts = [part for p in call.answer or () if (part := _responses_part(*p))]
    plain = all(part["type"] == "input_text" for part in parts) and rng.random() < 0.5
    return "\n".join(part["text"] for part in parts) if plain else parts


def _responses_part(kind: str, text: str) -> dict[str, Any] | None:
    match kind:
        case "image":
            return {"type": "input_image", "image_url": f"data:image/png;base64,{IMAGE}", "detail": "auto"}
        case "url":
            return {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "auto"}
        case "document":
            return {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}
    return {"type": "input_text", "text": text} if text else None


# ── answers ──

STOPS: tuple[StopReason, ...] = ("end_turn", "max_tokens", "stop_sequence", "refusal", "pause_turn", "context_exceeded")


def answer(seed: int, protocol: str) -> LLMResponse:
    """The answer of that seed, in words that a provider of `protocol` has."""
    rng = Random(seed)
    content: list[Block] = []
    for number in range(rng.randrange(1, 5)):
        text = rng.choice([word for word in WORDS if word.strip()])
        match rng.choice(("text", "thought", "call", "call", "refusal")):
            case "text":
                content.append(Text(text))
            case "thought":
                sealed = f"c2Vh{number}" if protocol != "openai-chat" and rng.random() < 0.5 else ""
                own = rng.random() < 0.8 or sealed
                content.append(
                    Thinking(
                        text,
                        sealed,
                        id=f"rs_{number}" if protocol == "openai-responses" else "",
                        origin=protocol if own else "",
                    )
                )
            case "refusal" if protocol != "anthropic-messages" and not any(isinstance(b, Refusal) for b in content):
                content.append(Refusal(text))
            case _:
                call_id = rng.choice(IDS).format(number)
                if protocol == "openai-responses" and rng.random() < 0.3:
                    content.append(ToolCall(call_id, "patch", text, kind="custom"))
                else:
                    content.append(ToolCall(call_id, rng.choice(NAMES), orjson.dumps(rng.choice(ARGUMENTS)).decode()))
    calls = [block for block in content if isinstance(block, ToolCall)]
    if calls:  # who calls does not refuse
        content = [block for block in content if not isinstance(block, Refusal)]
    content.sort(key=lambda block: isinstance(block, Refusal))  # nobody goes on after it
    if protocol == "openai-chat":  # one message has one order
        content.sort(key=lambda block: (Thinking, Text, Refusal, ToolCall).index(type(block)))
    stop = rng.choice(("tool_use", "tool_use", "max_tokens")) if calls else rng.choice(STOPS)
    if any(isinstance(block, Refusal) for block in content):
        stop = "refusal"
    usage = Usage(
        rng.randrange(1, 900),
        rng.randrange(900),
        cached_tokens=rng.choice((None, 0, 1)),
        reasoning_tokens=rng.choice((None, 0)),
    )
    return LLMResponse(f"a{seed}", "m", tuple(content), stop, usage=usage, protocol=protocol)


WRITERS = {"anthropic-messages": _messages, "openai-chat": _chat, "openai-responses": _responses}
