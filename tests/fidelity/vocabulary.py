"""Every word of the three protocols in the recorded exchanges and the captured requests, and its place in the neutral vocabulary.

A word is a type, a role, an event, a stop reason, a kind of delta, or a field. Its place is what the engine makes of it, found by
asking the engine: a named place, or an opaque carrier with the loss that is declared where it can't be said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from engine.llm.catalogue import Quirks
from engine.llm.messages import Opaque, Tool
from engine.llm.protocol import SSEEvent
from engine.llm.stream import Failure, Finish, Progress, Start
from engine.protocols.anthropic_messages import words as messages_words
from engine.protocols.anthropic_messages.blocks_in import decode_block
from engine.protocols.openai_chat import fields as chat_words
from engine.protocols.openai_chat.answer_in import answer_part
from engine.protocols.openai_chat.parts import read_part as chat_part
from engine.protocols.openai_responses import words as responses_words
from engine.protocols.openai_responses.parts import read_part as responses_part
from engine.protocols.registry import PROTOCOLS
from engine.protocols.sse import SSEParser
from engine.protocols.unshared import block_loss, tool_loss
from tests.fidelity.corpus import Exchange

MESSAGES, CHAT, RESPONSES = "anthropic-messages", "openai-chat", "openai-responses"
Word = tuple[str, str, str]
"""Protocol, kind of word, the word."""
Json = dict[str, Any]


def objects(value: Any) -> list[Json]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


# ── what occurs ──


def of_request(protocol: str, body: Json) -> Iterator[Word]:
    """The words of one request."""
    for name, value in body.items():
        if value is not None:
            yield protocol, "request field", name
    for tool in objects(body.get("tools")):
        yield from _tool(protocol, tool)
    choice = body.get("tool_choice")
    yield protocol, "tool choice", str(choice.get("type")) if isinstance(choice, dict) else str(choice)
    for message in objects(body.get("input") if protocol == RESPONSES else body.get("messages")):
        kind = message.get("type") or "message"
        if protocol == RESPONSES:
            yield protocol, "item", str(kind)
            for tool in objects(message.get("tools")):
                yield from _tool(protocol, tool)
        if kind == "message":
            yield protocol, "role", str(message.get("role"))
            for name in message.keys() - {"type", "content", "role"}:
                yield protocol, "message field", name
        for content in (message.get("content"), message.get("output")):
            for part in objects(content):
                yield protocol, "part", str(part.get("type"))
                for inner in objects(part.get("content")):
                    yield protocol, "part", str(inner.get("type"))
    for block in objects(body.get("system")):
        yield protocol, "part", str(block.get("type"))


def _tool(protocol: str, tool: Json) -> Iterator[Word]:
    plain = "custom" if protocol == MESSAGES else "function"
    yield protocol, "tool", str(tool.get("type") or plain)
    for member in objects(tool.get("tools")):
        yield from _tool(protocol, member)


def of_answer(exchange: Exchange) -> Iterator[Word]:
    """The words of one recorded answer, whole or streamed."""
    if not exchange.streamed:
        try:
            body = orjson.loads(exchange.raw)
        except orjson.JSONDecodeError:
            return
        if isinstance(body, dict):
            yield from _whole(exchange.protocol, body)
        return
    for event in [*(parser := SSEParser()).feed(exchange.raw), *parser.close()]:
        if event.data.strip() == "[DONE]":
            continue
        try:
            value = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, dict):
            yield from _event(exchange.protocol, event, value)


def _whole(protocol: str, body: Json) -> Iterator[Word]:
    for name, value in body.items():
        if value is not None:
            yield protocol, "answer field", name
    usage = body.get("usage")
    for name in usage if isinstance(usage, dict) else ():
        yield protocol, "usage field", name
    match protocol:
        case "anthropic-messages":
            yield protocol, "stop", str(body.get("stop_reason"))
            for block in objects(body.get("content")):
                yield protocol, "answer part", str(block.get("type"))
        case "openai-chat":
            for choice in objects(body.get("choices")):
                yield protocol, "stop", str(choice.get("finish_reason"))
                yield from _chat_message(protocol, choice.get("message"))
        case _:
            yield protocol, "stop", str((body.get("incomplete_details") or {}).get("reason") or body.get("status"))
            for item in objects(body.get("output")):
                yield from _answer_item(protocol, item)


def _chat_message(protocol: str, message: Any) -> Iterator[Word]:
    for name, value in message.items() if isinstance(message, dict) else ():
        if value not in (None, "", []):
            yield protocol, "message key", name
    for part in objects(message.get("content")) if isinstance(message, dict) else ():
        yield protocol, "answer part", str(part.get("type"))


def _answer_item(protocol: str, item: Json) -> Iterator[Word]:
    yield protocol, "answer item", str(item.get("type"))
    if item.get("type") == "message":
        for part in objects(item.get("content")):
            yield protocol, "answer part", str(part.get("type"))


def _event(protocol: str, event: SSEEvent, value: Json) -> Iterator[Word]:
    match protocol:
        case "openai-chat":
            for choice in objects(value.get("choices")):
                if choice.get("finish_reason"):
                    yield protocol, "stop", str(choice["finish_reason"])
                yield from _chat_message(protocol, choice.get("delta"))
            return
        case "anthropic-messages":
            yield protocol, "event", str(value.get("type") or event.name)
            delta = value.get("delta")
            if isinstance(delta, dict) and "type" in delta:
                yield protocol, "delta", str(delta["type"])
            if isinstance(delta, dict) and delta.get("stop_reason"):
                yield protocol, "stop", str(delta["stop_reason"])
            if isinstance(block := value.get("content_block"), dict):
                yield protocol, "answer part", str(block.get("type"))
            return
    kind = str(value.get("type") or event.name)
    yield protocol, "event", kind
    if isinstance(item := value.get("item"), dict):
        yield from _answer_item(protocol, item)
    if isinstance(response := value.get("response"), dict) and kind in ("response.completed", "response.incomplete"):
        yield from _whole(protocol, response)


# ── what becomes of it ──

SHAPES: dict[str, Json] = {
    "text": {"text": "x"}, "input_text": {"text": "x"}, "output_text": {"text": "x"}, "summary_text": {"text": "x"},
    "reasoning_text": {"text": "x"}, "refusal": {"refusal": "x"}, "image_url": {"image_url": {"url": "https://x.test/"}},
    "image": {"source": {"type": "url", "url": "https://x.test/"}}, "document": {"source": {"type": "url", "url": "https://x.test/"}},
    "thinking": {"thinking": "x", "signature": "s"}, "redacted_thinking": {"data": "d"}, "tool_use": {"id": "a", "name": "n", "input": {}},
    "tool_result": {"tool_use_id": "a", "content": "x"}, "input_image": {"image_url": "https://x.test/"},
    "input_file": {"file_url": "https://x.test/"}, "file": {"file": {"file_data": "https://x.test/"}},
    "function": {"name": "n", "parameters": {}}, "custom": {"name": "n", "input_schema": {}}, "namespace": {"name": "n", "tools": []},
    "function_call": {"call_id": "c", "name": "n", "arguments": "{}"}, "custom_tool_call": {"call_id": "c", "name": "n", "input": "x"},
    "function_call_output": {"call_id": "c", "output": "x"}, "custom_tool_call_output": {"call_id": "c", "output": "x"},
    "message": {"role": "user", "content": "x"}, "reasoning": {"id": "rs_1", "summary": [], "encrypted_content": "s"},
}  # fmt: skip
"""The least that makes an object of a known type one."""
SAMPLES: Json = {"n": 2, "include": ["message.output_text.logprobs"], "truncation": "auto", "modalities": ["audio"]}
TABLES = {MESSAGES: messages_words.field_losses, CHAT: chat_words.field_losses, RESPONSES: responses_words.field_losses}
NAMED = {
    MESSAGES: messages_words.REQUEST_FIELDS | {"output_format"},
    CHAT: chat_words.HELD,
    RESPONSES: responses_words.HELD | {"text"},
}
PARTS = {MESSAGES: decode_block, CHAT: chat_part, RESPONSES: responses_part}


def place(word: Word) -> str:
    """Where the word goes; empty for nowhere."""
    protocol, kind, name = word
    match kind:
        case "request field":
            if name in NAMED[protocol]:
                return "named"
            losses = TABLES[protocol](name, SAMPLES.get(name, True))
            return f"extra, lost as {', '.join(losses)}" if losses else "extra, beside the answer"
        case "part":
            return _block(PARTS[protocol]({"type": name, **SHAPES.get(name, {})}))
        case "answer part" if protocol == CHAT:
            return _block(answer_part({"type": name, **SHAPES.get(name, {})}))
        case "answer part":
            return _block(PARTS[protocol]({"type": name, **SHAPES.get(name, {})}))
        case "item" | "answer item":
            return _item(name)
        case "tool":
            return _tool_place(protocol, name)
        case "role":
            return _role(protocol, name)
        case "stop":
            return _stop(protocol, name)
        case "event":
            return _event_place(protocol, name)
    return CLAIMS.get((protocol, kind, name)) or CLAIMS.get((protocol, kind, "*"), "")


def _block(block: Any) -> str:
    return f"opaque, lost as {block_loss(block.type)}" if isinstance(block, Opaque) else type(block).__name__


def _item(name: str) -> str:
    call = {
        "type": "custom_tool_call" if name.startswith("custom") else "function_call",
        **SHAPES["function_call"],
        "input": "x",
    }
    before = [call] if name.endswith("call_output") and name in SHAPES else []
    request = PROTOCOLS[RESPONSES].decode_request(
        {"model": "m", "input": [*before, {"type": name, **SHAPES.get(name, {})}]}
    )
    blocks = [block for message in request.messages for block in message.content][len(before) :]
    return _block(blocks[0]) if blocks else "named: settings and tools of the request"


def _tool_place(protocol: str, name: str) -> str:
    shape = SHAPES.get(name, {})
    given = (
        {"type": name, name: shape}
        if protocol == CHAT and name in ("function", "custom")
        else {"type": name, "name": "n", **shape}
    )
    base = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "input": "x"}
    tools: Iterable[Tool] = PROTOCOLS[protocol].decode_request({**base, "tools": [given]}).tools
    tool = next(iter(tools))
    return f"opaque, lost as {tool_loss(name)}" if tool.kind == "server" else f"Tool of kind {tool.kind}"


def _role(protocol: str, name: str) -> str:
    said = {"role": name, "content": "x", **({"tool_call_id": "c"} if name in ("tool", "function") else {})}
    call = {
        "role": "assistant",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "n", "arguments": "{}"}}],
    }
    before = [call] if protocol == CHAT else []
    body = {"model": "m", "max_tokens": 9, "messages": [*before, said], "input": [said]}
    last = PROTOCOLS[protocol].decode_request(body).messages[-1]
    return f"{type(last.content[0]).__name__} of {last.role}"


def _stop(protocol: str, name: str) -> str:
    match protocol:
        case "anthropic-messages":
            known = messages_words.STOP_IN.get(name)
            return known or ("end_turn" if name == "None" else "")
        case "openai-chat":
            if name.lower() in chat_words.FAILED:
                return f"failure: {chat_words.FAILED[name.lower()]}"
            return chat_words.stop_reason(name, calls=name in ("tool_calls", "function_call"), refused=False)
    from engine.protocols.openai_responses.answer_in import failure, stop_reason

    body: Json = {"status": name, "output": []}
    if name in ("max_output_tokens", "content_filter"):
        body = {"status": "incomplete", "incomplete_details": {"reason": name}}
    return "failure" if failure(body) is not None else stop_reason(body, [])


def _event_place(protocol: str, name: str) -> str:
    decoder = PROTOCOLS[protocol].stream_decoder(quirks=Quirks())
    if protocol == RESPONSES:
        first = SSEEvent("", orjson.dumps({"type": "response.created", "response": {"id": "r", "model": "m"}}).decode())
        message = {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {"type": _lane(name), "id": "i", "name": "n"},
        }
        _ = [decoder.feed(first), decoder.feed(SSEEvent("", orjson.dumps(message).decode()))]
    else:
        started = {"type": "message_start", "message": {"id": "m", "model": "m"}}
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        _ = [decoder.feed(SSEEvent("", orjson.dumps(e).decode())) for e in (started, block) if e["type"] != name]
    told = decoder.feed(
        SSEEvent(
            name,
            orjson.dumps(
                {"type": name, **EVENTS.get(name, {"delta": "x", "output_index": 0, "item_id": "i"})}
            ).decode(),
        )
    )
    names = sorted(
        {type(event).__name__ for event in told} - ({"Start"} if any(not isinstance(e, Start) for e in told) else set())
    )
    if names and not all(isinstance(event, Progress | Failure | Finish) for event in told):
        return "told"
    return names[-1] if names else CLAIMS.get((protocol, "event", name)) or CLAIMS.get((protocol, "event", "*"), "")


def _lane(name: str) -> str:
    if "function_call_arguments" in name:
        return "function_call"
    if "custom_tool_call" in name:
        return "custom_tool_call"
    if "reasoning" in name:
        return "reasoning"
    return "message" if any(part in name for part in ("output_text", "content_part", "refusal")) else "web_search_call"


EVENTS: dict[str, Json] = {
    "response.created": {"response": {"id": "r"}},
    "response.output_item.added": {"output_index": 1, "item": {"type": "message"}},
    "response.output_item.done": {"output_index": 0, "item": {"type": "web_search_call", "id": "i"}},
    "response.content_part.done": {"output_index": 0, "content_index": 0, "part": {"type": "output_text", "text": "x"}},
    "response.output_text.done": {"output_index": 0, "text": "x"},
    "response.refusal.done": {"output_index": 0, "refusal": "x"},
    "response.function_call_arguments.done": {"output_index": 0, "arguments": "{}"},
    "response.custom_tool_call_input.done": {"output_index": 0, "input": "x"},
    "response.reasoning_summary_text.done": {"output_index": 0, "summary_index": 0, "text": "x"},
    "response.reasoning_text.done": {"output_index": 0, "content_index": 0, "text": "x"},
    "response.completed": {"response": {"status": "completed", "output": []}},
    "response.incomplete": {"response": {"status": "incomplete", "output": []}},
    "content_block_delta": {"index": 0, "delta": {"type": "text_delta", "text": "x"}},
    "content_block_start": {"index": 1, "content_block": {"type": "text", "text": ""}},
    "content_block_stop": {"index": 0},
    "message_start": {"message": {"id": "m"}},
    "message_delta": {"delta": {"stop_reason": "end_turn"}},
    "error": {"error": {"type": "overloaded_error", "message": "x"}},
    "response.failed": {"response": {"status": "failed"}},
}
"""What makes an event say something."""

_WITH_THE_ITEM = "told with its item, whole, at the item's end"
CLAIMS: dict[Word, str] = {
    (RESPONSES, "event", "*"): _WITH_THE_ITEM,
    (MESSAGES, "event", "*"): "Progress",
    **{(MESSAGES, "delta", name): "told" for name in ("text_delta", "thinking_delta", "signature_delta", "input_json_delta")},
    (MESSAGES, "delta", "citations_delta"): "extra of the text",
    (MESSAGES, "delta", "*"): "opaque, told with its block",
    (MESSAGES, "answer field", "*"): "named, or extra of the answer",
    (RESPONSES, "answer field", "*"): "named, or an echo of the request that every provider's answer gets anew",
    (CHAT, "answer field", "*"): "named, or extra of the answer",
    **{(protocol, "usage field", "*"): "Usage, or its extra" for protocol in (MESSAGES, CHAT, RESPONSES)},
    **{(CHAT, "message key", name): "named" for name in ("role", "content", "refusal", "tool_calls", "function_call")},
    **{(CHAT, "message key", name): "Thinking" for name in ("reasoning", "reasoning_content", "reasoning_details", "extra_content")},
    (CHAT, "message key", "annotations"): "extra of the text",
    (CHAT, "message key", "index"): "a count that its place in the list says",
    (CHAT, "message key", "*"): "extra of the answer",
    (CHAT, "message field", "prefix"): "extra of the message, lost as prefill",
    (CHAT, "message field", "*"): "extra of the message, lost as unknown_field",
    (RESPONSES, "message field", "*"): "extra of the message, lost as unknown_field",
    **{(CHAT, "message key", name): "opaque, lost as audio or unknown_block" for name in ("audio", "images")},
    (MESSAGES, "message field", "*"): "extra of the message, lost as unknown_field",
    (RESPONSES, "message field", "phase"): "extra of the message, lost as own_field",
    **{(RESPONSES, "message field", name): "extra of the message, an id or a state that means nothing elsewhere" for name in ("id", "status", "internal_chat_message_metadata_passthrough")},
    **{(CHAT, "message field", name): "extra of the message, lost as own_field" for name in ("name",)},
    (CHAT, "message field", "annotations"): "extra of the message, lost as annotations",
    (CHAT, "message field", "audio"): "extra of the message, lost as audio",
    **{(CHAT, "message field", name): "named" for name in ("tool_calls", "tool_call_id", "function_call", "refusal")},
    **{(CHAT, "message field", name): "Thinking" for name in ("reasoning", "reasoning_content", "reasoning_details", "extra_content")},
    **{(protocol, "tool choice", "*"): "ToolChoice" for protocol in (MESSAGES, CHAT, RESPONSES)},
}  # fmt: skip
"""Places that no single word shows to the engine; other tests hold recorded answers to them."""
