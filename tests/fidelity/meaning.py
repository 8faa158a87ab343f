"""What an answer means to whoever reads it: the measure by which a recorded answer and the one a client got are compared.

Nothing here comes from the gateway's own vocabulary: the readers in `tests.fidelity.read` make these values from JSON with a
few plain rules, so that a mistake of the gateway's decoders can't hide in both sides of a comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

USAGE = ("input", "output", "cached", "written", "reasoning")
"""Token counts: the whole prompt, everything generated, of the prompt read from and written to a cache, of the output thought."""


@dataclass(slots=True, frozen=True)
class Call:
    """A tool call that the client shall run. `arguments` is parsed JSON, or the text itself where it is none."""

    id: str
    name: str
    arguments: Any
    kind: str = "function"
    namespace: str = ""


@dataclass(slots=True)
class Answer:
    """One answer. `error` is set, and nothing else counts, when it is none."""

    text: str = ""
    refusal: str = ""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list)
    stop: str = "end"
    """`end max_tokens tool_use stop_sequence refusal content_filter pause context`."""
    stop_sequence: str | None = None
    usage: dict[str, int] = field(default_factory=dict)
    state: list[str] = field(default_factory=list)
    """Sealed reasoning that has to come back with the next turn, as text."""
    sources: list[str] = field(default_factory=list)
    """Addresses and titles that citations name."""
    other: list[str] = field(default_factory=list)
    """Types of blocks and items that have no counterpart in another protocol."""
    order: list[str] = field(default_factory=list)
    """`r`easoning, `t`ext, `c`all in the order of the answer, repetitions once."""
    error: str = ""

    def saw(self, kind: str) -> None:
        """Notes the place of a piece."""
        if not self.order or self.order[-1] != kind:
            self.order.append(kind)


def arguments(text: Any) -> Any:
    """Arguments as JSON: nothing at all is `{}`, what is no JSON object stays text (in the form a client would see)."""
    if text is None or (isinstance(text, str) and not text.strip()):
        return {}
    if not isinstance(text, str):
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def differences(expected: Answer, got: Answer) -> Iterator[str]:
    """What a client reads otherwise than the recording says, one line each."""
    if expected.error or got.error:
        if bool(expected.error) != bool(got.error):
            yield f"error: {expected.error!r} became {got.error!r}"
        return
    for name in ("text", "refusal", "stop", "stop_sequence", "sources", "other"):
        if getattr(expected, name) != getattr(got, name):
            yield f"{name}: {_short(getattr(expected, name))} became {_short(getattr(got, name))}"
    if _bare(expected.reasoning) != _bare(got.reasoning):
        yield f"reasoning: {_short(expected.reasoning)} became {_short(got.reasoning)}"
    yield from _call_differences(expected.calls, got.calls)
    for name in USAGE:
        if expected.usage.get(name, 0) != got.usage.get(name, 0):
            yield f"usage.{name}: {expected.usage.get(name)} became {got.usage.get(name)}"
    if expected.order != got.order:
        yield f"order: {expected.order} became {got.order}"


def _call_differences(expected: list[Call], got: list[Call]) -> Iterator[str]:
    if len(expected) != len(got):
        yield f"calls: {len(expected)} became {len(got)}"
        return
    for number, (before, after) in enumerate(zip(expected, got, strict=True)):
        if before.name != after.name or before.kind != after.kind:
            yield f"calls[{number}]: {before.kind} {before.name} became {after.kind} {after.name}"
        if before.arguments != after.arguments:
            yield f"calls[{number}].arguments: {_short(before.arguments)} became {_short(after.arguments)}"
    ids = [call.id for call in got]
    if len(set(ids)) != len(ids) or not all(ids):
        yield f"calls: ids {ids} do not tell them apart"


def _bare(text: str) -> str:
    """Without white space: pieces of reasoning are joined by blank lines in some protocols and not in others."""
    return "".join(text.split())


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return repr(text if len(text) <= 90 else f"{text[:60]}…{text[-25:]} ({len(text)})")


def count(value: Any) -> int | None:
    """A token count, None for anything else."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def known(**counts: Any) -> dict[str, int]:
    """The counts that are given."""
    return {name: number for name, value in counts.items() if (number := count(value)) is not None}


def within(value: Any, *path: str) -> Any:
    """What stands at `path` inside nested objects, None where there is nothing."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
