"""A request of which something is known: asked like one that is read anew, and the same in every answer."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.llm.errors import ClientError
from engine.llm.messages import JsonObject, LLMRequest, Message, Text
from engine.llm.prefix import Kind, Segments
from engine.llm.protocol import Part, Survey, WireProtocol
from engine.memory.groups import Group, joined

WORD = secrets.token_hex(16)
"""Nobody's text: what stands for a part that is left out."""

_MESSAGE: list[Kind] = ["message"]
_STAND_IN = (Text(WORD),)


@dataclass(slots=True, frozen=True)
class Cut:
    """A request in neutral words without its groups: they belong before `messages[at]`."""

    request: LLMRequest
    at: int


@dataclass(slots=True, eq=False)
class Contexts:
    """For what a conversation's groups have been worked on, so that each is compared once a request, not once a group."""

    settings: list[Any] = field(default_factory=list)
    """Of `translation`."""
    ways: list[Any] = field(default_factory=list)
    """Of `rewriting`."""


class Known:
    """A parsed request, complete in `body`, and the groups in the middle of it. Without groups everything is done on the whole."""

    __slots__ = ("body", "contexts", "groups", "wire")

    def __init__(
        self,
        wire: WireProtocol,
        body: JsonObject,
        groups: tuple[Group, ...] = (),
        parts: Sequence[Part | None] = (),
        contexts: Contexts | None = None,
    ) -> None:
        self.wire = wire
        self.body = body
        self.groups = groups if groups and _free(parts, groups) else ()
        self.contexts = contexts or Contexts()

    def survey(self) -> Survey:
        """See `WireProtocol.survey`."""
        wire, groups = self.wire, self.groups
        if not groups:
            return wire.survey(self.body)
        try:
            rest = wire.survey(self._without_groups())
        except ClientError:
            return wire.survey(self.body)  # which says where
        known = groups[-1].survey
        found = joined(known, rest)
        if known.newest_user_text:
            # The newest text of the rest may be from before the groups.
            newer = wire.survey({"model": "m", wire.conversation: self._tail()}).newest_user_text
            found.newest_user_text = newer or known.newest_user_text
        return found

    def segments(self) -> Segments:
        """See `WireProtocol.segments`; measured, and without the values of the groups."""
        if not self.groups:
            return self.wire.segments(self.body)
        rest = self.wire.segments(self._without_groups())
        rest.measure()
        at, count = len(rest.kinds) - len(self._tail()), self.groups[-1].end - self.groups[0].start
        groups = [group.segments for group in self.groups]
        return Segments(
            # Who has been answered once is in the conversation, whatever the words.
            kinds=rest.kinds[:at] + _MESSAGE * (count + len(rest.kinds) - at),
            values=[*rest.values[:at], *[None] * count, *rest.values[at:]],
            marks=[mark + count if mark >= at else mark for mark in rest.marks],
            blocks=[*rest.blocks[:at], *(n for group in groups for n in group.blocks), *rest.blocks[at:]],
            digests=[*rest.digests[:at], *(n for group in groups for n in group.digests), *rest.digests[at:]],
            sizes=[*rest.sizes[:at], *(n for group in groups for n in group.sizes), *rest.sizes[at:]],
        )

    def request(self) -> LLMRequest:
        """See `WireProtocol.decode_request`."""
        cut = self.cut()
        if cut is None:
            return self.wire.decode_request(self.body)
        messages = cut.request.messages
        known = [message for group in self.groups for message in group.decoded(self.wire)]
        return replace(cut.request, messages=(*messages[: cut.at], *known, *messages[cut.at :]))

    def offered(self) -> LLMRequest:
        """The request without its messages: its settings, and the tools that it offers. Raises ClientError."""
        cut = self.cut()
        return replace(cut.request if cut is not None else self.wire.decode_request(self.body), messages=())

    def cut(self) -> Cut | None:
        """The request without its groups; None when there are none, or it can't be taken apart."""
        if not self.groups:
            return None
        wire, start = self.wire, self.groups[0].start
        elements = self.body[wire.conversation]
        parted = [*elements[:start], {"role": "user", "content": WORD}, *self._tail()]
        try:
            request = wire.decode_request({**self.body, wire.conversation: parted})
        except ClientError:
            return None
        places = [n for n, message in enumerate(request.messages) if message.content == _STAND_IN]
        if len(places) != 1:
            return None
        at = places[0]
        messages: tuple[Message, ...] = request.messages[:at] + request.messages[at + 1 :]
        return Cut(replace(request, messages=messages), at)

    def around(self) -> tuple[list[Any], list[Any]]:
        """What stands before and behind the groups."""
        return self.body[self.wire.conversation][: self.groups[0].start], self._tail()

    def _tail(self) -> list[Any]:
        elements: list[Any] = self.body[self.wire.conversation][self.groups[-1].end :]
        return elements

    def _without_groups(self) -> JsonObject:
        elements = self.body[self.wire.conversation]
        return {**self.body, self.wire.conversation: elements[: self.groups[0].start] + self._tail()}


def _free(parts: Sequence[Part | None], groups: Sequence[Group]) -> bool:
    """Whether nothing outside the groups has a tie to them."""
    head, tail = parts[: groups[0].start], parts[groups[-1].end :]
    says = False
    for part in tail:
        if part is None or not part.assistant:
            break
        says = says or part.says
    if not says or None in tail or None in head:
        return False
    outside = {call for part in (*head, *tail) if part is not None for call in (*part.calls, *part.results)}
    return all(group.ids.isdisjoint(outside) for group in groups)
