"""Sealed reasoning on its way back: whose it is, and whether it may go where the request goes.

State comes back in an envelope of ours, which says who made it, or bare, as a provider of the client's own protocol sent it.
Of bare state the gateway remembers who made it for as long as it runs and has room; what it does not remember is believed to
be the target's own, as without a gateway, and a provider that refuses it is asked once more without any (`refuses_state`).

A state goes to the provider that made it, for the same session, to a compatible model if it was enveloped; to nobody else.
Left out of a request, it is the loss `thinking.foreign`; its readable text stays where the target's protocol has a place.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import re2

from engine.llm.envelope import Envelopes, Maker, is_ours, session_mark
from engine.llm.errors import ProviderError
from engine.llm.messages import Block, LLMRequest, Message, Thinking
from engine.llm.names import sister

FOREIGN = "thinking.foreign"
"""The loss of reasoning that is left out here."""
COMPACTION = "compaction"
"""The loss of a compaction item that is left out here: all that it stood for."""
SUMMARY = "compaction.summary"
"""The loss of a compaction that the model is asked for in words."""
UNKNOWN = "unknown"
"""Maker of an envelope that does not open: another gateway's, or a forgery."""

MAX_STATES = 50_000
"""Bare states remembered; the one longest unseen goes first. About 150 bytes each."""

_REFUSED = re2.compile(
    r"(?i)invalid.{0,3}signature|thought.?signature|encrypted.{0,3}content|invalid_encrypted|of type .reasoning. was provided"
    r"|redacted_thinking|item with id .rs_|thinking.{0,12}blocks?.{0,60}(cannot be modified|must remain)"
)
"""How vendors refuse reasoning state that is not theirs, or not as they gave it (observed, and from their documentation)."""


class Makers:
    """Who made bare state, in memory."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: OrderedDict[int, str] = OrderedDict()

    def note(self, states: Iterable[str], provider: str) -> None:
        """`provider` has sent these."""
        for state in states:
            self._remember(state, provider)

    def note_refused(self, states: Iterable[str], provider: str) -> None:
        """`provider` does not take these, whoever made them."""
        for state in states:
            self._remember(state, "!" + provider)

    def of(self, state: str) -> str:
        """The provider that made `state`; empty when that is not known."""
        known = self._known.get(hash(state), "")
        return "" if known.startswith("!") else known

    def foreign(self, state: str, provider: str) -> bool:
        """Whether `state` is known to be none that `provider` takes."""
        known = self._known.get(hash(state), "")
        return bool(known) and (known == "!" + provider if known.startswith("!") else known != provider)

    def _remember(self, state: str, known: str) -> None:
        self._known[hash(state)] = known
        self._known.move_to_end(hash(state))
        if len(self._known) > MAX_STATES:
            self._known.popitem(last=False)


@dataclass(slots=True)
class Returning:
    """What one attempt may take back to its provider. `left_out` counts what it may not."""

    envelopes: Envelopes
    makers: Makers
    target: Maker
    bare: bool = False
    """The provider has refused state of this history: none goes there any more."""
    left_out: int = field(default=0)
    believed: list[str] = field(default_factory=list)
    """State that is the target's own as far as known."""
    compactions_left_out: int = field(default=0)

    def __call__(self, thinking: Thinking) -> Thinking | None:
        """`thinking` with its state as the target's provider made it; None when that state may not go there."""
        state = thinking.opaque
        if not state:
            return thinking
        found = None
        if not self.makers.foreign(state, self.target.provider):
            found = self._opened(thinking) if is_ours(state) else thinking
        if found is not None:
            self.believed.append(state)
        if found is None or self.bare:
            self.left_out += 1
            return None
        return found

    def unpacked(self, state: str) -> str | None:
        """See `Target.unpacked`. A provider that refuses an item is not asked again without it: it stands for too much."""
        if is_ours(state):
            found = self.envelopes.summary(state)
        else:
            found = None if self.makers.foreign(state, self.target.provider) else ""
        self.compactions_left_out += found is None
        return found

    def _opened(self, thinking: Thinking) -> Thinking | None:
        opened = self.envelopes.open(thinking.opaque)
        if opened is None or not opened.state.opaque or not opened.belongs_to(thinking.text):
            return None
        maker, target = opened.maker, self.target
        if maker.provider != target.provider or maker.session != session_mark(target.session):
            return None
        return replace(opened.state, text=thinking.text) if sister(maker.model, target.model) else None


class Seals:
    """What the gateway knows of sealed reasoning: the key of its envelopes, the makers of bare state."""

    __slots__ = ("envelopes", "makers")

    def __init__(self, key: bytes) -> None:
        self.envelopes = Envelopes(key)
        self.makers = Makers()

    def returning(self, target: Maker, *, bare: bool = False) -> Returning:
        """For one attempt at `target`; `bare`: it has refused state of this history."""
        return Returning(self.envelopes, self.makers, target, bare)

    def made_by(self, states: Iterable[str]) -> list[str]:
        """Who made the reasoning of a history, as far as known, each once and at most 64: `provider/model` for enveloped state,
        `provider/` for bare one, `unknown` for an envelope that does not open.
        """
        found: set[str] = set()
        for state in states:
            if is_ours(state):
                opened = self.envelopes.open(state)
                found.add(opened.maker.ref if opened is not None else UNKNOWN)
            elif provider := self.makers.of(state):
                found.add(provider + "/")
        return sorted(found)[:64]

    def compacted_by(self, states: Iterable[str]) -> list[str]:
        """Who made the compaction items of a history, as `made_by` says it; those that hold a summary of ours anyone may read."""
        return self.made_by(state for state in states if self.envelopes.summary(state) is None)


def is_foreign(ref: str, provider: str, model: str) -> bool:
    """Whether the maker `ref` (one of `made_by`) is another than this provider and model."""
    maker, _, name = ref.partition("/")
    return maker != provider or (bool(name) and not sister(name, model))


def returned(request: LLMRequest, take_back: Returning) -> LLMRequest:
    """`request` with every thinking block as `take_back` lets it go; without its state, a block keeps its readable text."""
    if not any(isinstance(b, Thinking) and b.opaque for m in request.messages for b in m.content):
        return request
    messages = (_message(message, take_back) for message in request.messages)
    return replace(request, messages=tuple(message for message in messages if message.content))


def refuses_state(error: ProviderError) -> bool:
    """Whether a provider's error says that it can't read the reasoning state of the history."""
    return error.status in (400, 404, 422) and bool(_REFUSED.search(error.message))


def _message(message: Message, take_back: Returning) -> Message:
    if not any(isinstance(block, Thinking) and block.opaque for block in message.content):
        return message
    content: list[Block] = []
    for block in message.content:
        if not isinstance(block, Thinking):
            content.append(block)
        elif (kept := take_back(block)) is not None:
            content.append(kept)
        elif block.text:
            content.append(Thinking(block.text, summary=block.summary))
    return replace(message, content=tuple(content))
