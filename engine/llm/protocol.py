"""What a protocol module promises: one object that serves clients and speaks to providers, pure, without I/O.

A protocol takes parsed JSON and gives parsed JSON or bytes; it never touches a socket, a clock, a file or asyncio. That is
what lets the same code be fuzzed, replayed and tested by transcripts. Three outcomes only: a value, "need more" (an empty
list), or an error of the tree in `engine.llm.errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from engine.llm.catalogue import Model, Provider, Quirks
from engine.llm.envelope import bare_only, bare_summary
from engine.llm.errors import GatewayError, ProviderError
from engine.llm.frozen import dataclass
from engine.llm.messages import JsonObject, LLMRequest, LLMResponse, StopReason, Thinking, Usage
from engine.llm.prefix import Segments
from engine.llm.stream import StreamEvent


@dataclass(slots=True, frozen=True)
class SSEEvent:
    """One server-sent event: its `event:` name (empty if none) and its `data:` lines joined by newlines."""

    name: str
    data: str


MAX_OUTCOMES = 64


class ToolOutcome(NamedTuple):
    """A tool that was called, and how that went. `ok` is None in protocols that don't say."""

    tool: str
    ok: bool | None


@dataclass(slots=True)
class Survey:
    """What one cheap pass over a request's JSON tells, without decoding it: the raw material of the facts.

    `requires` holds loss codes (`engine.llm.losses`) of everything in the request that another protocol may not carry.
    `newest_user_text` is read by signals and then dropped; it is never recorded.
    """

    model: str = ""
    stream: bool = False
    messages: int = 0
    turns: int = 0
    """Assistant messages in the history."""
    tools: int = 0
    """Tools offered that the client runs."""
    server_tools: int = 0
    tool_names: tuple[str, ...] = ()
    """Names of the offered tools, at most 64."""
    tool_choice: str = "auto"
    """`auto none required tool`."""
    tool_calls: int = 0
    """Tool calls in the whole history."""
    tool_results: int = 0
    """Tool results that came with the newest turn (after the last assistant message)."""
    tool_errors: int = 0
    """How many of the newest turn's tool results are errors."""
    results: list[ToolOutcome] = field(default_factory=list)
    """The newest turn's tool results by their tools' names, at most 64: what the agent did since the answer before."""
    images: int = 0
    documents: int = 0
    media_bytes: int = 0
    """Base64 characters of images and documents: they cost tokens by the piece, not by the byte."""
    system_bytes: int = 0
    max_output_tokens: int = 0
    """0 when the client set none."""
    temperature: float = -1.0
    """-1 when the client set none."""
    thinking: bool = False
    thinking_budget: int = 0
    effort: str = ""
    output_format: str = "text"
    """`text json_object json_schema`."""
    cache_marks: int = 0
    last_role: str = ""
    """Role of the last message: `user assistant system tool`; `tool` when the newest turn holds tool results."""
    requires: set[str] = field(default_factory=set)
    sealed: list[str] = field(default_factory=list)
    """Opaque reasoning state in the history, in envelopes of ours or bare; who made it is looked up, then it is dropped."""
    compacted: list[str] = field(default_factory=list)
    """State of the history's compaction items, sealed by their maker or by this gateway; looked up as `sealed` is."""
    newest_user_text: str = ""
    session: str = ""
    """A session id found in the body (Claude Code's metadata, Codex's prompt_cache_key), empty if none."""
    user: str = ""
    previous_response: bool = False
    stored: bool = False
    """The provider is asked to keep the answer."""
    compaction: bool = False
    """The request asks for a summary of the conversation to go on with (a compaction call)."""


class Part(NamedTuple):
    """How an element of a conversation hangs together with others: all that must be known to work on some of them alone."""

    assistant: bool
    """The model made it."""
    says: bool = True
    """It is seen in every protocol: a text, a call, a result. Reasoning is not."""
    calls: tuple[str, ...] = ()
    """Ids of the calls it makes."""
    results: tuple[str, ...] = ()
    """Ids of the calls it answers."""


@dataclass(slots=True, frozen=True)
class Target:
    """Where an encoded request will go: the chosen model, its provider, the protocol, and the quirks that hold there."""

    provider: Provider
    model: Model
    protocol: str
    quirks: Quirks
    session: str = ""
    """The session the request belongs to; sealed reasoning is bound to it."""
    take_back: Callable[[Thinking], Thinking | None] = bare_only
    """What of the history's sealed reasoning may go there: the block as its provider made it, None for what may not."""
    unpacked: Callable[[str], str | None] = bare_summary
    """What a compaction item's state stands for there: the summary that this gateway sealed in it, "" where the item goes as it
    is, None where it may not go.
    """


@dataclass(slots=True, frozen=True)
class Tapped:
    """What listening to a preserved answer told."""

    started: bool = False
    """The first real content has been seen (the commit point)."""
    finished: bool = False
    """The protocol's terminal event has been seen."""
    over: bool = False
    """Nothing that comes now belongs to the answer: its very last event has been seen."""
    stop: StopReason | None = None
    usage: Usage | None = None
    model: str = ""
    id: str = ""
    error: ProviderError | None = None
    sealed: tuple[str, ...] = ()
    """Opaque reasoning state that the provider sent."""
    owed: bytes = b""
    """The protocol's last event, once an answer is whole without it: said for a provider that never does."""


class StreamDecoder(Protocol):
    """Provider's SSE events in, `StreamEvent`s out, in the order that `engine.llm.stream` states."""

    @property
    def complete(self) -> bool:
        """The answer is whole, though its wire's last word is still to come: some vendors never say that."""

    @property
    def quiet(self) -> bool:
        """The event fed last says nothing of the answer: a sign of life. What is kept back for later does say something."""

    def feed(self, event: SSEEvent) -> list[StreamEvent]:
        """Events that `event` completes; never raises for what a provider sends: a bad frame gives a `Failure`."""

    def close(self) -> list[StreamEvent]:
        """The connection ended: what is still held back, then `Finish` if the answer was whole, else `Failure`."""


class StreamEncoder(Protocol):
    """`StreamEvent`s in, the client protocol's SSE bytes out."""

    def feed(self, event: StreamEvent) -> bytes:
        """The bytes that say `event`; empty when it says nothing yet."""


class StreamTap(Protocol):
    """Listens to a preserved stream without changing it."""

    @property
    def goes_on(self) -> Callable[[bytes], object]:
        """Tells of a frame, as it came, whether it is nothing but more of an answer that has started: it need not be fed."""

    @property
    def quiet(self) -> bool:
        """The event fed last says nothing of the answer: a sign of life."""

    def feed(self, event: SSEEvent) -> Tapped:
        """What is known after `event`."""

    def close(self) -> Tapped:
        """What is known at the end; `error` is set when the answer is not whole."""


@runtime_checkable
class WireProtocol(Protocol):
    """A protocol, as client adapter and as provider wire."""

    name: str
    """`anthropic-messages`, `openai-responses` or `openai-chat`."""
    path: str
    """Appended to a provider's base URL (`/v1/messages`, `/responses`, `/chat/completions`)."""

    conversation: str
    """Field of a request that holds the conversation, as a list."""

    # ── as client adapter ──
    def survey(self, body: JsonObject) -> Survey:
        """One pass over a client's request. Raises ClientError, with the field's path, for a request that can't be one."""

    def segments(self, body: JsonObject) -> Segments:
        """The prompt of a surveyed request in the order in which providers read it. Never raises, changes nothing."""

    def part(self, element: JsonObject) -> Part | None:
        """How an element of the conversation hangs together with others; None for one that is read by more than its calls
        (a tool that is offered, a call without an id, an empty message, what this protocol alone has).
        """

    def decode_request(self, body: JsonObject) -> LLMRequest:
        """The request in neutral words. Raises ClientError. `body` is not changed."""

    def encode_response(self, response: LLMResponse, *, model: str) -> JsonObject:
        """The answer as this protocol's JSON; `model` is the name the client shall read."""

    def stream_encoder(self, *, model: str, answer_id: str, request: LLMRequest | None = None) -> StreamEncoder:
        """An encoder for one streamed answer. `request` is echoed where the protocol does so (Responses)."""

    def encode_error(self, error: GatewayError, *, event_id: str = "") -> tuple[int, JsonObject, dict[str, str]]:
        """(HTTP status, body, headers) that this protocol's clients read best."""

    def encode_stream_error(self, error: GatewayError) -> bytes:
        """The terminal error event for a stream that has begun (after a preserved part too)."""

    def keepalive(self) -> bytes:
        """Bytes that keep a started stream alive without meaning anything."""

    # ── as provider wire ──
    def encode_request(self, request: LLMRequest, target: Target) -> tuple[JsonObject, list[str]]:
        """(JSON for the provider, loss codes of what it could not say). Never says what the target's quirks refuse."""

    def rewrite(self, body: JsonObject, target: Target) -> JsonObject:
        """The preserve path: `body` with `model` (and what a quirk names) changed, all else as it was, in the same order."""

    def with_marks(self, body: JsonObject, *, most: int, newest: bool = False) -> JsonObject:
        """A provider's request without cache breakpoints, with at most `most` of them where the protocol has such.

        With `newest` it has some, and gets one more, after the newest message.
        """

    def with_mark_at(self, body: JsonObject, message: int) -> JsonObject:
        """A provider's request with one more breakpoint, after that message of the conversation, where the protocol has such."""

    def with_long_marks(self, body: JsonObject) -> JsonObject:
        """The same breakpoints; those before the conversation ask for the longer time."""

    def auth_headers(self, provider: Provider, key: str) -> dict[str, str]:
        """Headers that authenticate and version a request (`x-api-key`, `anthropic-version`, `Authorization`)."""

    def decode_response(self, body: JsonObject, *, quirks: Quirks, request: LLMRequest | None = None) -> LLMResponse:
        """A whole answer. Raises ProviderError(broken) for JSON that is no answer, or what an error body inside a 200 means.

        `request` is what was encoded for this provider: tool names and kinds that its encoding had to change (namespaces,
        custom tools) come back as the client gave them.
        """

    def stream_decoder(self, *, quirks: Quirks, request: LLMRequest | None = None) -> StreamDecoder:
        """A decoder for one streamed answer; `request` as in `decode_response`."""

    def stream_tap(self, *, quirks: Quirks) -> StreamTap:
        """A listener for one preserved stream."""

    def tap_response(self, body: JsonObject, *, quirks: Quirks) -> Tapped:
        """What a preserved whole answer tells."""

    def decode_error(self, status: int, body: bytes, headers: Mapping[str, str]) -> ProviderError:
        """A provider's error answer, its meaning found from status, code, type and wording; any bytes are accepted."""

    # ── lists ──
    def encode_models(self, models: list[Mapping[str, Any]]) -> JsonObject:
        """`GET /v1/models` in this protocol's shape. Each mapping: id, created (epoch s), display_name, owned_by, context, max_output."""
