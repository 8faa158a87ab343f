"""What a request asks for: the measure by which a client's request and the one that a provider gets are compared.

A conversation is a list of turns; consecutive pieces of one speaker are one turn, and each call holds its own result, because
protocols differ in how they cut and order these. White space between texts is no part of the meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fidelity.meaning import arguments


@dataclass(slots=True)
class Result:
    """What running a call gave."""

    text: str = ""
    images: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    is_error: bool = False


@dataclass(slots=True)
class Asked:
    """A call in the history, with its result once there is one."""

    id: str
    name: str
    arguments: Any
    kind: str = "function"
    result: Result | None = None


@dataclass(slots=True)
class Turn:
    """What one speaker said in a row: `system`, `user`, `assistant`; `results` marks where results of calls stood."""

    role: str
    text: str = ""
    calls: list[Asked] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    reasoning: str = ""


@dataclass(slots=True)
class Tool:
    """An offered tool that the client runs."""

    name: str
    description: str = ""
    schema: Any = None
    kind: str = "function"
    deferred: bool = False


@dataclass(slots=True)
class Asking:
    """One request."""

    system: str = ""
    turns: list[Turn] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    provider_tools: list[str] = field(default_factory=list)
    """Types of offered tools that the provider runs."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Everything else that is asked for, by plain names: `max_output temperature top_p top_k stop seed logprobs effort budget choice
    parallel schema user stream tier`."""
    state: list[str] = field(default_factory=list)
    """Sealed reasoning of earlier turns."""
    other: list[str] = field(default_factory=list)
    """Types of blocks and items without a counterpart, and names of fields without one."""
    marks: int = 0
    """Prompt-cache breakpoints."""
    strays: list[Result] = field(default_factory=list)
    """Results without a call."""
    _open: list[Asked] = field(default_factory=list)

    def turn(self, role: str) -> Turn:
        """The turn that goes on, or a new one."""
        if not self.turns or self.turns[-1].role != role:
            self.turns.append(Turn(role))
        return self.turns[-1]

    def say(self, role: str, text: str) -> None:
        """Text of a speaker. What the system says before anybody else stands apart."""
        if not text.strip():
            return
        if role == "system" and not self.turns:
            self.system += text + "\n"
        else:
            self.turn(role).text += text + "\n"

    def call(self, call_id: str, name: str, held: Any, kind: str = "function") -> None:
        """The model's call of a tool."""
        made = Asked(call_id, name, held if kind == "custom" else arguments(held), kind)
        self.turn("assistant").calls.append(made)
        self._open.append(made)

    def answer(self, call_id: str, result: Result) -> None:
        """A result: for the newest turn's call of that id which has none; without an id for any such call."""
        waiting = [call for call in self._open if call_id in (call.id, "") and call.result is None]
        if not waiting:
            self.strays.append(result)
            self.turn("user").text += result.text + "\n"
            return
        turns = [turn for turn in self.turns if any(call is waiting[-1] for call in turn.calls)]
        next(call for call in waiting if any(call is own for own in turns[-1].calls)).result = result
        self.turn("results")


def plain(text: str) -> str:
    """`text` without white space."""
    return "".join(text.split())


def calls(asking: Asking) -> Iterable[Asked]:
    """All calls of the history in order."""
    return (call for turn in asking.turns for call in turn.calls)


def clean(name: str) -> str:
    """A tool's name as far as every wire can hold it."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:50]


def mark(asking: Asking, held: Mapping[str, Any]) -> None:
    """Counts a cache breakpoint beside something."""
    asking.marks += bool(held.get("cache_control") or held.get("prompt_cache_breakpoint"))


def setting(asking: Asking, **values: Any) -> None:
    """Notes what is asked for, if it is."""
    asking.settings |= {
        name: value for name, value in values.items() if value not in (None, [], "", 0) or value is False
    }
