"""A known request for a provider of another protocol: the groups in it as the bytes that they were before.

A group is encoded in a conversation of its own, between words of a user and an exchange that nobody would write, and what
comes out between these is the group. The rest is encoded with that exchange in place of the groups, so that whatever is done
to the beginning or the end of a conversation is done there. Words that do not come out by themselves, as they do in the
shortest conversation, mean that something was joined to them: then the whole request is encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import orjson

from engine.llm.envelope import bare_only, bare_summary
from engine.llm.messages import JsonObject, LLMRequest, Message, Opaque, Text
from engine.llm.protocol import Target, WireProtocol
from engine.memory.groups import Group
from engine.memory.known import WORD, Known

_MOST_CONTEXTS = 4
"""Targets and tool lists for which a conversation's groups are kept encoded."""

Allowed = Callable[[LLMRequest], LLMRequest]

_BEFORE = Message("user", (Text(f"{WORD} before"),))
_EXCHANGE = (Message("assistant", (Text(f"{WORD} said"),)), Message("user", (Text(f"{WORD} heard"),)))


@dataclass(slots=True, frozen=True)
class Encoded:
    """A group on a wire."""

    source: tuple[Message, ...]
    """Its messages as they were encoded: without reasoning that may not go to the target."""
    data: bytes
    """Elements of the conversation, commas between them."""
    losses: frozenset[str]


@dataclass(slots=True, frozen=True)
class Context:
    """All that the encoding of a message depends on, beside the conversation. Compared by value, used by identity."""

    wire: str
    target: Target
    request: LLMRequest


@dataclass(slots=True, eq=False)
class Setting:
    """A context with what its wire makes of the words around a group."""

    context: Context
    before: Any
    exchange: list[Any]
    losses: frozenset[str]
    """Of the request without a conversation: no group's."""


def translated(
    known: Known, wire: WireProtocol, target: Target, allowed: Allowed
) -> tuple[JsonObject, list[str], LLMRequest]:
    """(JSON for the provider, loss codes, the request without its messages), as decoding and encoding the whole would give.

    `allowed` makes of a request what of it may go to the target.
    """
    cut = known.cut() if known.wire.name != wire.name else None
    if cut is not None and cut.request.tools and not _compacted(cut.request):
        middle = _middle(known, wire, target, cut.request, allowed)
        if middle is not None:
            pieces, losses, exchange = middle
            messages = cut.request.messages
            rest = replace(cut.request, messages=(*messages[: cut.at], *_EXCHANGE, *messages[cut.at :]))
            rest = allowed(rest)
            body, lost = wire.encode_request(rest, target)
            elements = body[wire.conversation]
            at = _place(elements, exchange)
            if at is not None:
                body[wire.conversation] = [
                    *elements[:at],
                    *map(orjson.Fragment, pieces),
                    *elements[at + len(exchange) :],
                ]
                return body, sorted({*lost, *losses}), replace(rest, messages=())
    request = allowed(known.request())
    body, lost = wire.encode_request(request, target)
    return body, lost, replace(request, messages=())


def _compacted(request: LLMRequest) -> bool:
    """Whether something in it stands for what was said before: then no group is what it was."""
    return any(isinstance(b, Opaque) and b.type == "compaction" for m in request.messages for b in m.content)


def _middle(
    known: Known, wire: WireProtocol, target: Target, request: LLMRequest, allowed: Allowed
) -> tuple[list[bytes], set[str], list[Any]] | None:
    """(the groups' bytes, their losses, how the exchange looks that stands for them); None where that can't be said."""
    setting = _setting(known.contexts.settings, wire, target, request)
    if setting is None:
        return None
    pieces: list[bytes] = []
    losses: set[str] = set()
    for group in known.groups:
        source = group.decoded(known.wire)
        if group.sealed:
            source = allowed(replace(setting.context.request, messages=source)).messages
        encoded = group.encoded.get(setting)
        if encoded is None or (encoded.source is not source and encoded.source != source):
            encoded = _encode(group, source, wire, setting, known.contexts.settings)
            if encoded is None:
                return None
        pieces.append(encoded.data)
        losses |= encoded.losses
    return pieces, losses, setting.exchange


def _setting(settings: list[Setting], wire: WireProtocol, target: Target, request: LLMRequest) -> Setting | None:
    """What groups of this request are encoded for; None when the wire joins the words around them."""
    plain = LLMRequest(
        model=request.model, messages=(), tools=request.tools, reasoning=request.reasoning, protocol=request.protocol
    )
    context = Context(wire.name, replace(target, session="", take_back=bare_only, unpacked=bare_summary), plain)
    for index, setting in enumerate(settings):
        if setting.context == context:
            if index:
                settings.insert(0, settings.pop(index))
            return setting
    body, losses = wire.encode_request(replace(plain, messages=(_BEFORE, *_EXCHANGE)), target)
    elements = body[wire.conversation]
    if len(elements) != 1 + len(_EXCHANGE):
        return None
    setting = Setting(context, elements[0], elements[1:], frozenset(losses))
    settings.insert(0, setting)
    del settings[_MOST_CONTEXTS:]
    return setting


def _encode(
    group: Group, source: tuple[Message, ...], wire: WireProtocol, setting: Setting, settings: list[Setting]
) -> Encoded | None:
    request = replace(setting.context.request, messages=(_BEFORE, *source, *_EXCHANGE))
    body, losses = wire.encode_request(request, setting.context.target)
    elements = body[wire.conversation]
    count = len(setting.exchange)
    if elements[:1] != [setting.before] or elements[-count:] != setting.exchange or len(elements) <= 1 + count:
        return None
    data = orjson.dumps(elements[1:-count])[1:-1]
    encoded = Encoded(source, data, frozenset(losses) - setting.losses)
    kept = {held: made for held, made in group.encoded.items() if held in settings and held is not setting}
    group.encoded = {**kept, setting: encoded}
    group.held = len(group.text) + sum(len(made.data) for made in group.encoded.values())
    return encoded


def _place(elements: list[Any], exchange: list[Any]) -> int | None:
    """Where `exchange` stands among `elements`; None where it does not, or not once."""
    places = [n for n, element in enumerate(elements) if element == exchange[0]]
    if len(places) != 1 or elements[places[0] : places[0] + len(exchange)] != exchange:
        return None
    return places[0]
