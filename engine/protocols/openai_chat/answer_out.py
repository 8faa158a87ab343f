"""An answer as Chat Completions JSON, whole or streamed, complete enough for the strictest client seen.

Streams: `id`, `object`, `created`, `model` in every chunk, the role in the first delta, `index`, `id` and `type` with a
tool call's first delta, a finish chunk, the usage chunk when the client asked for it, `[DONE]`. Reasoning is sent as
`reasoning_content`, the field that agents of this protocol show. `created` is the provider's, else 0: no clock is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from engine.llm.envelope import ENVELOPE
from engine.llm.messages import (
    Block,
    JsonObject,
    LLMRequest,
    LLMResponse,
    Opaque,
    Refusal,
    StopReason,
    Text,
    Thinking,
    ToolCall,
)
from engine.llm.stream import (
    ArgumentsDelta,
    BlockStart,
    BlockStop,
    Failure,
    Finish,
    OpaqueDelta,
    Progress,
    Start,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
)
from engine.protocols.openai_chat.errors import encode_stream_error
from engine.protocols.openai_chat.fields import FINISHED_AS, NAME, ODD
from engine.protocols.openai_chat.reasoning import carried_detail, unseal
from engine.protocols.openai_chat.usage import write_usage
from engine.protocols.tool_names import flat

DONE = b"data: [DONE]\n\n"
_PASSED = ("citations", "search_results", "service_tier", "system_fingerprint")


def encode_response(response: LLMResponse, *, model: str) -> JsonObject:
    """The whole answer; `model` is the name that the client reads."""
    body: JsonObject = {
        "id": response.id or "chatcmpl-0",
        "object": "chat.completion",
        "created": _created(response.extra),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": _message(response.content),
                "logprobs": _tokens(response.content),
                "finish_reason": finish_reason(response.stop, response.content),
            }
        ],
    }
    if (usage := write_usage(response.usage)) is not None:
        body["usage"] = usage
    if response.protocol == NAME:
        told = response.extra.get(ODD)
        body["choices"][0]["message"] |= told if isinstance(told, dict) else {}
        body |= {key: value for key, value in response.extra.items() if key not in ("created", ODD)}
    return body


def finish_reason(stop: StopReason, content: Sequence[Block] = ()) -> str:
    """OpenAI's word. A refusal that is said in the message ends with `stop`, as OpenAI's do."""
    if stop == "refusal" and any(isinstance(block, Refusal) for block in content):
        return "stop"
    return FINISHED_AS[stop]


def _message(content: Sequence[Block]) -> JsonObject:
    texts = "".join(block.text for block in content if isinstance(block, Text))
    refusals = [block.text for block in content if isinstance(block, Refusal)]
    calls: list[JsonObject] = []
    message: JsonObject = {"role": "assistant", "content": texts or None, "refusal": "".join(refusals) or None}
    owed: JsonObject = {}
    before: Block | None = None
    for block in content:
        match block:
            case Thinking():
                owed |= _think(message, block)
            case ToolCall():
                calls.append(_call(block) | owed)
                owed = {}
                if isinstance(before, Thinking) and before.origin == ENVELOPE and before.opaque:
                    message["reasoning_details"][-1]["id"] = block.id
            case Opaque(protocol, value) if protocol == NAME:
                _made(message, value)
            case Text(extra={"annotations": list(notes)}) if cited := _cited(notes):
                message["annotations"] = [*message.get("annotations", ()), *cited]
        before = block
    if calls:
        message["tool_calls"] = calls
    elif not refusals and message["content"] is None:
        message["content"] = ""
    return message


def _think(message: JsonObject, thinking: Thinking) -> JsonObject:
    """Adds the reasoning to `message`; gives what belongs to the next tool call."""
    if thinking.text:
        before = message.get("reasoning_content")
        message["reasoning_content"] = f"{before}\n\n{thinking.text}" if before else thinking.text
    state = _state(thinking)
    if details := state.pop("reasoning_details", None):
        message["reasoning_details"] = [*message.get("reasoning_details", ()), *details]
    owed = state.pop("tool_call", {})
    message |= state
    return owed if isinstance(owed, dict) else {}


def _state(thinking: Thinking) -> JsonObject:
    """The fields that bring sealed state to a client, so that it can come back."""
    if thinking.origin == ENVELOPE and thinking.opaque:
        return {"reasoning_details": [carried_detail(thinking)]}
    return unseal(thinking) or {}


def _made(message: JsonObject, value: JsonObject) -> None:
    if value.get("type") == "audio":
        message["audio"] = value.get("audio")
    elif value.get("type") == "image_url":
        message.setdefault("images", []).append(value)


def _tokens(content: Sequence[Block]) -> JsonObject | None:
    """The token probabilities of an answer, where it tells any."""
    told: JsonObject = {"content": None, "refusal": None}
    for block in content:
        if isinstance(block, Text | Refusal) and (tokens := block.extra.get("logprobs")):
            name = "refusal" if isinstance(block, Refusal) else "content"
            told[name] = [*(told[name] or ()), *tokens]
    return told if any(told.values()) else None


def _cited(notes: list[Any]) -> list[JsonObject]:
    """Annotations in this protocol's form, which nests what they say; the other one's citations of files have no such form."""
    cited: list[JsonObject] = []
    for note in notes:
        match note:
            case {"type": str(kind)} if isinstance(note.get(kind), dict):
                cited.append(note)
            case {"type": "url_citation", "url": str(url)}:
                at = {name: note.get(name) or 0 for name in ("start_index", "end_index")}
                cited.append(
                    {"type": "url_citation", "url_citation": {"url": url, "title": note.get("title") or "", **at}}
                )
    return cited


def _call(call: ToolCall) -> JsonObject:
    name = flat(call.name, call.namespace)
    if call.kind == "custom":
        return {"id": call.id, "type": "custom", "custom": {"name": name, "input": call.arguments}}
    return {"id": call.id, "type": "function", "function": {"name": name, "arguments": call.arguments or "{}"}}


class ChatStreamEncoder:
    """One streamed answer for a client."""

    __slots__ = (
        "_answer_id", "_calls", "_carried", "_custom", "_listed", "_model", "_owed", "_prefix", "_refused", "_said", "_usage",
    )  # fmt: skip

    def __init__(self, *, model: str, answer_id: str, request: LLMRequest | None = None) -> None:
        self._model = model
        self._answer_id = answer_id
        self._usage = request is None or _asks_usage(request)
        self._prefix = self._frame(0)
        self._calls = -1
        self._custom = False
        self._said = False
        """The open call's arguments have begun."""
        self._refused = False
        self._owed: JsonObject = {}
        """Fields for the next tool call."""
        self._carried: JsonObject | None = None
        """Enveloped thinking that is sent when it is known whether a call follows it."""
        self._listed: dict[str, int] = {}
        """How many entries of a list field have been sent."""

    def feed(self, event: StreamEvent) -> bytes:
        """The chunks that say `event`."""
        match event:
            case TextDelta(_, text):
                return self._delta({"refusal" if self._refused else "content": text})
            case ThinkingDelta(_, text):
                return self._delta({"reasoning_content": text})
            case ArgumentsDelta(_, text):
                self._said = True
                return self._arguments(text)
            case Start():
                self._prefix = self._frame(_created(event.extra))
                return self._delta({"role": "assistant", "content": ""})
            case BlockStart(_, block):
                return self._open(block)
            case BlockStop(_, block):
                return self._close(block)
            case Finish():
                return self._finish(event)
            case Failure(error):
                return encode_stream_error(error)
            case OpaqueDelta() | Progress():
                return b""

    def _open(self, block: Block) -> bytes:
        self._refused = isinstance(block, Refusal)
        carried = self._told(block.id if isinstance(block, ToolCall) else "")
        if not isinstance(block, ToolCall):
            return carried
        self._calls += 1
        self._said = False
        self._custom = block.kind == "custom"
        call = _call(block)
        held = call["custom" if self._custom else "function"]
        held["input" if self._custom else "arguments"] = ""
        first = {"index": self._calls, **call, **self._owed}
        self._owed = {}
        return carried + self._delta({"tool_calls": [first]})

    def _told(self, call_id: str = "") -> bytes:
        """The enveloped thinking that was held back, and which call it led to."""
        detail, self._carried = self._carried, None
        if detail is None:
            return b""
        detail |= {"id": call_id} if call_id else {}
        return self._delta({"reasoning_details": self._numbered("reasoning_details", [detail])})

    def _close(self, block: Block) -> bytes:
        match block:
            case ToolCall() if not self._said and block.arguments:
                return self._arguments(block.arguments)
            case Thinking(origin=origin) if origin == ENVELOPE and block.opaque:
                self._carried = carried_detail(block)
            case Thinking():
                state = _state(block)
                self._owed |= state.pop("tool_call", {})
                if details := state.get("reasoning_details"):
                    state["reasoning_details"] = self._numbered("reasoning_details", details)
                return self._delta(state) if state else b""
            case Text(extra=extra) | Refusal(extra=extra) if extra:
                return self._beside(block)
            case Opaque(protocol, value) if protocol == NAME:
                made: JsonObject = {}
                _made(made, value)
                return self._delta(made) if made else b""
        return b""

    def _beside(self, block: Text | Refusal) -> bytes:
        """What belongs to a whole text: its sources, and its tokens, which are told at once."""
        notes = block.extra.get("annotations")
        cited = _cited(notes) if isinstance(notes, list) else []
        out = self._delta({"annotations": self._numbered("annotations", cited)}) if cited else b""
        if (tokens := _tokens((block,))) is not None:
            choice = {"index": 0, "delta": {}, "logprobs": tokens, "finish_reason": None}
            out += self._prefix + b'"choices":' + orjson.dumps([choice]) + b"}\n\n"
        return out

    def _numbered(self, name: str, entries: list[JsonObject]) -> list[JsonObject]:
        """Entries of a list field that is sent in pieces: clients put later ones to the first by `index`, and fail without."""
        first = self._listed.get(name, 0)
        self._listed[name] = first + len(entries)
        return [{"index": number, **entry} for number, entry in enumerate(entries, first)] if first else entries

    def _arguments(self, text: str) -> bytes:
        held = {"custom": {"input": text}} if self._custom else {"function": {"arguments": text}}
        return self._delta({"tool_calls": [{"index": self._calls, **held}]})

    def _finish(self, event: Finish) -> bytes:
        word = "stop" if event.stop == "refusal" and self._refused else FINISHED_AS[event.stop]
        out = self._told()
        if isinstance(odd := event.extra.get(ODD), dict):
            out += self._delta(odd)
        out += self._prefix + b'"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"%s"}]' % word.encode()
        out += b"".join(b',"%s":%s' % (k.encode(), orjson.dumps(event.extra[k])) for k in _PASSED if k in event.extra)
        out += b"}\n\n"
        if self._usage:
            held = orjson.dumps(write_usage(event.usage) or _NO_USAGE)
            out += self._prefix + b'"choices":[],"usage":' + held + b"}\n\n"
        return out + DONE

    def _delta(self, delta: JsonObject) -> bytes:
        body = orjson.dumps(delta)
        return self._prefix + b'"choices":[{"index":0,"delta":' + body + b',"logprobs":null,"finish_reason":null}]}\n\n'

    def _frame(self, created: int) -> bytes:
        head: JsonObject = {"id": self._answer_id, "object": "chat.completion.chunk", "created": created}
        return b"data: " + orjson.dumps({**head, "model": self._model})[:-1] + b","


_NO_USAGE: JsonObject = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def _asks_usage(request: LLMRequest) -> bool:
    options = request.extra.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _created(extra: Any) -> int:
    created = extra.get("created")
    return created if isinstance(created, int) and not isinstance(created, bool) else 0
