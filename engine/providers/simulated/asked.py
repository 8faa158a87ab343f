"""What the simulated models look at in a request: its shape and size. Never its words, which they therefore can't repeat."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from engine.llm.messages import JsonObject


@dataclass(slots=True, frozen=True)
class OfferedTool:
    name: str
    schema: JsonObject | None
    """JSON Schema of its arguments; None for a tool that takes free text."""
    namespace: str = ""


@dataclass(slots=True, frozen=True)
class Asked:
    messages: int = 0
    turns: int = 0
    """Answers of the assistant in the history."""
    tools: tuple[OfferedTool, ...] = ()
    choice: str = "auto"
    """`auto none required`, or `=` and the name of the tool that must be called."""
    parallel: bool = True
    tool_results: int = 0
    """In the whole conversation."""
    thinking: bool = False
    schema: JsonObject | None = None
    """JSON Schema that the answer's text must satisfy."""
    json_object: bool = False
    max_tokens: int = 0
    """0 when no limit was set."""
    marked: bool | None = None
    """Whether the prompt has cache breakpoints; None where a provider caches by itself."""
    stream_usage: bool = True
    sealed: bool = False
    """Reasoning shall be sent sealed, to be handed back in the next turn."""


def objects(value: Any) -> list[JsonObject]:
    """The objects in `value` if it is a list, else none. A malformed request is not the simulation's business."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def section(value: Any) -> JsonObject:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def whole(value: Any) -> int:
    """`value` if it is a number of tokens, else 0."""
    return value if isinstance(value, int) and value > 0 else 0


def count(items: Iterable[JsonObject], key: str, value: str) -> int:
    """How many of `items` have `value` at `key`."""
    return sum(1 for item in items if item.get(key) == value)
