"""Providers and models: rows of data that YAML files fill. No row is special in code.

A provider is where to send a request, in which protocols, with which key. A model is what it can do. A quirk is a named
field here, read by the protocol encoder or the dispatcher; none of them is a vendor's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Safe = Literal["yes", "no", "experimental"]
"""May this client's agent loop depend on the model? `experimental` needs `settings.experimental: true`."""


@dataclass(slots=True, frozen=True)
class Quirks:
    """Where a provider or model departs from its protocol. A model's row overrides its provider's, field by field."""

    max_tokens_field: str = ""
    """Chat: `max_tokens` or `max_completion_tokens`; empty means `max_tokens`."""
    drop: tuple[str, ...] = ()
    """Top-level request fields the provider refuses; left out, declared as losses where they meant something."""
    login_headers: tuple[str, ...] = ()
    """Request headers, in lower case, that go along with a caller's own login and with nothing else."""
    strict: bool = False
    """Unknown request fields are refused (400): send nothing that the vendor does not document."""
    system_role: str = "system"
    """Chat and Responses: role for system text, `system` or `developer`."""
    mid_system: bool = True
    """May a system message stand in mid-conversation? If not it becomes a user message."""
    tool_choice_any: str = "required"
    """Chat: the word for "must call some tool" (`any` on Mistral)."""
    tool_id: Literal["any", "word", "alnum9"] = "any"
    """Which tool call ids it accepts: any string, `[A-Za-z0-9_-]{1,64}`, or exactly nine letters and digits."""
    reasoning_field: str = "reasoning_content"
    """Chat: the assistant field that carries reasoning in answers and, if echoed, in history."""
    echo_reasoning: bool = False
    """Reasoning of earlier turns must be sent back (DeepSeek: 400 without it)."""
    reasoning_param: Literal["reasoning_effort", "reasoning", "thinking", "none"] = "reasoning_effort"
    """Chat: how an effort is asked for."""
    efforts: tuple[str, ...] = ()
    """Effort words it accepts, weakest first; empty: pass as asked."""
    thinking: Literal["", "adaptive", "budget", "none"] = ""
    """Anthropic: which thinking form the model takes; empty: pass as asked."""
    sampling: bool = True
    """Accepts temperature, top_p, top_k."""
    prefill: bool = True
    """Accepts a last message of the assistant to continue."""
    forced_tools: bool = True
    """Accepts being forced to call a tool."""
    stream_usage: bool = True
    """Chat: accepts `stream_options: {include_usage: true}`."""
    parallel_tools: bool = True
    """Accepts the parallel tool calls switch."""
    json_schema: bool = True
    """Structured output by schema; if not, plain JSON mode."""
    seed_field: str = "seed"
    default_max_tokens: int = 0
    """Sent when the client set no limit and the protocol or the vendor's tiny default needs one."""
    tools_with_reasoning: bool = True
    """Chat: function tools together with an effort are accepted; if not, use another protocol of the provider."""
    compaction: bool = False
    """Responses: answers a `compaction_trigger` with a compaction item, and takes its own items back."""
    reasoning_outside_output: bool = False
    """Usage: completion tokens leave reasoning tokens out (xAI)."""
    call_extra: Mapping[str, Any] = field(default_factory=dict)
    """Chat: `extra_content` of a history's call that came without one, where the vendor wants its own models' back."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Fixed request headers the vendor wants."""


@dataclass(slots=True, frozen=True, kw_only=True)
class Timeouts:
    """Seconds. `first_event`: until the answer's first content; `idle`: between two reads; `total`: the whole attempt.

    `progress`: while a stream that has begun shows nothing but signs of life. A model may think that long unseen, and vendors
    send pings meanwhile; a connection that a dead answer keeps warm looks the same.
    """

    connect: float = 5.0
    first_event: float = 240.0
    idle: float = 120.0
    progress: float = 600.0
    total: float = 900.0


@dataclass(slots=True, frozen=True)
class RateLimits:
    """What may be asked of a provider; 0: as much as it takes. Tokens are those of prompt and answer together."""

    requests_per_minute: int = 0
    requests_per_day: int = 0
    tokens_per_minute: int = 0
    tokens_per_day: int = 0

    @property
    def any(self) -> bool:
        """Whether one is set."""
        return self is not UNLIMITED and self != UNLIMITED


UNLIMITED = RateLimits()
"""Of a row that sets none."""


@dataclass(slots=True, frozen=True)
class Retries:
    """How often the same model is asked again, where nobody else is left to ask."""

    per_request: int = 2
    """For one request: agents have a ladder of their own, and ours multiplies theirs."""
    share: float = 0.2
    """Of all requests to the provider, the share that may be asked again."""
    per_minute: int = 10
    """Retries that are allowed beside that share; 0 allows none at all."""


@dataclass(slots=True, frozen=True)
class PromptCache:
    """How a provider keeps the beginnings of prompts. A model's row overrides its provider's, field by field."""

    kind: Literal["none", "marks", "automatic"] = "none"
    """`marks`: what ends at a breakpoint of the request is kept; `automatic`: every prompt is; `none`: nothing is known."""
    seconds: int = 300
    """How long after its last use a prefix is kept at least."""
    long_seconds: int = 0
    """The longer time that a request can ask for, for a dearer write; 0 when there is none."""
    minimum: int = 1024
    """Tokens of the shortest prefix that is kept."""
    step: int = 1
    """Prefixes are kept in multiples of so many tokens."""
    partial: bool = True
    """`automatic`: a prompt that departs from an earlier one reads what both share; if not, only what ended with an earlier one."""
    most_marks: int = 4
    """Breakpoints that a request may have."""
    lookback: int = 20
    """Content blocks that are looked at from a breakpoint backwards, its own included, for an earlier prefix."""
    key_field: str = ""
    """Request field for a name that brings the requests of a session to the same cache; empty when there is none."""
    key_header: str = ""
    """The same as a request header."""

    def kept(self, tokens: int) -> int:
        """How much of a prompt of so many tokens it keeps: whole steps, and nothing of a short one."""
        whole = tokens // self.step * self.step
        return whole if whole >= self.minimum else 0


class Rate(NamedTuple):
    """USD per million tokens of a short prompt."""

    input: float
    output: float
    read: float
    """Prompt tokens read from the provider's prompt cache; as `input` where that has no price of its own."""
    write: float
    """Prompt tokens written to it."""
    write_long: float
    """Prompt tokens written to it for the longer time."""

    @classmethod
    def of(
        cls,
        prompt: float,
        answer: float,
        read: float | None = None,
        write: float | None = None,
        write_long: float | None = None,
    ) -> Rate:
        """A rate whose cache prices may be unknown: those tokens then cost what others do."""
        write = prompt if write is None else write
        return cls(prompt, answer, prompt if read is None else read, write, write if write_long is None else write_long)


@dataclass(slots=True, frozen=True)
class Provider:
    name: str
    endpoints: Mapping[str, str]
    """protocol → base URL, in order of preference for translation; the protocol's path is appended to it."""
    auth: Literal["bearer", "x-api-key", "none", "client"] = "bearer"
    """How our key is sent; `client` passes the caller's own credential on to this vendor and to nobody else."""
    api_key_env: tuple[str, ...] = ()
    """Environment variables that may hold the key; the first one set is used. Empty: none is needed."""
    spare_key_env: tuple[str, ...] = ()
    """Environment variables of further keys of the same provider, each used while those before it step back."""
    url_env: Mapping[str, str] = field(default_factory=dict)
    """Placeholders in a base URL → environment variable (Cloudflare's account id)."""
    local: bool = False
    """Runs on this machine or network: prompts do not leave the house, prices are unknown."""
    models_path: str = "/models"
    quirks: Quirks = field(default_factory=Quirks)
    cache: PromptCache = field(default_factory=PromptCache)
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: RateLimits = UNLIMITED
    retries: Retries = field(default_factory=Retries)
    otel_name: str = ""
    """What OpenTelemetry's GenAI conventions call the provider; empty: as its row."""
    price_id: str = ""
    """The provider's id in the price table; empty: prices unknown."""
    wildcard: bool = False
    """Model names without a row may be sent to it, with conservative capabilities."""
    match: tuple[str, ...] = ()
    """Name prefixes of models that this provider serves under their own name (`claude-`, `gpt-`)."""
    enabled: bool = True
    simulated: bool = False
    """Answered in process by the simulated provider; nothing is sent."""


@dataclass(slots=True, frozen=True)
class Model:
    provider: str
    name: str
    """The id on the provider's wire; with the provider it is the row's key `provider/name`."""
    tools: bool = False
    streaming: bool = True
    vision: bool = False
    documents: bool = False
    reasoning: bool = False
    structured: bool = False
    context: int = 8192
    """Tokens the model can hold, input and output together."""
    max_output: int = 4096
    claude_code_safe: Safe = "no"
    codex_safe: Safe = "no"
    claude_code_score: float = -1.0
    """What the exam of `sbgw probe` gave it as that agent's model, 0.0 to 1.0; -1.0: never examined."""
    codex_score: float = -1.0
    classes: tuple[str, ...] = ()
    """Route classes for which this is its provider's model when a route names the provider alone."""
    protocols: tuple[str, ...] = ()
    """Protocols it is served on, a subset of its provider's; empty: all of them."""
    local: bool = False
    quirks: Quirks = field(default_factory=Quirks)
    cache: PromptCache = field(default_factory=PromptCache)
    price: Mapping[str, float] = field(default_factory=dict)
    """USD per million tokens (`input output cached_input cache_write`), overriding the price table."""
    ends: str = ""
    """Date on which the vendor retires it, ISO 8601; empty: none announced."""
    source: str = ""
    as_of: str = ""
    known: bool = True
    """False for a row made up on the fly from a provider's wildcard."""

    @property
    def ref(self) -> str:
        """`provider/name`, its key everywhere."""
        return f"{self.provider}/{self.name}"
