"""A conversation that goes on in short form, between protocols of which only some have a word for that.

A Responses client ends its input with a `compaction_trigger` and needs exactly one `compaction` item in the answer; the item
then stands in its history in place of what was said before. From a provider that knows no trigger the gateway asks for a
summary in words, and seals it in an item of its own; when that comes back it is opened and said as text, to whichever
provider goes on. A Messages history holds its compaction as readable text, which is said likewise, and what stands before it
is left out as that protocol's own provider would. An item that a provider has sealed can be said to no other: the loss
`compaction`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from engine.llm.errors import ProviderError
from engine.llm.messages import Block, JsonObject, LLMRequest, LLMResponse, Message, Opaque, Text, ToolChoice
from engine.llm.protocol import SSEEvent, StreamDecoder, Target
from engine.llm.returning import SUMMARY
from engine.llm.stream import BlockStart, BlockStop, Failure, Finish, Progress, Start, StreamEvent, TextDelta

ITEM = "compaction"
"""Type of the block or item that stands for what was said before it."""
TRIGGER = "compaction_trigger"

_WIRE = "openai-responses"
"""The protocol whose clients ask by a trigger."""
_PROMPT = """\
The conversation up to here will be replaced by a summary, from which alone the work goes on. Write that summary now, as text and \
without calling a tool. Say exactly, with names, paths, commands, ids and figures as they are:
1. what the user wants, and every wish and limit they stated, in their own words where the wording matters;
2. what has been done and found out, what was decided and why, what failed;
3. which files, functions, processes and results matter now, and in which state they are;
4. what is still to be done, and what comes next.
Leave out greetings, repetitions, and whatever nobody will need again. Answer with the summary and nothing else."""
_OPENING = "What was said before has been shortened. This is its summary:\n\n"
_CUT = "\n\n[The summary was cut off here.]"
_EVERY = 64
"""Pieces of a summary between two signs of life to the client."""

Seal = Callable[[str], str]
"""Summary → the state of an item that holds it."""


def asked(request: LLMRequest) -> bool:
    """Whether the answer shall be a compaction item."""
    last = request.messages[-1] if request.messages else None
    return last is not None and any(isinstance(b, Opaque) and b.type == TRIGGER for b in last.content)


def in_words(request: LLMRequest, target: Target, losses: set[str]) -> LLMRequest:
    """`request` for an encoder: triggers and what can be read of compaction items become text, unless `target` knows them itself."""
    if not any(
        isinstance(block, Opaque) and block.type in (ITEM, TRIGGER) for m in request.messages for block in m.content
    ):
        return request
    if request.protocol == target.protocol and (target.quirks.compaction or target.protocol != _WIRE):
        return request
    wanted = asked(request)
    unpacked = target.unpacked
    messages: list[Message] = []
    for message in request.messages:
        rest: list[Block] = []
        for block in message.content:
            if not isinstance(block, Opaque) or (said := _said(block, unpacked)) is None:
                rest.append(block)
                continue
            if not said:
                continue
            if block.type == ITEM and block.protocol != _WIRE:
                messages = [m for m in messages if m.role in ("system", "developer")]
                rest = []
            messages += [replace(message, content=tuple(rest))] if rest else []
            rest = []
            messages.append(Message("user", (Text(said),)))
        if rest:
            messages.append(replace(message, content=tuple(rest)))
    if not wanted:
        return replace(request, messages=tuple(messages))
    losses.add(SUMMARY)
    choice = ToolChoice("none") if request.tools else None
    return replace(request, messages=tuple(messages), tool_choice=choice, output_format=None)


def items_in_words(items: list[Any], unpacked: Callable[[str], str | None]) -> list[Any]:
    """Input items for a provider of the client's own protocol, its items as `unpacked` has them; the same list if nothing changes."""
    if not any(isinstance(item, dict) and item.get("type") == ITEM for item in items):
        return items
    kept: list[Any] = []
    changed = False
    for item in items:
        state = item.get("encrypted_content") if isinstance(item, dict) and item.get("type") == ITEM else None
        summary = unpacked(state) if isinstance(state, str) else ""
        if summary == "":
            kept.append(item)
            continue
        changed = True
        if summary is not None:
            part = {"type": "input_text", "text": _OPENING + summary}
            kept.append({"type": "message", "role": "user", "content": [part]})
    return kept if changed else items


def packed(response: LLMResponse, seal: Seal) -> LLMResponse:
    """The answer to `in_words`' prompt as the item that was asked for. Raises ProviderError for an answer without a text."""
    item = _item(
        response.id, (b.text for b in response.content if isinstance(b, Text)), seal, cut=response.stop == "max_tokens"
    )
    return replace(response, content=(Opaque(_WIRE, item),), stop="end_turn")


class PackingDecoder:
    """A provider's stream decoder whose answer is the item that was asked for. See `StreamDecoder`."""

    __slots__ = ("_begun", "_decoder", "_id", "_seal", "_texts")

    def __init__(self, decoder: StreamDecoder, seal: Seal) -> None:
        self._decoder = decoder
        self._seal = seal
        self._id = ""
        self._begun = False
        self._texts: list[str] = []

    def feed(self, event: SSEEvent) -> list[StreamEvent]:
        """See `StreamDecoder.feed`."""
        return self._packed(self._decoder.feed(event))

    def close(self) -> list[StreamEvent]:
        """See `StreamDecoder.close`."""
        return self._packed(self._decoder.close())

    @property
    def complete(self) -> bool:
        """See `StreamDecoder.complete`."""
        return self._decoder.complete

    @property
    def quiet(self) -> bool:
        """See `StreamDecoder.quiet`."""
        return self._decoder.quiet

    def _packed(self, events: list[StreamEvent]) -> list[StreamEvent]:
        told: list[StreamEvent] = []
        for event in events:
            match event:
                case Start():
                    self._id = event.id
                    told.append(event)
                case TextDelta():
                    self._texts.append(event.text)
                    if not self._begun and event.text.strip():
                        self._begun = True
                        told.append(BlockStart(0, Opaque(_WIRE, {"type": ITEM})))
                    elif len(self._texts) % _EVERY == 0:
                        told.append(Progress())
                case Finish():
                    told += self._finished(event)
                case Progress() | Failure():
                    told.append(event)
        return told

    def _finished(self, end: Finish) -> list[StreamEvent]:
        try:
            item = _item(self._id, self._texts, self._seal, cut=end.stop == "max_tokens")
        except ProviderError as error:
            return [Failure(error)]
        return [BlockStop(0, Opaque(_WIRE, item)), replace(end, stop="end_turn", stop_sequence=None)]


def _said(block: Opaque, unpacked: Callable[[str], str | None]) -> str | None:
    """What is said in place of `block`, nothing for a compaction that failed; None where it stays what it is."""
    if block.type == TRIGGER:
        return _PROMPT
    if block.type != ITEM:
        return None
    if isinstance(text := block.value.get("content"), str) and text:
        return _OPENING + text
    if not isinstance(state := block.value.get("encrypted_content"), str):
        return "" if block.protocol != _WIRE else None
    summary = unpacked(state)
    return _OPENING + summary if summary else None


def _item(answer_id: str, texts: Iterable[str], seal: Seal, *, cut: bool) -> JsonObject:
    summary = "".join(texts).strip()
    if not summary:
        raise ProviderError(
            "the model was asked for a summary and wrote none", meaning="broken", protocol=_WIRE, in_stream=True
        )
    state = seal(summary + _CUT if cut else summary)
    return {"type": ITEM, "id": f"cmp_sbgw_{answer_id[-40:]}", "encrypted_content": state}
