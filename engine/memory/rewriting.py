"""A known request for a provider of the client's own protocol: the groups in it as the bytes that the client sent.

Most messages pass as they are. Whether a group does is asked of the protocol once for each target, or each time where it holds
reasoning state. When one does not, or anything else in the conversation, the whole request is rewritten.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson

from engine.llm.envelope import bare_only, bare_summary
from engine.llm.messages import JsonObject
from engine.llm.protocol import Target, WireProtocol
from engine.memory.known import WORD, Known

_MOST_WAYS = 4

_BEFORE = {"role": "user", "content": f"{WORD} before"}
_EXCHANGE = ({"role": "assistant", "content": f"{WORD} said"}, {"role": "user", "content": f"{WORD} heard"})


@dataclass(slots=True, frozen=True)
class Way:
    """All that decides whether a message without reasoning state passes as it is."""

    target: Target
    model: Any
    tools: bool


def rewritten(known: Known, wire: WireProtocol, target: Target) -> JsonObject:
    """See `WireProtocol.rewrite`; the conversation may hold bytes, which orjson writes as they are."""
    groups, field = known.groups, wire.conversation
    if not groups or not _pass(known, wire, target):
        return wire.rewrite(known.body, target)
    before, behind = known.around()
    out = wire.rewrite({**known.body, field: [*before, *_EXCHANGE, *behind]}, target)
    expected = [*before, *_EXCHANGE, *behind]
    elements = out[field]
    if len(elements) != len(expected) or any(new is not old for new, old in zip(elements, expected, strict=True)):
        return wire.rewrite(known.body, target)  # what is done to some may be done to those around them, too
    text = orjson.Fragment(b"".join(group.text for group in groups)[:-1])
    return {**out, field: [*before, text, *behind]}


def _pass(known: Known, wire: WireProtocol, target: Target) -> bool:
    body = known.body
    plain = replace(target, session="", take_back=bare_only, unpacked=bare_summary)
    way = _kept(known.contexts.ways, Way(plain, body.get("model"), bool(body.get("tools"))))
    asked = [group for group in known.groups if group.stateful or way not in group.passing]
    if not asked:
        return True
    elements = [_BEFORE, *(element for group in asked for element in group.elements), *_EXCHANGE]
    out = wire.rewrite({**body, wire.conversation: elements}, target)[wire.conversation]
    if len(out) != len(elements) or any(new is not old for new, old in zip(out, elements, strict=True)):
        return False
    for group in asked:
        if not group.stateful:
            group.passing = [way, *group.passing[: _MOST_WAYS - 1]]
    return True


def _kept(ways: list[Way], way: Way) -> Way:
    """The same way as an earlier request had it, if one had."""
    if way in ways:
        return ways[ways.index(way)]
    ways.insert(0, way)
    del ways[_MOST_WAYS:]
    return way
