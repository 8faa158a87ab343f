"""A provider's whole Chat answer, in neutral words, and what whole and streamed answers have in common."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson

from engine.llm.catalogue import Quirks
from engine.llm.errors import ProviderError
from engine.llm.meanings import Meaning
from engine.llm.messages import (
    Block,
    JsonObject,
    LLMRequest,
    LLMResponse,
    Opaque,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from engine.protocols import error_bodies, tool_ids
from engine.protocols.openai_chat import reasoning
from engine.protocols.openai_chat.fields import FAILED, NAME, ODD, stop_reason
from engine.protocols.openai_chat.parts import entries, read_part
from engine.protocols.openai_chat.request_in import read_call
from engine.protocols.openai_chat.usage import read_usage
from engine.protocols.tool_names import ToolNames

_ANSWER = frozenset({"id", "object", "model", "choices", "usage", "error"})
_MESSAGE = frozenset(
    {
        "role",
        "content",
        "refusal",
        "tool_calls",
        "function_call",
        "annotations",
        "audio",
        "images",
        "extra_content",
        "index",
    }
    | {*reasoning.FIELDS, "reasoning_details"}
)


def beside(body: JsonObject) -> JsonObject:
    """What stands beside an answer's or a chunk's known fields: it rides along in the answer's `extra`."""
    return {key: value for key, value in body.items() if key not in _ANSWER and value is not None}


def beside_message(message: JsonObject) -> JsonObject:
    """What a vendor tells in a message or a delta under names of its own; nothing nearly always."""
    if message.keys() <= _MESSAGE:
        return {}
    return {key: value for key, value in message.items() if key not in _MESSAGE and value not in (None, "", [])}


def decode_response(body: Any, *, quirks: Quirks, request: LLMRequest | None = None) -> LLMResponse:
    """The answer. Raises ProviderError for an error inside a success and for JSON that is no answer."""
    if (error := error_in(body)) is not None:
        raise error
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise broken("the provider's answer holds no message")
    finish = str(choice.get("finish_reason") or "")
    if (failed := failure_of(finish)) is not None:
        raise failed
    answer_id = str(body.get("id") or "")
    model = str(body.get("model") or "")
    blocks = _blocks(message, quirks, answer_id, model, tool_ids.AnswerIds(request))
    if isinstance(told := choice.get("logprobs"), dict):
        _tell_tokens(blocks, told)
    if request is not None:
        names = ToolNames(request.tools)
        blocks = [names.restore(block) if isinstance(block, ToolCall) else block for block in blocks]
    matched = choice.get("stop_reason")
    sequence = matched if isinstance(matched, str) and request is not None and matched in request.stop else None
    calls = any(isinstance(block, ToolCall) for block in blocks)
    refused = any(isinstance(block, Refusal) for block in blocks)
    stop = stop_reason("stop_sequence" if sequence else finish, calls=calls, refused=refused)
    return LLMResponse(
        id=answer_id,
        model=model,
        content=tuple(blocks),
        stop=stop,
        stop_sequence=sequence,
        usage=usage_in(body, quirks) or Usage(),
        protocol=NAME,
        extra=beside(body) | ({ODD: odd} if (odd := beside_message(message)) else {}),
    )


def _blocks(message: JsonObject, quirks: Quirks, answer_id: str, model: str, ids: tool_ids.AnswerIds) -> list[Block]:
    thoughts = reasoning.thoughts(message, quirks.reasoning_field, model)
    blocks: list[Block] = list(thoughts)
    told = any(thought.text for thought in thoughts)
    for block in content_of(message.get("content")):
        if isinstance(block, Thinking) and told:
            continue  # the same reasoning in a field and in the content
        blocks.append(block)
    if (notes := message.get("annotations")) and isinstance(notes, list):
        at = next((i for i, block in enumerate(blocks) if isinstance(block, Text)), None)
        if at is not None and isinstance(text := blocks[at], Text):
            blocks[at] = dataclasses.replace(text, extra={**text.extra, "annotations": notes})
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        blocks.append(Refusal(refusal))
    blocks += media_of(message)
    blocks += _calls(message, answer_id, model, ids)
    return blocks


def _tell_tokens(blocks: list[Block], told: JsonObject) -> None:
    """Puts token probabilities, which stand beside the message here, to the first text and the first refusal."""
    for kind, name in ((Text, "content"), (Refusal, "refusal")):
        at = next((i for i, block in enumerate(blocks) if isinstance(block, kind)), None)
        if at is not None and (tokens := entries(told.get(name))):
            block = blocks[at]
            assert isinstance(block, Text | Refusal)
            blocks[at] = dataclasses.replace(block, extra={**block.extra, "logprobs": tokens})


def _calls(message: JsonObject, answer_id: str, model: str, ids: tool_ids.AnswerIds) -> list[Block]:
    listed = message.get("tool_calls")
    calls = [c for c in listed if isinstance(c, dict)] if isinstance(listed, list) else []
    legacy = message.get("function_call")
    if not calls and isinstance(legacy, dict) and legacy.get("name"):
        calls = [{"function": legacy}]
    blocks: list[Block] = []
    for number, call in enumerate(calls):
        if sealed := reasoning.call_seal(call, model):
            blocks.append(Thinking(opaque=sealed, origin=NAME))
        read = read_call(call, answer_id=answer_id, number=number)
        if not read.name:
            raise broken("the provider's answer holds a tool call without a name")
        text = read.arguments if read.arguments.strip() or read.kind == "custom" else "{}"
        blocks.append(dataclasses.replace(read, id=ids.of(read.id, answer_id, number), arguments=text))
    return blocks


def content_of(content: Any) -> list[Block]:
    """Blocks of an answer's `content`: text, or a list of parts (thinking, text, references), neighbouring text joined."""
    if isinstance(content, str):
        return [Text(content)] if content else []
    blocks: list[Block] = []
    for part in content if isinstance(content, list) else ():
        block = answer_part(part)
        last = blocks[-1] if blocks else None
        match last, block:
            case _, None:
                continue
            case Text(a), Text(b):
                blocks[-1] = dataclasses.replace(last, text=a + b)
            case Thinking(a), Thinking(b):
                blocks[-1] = dataclasses.replace(last, text=a + b)
            case _:
                blocks.append(block)
    return blocks


def answer_part(part: Any) -> Block | None:
    """One part of an answer's content; None for an empty one and for what is no part."""
    if isinstance(part, str):
        return Text(part) if part else None
    if not isinstance(part, dict):
        return None
    if part.get("type") == "text" and not isinstance(part.get("text"), str):
        return None
    block = read_part(part) if part.get("type") != "image_url" else Opaque(NAME, part)
    return None if isinstance(block, Text | Thinking | Refusal) and not block.text else block


def media_of(message: JsonObject) -> list[Opaque]:
    """Images and audio that the model made: no other protocol has them in an answer."""
    images = message.get("images")
    made = [Opaque(NAME, image) for image in images if isinstance(image, dict)] if isinstance(images, list) else []
    audio = message.get("audio")
    if isinstance(audio, dict) and any(audio.values()):  # some servers spell out an empty object
        made.append(Opaque(NAME, {"type": "audio", "audio": audio}))
    return made


def usage_in(body: JsonObject, quirks: Quirks) -> Usage | None:
    """Usage of a whole answer or a chunk, from either place."""
    vendor = body.get("x_groq")
    held = body.get("usage") or (vendor.get("usage") if isinstance(vendor, dict) else None)
    return read_usage(held, quirks)


def error_in(body: Any) -> ProviderError | None:
    """The error that a JSON value inside a success is or holds, None for an answer."""
    if isinstance(body, list):
        body = body[0] if body and isinstance(body[0], dict) and "choices" not in body[0] else None
    if not isinstance(body, dict):
        return broken("the provider's answer is no JSON object")
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    if body.get("error"):
        held = body
    elif first.get("error"):
        held = first
    elif isinstance(choices, list) or body.get("object") == "chat.completion.chunk":
        return None
    elif body.get("object") == "error" or any(body.get(key) for key in ("errors", "detail", "message", "fault")):
        held = body
    else:
        return broken("the provider's answer holds no choices")
    return error_bodies.provider_error(
        0, orjson.dumps(held), {}, protocol=NAME, in_stream=True, read_as=error_bodies.from_value(held)
    )


def failure_of(finish: str) -> ProviderError | None:
    """The failure that a finish reason tells, None for an ordinary end."""
    meaning = FAILED.get(finish.lower())
    if meaning is None:
        return None
    return ProviderError(
        f"the provider broke the answer off ({finish})", meaning=meaning, protocol=NAME, in_stream=True
    )


def broken(message: str, meaning: Meaning = "broken") -> ProviderError:
    """A failure of an answer that came with a success status."""
    return ProviderError(message, meaning=meaning, protocol=NAME, in_stream=True)
