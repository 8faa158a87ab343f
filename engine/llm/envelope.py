"""Sealed reasoning on its way through a client that speaks another protocol than the provider that made it.

    sbgw1.MAC.HEADER.STATE

`STATE` is the provider's own text, untouched; `HEADER` says whose it is: protocol, provider, model, session, the digest of
the readable text it came with, and how the provider wraps it; `MAC` covers both, under a key that only this gateway's state
folder holds. A client gives back unchanged what stands where its protocol keeps opaque state, so the session needs no memory
of ours and survives a restart. Whatever begins like an envelope but does not open is nobody's: it is never sent anywhere.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

import orjson

from engine.llm.frozen import dataclass
from engine.llm.messages import Thinking

ENVELOPE = "sbgw"
"""`Thinking.origin` of state inside an envelope, and how every mark of ours on opaque state begins."""
LARGEST = 256 * 1024
"""Characters of state that travel. Above that the envelope says only that there was more."""

_HEAD = "sbgw1."
_SUMMARY = "summary"
"""Origin of an envelope's content that no provider has sealed: words, for whoever goes on with the conversation."""
_MAC = 16
_DIGEST = 9
_LONGEST_HEADER = 4096


@dataclass(slots=True, frozen=True)
class Maker:
    """Who made a piece of sealed reasoning, and for which session."""

    provider: str
    model: str
    session: str = ""

    @property
    def ref(self) -> str:
        """`provider/model`."""
        return f"{self.provider}/{self.model}"


@dataclass(slots=True, frozen=True)
class Opened:
    """What an envelope holds."""

    maker: Maker
    """Its session is a digest: compare with `session_mark`."""
    state: Thinking
    """As its provider's decoder gave it, without its text. Without `opaque` when it was too large to travel."""
    text_mark: str

    def belongs_to(self, text: str) -> bool:
        """Whether `text` is what the provider showed beside this state: most seals cover it."""
        return _mark(text) == self.text_mark


def is_ours(opaque: str) -> bool:
    """Whether opaque state bears a mark of this gateway, genuine or not: no provider may see it."""
    return opaque.startswith(ENVELOPE)


def bare_only(thinking: Thinking) -> Thinking | None:
    """What may go to a provider where no envelope can be opened: everything but what bears a mark of ours."""
    return None if is_ours(thinking.opaque) else thinking


def bare_summary(state: str) -> str | None:
    """What a compaction item's state stands for where no envelope can be opened: see `Target.unpacked`."""
    return None if is_ours(state) else ""


def session_mark(session: str) -> str:
    """How a session is named in a header: ids of clients are not written down in histories."""
    return _mark(session) if session else ""


class Envelopes:
    """Makes and opens envelopes with one key, 16 to 64 bytes."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, thinking: Thinking, maker: Maker) -> Thinking:
        """`thinking` for a client: the same text, its state inside an envelope; unchanged when there is no state."""
        if not thinking.opaque or thinking.origin == ENVELOPE:
            return thinking
        held = thinking.opaque if len(thinking.opaque) <= LARGEST else ""
        flags = ("r" if thinking.redacted else "") + ("s" if thinking.summary else "")
        session = session_mark(maker.session)
        said = [thinking.origin, maker.provider, maker.model, session, _mark(thinking.text), flags, thinking.id]
        header = _packed(orjson.dumps(said))
        sealed = f"{_HEAD}{self._mac(header, held)}.{header}.{held}"
        return Thinking(thinking.text, sealed, summary=thinking.summary, origin=ENVELOPE)

    def open(self, opaque: str) -> Opened | None:
        """What is inside; None for everything that no gateway with this key has sealed."""
        parts = opaque[len(_HEAD) :].split(".", 2) if opaque.startswith(_HEAD) else []
        if len(parts) != 3 or len(parts[1]) > _LONGEST_HEADER:
            return None
        mac, header, held = parts
        if not hmac.compare_digest(mac.encode(), self._mac(header, held).encode()):
            return None
        # What this key has signed is of our making: it parses.
        origin, provider, model, session, text_mark, flags, item_id = orjson.loads(_unpacked(header))
        state = Thinking("", held, redacted="r" in flags, summary="s" in flags, id=item_id, origin=origin)
        return Opened(Maker(provider, model, session), state, text_mark)

    def seal_summary(self, text: str, maker: Maker) -> str:
        """The summary of a conversation, for a client to keep in the conversation's place. What is above `LARGEST` is cut off."""
        return self.seal(Thinking(opaque=text[:LARGEST], origin=_SUMMARY), Maker(maker.provider, maker.model)).opaque

    def summary(self, opaque: str) -> str | None:
        """The summary that `seal_summary` put in; None for everything else. Text: it belongs to no provider and no session."""
        opened = self.open(opaque) if is_ours(opaque) else None
        return opened.state.opaque if opened is not None and opened.state.origin == _SUMMARY else None

    def _mac(self, header: str, state: str) -> str:
        said = f"{header}.{state}".encode("utf-8", "surrogatepass")
        return _packed(hashlib.blake2b(said, key=self._key, digest_size=_MAC).digest())


def _mark(text: str) -> str:
    return _packed(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest())


def _packed(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _unpacked(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
