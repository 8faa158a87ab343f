"""What the Chat Completions tests share: a target, streams as text, golden files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from engine.llm.catalogue import Model, Provider, Quirks
from engine.llm.messages import LLMRequest, Message, Text
from engine.llm.protocol import SSEEvent, Target
from engine.llm.stream import StreamEvent
from engine.protocols.openai_chat import OpenAIChat
from engine.protocols.sse import SSEParser

WIRE = OpenAIChat()
PROVIDER = Provider("p", {WIRE.name: "http://127.0.0.1"})
GOLDEN = Path(__file__).parent / "golden" / "openai_chat"
ABLE = Model(
    "p", "m", tools=True, vision=True, documents=True, reasoning=True, structured=True, context=10**6, max_output=64_000
)


def target(quirks: Quirks | None = None, model: Model = ABLE) -> Target:
    return Target(PROVIDER, model, WIRE.name, quirks or Quirks())


def request(*messages: Message, **fields: Any) -> LLMRequest:
    fields.setdefault("protocol", "anthropic-messages")
    return LLMRequest("asked", messages, **fields)


def user(*blocks: Any) -> Message:
    return Message("user", tuple(Text(b) if isinstance(b, str) else b for b in blocks))


def assistant(*blocks: Any) -> Message:
    return Message("assistant", tuple(Text(b) if isinstance(b, str) else b for b in blocks))


def encode(asked: LLMRequest, quirks: Quirks | None = None, model: Model = ABLE) -> tuple[dict[str, Any], list[str]]:
    return WIRE.encode_request(asked, target(quirks, model))


def chunk(delta: Any = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [choice], **fields}


def calls(*entries: Any) -> dict[str, Any]:
    return {"tool_calls": list(entries)}


def call(arguments: Any = None, name: Any = None, call_id: Any = None, **fields: Any) -> dict[str, Any]:
    function = {k: v for k, v in {"name": name, "arguments": arguments}.items() if v is not None}
    entry = {"function": function, **fields}
    return {**entry, "id": call_id} if call_id is not None else entry


def decode(
    chunks: Iterable[Any], *, done: bool = True, quirks: Quirks | None = None, asked: LLMRequest | None = None
) -> list[StreamEvent]:
    decoder = WIRE.stream_decoder(quirks=quirks or Quirks(), request=asked)
    out: list[StreamEvent] = []
    for value in chunks:
        out += decoder.feed(value if isinstance(value, SSEEvent) else SSEEvent("", orjson.dumps(value).decode()))
    if done:
        out += decoder.feed(SSEEvent("", "[DONE]"))
    return out + decoder.close()


def decode_bytes(raw: bytes, *, size: int = 0, quirks: Quirks | None = None) -> list[StreamEvent]:
    parser, decoder = SSEParser(), WIRE.stream_decoder(quirks=quirks or Quirks())
    step = size or len(raw) or 1
    events = [e for start in range(0, len(raw), step) for e in parser.feed(raw[start : start + step])] + parser.close()
    return [out for event in events for out in decoder.feed(event)] + decoder.close()


def encoded(events: Iterable[StreamEvent], asked: LLMRequest | None = None) -> bytes:
    encoder = WIRE.stream_encoder(model="asked", answer_id="chatcmpl-1", request=asked)
    return b"".join(encoder.feed(event) for event in events)


def golden(name: str, value: Any) -> None:
    """Compares with the file `name`; `SBGW_UPDATE_GOLDEN=1` writes it instead, for a human to read the difference."""
    path = GOLDEN / name
    if name.endswith(".json"):
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n"
    else:
        text = value if isinstance(value, str) else "".join(f"{line}\n" for line in value)
    if os.environ.get("SBGW_UPDATE_GOLDEN"):
        path.write_text(text, "utf-8")
    assert path.read_text("utf-8") == text
