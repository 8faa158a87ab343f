"""The events of one output item, as blocks: a message's parts, reasoning, a call, or an item told whole.

A lane knows nothing of its neighbours. What it has to tell stands in `told`, without block indexes, until its turn comes.
What the item's last event says wins over what its deltas said, as far as nothing contradicts what was told already. Where it
does, and a delta never came (`Numbers`), or where one never came and no last word says what was in it, the lane is `lost`:
what was told is not the answer, and the client must hear that. Reasoning is none of that: no answer stands or falls by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from engine.llm.messages import Block, JsonObject, Opaque, Refusal, Text, ToolCall
from engine.llm.stream import ArgumentsDelta, BlockStart, BlockStop, StreamEvent, TextDelta, ThinkingDelta
from engine.protocols.arguments import is_object
from engine.protocols.openai_responses import reasoning
from engine.protocols.openai_responses.answer_in import blocks
from engine.protocols.openai_responses.numbers import Numbers
from engine.protocols.openai_responses.parts import read_said
from engine.protocols.openai_responses.request_in import read_call
from engine.protocols.openai_responses.tools import restored
from engine.protocols.openai_responses.words import entries, text
from engine.protocols.tool_names import ToolNames

Make = Callable[[int, Any], StreamEvent]
"""Makes an event of a block's index and a value."""


class Lane:
    """One output item on its way. `told` holds events without their block index; `done` ends the lane."""

    __slots__ = ("added", "done", "lost", "numbers", "told")

    def __init__(self, item: JsonObject, numbers: Numbers) -> None:
        self.added = item
        self.numbers = numbers
        self.told: list[tuple[Make, Any]] = []
        self.done = False
        self.lost = False
        """A piece of what it should have told never came."""

    def event(self, kind: str, event: JsonObject) -> None:
        """An event of this item other than its first and last."""

    def finish(self, item: JsonObject | None) -> None:
        """The item's last word; None when the stream ended without it."""
        self.done = True

    def _whole(self, block: Block) -> None:
        """Tells a block that came in one piece."""
        match block:
            case Text() | Refusal():
                self.told += [(BlockStart, replace(block, text="")), (TextDelta, block.text)]
            case _:
                self.told.append((BlockStart, block))
        self.told.append((BlockStop, block))


class MessageLane(Lane):
    """Parts are told one after the other. Content indexes only tell them apart: one vendor counts from one."""

    __slots__ = ("_annotations", "_closed", "_logprobs", "_open", "_part", "_pieces", "_sure", "_told", "_unsure")

    def __init__(self, item: JsonObject, numbers: Numbers) -> None:
        super().__init__(item, numbers)
        self._part = -1
        """Content index of the part that is open, or was last."""
        self._open: type[Text | Refusal] | None = None
        self._pieces: list[str] = []
        self._annotations: list[JsonObject] = []
        self._logprobs: list[JsonObject] = []
        """Of the open part's tokens."""
        self._closed: set[int] = set()
        self._told: list[str | None] = []
        """Texts of the parts told to the end; None for an opaque one."""
        self._sure = False
        """A last word has told what the open part says."""
        self._unsure: set[int] = set()
        """Parts told to the end without one."""

    def event(self, kind: str, event: JsonObject) -> None:
        part = event.get("content_index")
        part = part if isinstance(part, int) else max(self._part, 0)
        match kind:
            case "response.output_text.delta":
                self._say(Text, part, text(event.get("delta")))
                if tokens := event.get("logprobs"):
                    self._logprobs += entries(tokens)
            case "response.refusal.delta":
                self._say(Refusal, part, text(event.get("delta")))
            case "response.output_text.done":
                self._rest(Text, part, text(event.get("text")))
                self._logprobs = entries(event.get("logprobs")) or self._logprobs
            case "response.refusal.done":
                self._rest(Refusal, part, text(event.get("refusal")))
            case "response.output_text.annotation.added" if isinstance(event.get("annotation"), dict):
                self._annotations.append(event["annotation"])
            case "response.content_part.done" if isinstance(event.get("part"), dict):
                self._end_part(part, read_said(event["part"]))

    def finish(self, item: JsonObject | None) -> None:
        """The finished item lists all parts: the open one ends with what stands there, those never told are told now."""
        seen = 0
        late: list[Block] = []
        for block in [read_said(part) for part in entries(item.get("content"))] if item is not None else ():
            if isinstance(block, Opaque):
                if seen < len(self._told) and self._told[seen] is None:
                    seen += 1
                else:
                    late.append(block)
            elif not block.text:
                continue
            elif self._open is not None and seen == len(self._told):
                self._end_part(self._part, block)
                seen += 1
            elif seen < len(self._told):
                if seen in self._unsure:
                    self._unsure.discard(seen)
                    self.lost = self.lost or self.numbers.lost([self._told[seen] or ""], block.text)
                seen += 1
            else:
                late.append(block)
        self._close(Text(""))
        self.lost = self.lost or (self.numbers.jumped and bool(self._unsure))
        for missed in late:
            self._whole(missed)
        if self.numbers.jumped and item is not None and not self.lost:
            self.lost = self._unlike(item, late)
        super().finish(item)

    def _unlike(self, item: JsonObject, late: list[Block]) -> bool:
        """Whether the finished item lists other texts than were told: a part was lost, and another one taken for it."""
        listed = [
            part.text.strip() for part in map(read_said, entries(item.get("content"))) if not isinstance(part, Opaque)
        ]
        told = [*(text or "" for text in self._told), *(b.text for b in late if isinstance(b, Text | Refusal))]
        return any(listed) and [*filter(None, listed)] != [said for text in told if (said := text.strip())]

    def _say(self, kind: type[Text | Refusal], part: int, piece: str) -> None:
        if not piece or part in self._closed:
            return
        if self._open is not kind or part != self._part:
            self._close(Text(""))
            self._open, self._part = kind, part
            self.told.append((BlockStart, kind("")))
        self._pieces.append(piece)
        self.told.append((TextDelta, piece))

    def _rest(self, kind: type[Text | Refusal], part: int, whole: str) -> None:
        """What the deltas left out of `whole`, a part's last word. One that says nothing is none."""
        if not whole or part in self._closed:
            return
        pieces = self._pieces if part == self._part else []
        said = "".join(pieces)
        if whole.startswith(said):
            self._say(kind, part, whole[len(said) :])
        elif self.numbers.lost(pieces, whole):
            self.lost = True
        self._sure = True

    def _end_part(self, index: int, block: Text | Refusal | Opaque) -> None:
        if index in self._closed:
            return
        if isinstance(block, Opaque):
            self._close(Text(""))
            self._whole(block)
            self._told.append(None)
        else:
            self._rest(type(block), index, block.text)
            if index == self._part:
                self._close(block)
        self._closed.add(index)

    def _close(self, last: Text | Refusal) -> None:
        """Ends the open part; `last` brings what stands beside its text."""
        if self._open is not None:
            extra = dict(last.extra)
            if self._annotations and "annotations" not in extra:
                extra["annotations"] = self._annotations
            if self._logprobs and "logprobs" not in extra:
                extra["logprobs"] = self._logprobs
            said = "".join(self._pieces)
            self.told.append((BlockStop, self._open(said, extra)))
            if not self._sure:
                self._unsure.add(len(self._told))
            self._told.append(said)
            self._closed.add(self._part)
        self._open, self._pieces, self._annotations, self._logprobs, self._sure = None, [], [], [], False


class ReasoningLane(Lane):
    __slots__ = ("_index", "_pieces", "_source")

    def __init__(self, item: JsonObject, numbers: Numbers) -> None:
        super().__init__(item, numbers)
        self._source = ""
        """`summary` or `content`, whichever came first: the other one would say the same again."""
        self._index: Any = None
        self._pieces: list[str] = []
        self.told.append((BlockStart, replace(reasoning.read(item), text="", opaque="", extra={})))

    def event(self, kind: str, event: JsonObject) -> None:
        match kind:
            case "response.reasoning_summary_text.delta":
                self._say("summary", event.get("summary_index"), text(event.get("delta")))
            case "response.reasoning_text.delta":
                self._say("content", event.get("content_index"), text(event.get("delta")))
            case "response.reasoning_summary_text.done":
                self._unless_said("summary", event.get("summary_index"), text(event.get("text")))
            case "response.reasoning_text.done":
                self._unless_said("content", event.get("content_index"), text(event.get("text")))

    def finish(self, item: JsonObject | None) -> None:
        last = reasoning.read({**self.added, **{k: v for k, v in (item or {}).items() if v is not None}})
        if not self._pieces and last.text:
            self._pieces.append(last.text)
            self.told.append((ThinkingDelta, last.text))
        elif self._source:
            last = replace(last, summary=self._source == "summary")
        self.told.append((BlockStop, replace(last, text="".join(self._pieces))))
        super().finish(item)

    def _say(self, source: str, index: Any, piece: str) -> None:
        self._source = self._source or source
        if source != self._source or not piece:
            return
        if self._pieces and index != self._index:
            piece = "\n\n" + piece
        self._index = index
        self._pieces.append(piece)
        self.told.append((ThinkingDelta, piece))

    def _unless_said(self, source: str, index: Any, whole: str) -> None:
        if not (self._pieces and index == self._index):
            self._say(source, index, whole)


class CallLane(Lane):
    """A call is told from the moment its name is known; one whose kind must be restored, when it is whole."""

    __slots__ = ("_begun", "_first", "_names", "_pieces", "_sure")

    def __init__(self, item: JsonObject, numbers: Numbers, names: ToolNames) -> None:
        super().__init__(item, numbers)
        self._names = names
        self._sure = False
        """A last word has told what it is called with."""
        self._pieces: list[str] = []
        self._first = call = self._call(item)
        same_kind = (call.kind == "custom") == (item.get("type") == "custom_tool_call")
        self._begun = bool(call.name) and same_kind
        if self._begun:
            self.told.append((BlockStart, replace(call, arguments="")))
            self._say(_written(item))

    def event(self, kind: str, event: JsonObject) -> None:
        match kind:
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                self._say(text(event.get("delta")))
            case "response.function_call_arguments.done":
                self._rest(text(event.get("arguments")))
            case "response.custom_tool_call_input.done":
                self._rest(text(event.get("input")))

    def finish(self, item: JsonObject | None) -> None:
        last = {**self.added, **{k: v for k, v in (item or {}).items() if v is not None}}
        custom = last.get("type") == "custom_tool_call"
        if item is not None:
            self._rest(_written(item))
        self.lost = self.lost or (self.numbers.jumped and not self._sure and bool(self._pieces))
        said = "".join(self._pieces)
        call = self._call({**last, "input" if custom else "arguments": said})
        if self._begun:
            call = replace(call, id=self._first.id, name=self._first.name, namespace=self._first.namespace)
        else:
            self.told.append((BlockStart, replace(call, arguments="")))
            if said and call.arguments:
                self.told.append((ArgumentsDelta, call.arguments))
        self.told.append((BlockStop, call))
        super().finish(item)

    def _call(self, item: JsonObject) -> ToolCall:
        return restored(read_call(item), self._names)

    def _say(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)
            if self._begun:
                self.told.append((ArgumentsDelta, piece))

    def _rest(self, whole: str) -> None:
        """What the deltas left out of `whole`, the call's last word. One that says nothing is none."""
        if not whole:
            return
        said = "".join(self._pieces)
        if whole.startswith(said):
            self._say(whole[len(said) :])
        elif not self._begun:  # nothing of it is out yet
            self._pieces = [whole]
        elif self._first.kind == "function" and is_object(whole):
            same = is_object(said) and orjson.loads(said) == orjson.loads(whole)
            self.lost = self.lost or not is_object(said) or (not same and self.numbers.lost(self._pieces, whole))
        else:
            self.lost = self.lost or self.numbers.lost(self._pieces, whole)
        self._sure = True


class OtherLane(Lane):
    """An item that only this protocol has: one opaque block, told when it is whole."""

    __slots__ = ()

    def finish(self, item: JsonObject | None) -> None:
        for block in blocks(item or self.added, ToolNames(())):
            self._whole(block)
        super().finish(item)


def _written(item: JsonObject) -> str:
    """What a call's item says of its arguments or its input; some servers write an object instead of its text."""
    given = item.get("input" if item.get("type") == "custom_tool_call" else "arguments")
    return orjson.dumps(given).decode() if isinstance(given, dict) else text(given)
