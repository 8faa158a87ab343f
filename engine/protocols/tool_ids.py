"""Tool call ids: what a provider accepts, and how an id survives the trip through a wire that accepts less.

Ids are any text in the wild (`functions.weather:0`, 32 hex digits, nothing at all), while one wire takes `[A-Za-z0-9_-]{1,64}`
and another exactly nine letters and digits. A changed id is a pure function of the old one, so the same conversation always
gives the same bytes (provider prompt caches depend on it) and a call and its result never part. Where the shorter form has
room the change can be undone without any memory of ours.
"""

from __future__ import annotations

import hashlib
import string
from base64 import b32hexencode, urlsafe_b64decode, urlsafe_b64encode
from typing import Literal, TypeVar

from engine.llm.messages import LLMRequest, ToolCall

T = TypeVar("T")
Rule = Literal["any", "word", "alnum9"]
"""`any`: every text; `word`: `[A-Za-z0-9_-]{1,64}`; `alnum9`: nine letters and digits."""

_ALNUM = string.ascii_letters + string.digits
_WORD = _ALNUM + "_-"
_MARK = "call_b64_"
"""Prefix of a word that holds another id in base64url."""
_WORD_LENGTH = 64


def fit(call_id: str, rule: Rule) -> str:
    """`call_id` if it keeps `rule`, else an id that does. Equal ids give equal ids; different ones stay different.

    `word` is undone by `original` unless the id is longer than 40 bytes; hashes collide with a chance below 2⁻⁴⁰ a pair.
    """
    match rule:
        case "any":
            return call_id or synthetic("")
        case "word":
            return call_id if _is(call_id, _WORD, _WORD_LENGTH) else _as_word(call_id)
        case "alnum9":
            return call_id if len(call_id) == 9 and _is(call_id, _ALNUM, 9) else _digest(call_id)[:9]


def original(call_id: str) -> str:
    """The id that `fit(…, "word")` wrapped up; any other id unchanged."""
    if not call_id.startswith(_MARK):
        return call_id
    packed = call_id[len(_MARK) :]
    try:
        text = urlsafe_b64decode(packed + "=" * (-len(packed) % 4)).decode()
    except ValueError:
        return call_id
    return text if fit(text, "word") == call_id else call_id


def synthetic(answer_id: str, index: int = 0) -> str:
    """An id for the call that came without one: `call_` and 24 letters and digits, bound to its answer and place there."""
    return "call_" + _digest(f"{answer_id}\0{index}")


class AnswerIds:
    """The ids of one answer's calls for its client: none empty, none twice, none that the conversation has already.

    Some servers give every call of an answer the same id, some none, some count anew in every turn; a client that finds a
    result by its call's id would then run one call and answer another.
    """

    __slots__ = ("_request", "_taken")

    def __init__(self, request: LLMRequest | None = None) -> None:
        self._request = request
        self._taken: set[str] | None = None

    def of(self, call_id: str, answer_id: str, number: int) -> str:
        """The id of the answer's call `number`: `call_id` where it is free. Ask once for each call."""
        if self._taken is None:  # most answers hold no call, and a conversation may hold hundreds
            messages = self._request.messages if self._request is not None else ()
            self._taken = {original(b.id) for m in messages for b in m.content if isinstance(b, ToolCall)}
        found = call_id or synthetic(answer_id, number)
        again = 0
        while original(found) in self._taken:
            found = synthetic(f"{answer_id}\0{call_id}" if again else answer_id, number + again)
            again += 1
        self._taken.add(original(found))
        return found


class IdMap:
    """The ids of one request on their way to a wire: unique for calls, and each result finds its call.

    Feed it in the order of the conversation. A repeated call id (some models count from zero in every turn) gets a new one;
    a result belongs to the newest turn that made a call of its id, there to the oldest one that has none yet.
    """

    __slots__ = ("_answered", "_open", "_rule", "_used")

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._used: set[str] = set()
        self._open: dict[str, list[tuple[int, str]]] = {}
        """call id → (turn, wire's id) of calls without a result."""
        self._answered: dict[str, str] = {}

    def call(self, call_id: str, turn: int = 0) -> str:
        """The wire's id for a call of that turn."""
        wire = fit(call_id, self._rule)
        again = 1
        while wire in self._used:
            wire = fit(synthetic(call_id, again), self._rule)
            again += 1
        self._used.add(wire)
        self._open.setdefault(call_id, []).append((turn, wire))
        return wire

    def result(self, call_id: str) -> str:
        """The wire's id of the call that this result answers; a result without a call keeps its own id, fitted."""
        waiting = self._open.get(call_id)
        if waiting:
            self._answered[call_id] = answered(waiting)
        if (wire := self._answered.get(call_id)) is not None:
            return wire  # a second result for the same call stays with that call
        wire = fit(call_id, self._rule)
        return fit(synthetic(call_id), self._rule) if wire in self._used else wire


def answered(waiting: list[tuple[int, T]]) -> T:
    """Takes from the calls of one id, each with its turn, the one that a result belongs to: the newest turn's oldest."""
    newest = waiting[-1][0]
    at = next(index for index, (turn, _) in enumerate(waiting) if turn == newest)
    return waiting.pop(at)[1]


def _is(text: str, alphabet: str, longest: int) -> bool:
    # Stripping a text of its own alphabet leaves nothing; ten times faster than an expression on such short texts.
    return 0 < len(text) <= longest and not text.strip(alphabet)


def _as_word(call_id: str) -> str:
    packed = _MARK + urlsafe_b64encode(call_id.encode("utf-8", "replace")).decode().rstrip("=")
    if call_id and len(packed) <= _WORD_LENGTH:
        return packed
    return synthetic(call_id)


def _digest(text: str) -> str:
    return b32hexencode(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=15).digest()).decode().lower()
