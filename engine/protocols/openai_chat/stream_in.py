"""A provider's streamed Chat answer as events, in order whatever order it came in.

Deltas are sorted into pieces (text, thinking, refusal, one per tool call). The first unfinished piece streams, the ones
behind it wait: a tool call is finished when something follows and its arguments are whole, everything else when something
follows. Nothing is closed by a finish reason, because deltas and usage still come after it. The answer is complete at
`[DONE]`, or at the end of the connection if a finish reason was seen; any other end is a failure. So is a finish reason that
speaks of calls where none came (no recorded answer does so).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import orjson

from engine.llm.catalogue import Quirks
from engine.llm.errors import ProviderError
from engine.llm.messages import JsonObject, LLMRequest, Opaque, Refusal, Text, Thinking, ToolCall, Usage
from engine.llm.protocol import SSEEvent
from engine.llm.stream import (
    ArgumentsDelta,
    BlockStart,
    BlockStop,
    Failure,
    Finish,
    Start,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
)
from engine.protocols import error_bodies, tool_ids
from engine.protocols.arguments import is_object
from engine.protocols.custom_text import TextReader, unwrapped
from engine.protocols.likeness import Likeness
from engine.protocols.openai_chat import reasoning
from engine.protocols.openai_chat.answer_in import (
    answer_part,
    beside,
    beside_message,
    broken,
    failure_of,
    media_of,
    usage_in,
)
from engine.protocols.openai_chat.fields import CALLED, NAME, ODD, cut_short, says, stop_reason
from engine.protocols.openai_chat.parts import entries
from engine.protocols.openai_chat.request_in import custom_of
from engine.protocols.tool_names import Origin, ToolNames

Kind = Literal["text", "refusal", "thinking", "call", "opaque"]


@dataclass(slots=True, eq=False)
class Piece:
    """One block in the making. `unsent` is the index of the first text that no event has carried."""

    kind: Kind
    texts: list[str] = field(default_factory=list)
    unsent: int = 0
    opened: bool = False
    index: Any = None
    """Calls: the wire's index, None when it has none."""
    id: str = ""
    """Calls: the wire's id, by which later deltas may name it; empty when it has none."""
    call_id: str = ""
    """Calls: the client's id."""
    name: str = ""
    custom: bool = False
    """Calls: a custom call on the wire, its input plain text."""
    details: reasoning.DetailMerger = field(default_factory=reasoning.DetailMerger)
    extra_content: Any = None
    opaque: str = ""
    carried: Thinking | None = None
    """Thinking of another protocol, known at its end."""
    reader: TextReader | None = None
    """Calls: what unpacks the text of a custom tool that was called as a function."""
    value: JsonObject = field(default_factory=dict)
    notes: list[Any] = field(default_factory=list)
    """Text: annotations."""
    tokens: list[JsonObject] = field(default_factory=list)
    """Text and refusals: what was told of their tokens."""
    judged: tuple[int, bool] = (-1, False)
    """Calls: the last verdict of `whole`, and after how many texts it was given."""

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def beside(self) -> JsonObject:
        """Fields beside a text."""
        return {name: told for name, told in (("annotations", self.notes), ("logprobs", self.tokens)) if told}

    def whole(self) -> bool:
        """Calls: are the arguments a whole JSON object?"""
        if self.judged[0] != len(self.texts):
            self.judged = (len(self.texts), is_object(self.text.strip()))
        return self.judged[1]


class ChatStreamDecoder:
    """One streamed answer. Feed it every event, then close it."""

    __slots__ = (
        "_alike",
        "_by_index",
        "_ended",
        "_extra",
        "_finish",
        "_head",
        "_id",
        "_ids",
        "_matched",
        "_model",
        "_names",
        "_notes",
        "_pieces",
        "_quirks",
        "_spoke",
        "_started",
        "_stops",
        "_usage",
        "quiet",
    )

    def __init__(self, quirks: Quirks, request: LLMRequest | None = None) -> None:
        self._quirks = quirks
        self._names = ToolNames(request.tools if request else ())
        self._ids = tool_ids.AnswerIds(request)
        self._stops = request.stop if request else ()
        self._pieces: list[Piece] = []
        self._head = 0
        self._by_index: dict[Any, Piece] = {}
        self._usage = Usage()
        self._finish = ""
        self._matched: str | None = None
        self._notes: list[Any] = []
        """Annotations without a text so far."""
        self._extra: JsonObject = {}
        self._id = ""
        self._model = ""
        self._started = False
        self._spoke = False
        """A choice was seen: there is an answer, though it may be empty."""
        self._ended = False
        self._alike = Likeness("content")
        self.quiet = False
        """See `StreamDecoder.quiet`."""

    def feed(self, event: SSEEvent) -> list[StreamEvent]:
        """Events that `event` completes."""
        if (more := self._more(event)) is not None:
            return [more]
        self.quiet = True
        if self._ended:
            return []
        if event.data.strip() == "[DONE]":
            return self._end()
        value, choice, error = read_chunk(event)
        if value is None:
            return self._fail(error) if error else []
        out: list[StreamEvent] = []
        if not self._started or choice is None or choice.get("finish_reason") or value.get("usage"):
            self._beside(value)
        if choice is not None:
            self._choice(value, choice, out)
            self._learn(event.data, value, choice)
        if error is not None and not self._ended:
            out += self._fail(error)
        return out

    def close(self) -> list[StreamEvent]:
        """The connection ended."""
        if self._ended:
            return []
        if self._finish:
            return self._end()
        return self._fail(broken("the provider's stream ended before the answer was complete"))

    @property
    def complete(self) -> bool:
        """See `StreamDecoder.complete`: there is a finish reason; usage and `[DONE]` may come, or not."""
        return bool(self._finish)

    # ── reading ──

    def _beside(self, value: JsonObject) -> None:
        """What the first and the last chunks say beside the answer. The last usage counts; they are never added."""
        if (usage := usage_in(value, self._quirks)) is not None:
            self._usage = usage
        self._extra |= beside(value)

    def _choice(self, value: JsonObject, choice: JsonObject, out: list[StreamEvent]) -> None:
        self._spoke = True
        if not self._started:
            self._started = True
            self._id, self._model = str(value.get("id") or ""), str(value.get("model") or "")
            told = {"created": value["created"]} if isinstance(value.get("created"), int) else {}
            out.append(Start(self._id, self._model, extra=told))
        delta = choice.get("delta")
        if delta is None and not self._pieces:
            delta = choice.get("message")  # a whole answer as one event
        if isinstance(delta, dict):
            self._delta(delta)
            if tokens := choice.get("logprobs"):
                self._tokens(tokens)
            self._flush(out, final=False)
        if finish := choice.get("finish_reason"):
            self.quiet = False
            if not (self._finish and cut_short(self._finish)):  # some say another word at the very end
                self._finish = str(finish)
            if (failed := failure_of(self._finish)) is not None and not self._ended:
                out += self._fail(failed)
        matched = choice.get("stop_reason")
        if isinstance(matched, str) and matched in self._stops:
            self._matched = matched

    def _tokens(self, told: Any) -> None:
        """Token probabilities stand beside the delta whose text they are of."""
        for kind, name in (("text", "content"), ("refusal", "refusal")):
            if isinstance(told, dict) and (tokens := entries(told.get(name))):
                piece = next((p for p in reversed(self._pieces[self._head :]) if p.kind == kind), None)
                if piece is not None:
                    piece.tokens += tokens

    def _more(self, event: SSEEvent) -> TextDelta | None:
        """What a chunk says that is nothing but more of the text being told, as nearly all are; None for any other."""
        text = self._alike.text(event.data)
        if not text or event.name or self._ended or self._head != len(self._pieces) - 1:
            return None
        piece = self._pieces[self._head]
        if piece.kind != "text" or not piece.opened:
            return None
        self.quiet = False
        piece.texts.append(text)
        piece.unsent += 1
        return TextDelta(self._head, text)

    def _learn(self, data: str, value: JsonObject, choice: JsonObject) -> None:
        """Learn what a chunk looks like that says a text and nothing else."""
        delta = choice.get("delta")
        if not isinstance(delta, dict) or len(delta) != 1 or not isinstance(text := delta.get("content"), str):
            return
        said = (choice.get(key) for key in ("finish_reason", "logprobs", "stop_reason", "error"))
        if text and not any(said) and not any(value.get(key) for key in ("usage", "x_groq", "error")):
            self._alike.learn(data, text)

    def _delta(self, delta: JsonObject) -> None:
        content = delta.get("content")
        self.quiet = not says(delta)
        if odd := beside_message(delta):
            self._extra[ODD] = {**self._extra.get(ODD, {}), **odd}
        details = entries(delta.get("reasoning_details"))
        for thinking in reasoning.carried(details):
            self._carry(thinking)
            details = []
            delta = {key: value for key, value in delta.items() if key != "reasoning_details"}
        if text := reasoning.text_of(delta, self._quirks.reasoning_field):
            self._last("thinking").texts.append(text)
        if details and (text or any(d.get("signature") or d.get("data") for d in details)):
            self._detail(details, late=not text)
        if content:
            if isinstance(content, str):
                self._last("text").texts.append(content)
            elif isinstance(content, list):
                self._content(content, told=bool(text))
        if (refusal := delta.get("refusal")) and isinstance(refusal, str):
            self._last("refusal").texts.append(refusal)
        if (notes := delta.get("annotations")) and isinstance(notes, list):
            self._note(notes)
        if reasoning.holds_text(held := delta.get("extra_content")):
            self._last("thinking").extra_content = held
        for made in media_of(delta):
            self._pieces.append(Piece("opaque", value=made.value))
        named: list[Piece] = []
        for call in entries(delta.get("tool_calls")):
            self._call(call, named)
        if isinstance(legacy := delta.get("function_call"), dict) and any(legacy.values()):
            self._call({"index": "function_call", "function": legacy}, named)

    def _detail(self, details: list[JsonObject], *, late: bool) -> None:
        """A seal that comes after the text has begun is no use without the reasoning that it seals."""
        earlier = next((p for p in reversed(self._pieces) if p.kind == "thinking"), None) if late else None
        piece = self._last("thinking")
        if earlier is not None and earlier is not piece and not piece.details.details:
            sealed = {(d.get("type"), d.get("index")) for d in details}
            piece.details.feed([d for d in earlier.details.details if (d.get("type"), d.get("index")) in sealed])
        piece.details.feed(details)

    def _content(self, parts: list[Any], *, told: bool) -> None:
        for part in parts:
            match answer_part(part):
                case Text(text):
                    self._last("text").texts.append(text)
                case Thinking(text) if not told:
                    self._last("thinking").texts.append(text)
                case Refusal(text):
                    self._last("refusal").texts.append(text)
                case Opaque(_, value):
                    self._pieces.append(Piece("opaque", value=value))

    def _carry(self, thinking: Thinking) -> None:
        """The detail repeats the text that was streamed before it."""
        piece = self._last("thinking")
        if not piece.texts and thinking.text:
            piece.texts.append(thinking.text)
        piece.carried = thinking

    def _note(self, notes: list[Any]) -> None:
        """Notes belong to the newest text; those that come before any wait for the first."""
        for piece in reversed(self._pieces[self._head :]):
            if piece.kind == "text":
                piece.notes += notes
                return
        self._notes += notes

    def _last(self, kind: Kind) -> Piece:
        """The piece that a delta of `kind` belongs to: the last one, or a new one."""
        last = self._pieces[-1] if self._pieces else None
        if last is None or last.kind != kind or last.opaque or last.carried:
            last = Piece(kind)
            if kind == "text":
                last.notes, self._notes = self._notes, []
            self._pieces.append(last)
        return last

    def _call(self, call: JsonObject, named: list[Piece]) -> None:
        """One entry of a delta's calls; `named` are those that entries before it in the same delta have named."""
        custom, held = custom_of(call), call.get("function")
        function: JsonObject = custom or (held if isinstance(held, dict) else {})
        call_id, name = _word(call.get("id")), _word(function.get("name"))
        index = call.get("index")
        index = index if isinstance(index, int | str) else None
        text = function.get("input" if custom is not None else "arguments")
        if isinstance(text, dict):
            text = orjson.dumps(text).decode()
        piece = self._same_call(index, call_id, name)
        if piece is not None and name and piece.name and piece in named:
            piece = None  # named twice in one delta: two calls
        if piece is not None and name and isinstance(text, str) and (said := text.strip()) and piece.whole():
            before = piece.text.strip()
            if said == before:
                return  # the whole call once more, as some servers end a stream
            if before != "{}" and is_object(said):
                piece = None
        if piece is None:
            if sealed := reasoning.call_seal(call, self._model):
                self._pieces.append(Piece("thinking", opaque=sealed))
            piece = Piece("call", index=index, custom=custom is not None)
            self._pieces.append(piece)
        if index is not None:
            self._by_index[index] = piece
        piece.id = piece.id or call_id
        piece.name = piece.name or name
        if name:
            named.append(piece)
        if piece.custom and custom is None and isinstance(later := call.get("custom"), dict):
            text = later.get("input")
        if isinstance(text, str) and text and (piece.texts or piece.custom or text.strip()):
            piece.texts.append(text)

    def _same_call(self, index: Any, call_id: str, name: str) -> Piece | None:
        """The call that a delta goes on with, None for a new one.

        Indices are missing, all 0, or start anywhere; ids and names are repeated, empty or missing after the first delta.
        """
        known = self._by_index.get(index) if index is not None else None
        if index is None:
            calls = [p for p in self._pieces if p.kind == "call"]
            if call_id:
                calls = [p for p in calls if p.id == call_id]
            known = calls[-1] if calls else None
        if known is None or not name or not known.name:
            return known
        if name != known.name:
            return None
        if call_id and known.id:
            return known if call_id == known.id else None
        return None if known.whole() else known

    # ── writing ──

    def _flush(self, out: list[StreamEvent], *, final: bool) -> None:
        """Events for what the pieces hold and no event has said, as far as order allows."""
        while self._head < len(self._pieces):
            piece = self._pieces[self._head]
            following = self._head + 1 < len(self._pieces)
            origin = self._names.origin(piece.name) if piece.kind == "call" else None
            if not piece.opened:
                if piece.kind == "call" and not piece.name:
                    if following or final:
                        out += self._fail(broken("the provider's answer holds a tool call without a name"))
                    return
                piece.opened = True
                if origin is not None:
                    piece.reader = TextReader() if origin.kind == "custom" and not piece.custom else None
                    number = sum(p.kind == "call" for p in self._pieces[: self._head])
                    piece.call_id = self._ids.of(piece.id, self._id, number)
                out.append(BlockStart(self._head, self._block(piece, origin, started=True)))
            for text in piece.texts[piece.unsent :]:
                told = piece.reader.feed(text) if piece.reader is not None else text
                out += (_said(piece.kind, self._head, told),) if told else ()
            piece.unsent = len(piece.texts)
            if not final and not (following and (piece.kind != "call" or piece.whole())):
                return
            if piece.reader is not None and (told := piece.reader.close()):
                out.append(ArgumentsDelta(self._head, told))
            block = self._block(piece, origin)
            out.append(BlockStop(self._head, block))
            self._head += 1

    def _block(
        self, piece: Piece, origin: Origin | None, *, started: bool = False
    ) -> Text | Refusal | Thinking | ToolCall | Opaque:
        text = "" if started else piece.text
        match piece.kind:
            case "text":
                return Text(text, extra={} if started else piece.beside())
            case "refusal":
                return Refusal(text, extra={} if started else piece.beside())
            case "opaque":
                return Opaque(NAME, piece.value)
            case "thinking" if piece.carried is not None and not started:
                return replace(piece.carried, text=text)
            case "thinking":
                opaque = piece.opaque or reasoning.seal(
                    details=piece.details.details, extra_content=piece.extra_content, model=self._model
                )
                return Thinking(text, opaque="" if started else opaque, summary=piece.details.summarised, origin=NAME)
        assert origin is not None
        if piece.custom or origin.kind == "custom":
            text = text if piece.custom or started else unwrapped(text)
            return ToolCall(piece.call_id, origin.name, text, kind="custom", namespace=origin.namespace)
        return ToolCall(
            piece.call_id, origin.name, text if started or text.strip() else "{}", namespace=origin.namespace
        )

    def _end(self) -> list[StreamEvent]:
        if not self._spoke:
            return self._fail(broken("the provider's stream held no answer"))
        out: list[StreamEvent] = []
        self._flush(out, final=True)
        if self._ended:
            return out
        self._ended = True
        if self._notes:
            self._extra["annotations"] = self._notes
        calls = any(p.kind == "call" for p in self._pieces)
        if not calls and self._finish in CALLED:
            return [*out, *self._fail(broken("the provider's answer ends with a tool call that never came"))]
        stop = stop_reason(
            "stop_sequence" if self._matched else self._finish,
            calls=calls,
            refused=any(p.kind == "refusal" for p in self._pieces),
        )
        out.append(Finish(stop, self._usage, self._matched, extra=self._extra))
        return out

    def _fail(self, error: ProviderError) -> list[StreamEvent]:
        self._ended = True
        opening: list[StreamEvent] = [] if self._started else [Start(self._id, "")]
        self._started = True
        return [*opening, Failure(error)]


def read_chunk(event: SSEEvent) -> tuple[JsonObject | None, JsonObject | None, ProviderError | None]:
    """(chunk, its first choice, the error that it is or holds), each None when there is none. Never raises."""
    try:
        value = orjson.loads(event.data)
    except orjson.JSONDecodeError:
        if event.name == "error":
            return None, None, error_bodies.provider_error(0, event.data.encode(), {}, protocol=NAME, in_stream=True)
        wrong = broken("the provider's stream holds an event that is no JSON") if event.data.strip() else None
        return None, None, wrong
    if isinstance(value, list) and value and isinstance(value[0], dict) and "error" in value[0]:
        value = value[0]
    if not isinstance(value, dict):
        return None, None, broken("the provider's stream holds an event that is no JSON object")
    held = None
    choice = first_choice(value)
    if value.get("error") or event.name == "error":
        held = value
    elif choice is not None and choice.get("error"):
        held = choice
    elif "choices" not in value and _is_error(value):
        held = value
    elif choice is not None and "text" in choice and not choice.keys() & {"delta", "message"}:
        return None, None, broken("the provider answers in the form of plain completions, which is not Chat's")
    if held is None:
        return value, choice, None
    seen = error_bodies.from_value(held)
    error = error_bodies.provider_error(0, event.data.encode(), {}, protocol=NAME, in_stream=True, read_as=seen)
    return value, choice, error


def _is_error(value: JsonObject) -> bool:
    """Whether a chunk without choices is an error without a wrapper around it."""
    if value.get("object") == "error" or value.get("errors") or value.get("detail") or value.get("fault"):
        return True
    return isinstance(value.get("message"), str) and bool(value.get("type") or value.get("code"))


def first_choice(value: JsonObject) -> JsonObject | None:
    """The first answer's part of a chunk; other answers (n > 1) have no place in an answer of ours."""
    choices = value.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and not choice.get("index"):
            return choice
    return None


def _said(kind: Kind, index: int, text: str) -> StreamEvent:
    match kind:
        case "thinking":
            return ThinkingDelta(index, text)
        case "call":
            return ArgumentsDelta(index, text)
    return TextDelta(index, text)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""
