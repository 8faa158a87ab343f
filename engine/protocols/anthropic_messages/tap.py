"""Listening to a preserved stream: as little as possible, because every byte of it passes by."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import orjson

from engine.llm.errors import ProviderError
from engine.llm.messages import JsonObject
from engine.llm.protocol import SSEEvent, Tapped
from engine.protocols import error_bodies
from engine.protocols.anthropic_messages.usage import decode_usage, merge_usage
from engine.protocols.anthropic_messages.words import NAME, stop_reason

_LAST = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
"""What `Tapped.owed` is here."""
_SIGNATURE = "signature_delta"
_EMPTY = (':""}}', ': ""}}', ":{}}", ": {}}")
"""How a delta ends that says nothing."""
_GOES_ON = re.compile(
    rb'event: content_block_delta\ndata: \{"type": ?"content_block_delta", ?"index": ?\d+, ?"delta": ?'
    rb'\{"type": ?"(?:text|thinking|input_json)_delta", ?"(?:text|thinking|partial_json)": ?"(?!")'
)
_HEAD = 120
"""Characters of a delta in which its type is looked for."""


class Tap:
    """See `StreamTap`. The named deltas that make up nearly all of a stream are not even parsed."""

    def __init__(self) -> None:
        self._known = Tapped()
        self._usage: JsonObject = {}
        self._stop: str | None = None
        self._has_call = False
        self.quiet = False
        """See `StreamTap.quiet`."""
        self.goes_on = _GOES_ON.match
        """See `StreamTap.goes_on`."""

    def feed(self, event: SSEEvent) -> Tapped:
        """See `StreamTap.feed`."""
        name = event.name
        known = self._known
        self.quiet = name == "ping"
        if name == "content_block_delta" and known.started:
            self.quiet = event.data.endswith(_EMPTY)
            if event.data.find(_SIGNATURE, 0, _HEAD) < 0:
                return known
        elif name in ("content_block_stop", "ping"):
            return known
        if known.finished or known.error:
            return known
        if event.data.strip() in ("", "[DONE]"):
            self.quiet = True
            return known
        try:
            value = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            return self._fail("the provider sent an event that is no JSON object")
        kind = value.get("type")
        if not isinstance(kind, str):
            kind = "error" if value.get("error") else name
        self._take(kind, value, event.data)
        return self._known

    def close(self) -> Tapped:
        """See `StreamTap.close`. A stop reason without `message_stop` still makes the answer whole."""
        if self._known.owed:
            self._known = dataclasses.replace(self._known, finished=True, over=True)
        elif not self._known.finished and not self._known.error:
            self._fail("the provider's stream ended before its answer did")
        return self._known

    def _take(self, kind: str, value: JsonObject, data: str) -> None:
        match kind:
            case "message_start":
                message = value.get("message")
                message = message if isinstance(message, dict) else {}
                self._usage = merge_usage(self._usage, message.get("usage"))
                model, answer_id = str(message.get("model") or ""), str(message.get("id") or "")
                usage = decode_usage(self._usage) if self._usage else None
                self._known = dataclasses.replace(self._known, model=model, id=answer_id, usage=usage)
            case "content_block_start":
                block = value.get("content_block")
                block = block if isinstance(block, dict) else {}
                self._has_call |= block.get("type") == "tool_use"
                self._start(block.get("data") if block.get("type") == "redacted_thinking" else None)
            case "content_block_delta":
                delta = value.get("delta")
                self.quiet = data.endswith(_EMPTY)
                self._start(delta.get("signature") if isinstance(delta, dict) else None)
            case "message_delta":
                delta = value.get("delta")
                if isinstance(delta, dict) and isinstance(reason := delta.get("stop_reason"), str):
                    self._stop = reason
                self._usage = merge_usage(self._usage, value.get("usage"))
                self._known = dataclasses.replace(
                    self._known,
                    started=True,
                    usage=decode_usage(self._usage),
                    stop=stop_reason(self._stop, has_tool_call=self._has_call) if self._stop else None,
                    owed=_LAST if self._stop else b"",
                )
            case "message_stop":
                stop = stop_reason(self._stop, has_tool_call=self._has_call)
                self._known = dataclasses.replace(
                    self._known, started=True, finished=True, over=True, stop=stop, owed=b""
                )
            case "ping":
                self.quiet = True
            case "error":
                seen = error_bodies.from_value(value)
                error = error_bodies.provider_error(0, data.encode(), {}, protocol=NAME, in_stream=True, read_as=seen)
                self._known = dataclasses.replace(self._known, error=error, owed=b"")

    def _start(self, state: Any = None) -> None:
        if not self._known.started:
            self._known = dataclasses.replace(self._known, started=True)
        if isinstance(state, str) and state:
            self._known = dataclasses.replace(self._known, sealed=(*self._known.sealed, state))

    def _fail(self, message: str) -> Tapped:
        error = ProviderError(message, meaning="broken", protocol=NAME, in_stream=True)
        self._known = dataclasses.replace(self._known, error=error, owed=b"")
        return self._known
