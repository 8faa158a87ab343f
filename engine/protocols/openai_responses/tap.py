"""Listening to a preserved answer: usage, stop reason, errors, and when its content began.

Most frames are deltas, which tell nothing; they are recognised by name, unparsed. Only the terminal event is read whole.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import orjson
import re2

from engine.llm.catalogue import Quirks
from engine.llm.messages import Block, JsonObject, Refusal, StopReason, ToolCall
from engine.llm.protocol import SSEEvent, Tapped
from engine.protocols.openai_responses.answer_in import broken, decode_usage, failure, stop_reason, unlike
from engine.protocols.openai_responses.words import entries, text

_GOES_ON = re.compile(
    rb"event: response\.[a-z_]+\.delta\ndata: "
    rb'\{(?:"(?:type|sequence_number|item_id|output_index|content_index|summary_index)": ?(?:"[^"]*+"|\d++), ?)*+"delta": ?"(?!")'
)
_KIND = re2.compile(
    r'"type"\s*:\s*"(error|ping|keepalive|response\.(?:created|in_progress|queued|completed|incomplete|failed|output_item\.(?:added|done)|[a-z_]+\.delta))"'
)
_HEAD = 400
"""Characters of an event without a name in which its type is looked for first."""
_ID = re2.compile(r'"id"\s*:\s*"(resp_[^"]*|[^"]*)"')
_MODEL = re2.compile(r'"model"\s*:\s*"([^"]*)"')
_QUIET = frozenset({"response.in_progress", "response.queued", "ping", "keepalive"})
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "error"})


class Tap:
    """See `StreamTap`."""

    __slots__ = ("_known", "_quirks", "goes_on", "quiet")

    def __init__(self, quirks: Quirks) -> None:
        self._quirks = quirks
        self._known = Tapped()
        self.quiet = False
        """See `StreamTap.quiet`."""
        self.goes_on = _GOES_ON.match
        """See `StreamTap.goes_on`."""

    def feed(self, event: SSEEvent) -> Tapped:
        """See `StreamTap.feed`."""
        known = self._known
        kind = event.name or _kind(event.data)
        self.quiet = _quiet(kind, event.data)
        if known.started and kind not in _ENDS:
            if kind == "response.output_item.done":
                self._item(event.data)
            return self._known
        if known.finished:
            return known
        if kind in _ENDS:
            self._known = self._ended(kind, event.data)
        elif kind == "response.created":
            self._known = replace(known, id=_found(_ID, event.data), model=_found(_MODEL, event.data))
        elif kind == "response.output_item.added" or kind.endswith(".delta"):
            self._known = replace(known, started=True)
        return self._known

    def _item(self, data: str) -> None:
        """Of a finished item only reasoning and compaction are read, for their state; the last event does not always repeat it."""
        if '"reasoning"' not in data and '"compaction"' not in data:
            return
        try:
            item = orjson.loads(data).get("item")
        except (orjson.JSONDecodeError, AttributeError):
            return
        if states := reasoning_states([item]):
            self._known = replace(self._known, sealed=(*self._known.sealed, *states))

    def close(self) -> Tapped:
        """See `StreamTap.close`."""
        if not self._known.finished and self._known.error is None:
            error = broken("the provider's stream ended before response.completed")
            self._known = replace(self._known, error=error)
        return self._known

    def _ended(self, kind: str, data: str) -> Tapped:
        known = self._known
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            return replace(known, error=broken("the provider's last event is not JSON"))
        if kind == "error":
            # response.failed usually follows and says the same; the first word counts.
            error = failure(value if value.get("error") else {"error": value}) or broken("the provider failed")
            return known if known.error is not None else replace(known, error=error)
        response = value.get("response")
        if not isinstance(response, dict):
            return replace(
                known,
                finished=True,
                over=True,
                error=known.error or broken("the provider's last event holds no response"),
            )
        told = tapped({**response, "status": "failed"} if kind == "response.failed" else response, self._quirks)
        error_told = told.error
        return replace(
            told,
            started=known.started or error_told is None,
            id=told.id or known.id,
            model=told.model or known.model,
            error=known.error or error_told,
            sealed=known.sealed or told.sealed,
        )


def tapped_whole(body: JsonObject, quirks: Quirks) -> Tapped:
    """What a whole answer tells, or that it is none."""
    told = tapped(body, quirks)
    if told.error is None and (wrong := unlike(body)) is not None:
        return replace(told, error=wrong)
    return told


def tapped(response: JsonObject, quirks: Quirks) -> Tapped:
    """What a response object tells."""
    error = failure(response)
    usage = response.get("usage")
    return Tapped(
        started=error is None,
        finished=True,
        over=True,
        stop=None if error is not None else _stop(response),
        usage=decode_usage(usage, quirks) if isinstance(usage, dict) else None,
        model=text(response.get("model")),
        id=text(response.get("id")),
        error=error,
        sealed=reasoning_states(response.get("output")),
    )


def reasoning_states(output: Any) -> tuple[str, ...]:
    """What stands for the state of reasoning and compaction items: the sealed content, else the id under which the provider keeps it."""
    items = (item for item in entries(output) if item.get("type") in ("reasoning", "compaction"))
    return tuple(state for item in items if (state := text(item.get("encrypted_content") or item.get("id"))))


def _stop(response: JsonObject) -> StopReason:
    """As for a decoded answer, without decoding it."""
    telling: list[Block] = []
    for item in entries(response.get("output")):
        if item.get("type") in ("function_call", "custom_tool_call"):
            telling.append(ToolCall("", ""))
        elif item.get("type") == "message":
            telling += [Refusal("") for part in entries(item.get("content")) if part.get("type") == "refusal"]
    return stop_reason(response, telling)


def _quiet(kind: str, data: str) -> bool:
    if kind.endswith(".delta"):
        return '"delta":""' in data or '"delta": ""' in data
    return kind in _QUIET or not data.strip()


def _kind(data: str) -> str:
    found = _KIND.search(data[:_HEAD]) or (_KIND.search(data) if ".delta" not in data[:_HEAD] else None)
    return found.group(1) if found else ""


def _found(pattern: Any, data: str) -> str:
    at = data.find('"response"')
    found = pattern.search(data, max(at, 0))
    return found.group(1) if found else ""
