"""Turns of a conversation that have no tie to what stands before or after them, and the work done on them.

A group begins with an answer of the model and ends before another one; what it calls is answered in it, once. So whatever
looks from an element to others (a result to its call, a role to the next, a call id to those before) finds in the group all
that it would find in the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.llm.messages import Message, Thinking
from engine.llm.prefix import Segments
from engine.llm.protocol import Part, Survey, WireProtocol


@dataclass(slots=True, eq=False)
class Group:
    """One group. `end`: index of the first element behind it."""

    start: int
    end: int
    ids: frozenset[str]
    """Of the calls that are made and answered in it."""
    survey: Survey
    """Of everything from the first group to this one."""
    segments: Segments
    """Its own, measured, without their values."""
    elements: list[Any]
    stateful: bool
    """Whether it may hold reasoning state, which goes to some providers only."""
    text: bytes = b""
    """Its elements as clients write them, a comma behind each."""
    passing: list[Any] = field(default_factory=list)
    """What `rewriting` has found it to pass unchanged."""
    messages: tuple[Message, ...] | None = None
    """In neutral words, once somebody has asked."""
    sealed: bool = False
    """Whether `messages` hold reasoning state, which may go to some providers only."""
    encoded: dict[Any, Any] = field(default_factory=dict)
    """What `translation` has made of it."""
    held: int = 0
    """Bytes in `messages` and `encoded`, about."""

    def decoded(self, wire: WireProtocol) -> tuple[Message, ...]:
        """The group in neutral words."""
        if self.messages is None:
            self.messages = wire.decode_request({"model": "m", wire.conversation: self.elements}).messages
            self.held += len(self.text)
            self.sealed = any(isinstance(b, Thinking) and b.opaque for m in self.messages for b in m.content)
        return self.messages


def form(
    wire: WireProtocol, elements: list[Any], parts: Sequence[Part | None], place: slice, before: Sequence[Group]
) -> Group | None:
    """The elements at `place` as a group behind `before`; None where they hang together with others."""
    ids = _ids(parts[place])
    if ids is None or any(not group.ids.isdisjoint(ids) for group in before):
        return None
    own = elements[place]
    if any(_compacts(element) for element in own):
        return None
    body = {"model": "m", wire.conversation: own}
    survey = wire.survey(body)
    if survey.cache_marks:  # a breakpoint is for the place where it stands now
        return None
    segments = wire.segments(body)
    segments.measure()
    segments.values.clear()
    stateful = bool(survey.sealed or survey.compacted or "thinking.signature" in survey.requires)
    total = joined(before[-1].survey, survey) if before else survey
    return Group(place.start, place.stop, ids, total, segments, own, stateful)


def _ids(parts: Sequence[Part | None]) -> frozenset[str] | None:
    """Ids of the calls of a group; None where one is unanswered, answered twice, or answered before it is made."""
    open_calls: set[str] = set()
    made: set[str] = set()
    speaker: bool | None = None
    says = True
    for part in parts:
        if part is None:
            return None
        if part.assistant is not speaker:
            # Who says nothing is not seen in every protocol, and those around him would be seen as one.
            if not says:
                return None
            speaker, says = part.assistant, False
        says = says or part.says
        for call in part.calls:
            if call in made:
                return None
            made.add(call)
            open_calls.add(call)
        for result in part.results:
            if result not in open_calls:
                return None
            open_calls.discard(result)
    return None if open_calls or not says else frozenset(made)


def joined(first: Survey, then: Survey) -> Survey:
    """What a survey of both would have found, `then` being behind `first`."""
    return replace(
        then,
        messages=first.messages + then.messages,
        turns=first.turns + then.turns,
        tool_calls=first.tool_calls + then.tool_calls,
        images=first.images + then.images,
        documents=first.documents + then.documents,
        media_bytes=first.media_bytes + then.media_bytes,
        system_bytes=first.system_bytes + then.system_bytes,
        cache_marks=first.cache_marks + then.cache_marks,
        requires=first.requires | then.requires,
        sealed=first.sealed + then.sealed,
        compacted=first.compacted + then.compacted,
        results=list(then.results),
        newest_user_text=then.newest_user_text or first.newest_user_text,
    )


def _compacts(element: Any) -> bool:
    """Whether it stands for everything before it, or holds something that does."""
    content = element.get("content") if isinstance(element, dict) else None
    parts = content if isinstance(content, list) else ()
    return any(isinstance(part, dict) and part.get("type") == "compaction" for part in (element, *parts))
