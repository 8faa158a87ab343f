"""Conversations that requests go on with, found again by their bytes.

An element is remembered as the text that it has in a request without needless spaces, a comma behind it: `{"role":…},`. Where
a request has exactly these bytes at the place of an element, that element is what it says, so it need not be parsed. The
text between is cut out and a word that nobody can guess put there; if it is not found afterwards at the beginning of the
conversation, the bytes meant something else, and the request is read whole. Clients that write spaces are read whole, too.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from engine.llm.errors import ClientError
from engine.llm.messages import JsonObject
from engine.llm.protocol import Part, WireProtocol
from engine.memory.groups import Group, form
from engine.memory.known import Contexts, Known

LEAST = 16 * 1024
"""Bytes of a request below which there is nothing to gain."""

TURNS = 4
"""Turns of a group: each is worked on once more when its group is made, which costs as much for one as for a few."""

MIB = 1024 * 1024
_MOST_THREADS = 8
"""Conversations that begin alike (sub-agents, other paths of one session) that are told apart."""

_HEAD = 512
_KEPT_BACK = 2
"""Turns at the end that stay out of groups, beside the one that is new: breakpoints are set there."""

_TIMES = 3.5
"""How much of a conversation's text it takes to hold that, its elements, and what is known of each (measured)."""

_OVERHEAD = 1500
"""Bytes of a group beside its texts, about (measured)."""

Parse = Callable[[bytes], JsonObject]


@dataclass(slots=True, eq=False)
class Thread:
    """A conversation as of one of its requests."""

    texts: list[tuple[bytes, int]]
    """Bytes to be found in a request, one behind the other, and how many elements they are: groups, and elements alone."""
    elements: list[Any]
    parts: list[Part | None]
    bounds: list[int]
    """Elements with which the model begins to speak after somebody else has."""
    groups: list[Group]
    contexts: Contexts = field(default_factory=Contexts)
    """What groups have been translated for; shared by the threads of a conversation."""
    stuck: int = 0
    """Elements up to which no group could be formed: not tried again."""

    @property
    def behind(self) -> int:
        """Elements that lie behind; those from there on are of the last turns, which stay out of groups."""
        return _behind(self.parts, self.bounds)

    @property
    def size(self) -> float:
        """Bytes, about: the texts, their parsed form, and what was made of them."""
        texts = sum(len(text) for text, _ in self.texts)
        return _TIMES * texts + sum(_OVERHEAD + group.held for group in self.groups)


class Memory:
    """Conversations of all clients, bounded by their size; those longest unused go first."""

    def __init__(self, *, least: int = LEAST, turns: int = TURNS) -> None:
        """Requests of fewer bytes than `least` are neither remembered nor looked for; a group has `turns` of them at least."""
        self._least = least
        self._turns = turns
        self._threads: OrderedDict[tuple[str, str, bytes], list[Thread]] = OrderedDict()
        self._sizes: dict[tuple[str, str, bytes], float] = {}
        self._word = secrets.token_hex(16)
        self.size = 0.0
        """Bytes held, about."""
        self.reused = 0
        """Bytes of requests that were not parsed again."""

    def __len__(self) -> int:
        return sum(map(len, self._threads.values()))

    def read(self, wire: WireProtocol, raw: bytes, parse: Parse, *, session: str, most: int) -> Known:
        """The request in `raw`. Raises what `parse` raises. `most`: bytes that may be remembered, 0 for nothing."""
        opening = f'"{wire.conversation}":['.encode()
        start = raw.find(opening) + len(opening) if most and len(raw) >= self._least else 0
        if start < len(opening):
            if not most:
                self._clear()
            return Known(wire, parse(raw))
        key = (wire.name, session, raw[start : start + _HEAD])
        thread, count, at = self._longest(key, raw, start)
        body = None
        if thread is not None:
            body = self._spliced(wire, raw[:start], raw[at:], thread.elements[:count], parse)
            self.reused += at - start if body is not None else 0
        if body is None:
            thread, count, body = None, 0, parse(raw)
        elements = body.get(wire.conversation)
        if not isinstance(elements, list) or not elements or not _compact(elements[0], raw, start):
            return Known(wire, body)
        grown = _grown(wire, elements, thread, count)
        if grown is None:
            return Known(wire, body)
        if count:
            _group(wire, grown, count, self._turns)
        self._keep(key, thread, count, grown, most)
        groups = grown.groups[: bisect_right(grown.groups, grown.behind, key=_end)]
        return Known(wire, body, tuple(groups), grown.parts, grown.contexts)

    def _longest(self, key: tuple[str, str, bytes], raw: bytes, start: int) -> tuple[Thread | None, int, int]:
        """(thread that shares most with the request, how many elements, where they end)."""
        found: tuple[Thread | None, int, int] = (None, 0, start)
        for thread in self._threads.get(key, ()):
            count, at = 0, start
            for text, elements in thread.texts:
                if not raw.startswith(text, at):
                    break
                at += len(text)
                count += elements
            if at > found[2]:
                found = (thread, count, at)
        return found

    def _spliced(
        self, wire: WireProtocol, before: bytes, behind: bytes, known: list[Any], parse: Parse
    ) -> JsonObject | None:
        """The request whose text is `before`, the text of the elements `known`, and `behind`; None if it is another."""
        try:
            body = parse(b'%b"%b",%b' % (before, self._word.encode(), behind))
        except ClientError:
            return None  # the whole is wrong in the same way, and says where
        elements = body.get(wire.conversation)
        if not isinstance(elements, list) or not elements or elements[0] != self._word:
            return None
        body[wire.conversation] = known + elements[1:]
        return body

    def _keep(self, key: tuple[str, str, bytes], old: Thread | None, count: int, grown: Thread, most: int) -> None:
        threads = self._threads.setdefault(key, [])
        self._threads.move_to_end(key)
        if old is not None and old in threads and count >= (old.groups[-1].end if old.groups else 0):
            threads.remove(old)
        threads.append(grown)
        del threads[:-_MOST_THREADS]
        size = sum(thread.size for thread in threads)
        self.size += size - self._sizes.get(key, 0)
        self._sizes[key] = size
        while self.size > most:
            gone, _ = self._threads.popitem(last=False)
            self.size -= self._sizes.pop(gone)

    def _clear(self) -> None:
        self._threads.clear()
        self._sizes.clear()
        self.size = 0.0


def _compact(element: Any, raw: bytes, start: int) -> bool:
    return isinstance(element, dict) and raw.startswith(orjson.dumps(element), start)


def _grown(wire: WireProtocol, elements: list[Any], old: Thread | None, count: int) -> Thread | None:
    """The thread of a request that shares `count` elements with `old`; None for what is no conversation."""
    new = elements[count:]
    if not all(isinstance(element, dict) for element in new):
        return None
    texts = [(orjson.dumps(element) + b",", 1) for element in new]
    parts = [wire.part(element) for element in new]
    if old is None:
        return Thread(texts, elements, parts, _bounds(parts, 0), [])
    groups = old.groups[: bisect_right(old.groups, count, key=_end)]
    grouped = groups[-1].end - groups[0].start if groups else 0
    kept = old.texts[: count - grouped + len(groups)]
    parts = old.parts[:count] + parts
    bounds = old.bounds[: bisect_left(old.bounds, count)] + _bounds(parts, count)
    stuck = old.stuck if old.stuck <= count else 0
    return Thread(kept + texts, elements, parts, bounds, groups, old.contexts, stuck)


def _group(wire: WireProtocol, thread: Thread, count: int, turns: int) -> None:
    """Makes a group of what lies behind within the first `count` elements, if that is at least so many turns."""
    bounds = thread.bounds
    last = bisect_right(bounds, min(count, thread.behind)) - 1
    if last < 1:
        return
    start = thread.groups[-1].end if thread.groups else bounds[0]
    end = bounds[last]
    if (
        last - bisect_left(bounds, start) < turns
        or thread.stuck > start
        or any(p is None or p.assistant for p in thread.parts[: bounds[0]])
    ):
        return
    group = form(wire, thread.elements, thread.parts, slice(start, end), thread.groups)
    if group is None:
        thread.stuck = end
    else:
        at = bounds[0] + len(thread.groups)
        group.text = b"".join(text for text, _ in thread.texts[at : at + end - start])
        thread.texts[at : at + end - start] = [(group.text, end - start)]
        thread.groups.append(group)


def _behind(parts: list[Part | None], bounds: list[int]) -> int:
    """Where the last turns begin that stay out of groups, counting those that every protocol shows; 0 for nowhere."""
    turns = 0
    for bound in reversed(bounds):
        turns += _shown(parts, bound)
        if turns > _KEPT_BACK:
            return bound
    return 0


def _shown(parts: list[Part | None], bound: int) -> bool:
    """Whether what the model says at `bound`, and what it was told just before, is seen in every protocol."""
    said = told = False
    for part in parts[bound:]:
        if part is None or not part.assistant or said:
            break
        said = part.says
    for part in reversed(parts[:bound]):
        if part is None or part.assistant or told:
            break
        told = part.says
    return said and told


def _end(group: Group) -> int:
    return group.end


def _bounds(parts: list[Part | None], first: int) -> list[int]:
    """Where, from the element `first` on, the model begins to speak after somebody else has."""
    found: list[int] = []
    before = parts[first - 1] if first else None
    other = before is not None and not before.assistant
    for index, part in enumerate(parts[first:], first):
        if part is None:
            other = False
        elif part.assistant:
            if other:
                found.append(index)
            other = False
        else:
            other = True
    return found
