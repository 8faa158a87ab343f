"""What a model request and its answer say, in no provider's wire format.

Every client protocol decodes into these types and every provider wire is encoded from them, so three protocols need six
translations instead of nine. Content is a sequence of typed blocks; nothing is flattened to text. What a protocol says and
the vocabulary has no word for rides along: a whole block as `Opaque`, a field of a block in its `extra`, a field of the
request in `LLMRequest.extra`. Extras come out again on the protocol they came from and nowhere else; leaving them out on
another protocol is a loss that the encoder declares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from engine.llm.frozen import dataclass

JsonObject = dict[str, Any]
"""One JSON object as the codec gave it. `Any` stays at this edge."""

Role = Literal["system", "developer", "user", "assistant"]
"""Who speaks. Tool results are blocks of a `user` message, as on Anthropic; there is no tool role here."""

StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "content_filter", "pause_turn", "context_exceeded"
]
"""Why an answer ended. `tool_use` whenever the answer holds a client tool call, whatever the provider called it."""


@dataclass(slots=True, frozen=True)
class Text:
    text: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields beside the text: `cache_control`, `citations`, `annotations`, `logprobs` (of an answer's tokens, in order)."""


@dataclass(slots=True, frozen=True)
class Refusal:
    """Text in which the model declines (OpenAI's `refusal` part). Shown as text where a protocol has no such part."""

    text: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Image:
    """An image by value (`data` is base64, `media_type` set) or by reference (`url`). Exactly one of `data`, `url`."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Document:
    """A file such as a PDF. Exactly one of `data` (base64), `text`, `url`, `file_id`."""

    media_type: str = ""
    data: str = ""
    text: str = ""
    url: str = ""
    file_id: str = ""
    title: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Thinking:
    """Reasoning of the model.

    `text` is what may be shown (empty when the provider hid it). `opaque` is the provider's sealed state that must go back
    unchanged with the next turn: Anthropic's `signature`, a Responses item's `encrypted_content`, a redacted block's `data`.
    It means something to the vendor named in `origin` only.
    """

    text: str = ""
    opaque: str = ""
    redacted: bool = False
    summary: bool = False
    """True when `text` is a summary (Responses `summary_text`), false when it is the reasoning itself."""
    id: str = ""
    """The item's id where the protocol gives reasoning an id (Responses `rs_…`)."""
    origin: str = ""
    """Protocol that made `opaque`: `anthropic-messages`, `openai-responses` or `openai-chat`."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class ToolCall:
    """The model asks the client to run a tool. `arguments` is the JSON text as the model wrote it ("{}" for none).

    For `kind="custom"` (a Responses custom tool) `arguments` is free text, not JSON.
    """

    id: str
    name: str
    arguments: str = "{}"
    kind: Literal["function", "custom"] = "function"
    namespace: str = ""
    """The Responses `namespace` that the function belongs to, empty for none."""
    item_id: str = ""
    """The Responses item id (`fc_…`), which is not the call id."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class ToolResult:
    """What running the call `call_id` gave: text, images, documents, opaque blocks."""

    call_id: str
    content: tuple[Block, ...] = ()
    is_error: bool = False
    kind: Literal["function", "custom"] = "function"
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Opaque:
    """A block or item that only `protocol` understands (server tool use, web search result, compaction item …), verbatim."""

    protocol: str
    value: JsonObject

    @property
    def type(self) -> str:
        """The block's `type` field, empty when it has none."""
        return str(self.value.get("type", ""))


Block = Text | Refusal | Image | Document | Thinking | ToolCall | ToolResult | Opaque


@dataclass(slots=True, frozen=True)
class Message:
    role: Role
    content: tuple[Block, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields beside the content: `name`, the Responses item's `id`, `status`, `phase`."""
    strange: bool = False
    """Something in it bore a field that the gateway does not know."""


@dataclass(slots=True, frozen=True)
class Tool:
    """A tool that the client offers.

    `kind` is `function` (name, description, JSON Schema), `custom` (free text input under a grammar in `extra`), `namespace`
    (a group of functions, in `members`) or `server` (run by the provider: web search and the like; `extra` is the whole tool).
    """

    name: str
    description: str = ""
    schema: JsonObject | None = None
    kind: Literal["function", "custom", "namespace", "server"] = "function"
    strict: bool | None = None
    deferred: bool = False
    """Not shown to the model until a tool search names it (Anthropic `defer_loading`)."""
    members: tuple[Tool, ...] = ()
    protocol: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class ToolChoice:
    mode: Literal["auto", "none", "required", "tool"] = "auto"
    name: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Reasoning:
    """How much the model shall think. Absent fields are the provider's default."""

    enabled: bool | None = None
    effort: str = ""
    """`none minimal low medium high xhigh max`, empty when not asked for."""
    budget_tokens: int = 0
    adaptive: bool = False
    summary: str = ""
    """The Responses `reasoning.summary`, or Anthropic's `thinking.display`; empty when not asked for."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class OutputFormat:
    """Structured output: `json_object`, or `json_schema` with name and schema."""

    kind: Literal["json_object", "json_schema"]
    name: str = ""
    schema: JsonObject | None = None
    strict: bool | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class LLMRequest:
    """One request for one answer. `messages` is the whole conversation, system text included, in order."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    stream: bool = False
    reasoning: Reasoning | None = None
    output_format: OutputFormat | None = None
    user: str = ""
    """The end user's id as the client gave it (Anthropic `metadata.user_id`, OpenAI `user` / `safety_identifier`)."""
    cache_key: str = ""
    """OpenAI's `prompt_cache_key`."""
    service_tier: str = ""
    logprobs: int | None = None
    """How many alternatives to each token of the answer are told with their log probabilities; None: no probabilities at all."""
    verbosity: str = ""
    """How long answers shall be: `low medium high`, empty when not asked for."""
    protocol: str = ""
    """The protocol it was decoded from; `extra` is this protocol's."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Top-level fields that no field above holds, by name, as sent."""
    strange: bool = False
    """Something beside the conversation, below its top, bore a field that the gateway does not know."""
    extra_losses: frozenset[str] = frozenset()
    """Codes of what is lost where the request's extras can't be said: everywhere but on `protocol`."""


@dataclass(slots=True, frozen=True)
class Usage:
    """Tokens of one answer. `input_tokens` is the whole prompt, cached or not; `output_tokens` includes reasoning.

    Providers count differently (Anthropic's `input_tokens` leaves out cache reads and writes; xAI's `completion_tokens` leave
    out reasoning); decoders bring them to this meaning. None: the provider did not say.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    """Prompt tokens read from the provider's prompt cache; part of `input_tokens`."""
    cache_write_tokens: int | None = None
    """Prompt tokens written to the provider's prompt cache (5 minutes and 1 hour together); part of `input_tokens`."""
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    """What the provider itself says this answer cost (OpenRouter `usage.cost`), not an estimate."""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class LLMResponse:
    """One whole answer."""

    id: str
    model: str
    content: tuple[Block, ...]
    stop: StopReason
    stop_sequence: str | None = None
    usage: Usage = field(default_factory=Usage)
    protocol: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
