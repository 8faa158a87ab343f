"""The neutral conversation as this protocol's `system` and `messages`.

The wire is stricter than the vocabulary: roles alternate, every tool call is answered in the one user message right behind
its turn, results stand before anything else there, no text is empty. So the conversation is first cut into turns, each
assistant turn collects the results of its own calls wherever they stand, and the turns are then written out in order.
A call that nobody answered (an interrupted client) gets a result that says so; a result without a call becomes plain text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.llm.catalogue import Quirks
from engine.llm.messages import JsonObject, LLMRequest, Message, ToolCall, ToolResult
from engine.protocols import arguments
from engine.protocols.anthropic_messages.blocks_out import beside, encode_part
from engine.protocols.anthropic_messages.words import NAME
from engine.protocols.custom_text import wrapped
from engine.protocols.pairing import MISSING, ORDER, ORPHAN
from engine.protocols.tool_ids import IdMap
from engine.protocols.tool_names import ToolNames

_UNANSWERED = "The tool call was interrupted; there is no result."
_OPENING = "(The conversation starts with the assistant.)"
_SILENT = "(The user says nothing.)"
_CONTINUE = "Continue your last message exactly where it stops, without repeating any of it."


@dataclass(slots=True)
class _Turn:
    role: str
    content: list[JsonObject] = field(default_factory=list)
    extra: JsonObject = field(default_factory=dict)
    beside_results: JsonObject = field(default_factory=dict)
    """What stood beside the content of the messages that its results came in."""
    unanswered: dict[str, None] = field(default_factory=dict)
    """Wire ids of this turn's calls without a result so far, in order."""
    results: list[JsonObject] = field(default_factory=list)
    """Results of this turn's calls as they came: cache marks and prompt caches depend on the client's order."""
    closed: bool = False
    """A result has been seen: what the assistant says next is another turn."""


def encode_conversation(
    request: LLMRequest, *, quirks: Quirks, names: ToolNames, losses: set[str]
) -> tuple[list[JsonObject], list[JsonObject]]:
    """(`system` blocks, `messages`): at least one message, the first one the user's."""
    builder = _Builder(quirks, names, losses, own=request.protocol == NAME)
    for message in request.messages:
        builder.add(message)
    messages = _written(builder.turns, losses)
    system = builder.system
    if not messages:
        # What other protocols answer, too: instructions alone, or a user who says nothing at all.
        messages, system = [{"role": "user", "content": system or [{"type": "text", "text": _SILENT}]}], []
    if messages[0]["role"] != "user":
        messages.insert(0, {"role": "user", "content": [{"type": "text", "text": _OPENING}]})
    _prefill(messages, quirks, losses)
    return system, messages


class _Builder:
    """Cuts messages into turns. One per request; `add` is called in the conversation's order."""

    def __init__(self, quirks: Quirks, names: ToolNames, losses: set[str], *, own: bool) -> None:
        self.system: list[JsonObject] = []
        self.turns: list[_Turn] = []
        self._quirks = quirks
        self._names = names
        self._losses = losses
        self._own = own
        self._ids = IdMap("word")
        self._calls: dict[str, _Turn] = {}
        self._stretch = 0
        """Counts what stands between the assistant's turns."""

    def add(self, message: Message) -> None:
        match message.role:
            case "system" | "developer" if not self.turns:
                self.system += self._parts(message)
            case "system" | "developer" if self._quirks.mid_system:
                self._say("system", self._parts(message), message)
            case "system" | "developer":
                if parts := self._parts(message):
                    self._losses.add("system.mid")
                    self._say("user", parts, message)
            case "assistant":
                self._assistant(message)
            case _:
                self._user(message)

    def _parts(self, message: Message) -> list[JsonObject]:
        encoded = (encode_part(block, self._losses, own=self._own) for block in message.content)
        return [part for part in encoded if part is not None]

    def _say(self, role: str, parts: list[JsonObject], message: Message) -> None:
        if not parts:
            return
        self._stretch += role != "assistant"
        if not self.turns or self.turns[-1].role != role or self.turns[-1].closed:
            self.turns.append(_Turn(role))
        self.turns[-1].content += parts
        if self._own and role == message.role:
            self.turns[-1].extra |= message.extra

    def _assistant(self, message: Message) -> None:
        for block in message.content:
            if isinstance(block, ToolCall):
                self._call(block, message)
            elif not isinstance(block, ToolResult) and (part := encode_part(block, self._losses, own=self._own)):
                self._say("assistant", [part], message)

    def _call(self, call: ToolCall, message: Message) -> None:
        wire_id = self._ids.call(call.id, self._stretch)
        text = wrapped(call.arguments) if call.kind == "custom" else call.arguments
        part: JsonObject = {
            "type": "tool_use",
            "id": wire_id,
            "name": self._names.wire(call.name, call.namespace),
            "input": arguments.to_object(text),
            **beside(call.extra, own=self._own),
        }
        self._say("assistant", [part], message)
        turn = self.turns[-1]
        turn.unanswered[wire_id] = None
        self._calls[wire_id] = turn

    def _user(self, message: Message) -> None:
        for block in message.content:
            if isinstance(block, ToolResult):
                self._result(block, message)
            elif part := encode_part(block, self._losses, own=self._own):
                self._say("user", [part], message)

    def _result(self, result: ToolResult, message: Message) -> None:
        wire_id = self._ids.result(result.call_id)
        parts = [part for block in result.content if (part := self._result_part(block)) is not None]
        turn = self._calls.get(wire_id)
        if turn is None or wire_id not in turn.unanswered:
            self._losses.add(ORPHAN)
            said = "error" if result.is_error else "result"
            note = {"type": "text", "text": f"[{said} of tool call {result.call_id or 'without id'}]"}
            self._say("user", [note, *parts], message)
            return
        if turn is not self.turns[-1]:
            self._losses.add(ORDER)
        turn.closed = True
        if self._own:
            turn.beside_results |= message.extra
        self._stretch += 1
        del turn.unanswered[wire_id]
        is_error = result.is_error
        if is_error and any(part["type"] != "text" for part in parts):
            # The API takes nothing but text in a result that is flagged as an error.
            self._losses.add("tool_result.error")
            parts.insert(0, {"type": "text", "text": "Error:"})
            is_error = False
        if is_error and not parts:
            parts = [{"type": "text", "text": "Error"}]
        # A cache mark belongs on the result; the API refuses it on a part of one.
        marks = [mark for part in parts if (mark := part.get("cache_control"))]
        parts = [{k: v for k, v in part.items() if k != "cache_control"} for part in parts] if marks else parts
        turn.results.append(
            {
                "type": "tool_result",
                "tool_use_id": wire_id,
                "content": parts,
                **({"is_error": True} if is_error else {}),
                **({"cache_control": marks[-1]} if marks else {}),
                **beside(result.extra, own=self._own),
            }
        )

    def _result_part(self, block: Any) -> JsonObject | None:
        return None if isinstance(block, ToolCall | ToolResult) else encode_part(block, self._losses, own=self._own)


def _written(turns: list[_Turn], losses: set[str]) -> list[JsonObject]:
    messages: list[JsonObject] = []
    for turn in turns:
        last = messages[-1] if messages else None
        if last is not None and last["role"] == turn.role:
            last |= {"content": last["content"] + turn.content, **turn.extra}
            continue
        messages.append({"role": turn.role, "content": list(turn.content), **turn.extra})
        if turn.unanswered:
            losses.add(MISSING)
        if answers := [*turn.results, *map(_unanswered, turn.unanswered)]:
            messages.append({"role": "user", "content": answers, **turn.beside_results})
    return messages


def _unanswered(wire_id: str) -> JsonObject:
    text = {"type": "text", "text": _UNANSWERED}
    return {"type": "tool_result", "tool_use_id": wire_id, "content": [text], "is_error": True}


def _prefill(messages: list[JsonObject], quirks: Quirks, losses: set[str]) -> None:
    last = messages[-1]
    if last["role"] != "assistant":
        return
    if not quirks.prefill:
        losses.add("prefill")
        messages.append({"role": "user", "content": [{"type": "text", "text": _CONTINUE}]})
    elif isinstance(text := (final := last["content"][-1]).get("text"), str) and final.get("type") == "text":
        # The API refuses a begun answer that ends in white space.
        last["content"][-1] = {**final, "text": text.rstrip()}
