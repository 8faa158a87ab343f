"""What the emulated model sees of a request, whatever wire it came on: the tools offered and the calls answered so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, frozen=True)
class Offer:
    """One tool the model may call."""

    name: str
    schema: Mapping[str, Any] = field(default_factory=dict)
    namespace: str = ""
    custom: bool = False
    """Takes free text instead of JSON (Responses custom tools)."""


@dataclass(slots=True, frozen=True)
class Step:
    """One call of the history with its result, in the order of the calls."""

    id: str
    name: str
    input: Any
    """The arguments: a JSON value, or text for a custom tool; None when they were not JSON."""
    output: str
    error: bool = False


@dataclass(slots=True, frozen=True)
class Conversation:
    """One request as the model reads it."""

    model: str
    stream: bool = False
    offers: tuple[Offer, ...] = ()
    steps: tuple[Step, ...] = ()
    turns: int = 0
    """Assistant messages in the history."""
    thinks: bool = False
    """The model thinks before it answers."""
    shows_thinking: bool = True
    """Thinking text is shown, not only sealed."""
    choice: str = "auto"
    """`auto`, `none`, `required`, or the name of the tool that must be called."""
    parallel: bool = True
    max_output: int = 0
    stops: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    """JSON schema that the final text must fit."""
    prompt: str = ""
    """Newest text of the user."""
    opening: str = ""
    """Text of the user's first message: what tells a sub-agent's conversation from its parent's."""
    images: int = 0
    """Images in the conversation, those in tool results too."""

    def offer(self, name: str) -> Offer | None:
        """The offered tool with this name."""
        return next((offer for offer in self.offers if offer.name == name), None)
