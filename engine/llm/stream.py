"""A streamed answer as events, in no provider's wire format.

Order, kept by every stream decoder and relied on by every stream encoder:

    Start (BlockStart Delta* BlockStop)* Finish          one answer, complete
    Start …                              Failure         the provider broke off or reported an error

* `Start` comes first and once; exactly one of `Finish`, `Failure` comes last.
* Blocks do not overlap: a block is closed before the next one opens, `index` counts from 0 without gaps. A wire that
  interleaves (parallel tool calls of Chat Completions) is put in order by its decoder, which holds back what came early.
* A delta's kind fits its block. A block without deltas is legal (hidden thinking, a tool call without arguments).
* `Finish.usage` is the answer's final usage; `Progress` is a sign of life that carries nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from engine.llm.errors import ProviderError
from engine.llm.frozen import dataclass
from engine.llm.messages import Opaque, Refusal, StopReason, Text, Thinking, ToolCall, Usage


@dataclass(slots=True, frozen=True)
class Start:
    id: str
    model: str
    usage: Usage | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class BlockStart:
    """Opens block `index`. `block` holds what is known at its start (id and name of a call; a whole opaque block)."""

    index: int
    block: Text | Refusal | Thinking | ToolCall | Opaque


@dataclass(slots=True, frozen=True)
class TextDelta:
    index: int
    text: str


@dataclass(slots=True, frozen=True)
class ThinkingDelta:
    index: int
    text: str


@dataclass(slots=True, frozen=True)
class ArgumentsDelta:
    """A piece of the call's argument text; the pieces in order are the text."""

    index: int
    text: str


@dataclass(slots=True, frozen=True)
class OpaqueDelta:
    """A delta of an `Opaque` block, verbatim. Only its own protocol's encoder can say it."""

    index: int
    value: dict[str, Any]


@dataclass(slots=True, frozen=True)
class BlockStop:
    """Closes block `index`. `block` is the whole block, with everything its deltas carried (a thinking block's `opaque`)."""

    index: int
    block: Text | Refusal | Thinking | ToolCall | Opaque


@dataclass(slots=True, frozen=True)
class Progress:
    """The provider is alive but has nothing to say (a ping, `response.in_progress`)."""


@dataclass(slots=True, frozen=True)
class Finish:
    stop: StopReason
    usage: Usage
    stop_sequence: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Failure:
    """The answer ends here, incomplete. Encoders turn it into the protocol's own terminal error event."""

    error: ProviderError


StreamEvent = (
    Start
    | BlockStart
    | TextDelta
    | ThinkingDelta
    | ArgumentsDelta
    | OpaqueDelta
    | BlockStop
    | Progress
    | Finish
    | Failure
)
