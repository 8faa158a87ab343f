"""A conversation as Chat messages, in the order that strict servers insist on.

Every assistant message with tool calls is followed at once by one `tool` message per call, in the calls' order, whatever
stood between them: a call without a result gets a short note, a result without a call becomes user text. Images of tool
results come in a user message after them. Nothing is sent that the target's quirks refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from engine.llm.messages import (
    Block,
    Document,
    Image,
    JsonObject,
    LLMRequest,
    Message,
    Opaque,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from engine.llm.protocol import Target
from engine.protocols import arguments, tool_ids
from engine.protocols.custom_text import wrapped
from engine.protocols.openai_chat.fields import NAME
from engine.protocols.openai_chat.reasoning import text_of, unseal
from engine.protocols.pairing import MISSING, ORDER, ORPHAN
from engine.protocols.tool_names import ToolNames
from engine.protocols.unshared import MARKS, block_loss

NO_RESULT = "[no result was recorded]"
_BILLING = "x-anthropic-billing-header:"
_LONGEST_ID = 40
"""OpenAI refuses longer tool call ids."""


class Conversation:
    """Encodes the messages of one request. `losses` collects the codes of what could not be said."""

    __slots__ = (
        "_answers",
        "_called",
        "_names",
        "_out",
        "_own",
        "_pending",
        "_request",
        "_taken",
        "_target",
        "_uses",
        "losses",
    )

    def __init__(self, request: LLMRequest, target: Target, names: ToolNames, losses: set[str]) -> None:
        self._request = request
        self._target = target
        self._names = names
        self._own = request.protocol == NAME
        self._uses: dict[str, int] = {}
        """call id → calls that bore it so far."""
        self._out: list[JsonObject] = []
        self._pending: list[JsonObject] = []
        """Parts (images of tool results) for the next user message."""
        self._called = False
        """Whether anything is called at all."""
        self._answers: dict[int, list[ToolResult]] = {}
        """`id()` of a call's block → its results: more than one where the same block stands in several turns."""
        self._taken: set[int] = set()
        """`id()` of the result blocks that stand behind their call; the request keeps them alive."""
        self.losses = losses

    def encode(self) -> list[JsonObject]:
        """The messages, ready for the body."""
        messages = self._request.messages
        self._index(messages)
        position = 0
        while position < len(messages):
            message = messages[position]
            match message.role:
                case "assistant":
                    last = self._last_of_turn(position)
                    self._assistant(messages[position : last + 1], last)
                    position = last
                case "user":
                    self._user(self._user_parts(message.content), message)
                case _:
                    self._system(message)
            position += 1
        self._flush()
        if messages and messages[-1].role == "assistant" and self._out[-1:] and self._out[-1]["role"] == "assistant":
            self._prefilled()
        if not self._out:
            self._append({"role": "user", "content": ""}, None)  # no server takes an empty conversation
        return [_finished(message, own=self._own) for message in self._out]

    def _index(self, messages: Sequence[Message]) -> None:
        """Which result answers which call: the newest turn's call of its id that has none so far."""
        waiting: dict[str, list[tuple[int, ToolCall]]] = {}
        turn = 0
        for message in messages:
            turn += message.role != "assistant"
            for block in message.content:
                if isinstance(block, ToolCall):
                    self._called = True
                    waiting.setdefault(block.id, []).append((turn, block))
                elif isinstance(block, ToolResult) and (held := waiting.get(block.call_id)):
                    self._answers.setdefault(id(tool_ids.answered(held)), []).append(block)
                    self._taken.add(id(block))

    def _last_of_turn(self, position: int) -> int:
        """Other protocols write one turn of the assistant as several items; here it is one message."""
        messages = self._request.messages
        while not self._own and position + 1 < len(messages) and messages[position + 1].role == "assistant":
            position += 1
        return position

    def _prefilled(self) -> None:
        self.losses.add("prefill")
        if not self._target.quirks.prefill and len(self._out) > 1:
            self._out.pop()

    # ── system ──

    def _system(self, message: Message) -> None:
        quirks = self._target.quirks
        texts = [b.text for b in message.content if isinstance(b, Text | Refusal) and not b.text.startswith(_BILLING)]
        for block in message.content:
            self._beside_text(block)
        text = "\n\n".join(t for t in texts if t)
        if not text:
            return
        leading = all(m["role"] == quirks.system_role for m in self._out)
        if leading and self._out and not quirks.mid_system:
            self._out[-1]["content"] += "\n\n" + text  # only one system message, at the start
        elif leading or quirks.mid_system:
            self._flush()
            marked = self._own and quirks.mid_system and any(isinstance(b, Text) and b.extra for b in message.content)
            said: Any = [part for block in message.content for part in self._parts(block)] if marked else text
            self._append({"role": quirks.system_role, "content": said}, message)
        else:
            self.losses.add("system.mid")
            self._user([_text(f"<system-reminder>\n{text}\n</system-reminder>")], message)

    # ── user ──

    def _user(self, parts: list[JsonObject], message: Message | None) -> None:
        parts = self._pending + parts
        self._pending = []
        if not parts and message is not None and any(isinstance(b, ToolResult) for b in message.content):
            return
        last = self._out[-1] if self._out else None
        if last is not None and last["role"] == "user" and not self._target.quirks.mid_system:
            last["content"] += parts  # such servers want the roles to alternate, too
        else:
            self._append({"role": "user", "content": parts}, message)

    def _flush(self) -> None:
        if self._pending:
            self._user([], None)

    def _user_parts(self, content: Iterable[Block]) -> list[JsonObject]:
        parts: list[JsonObject] = []
        for block in content:
            if not isinstance(block, ToolResult):
                parts += self._parts(block)
            elif id(block) not in self._taken:
                self.losses.add(ORPHAN)
                text, media = self._result(block)
                parts.append(_text(f"[result of tool call {block.call_id or 'without id'}]\n{text}"))
                parts += media
        return parts

    def _parts(self, block: Block) -> list[JsonObject]:
        """Content parts that say `block`: none, or one (or a note where the model can't take it)."""
        if isinstance(block, Text) and not block.extra:
            return [_text(block.text)] if block.text else []
        self._beside_text(block)
        match block:
            case Text(text) | Refusal(text):
                part = _text(text)
                if self._own and not self._target.quirks.strict:
                    part |= block.extra
                return [part] if text else []
            case Image():
                return [self._image(block)]
            case Document():
                return [self._document(block)]
            case Opaque(protocol, value) if protocol == NAME and self._own:
                return [value]
        return []

    def _beside_text(self, block: Block) -> None:
        """Declares what a block carries beside its words."""
        if isinstance(block, Opaque):
            if not (block.protocol == NAME and self._own):
                self.losses.add(block_loss(block.type))
            return
        if self._own and not self._target.quirks.strict:
            return
        if not MARKS.isdisjoint(block.extra):
            self.losses.add("cache_control")
        if block.extra.get("citations") and isinstance(block, Text | Document):
            self.losses.add("citations")
        if block.extra.get("annotations") and not self._own:
            self.losses.add("annotations")

    def _image(self, block: Image) -> JsonObject:
        if not self._target.model.vision:
            self.losses.add("image")
            return _text("[an image was left out: this model reads text only]")
        if not block.url and not block.data:
            self.losses.add("container")
            return _text("[an image was left out: it is kept by another provider]")
        url = block.url or f"data:{block.media_type or 'image/png'};base64,{block.data}"
        held: JsonObject = {"url": url}
        if isinstance(detail := block.extra.get("detail"), str):
            held["detail"] = detail
        return {"type": "image_url", "image_url": held}

    def _document(self, block: Document) -> JsonObject:
        if block.text:
            return _text(f"{block.title}\n\n{block.text}" if block.title else block.text)
        file: JsonObject = {}
        if block.data and (self._target.model.documents or self._own):
            file["filename"] = block.title or "document.pdf"
            file["file_data"] = f"data:{block.media_type or 'application/pdf'};base64,{block.data}"
        elif block.file_id and self._own:
            file["file_id"] = block.file_id
        if file:
            return {"type": "file", "file": file}
        self.losses.add("container" if block.file_id else "document")
        return _text(f"[a document was left out: {block.title or block.media_type or 'untitled'}]")

    # ── assistant and its tools ──

    def _assistant(self, turn: Sequence[Message], last: int) -> None:
        self._flush()
        blocks: Sequence[Block] = turn[0].content
        if len(turn) > 1:
            blocks = [block for message in turn for block in message.content]
        calls: list[ToolCall] = []
        said: list[Block] = []
        for block in blocks:
            if isinstance(block, ToolCall):
                calls.append(block)
            elif not isinstance(block, Thinking):
                said.append(block)
        texts = [part for block in _sentences(said) for part in self._parts(block)]
        message: JsonObject = {"role": "assistant", "content": texts if texts or not calls else None}
        if self._own and (refusals := [b.text for b in blocks if isinstance(b, Refusal)]):
            message["refusal"] = "\n\n".join(refusals)
            message["content"] = [p for p in texts if p.get("text") not in refusals] or None
        wires = [self._wire_id(call.id) for call in calls]
        if calls:
            message["tool_calls"] = [self._call(call, wire) for call, wire in zip(calls, wires, strict=True)]
        if self._target.quirks.echo_reasoning or len(calls) + len(said) < len(blocks):
            self._think(message, blocks)
        if calls and self._target.quirks.call_extra:
            message["tool_calls"][0].setdefault("extra_content", dict(self._target.quirks.call_extra))
        if not (texts or calls or message.get("refusal")):
            if blocks and all(isinstance(block, Opaque) for block in blocks):
                return  # what only another protocol understands, and no word beside it
            message["content"] = ""
        self._append(message, turn[0])
        results = [self._take(call) for call in calls]
        self._declare(results, last)
        for call, wire, result in zip(calls, wires, results, strict=True):
            text, media = (NO_RESULT, []) if result is None else self._result(result)
            self._append({"role": "tool", "tool_call_id": wire, "content": text}, None)
            if media:
                self._pending += [_text(f"From the result of tool call {wire} ({self._name(call)}):"), *media]

    def _declare(self, results: list[ToolResult | None], last: int) -> None:
        """What is mended: results that do not stand at once behind message `last`, in the calls' order."""
        found = [result for result in results if result is not None]
        if len(found) < len(results):
            self.losses.add(MISSING)
        if not found:
            return
        following = (block for message in self._request.messages[last + 1 :] for block in message.content)
        if any(result is not block for result, block in zip(found, following, strict=False)):
            self.losses.add(ORDER)

    def _wire_id(self, call_id: str) -> str:
        """The call's id on the wire: one that the provider accepts, and unique though some models count anew each turn."""
        quirks = self._target.quirks
        again = self._uses.get(call_id, 0)
        self._uses[call_id] = again + 1
        wire = tool_ids.synthetic(call_id, again) if again else call_id
        if len(wire) > _LONGEST_ID and (quirks.strict or not self._own):
            wire = tool_ids.synthetic(wire)
        return tool_ids.fit(wire, quirks.tool_id)

    def _name(self, call: ToolCall) -> str:
        return self._names.wire(call.name, call.namespace)

    def _call(self, call: ToolCall, wire: str) -> JsonObject:
        text = wrapped(call.arguments) if call.kind == "custom" else _valid(call.arguments)
        return {"id": wire, "type": "function", "function": {"name": self._name(call), "arguments": text}}

    def _think(self, message: JsonObject, blocks: Sequence[Block]) -> None:
        """Reasoning of the turn, as far as the provider takes it back."""
        quirks = self._target.quirks
        texts: list[str] = []
        unsaid: list[str] = []
        number = 0
        for index, block in enumerate(blocks):
            if isinstance(block, ToolCall):
                number += 1
            if not isinstance(block, Thinking):
                continue
            fields = unseal(block, self._target.model.name) or {}
            held: Any = fields.pop("tool_call", None)
            if held and any(isinstance(b, ToolCall) for b in blocks[index:]):
                message["tool_calls"][number] |= held
            if details := fields.pop("reasoning_details", None):
                message["reasoning_details"] = [*message.get("reasoning_details", ()), *details]
                held = details
            message |= fields
            if block.text:
                texts.append(block.text)
            if not fields and not held and not (quirks.echo_reasoning and block.text) and (block.text or block.opaque):
                unsaid.append(block.text)
        told = text_of({"reasoning_details": message.get("reasoning_details")})
        if any(not text or text not in told for text in unsaid):  # what a later seal holds is said
            self.losses.add("thinking.signature")
        in_play = bool(self._request.tools or self._called)
        if quirks.echo_reasoning and (texts or in_play):
            # A turn that another vendor produced has none to give back; an empty text counts as none and is refused.
            message[quirks.reasoning_field] = "\n\n".join(texts) or " "

    def _take(self, call: ToolCall) -> ToolResult | None:
        held = self._answers.get(id(call))
        return held.pop(0) if held else None

    def _result(self, result: ToolResult) -> tuple[Any, list[JsonObject]]:
        """(content of the tool message, parts that only a user message can hold)."""
        texts: list[str] = []
        media: list[JsonObject] = []
        for block in result.content:
            if isinstance(block, Text) and not block.extra:
                if block.text:
                    texts.append(block.text)
                continue
            if isinstance(block, Opaque) and not (block.protocol == NAME and self._own):
                self._beside_text(block)
                texts.append(_described(block))
                continue
            for part in self._parts(block):
                if part.get("type") == "text":
                    texts.append(part["text"])
                else:
                    media.append(part)
                    self.losses.add("image.tool_result" if part.get("type") == "image_url" else "document")
        text = "\n\n".join(texts)
        if result.is_error:
            self.losses.add("tool_result.error")
            if not text.lower().startswith("error"):
                text = f"Error: {text}"
        if media:
            text = f"{text}\n\n[see the next user message]".strip()
        return text, media

    def _append(self, message: JsonObject, source: Message | None) -> None:
        if source is not None and source.extra and self._own and not self._target.quirks.strict:
            message |= source.extra
        self._out.append(message)


def _sentences(blocks: list[Block]) -> list[Block]:
    """Cited text comes in pieces of one sentence: they are put together again."""
    if not any(isinstance(block, Text) and block.extra for block in blocks):
        return blocks
    joined: list[Block] = []
    for block in blocks:
        last = joined[-1] if joined else None
        if (
            isinstance(block, Text)
            and isinstance(last, Text)
            and (block.extra.get("citations") or last.extra.get("citations"))
        ):
            joined[-1] = Text(last.text + block.text, extra={**last.extra, **block.extra})
        else:
            joined.append(block)
    return joined


def _described(block: Opaque) -> str:
    if block.type == "tool_reference":
        return f"[tool {block.value.get('tool_name', '')} is now available]"
    return orjson.dumps(block.value).decode()


def _valid(text: str) -> str:
    """Arguments of an earlier call: servers parse them when they render the prompt, and fail on a model's slip."""
    text = text.strip()
    if text in {"", "{}"}:
        return "{}"
    return arguments.to_text(arguments.to_object(text)) if not arguments.is_object(text) else text


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": text}


def _finished(message: JsonObject, *, own: bool) -> JsonObject:
    """Content that is only text as one string: older servers and templates take nothing else."""
    content = message["content"]
    if not isinstance(content, list):
        return message
    if len(content) == 1 and content[0].get("type") == "text" and len(content[0]) == 2:
        message["content"] = content[0]["text"]
        return message
    plain = all(part.get("type") == "text" and len(part) == 2 for part in content)
    if plain and not (own and len(content) > 1):
        message["content"] = "\n\n".join(part["text"] for part in content)
    return message
