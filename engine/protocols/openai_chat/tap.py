"""Listening to a preserved Chat answer: usage, stop reason, the commit point and errors, without changing a byte."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from engine.llm.catalogue import Quirks
from engine.llm.errors import ProviderError
from engine.llm.messages import JsonObject, StopReason
from engine.llm.protocol import SSEEvent, Tapped
from engine.protocols.openai_chat.answer_in import broken, decode_response, failure_of, usage_in
from engine.protocols.openai_chat.fields import says, stop_reason
from engine.protocols.openai_chat.reasoning import states
from engine.protocols.openai_chat.stream_in import read_chunk

_CONTENT = ("content", "reasoning_content", "reasoning", "reasoning_details", "refusal", "images", "audio")
_GOES_ON = re.compile(
    rb'data: \{(?:"(?:id|object|created|model|provider|service_tier|system_fingerprint)": ?(?:"[^"\\]*+"|\d++|null), ?)*+'
    rb'"choices": ?\[\{"index": ?0, ?"delta": ?\{"content": ?"(?!")[^"\\]*+(?:\\.[^"\\]*+)*+"\}(?:, ?"logprobs": ?null)?+'
    rb', ?"finish_reason": ?null\}\](?:, ?"(?:usage|obfuscation)": ?(?:null|"\w*+"))*+\}'
)
"""A chunk of text and nothing else, told from the others without reading it as JSON, which takes three times as long."""
_MAY_SEAL = frozenset({"reasoning_details", "extra_content", "tool_calls"})


class ChatTap:
    """One preserved stream. A stream with neither a finish reason nor `[DONE]` is an error when it closes."""

    __slots__ = ("_calls", "_quirks", "_refused", "_tapped", "goes_on", "quiet")

    def __init__(self, quirks: Quirks) -> None:
        self._quirks = quirks
        self._tapped = Tapped()
        self._calls = False
        self._refused = False
        self.quiet = False
        """See `StreamTap.quiet`. Some servers keep a connection warm with deltas that hold nothing."""
        self.goes_on = _GOES_ON.fullmatch
        """See `StreamTap.goes_on`."""

    def feed(self, event: SSEEvent) -> Tapped:
        """What is known after `event`."""
        if event.data.strip() == "[DONE]":
            self.quiet = False
            known = self._tapped
            if not (known.finished or known.error or known.id or known.started):
                return self._now(error=broken("the provider's stream held no answer"))
            return self._now(over=True) if known.finished else self._now(finished=True, over=True, stop=self._stop(""))
        self.quiet = True
        value, choice, error = read_chunk(event)
        if value is not None:
            self._chunk(value, choice)
        if error is not None and self._tapped.error is None:
            self._now(error=error)
        return self._tapped

    def close(self) -> Tapped:
        """What is known at the end."""
        if not self._tapped.finished and self._tapped.error is None:
            self._now(error=broken("the provider's stream ended before the answer was complete"))
        return self._tapped

    def _chunk(self, value: JsonObject, choice: JsonObject | None) -> None:
        if (usage := usage_in(value, self._quirks)) is not None:
            self._now(usage=usage)
        if choice is None:
            return
        if not self._tapped.id and not self._tapped.model:
            self._now(id=str(value.get("id") or ""), model=str(value.get("model") or ""))
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = choice.get("message")
        if isinstance(delta, dict):
            self._delta(delta)
        if finish := choice.get("finish_reason"):
            if (failed := failure_of(str(finish))) is not None:
                self._now(error=failed)
            else:
                self._now(finished=True, stop=self._stop(str(finish)))

    def _delta(self, delta: JsonObject) -> None:
        self.quiet = not says(delta)
        called = bool(delta.get("tool_calls") or delta.get("function_call"))
        self._refused = self._refused or bool(delta.get("refusal"))
        if called and not self._calls:
            self._calls = True
            if self._tapped.finished:
                self._now(stop="tool_use")
        if not _MAY_SEAL.isdisjoint(delta) and (sealed := states(delta)):
            self._now(sealed=(*self._tapped.sealed, *sealed))
        if not self._tapped.started and (called or any(delta.get(name) for name in _CONTENT)):
            self._now(started=True)

    def _stop(self, finish: str) -> StopReason:
        return stop_reason(finish, calls=self._calls, refused=self._refused)

    def _now(self, **changes: Any) -> Tapped:
        self._tapped = dataclasses.replace(self._tapped, **changes)
        return self._tapped


def tap_response(body: JsonObject, quirks: Quirks) -> Tapped:
    """What a preserved whole answer tells. Never raises: an error inside it is told."""
    try:
        answer = decode_response(body, quirks=quirks)
    except ProviderError as error:
        return Tapped(started=True, finished=True, error=error)
    return Tapped(
        started=True,
        finished=True,
        stop=answer.stop,
        usage=usage_in(body, quirks),
        model=answer.model,
        id=answer.id,
        sealed=tuple(states(body["choices"][0]["message"])),
    )
