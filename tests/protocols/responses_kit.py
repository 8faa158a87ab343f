"""What the tests of the Responses protocol share: a target, streams in and out, and goldens."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from engine.llm.catalogue import Model, Provider, Quirks
from engine.llm.messages import LLMRequest
from engine.llm.protocol import SSEEvent, Target
from engine.llm.stream import StreamEvent
from engine.protocols.openai_responses import OpenAIResponses
from engine.protocols.sse import SSEParser

WIRE = OpenAIResponses()
GOLDEN = Path(__file__).parent / "golden" / "openai_responses"
ANSWER_ID = "0199aabbccdd001122334455"


def target(quirks: Quirks | None = None, **row: Any) -> Target:
    """A capable model behind this protocol; `row` overrides its fields."""
    able = {
        "tools": True,
        "vision": True,
        "documents": True,
        "reasoning": True,
        "structured": True,
        "max_output": 64_000,
    }
    provider = Provider("p", {WIRE.name: "http://127.0.0.1"})
    return Target(provider, Model("p", "target-model", **(able | row)), WIRE.name, quirks or Quirks())


def quirks_of(fields: dict[str, Any]) -> Quirks:
    """Quirks as a golden file spells them."""
    return Quirks(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


def frames(*events: dict[str, Any]) -> list[SSEEvent]:
    """Events as a provider sends them."""
    return [SSEEvent(event.get("type") or "", orjson.dumps(event).decode()) for event in events]


def decode(
    events: Iterable[SSEEvent], *, request: LLMRequest | None = None, quirks: Quirks | None = None
) -> list[StreamEvent]:
    """What the stream decoder makes of a whole stream."""
    decoder = WIRE.stream_decoder(quirks=quirks or Quirks(), request=request)
    told = [out for event in events for out in decoder.feed(event)]
    return told + decoder.close()


def encode(events: Iterable[StreamEvent], *, request: LLMRequest | None = None) -> bytes:
    """What a client gets for `events`."""
    encoder = WIRE.stream_encoder(model="client-model", answer_id=ANSWER_ID, request=request)
    return b"".join(encoder.feed(event) for event in events)


def parsed(data: bytes) -> list[dict[str, Any]]:
    """The events in a client's bytes, each checked to carry its name twice."""
    parser = SSEParser()
    events = []
    for event in parser.feed(data) + parser.close():
        value = orjson.loads(event.data)
        assert event.name == value["type"]
        events.append(value)
    return events


def created(**members: Any) -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": "resp_1", "model": "m", "status": "in_progress", **members}}


def completed(*output: dict[str, Any], kind: str = "completed", **members: Any) -> dict[str, Any]:
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
    }
    response = {"id": "resp_1", "model": "m", "status": kind, "output": list(output), "usage": usage, **members}
    return {"type": f"response.{kind}", "response": response}


def added(item: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(item: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def delta(kind: str, piece: str, index: int = 0, **members: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "output_index": index, "delta": piece, **members}


def message(*parts: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": list(parts), **members}


def output_text(text: str, **members: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], **members}


def function_call(arguments: str = "{}", **members: Any) -> dict[str, Any]:
    return {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "read",
        "arguments": arguments,
        **members,
    }
