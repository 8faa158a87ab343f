"""A conversation as input items, in the order and pairing that the API insists on.

Every call has its output and every output its call: a call without one gets a short note, an output without a call becomes
user text. A reasoning item stands before the item it led to, or not at all. Item ids go out only where the API would have
made them, and once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
from engine.protocols import tool_ids
from engine.protocols.openai_responses import reasoning
from engine.protocols.openai_responses.parts import write_document, write_image
from engine.protocols.openai_responses.words import NAME, is_part, made_by_model, text
from engine.protocols.pairing import MISSING, ORPHAN
from engine.protocols.tool_names import ToolNames, flat
from engine.protocols.unshared import MARKS, block_loss

NO_RESULT = "[no result was recorded]"
_BILLING = "x-anthropic-billing-header:"
"""A client's accounting line among its system text: no instruction, and different in every request."""
_LONGEST_CALL_ID = 64
_CALLS = frozenset({"function_call", "custom_tool_call"})
_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})


class Items:
    """Encodes the messages of one request. `losses` collects the codes of what could not be said."""

    __slots__ = (
        "_echo",
        "_item_ids",
        "_names",
        "_open",
        "_out",
        "_own",
        "_request",
        "_target",
        "_turn",
        "_uses",
        "_waiting",
        "losses",
    )

    def __init__(self, request: LLMRequest, target: Target, names: ToolNames, losses: set[str]) -> None:
        self._request = request
        self._target = target
        self._names = names
        self._own = request.protocol == NAME
        self._echo = target.quirks.echo_reasoning
        self._item_ids: set[str] = set()
        self._uses: dict[str, int] = {}
        """call id → calls that bore it so far."""
        self._waiting: dict[str, list[tuple[int, str]]] = {}
        """call id → (turn, id on the wire) of its calls without a result."""
        self._turn = 0
        self._open: dict[str, str] = {}
        """call id on the wire → type of the output it waits for."""
        self._out: list[JsonObject] = []
        self.losses = losses

    def encode(self) -> list[JsonObject]:
        """The items, ready for the body."""
        for message in self._request.messages:
            match message.role:
                case "assistant":
                    self._assistant(message)
                case "user":
                    self._user(message)
                case _:
                    self._system(message)
        last = self._request.messages[-1] if self._request.messages else None
        begun = last.content if last is not None and last.role == "assistant" and not self._own else ()
        if any(isinstance(b, Text) for b in begun) and not any(isinstance(b, ToolCall) for b in begun):
            self.losses.add("prefill")
        items = self._followed(self._answered())
        if items:
            return items
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": ""}]}]  # a warm-up call

    def _system(self, message: Message) -> None:
        self._turn += 1
        parts: list[JsonObject] = []
        for block in message.content:
            self._beside(block)
            if isinstance(block, Text | Refusal) and block.text and not block.text.startswith(_BILLING):
                parts.append(self._text(block))
        if not parts:
            return
        if self._target.quirks.mid_system or all(item.get("role") in ("system", "developer") for item in self._out):
            role = message.role if self._own else self._target.quirks.system_role
            self._message(role, parts, message)
            return
        self.losses.add("system.mid")
        said = "\n\n".join(part["text"] for part in parts)
        self._message(
            "user", [{"type": "input_text", "text": f"<system-reminder>\n{said}\n</system-reminder>"}], message
        )

    def _user(self, message: Message) -> None:
        """Outputs and messages as they came: an output may stand anywhere behind its call."""
        self._turn += 1
        parts: list[JsonObject] = []
        for block in message.content:
            if isinstance(block, ToolResult):
                parts = self._spoken(parts, message)
                self._result(block)
            elif isinstance(block, Opaque) and block.protocol == NAME and not is_part(block.type):
                self._item(block)
            else:
                parts += self._parts(block)
        self._spoken(parts, message)

    def _spoken(self, parts: list[JsonObject], message: Message) -> list[JsonObject]:
        """Ends a user's message; there is nothing said after it yet."""
        if parts:
            self._message("user", parts, message)
        return []

    def _assistant(self, message: Message) -> None:
        said: list[JsonObject] = []
        for block in message.content:
            if isinstance(block, Text | Refusal):
                self._beside(block)
                if block.text:
                    said.append(self._said(block))
                continue
            if said:
                self._message("assistant", said, message)
                said = []
            match block:
                case Thinking():
                    self._thinking(block)
                case ToolCall():
                    self._call(block)
                case Opaque():
                    self._item(block)
                case _:
                    self.losses.add("unknown_block")  # an image of the model's own making
        if said:
            self._message("assistant", said, message)

    def _message(self, role: str, parts: list[JsonObject], message: Message) -> None:
        item: JsonObject = {"type": "message"}
        if self._own:
            kept = ("status", "phase") if self._target.quirks.strict else message.extra.keys() - {"id"}
            item |= {name: message.extra[name] for name in kept if name in message.extra}
            self._identify(item, message.extra.get("id"), "msg_")
        self._out.append({**item, "role": role, "content": parts})

    def _thinking(self, block: Thinking) -> None:
        item = reasoning.for_provider(block, echo=self._echo)
        if item is None:
            if block.text or block.opaque:
                self.losses.add("thinking.signature")
            return
        if "id" in item:
            self._identify(item, item.pop("id"), "rs_")
        self._out.append(item)

    def _call(self, call: ToolCall) -> None:
        wire = self._wire_id(call.id)
        custom = call.kind == "custom"
        item: JsonObject = {"type": "custom_tool_call" if custom else "function_call"}
        self._identify(item, call.item_id, "ctc_" if custom else "fc_")
        item["call_id"] = wire
        item["name"] = flat(call.name) if call.namespace else self._names.wire(call.name)
        if call.namespace:
            item["namespace"] = call.namespace
        item["input" if custom else "arguments"] = call.arguments
        if self._own:
            item |= {name: value for name, value in call.extra.items() if name not in item}
        self._open[wire] = item["type"] + "_output"
        self._out.append(item)

    def _wire_id(self, call_id: str) -> str:
        """The call's id on the wire: unique though some models count anew in every turn, and short enough."""
        again = self._uses.get(call_id, 0)
        self._uses[call_id] = again + 1
        wire = tool_ids.synthetic(call_id, again) if again or not call_id else call_id
        if len(wire) > _LONGEST_CALL_ID:
            wire = tool_ids.synthetic(wire)
        wire = tool_ids.fit(wire, self._target.quirks.tool_id)
        self._waiting.setdefault(call_id, []).append((self._turn, wire))
        return wire

    def _result(self, result: ToolResult) -> None:
        output = self._output(result)
        if waiting := self._waiting.get(result.call_id):
            wire = tool_ids.answered(waiting)
            extra = result.extra if self._own else {}
            self._out.append({"type": self._open.pop(wire), **extra, "call_id": wire, "output": output})
            return
        self.losses.add(ORPHAN)
        note = {"type": "input_text", "text": f"[result of tool call {result.call_id or 'without id'}]"}
        parts = [{"type": "input_text", "text": output}] if isinstance(output, str) else output
        self._out.append(
            {"type": "message", "role": "user", "content": [note, *(p for p in parts if p.get("text") != "")]}
        )

    def _output(self, result: ToolResult) -> str | list[JsonObject]:
        """A string where text is all there is: not every server reads the list form."""
        parts = [part for block in result.content for part in self._parts(block)]
        if result.is_error:
            self.losses.add("tool_result.error")
            first = parts[0] if parts else {}
            if not text(first.get("text")).lower().startswith("error"):
                parts.insert(0, {"type": "input_text", "text": "Error:"})
        if all(part.keys() == {"type", "text"} for part in parts) and not (self._own and len(parts) > 1):
            return "\n\n".join(part["text"] for part in parts)
        return parts

    def _parts(self, block: Block) -> list[JsonObject]:
        """Content parts of a user message or an output that say `block`: none, or one."""
        self._beside(block)
        match block:
            case Text() | Refusal():
                return [self._text(block)] if block.text else []
            case Image():
                if self._target.model.vision:
                    return [write_image(block)]
                self.losses.add("image")
                return [{"type": "input_text", "text": "[an image was left out: this model reads text only]"}]
            case Document():
                return [self._document(block)]
            case Opaque(protocol, value) if protocol == NAME:
                return [value]
            case Opaque():
                self.losses.add(block_loss(block.type))
                return [{"type": "input_text", "text": _described(block)}]
        return []

    def _document(self, block: Document) -> JsonObject:
        readable = bool(block.text) or self._target.model.documents or self._own
        part = write_document(block, own=self._own) if readable else None
        if part is not None:
            return part
        self.losses.add("container" if block.file_id else "document")
        named = block.title or block.media_type or "untitled"
        return {"type": "input_text", "text": f"[a document was left out: {named}]"}

    def _item(self, block: Opaque) -> None:
        """An item that this protocol alone has goes out as it came."""
        if block.protocol != NAME:
            self.losses.add(block_loss(block.type))
        elif self._own:
            self._out.append(block.value)
        else:
            self.losses.add(
                block_loss(block.type)
            )  # found its way here through another client: its provider is unknown

    def _text(self, block: Text | Refusal) -> JsonObject:
        part: JsonObject = {"type": "input_text", "text": block.text}
        return {**part, **block.extra} if self._own and not self._target.quirks.strict else part

    def _said(self, block: Text | Refusal) -> JsonObject:
        if isinstance(block, Refusal):
            return {"type": "refusal", "refusal": block.text}
        part: JsonObject = {"type": "output_text", "text": block.text}
        annotations = block.extra.get("annotations") if self._own else None
        return {**part, "annotations": annotations} if annotations else part

    def _beside(self, block: Block) -> None:
        """Declares what a block carries beside its words."""
        if self._own or isinstance(block, Opaque):
            return
        if not MARKS.isdisjoint(block.extra):
            self.losses.add("cache_control")
        if block.extra.get("citations"):
            self.losses.add("citations")
        if block.extra.get("annotations"):
            self.losses.add("annotations")

    def _identify(self, item: JsonObject, item_id: object, prefix: str) -> None:
        if isinstance(item_id, str) and reasoning.valid_id(item_id, prefix) and item_id not in self._item_ids:
            self._item_ids.add(item_id)
            item["id"] = item_id

    def _answered(self) -> list[JsonObject]:
        """The items with a note for every call that nothing answered, placed where its output would stand."""
        if not self._open:
            return self._out
        self.losses.add(MISSING)
        items: list[JsonObject] = []
        owed: list[JsonObject] = []
        for item in self._out:
            kind = text(item.get("type"))
            if owed and kind not in _CALLS and kind not in _OUTPUTS and kind != "reasoning":
                items += owed
                owed = []
            items.append(item)
            if kind in _CALLS and (output := self._open.get(item["call_id"])):
                owed.append({"type": output, "call_id": item["call_id"], "output": NO_RESULT})
        return items + owed

    def _followed(self, items: list[JsonObject]) -> list[JsonObject]:
        """The items without reasoning that led to nothing: the API refuses it."""
        kept: list[JsonObject] = []
        for item in reversed(items):
            if item.get("type") == "reasoning" and not (kept and _made(kept[-1])):
                self.losses.add("thinking.signature")
            else:
                kept.append(item)
        kept.reverse()
        return kept


def _described(block: Opaque) -> str:
    """A note in place of what only another protocol can show; what a tool search found is named."""
    if block.type == "tool_reference":
        return f"[the tool {text(block.value.get('tool_name'))} is now available]"
    return f"[left out: {block.type or 'unknown content'}]"


def _made(item: JsonObject) -> bool:
    """Whether the model made this item."""
    kind = item.get("type", "message")
    return kind in _CALLS or kind == "reasoning" or item.get("role") == "assistant" or made_by_model(kind)


def taken_back(items: list[Any], take_back: Callable[[Thinking], Thinking | None]) -> list[Any]:
    """Input items of a client with its reasoning as `take_back` lets it go; the same list when all of it may."""
    kept: list[Any] = []
    changed = False
    for item in items:
        if isinstance(item, dict) and item.get("type") == "reasoning":
            back = reasoning.taken_back(item, take_back)
            changed = changed or back is not item
            if back is None:
                continue
            item = back
        kept.append(item)
    return kept if changed else items
