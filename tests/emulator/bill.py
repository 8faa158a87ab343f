"""The emulated vendor's own bill: what it charges for each request, by its own arithmetic, in exact decimals.

Nothing of the gateway's is used here. A vendor charges for what it did: all tokens of an answer that went out whole; the prompt
and what had been written of an answer whose reader went away, or whose stream broke off; the prompt of a request whose reader
left before the answer began; nothing for what it refused or failed at before it began to answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import orjson

Delivered = Literal["nothing", "prompt", "part", "whole"]
"""How much of an answer a vendor worked for."""

_MILLION = Decimal(1_000_000)


@dataclass(slots=True, frozen=True)
class Prices:
    """US dollars per million tokens, as they stand in a price list."""

    input: str
    output: str
    cached: str
    written: str
    written_1h: str

    def charge(self, wire: str, usage: Mapping[str, Any], *, output: int | None = None) -> Decimal:
        """The price of one answer by its wire's own `usage`; `output` takes the place of its output tokens."""
        if wire == "anthropic-messages":
            kept = usage["cache_creation"]
            parts = [
                (self.input, usage["input_tokens"]),
                (self.cached, usage["cache_read_input_tokens"]),
                (self.written, kept["ephemeral_5m_input_tokens"]),
                (self.written_1h, kept["ephemeral_1h_input_tokens"]),
            ]
            out = usage["output_tokens"]
        else:
            chat = wire == "openai-chat"
            prompt = usage["prompt_tokens" if chat else "input_tokens"]
            details = usage["prompt_tokens_details" if chat else "input_tokens_details"]
            read, wrote = details["cached_tokens"], details.get("cache_write_tokens", 0)
            parts = [(self.input, prompt - read - wrote), (self.cached, read), (self.written, wrote)]
            out = usage["completion_tokens" if chat else "output_tokens"]
        whole = sum(Decimal(price) * tokens for price, tokens in parts)
        return (whole + Decimal(self.output) * (out if output is None else output)) / _MILLION


def written(frames: list[bytes]) -> int:
    """Tokens of the text in these frames: four bytes each, as everywhere in this vendor."""
    return sum(map(_text, _events(frames))) // 4


def _events(frames: list[bytes]) -> Iterator[Mapping[str, Any]]:
    for line in b"".join(frames).split(b"\n"):
        if line.startswith(b"data: {"):
            with suppress(orjson.JSONDecodeError):  # a frame that was broken on order
                yield orjson.loads(line[6:])


def _text(event: Mapping[str, Any]) -> int:
    """Bytes that the model wrote in one event of any wire."""
    deltas: list[Any] = [event.get("delta"), *(choice.get("delta") for choice in event.get("choices") or ())]
    size = 0
    for delta in deltas:
        texts = [delta] if isinstance(delta, str) else []
        if isinstance(delta, Mapping):
            texts = [delta.get(key) for key in ("text", "thinking", "partial_json", "content", "reasoning_content")]
        size += sum(len(text.encode()) for text in texts if isinstance(text, str))
    return size
