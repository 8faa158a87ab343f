"""Redaction: secrets taken out of whatever is written down, and counted in what is asked.

Rules kept here:

- What is found is replaced by `[secret:RULE:1a2b3c]`. The digits are a keyed digest of the secret: the same secret has the
  same ones wherever it stands, and they tell nothing of it.
- Beside the table's shapes, the exact values that the gateway itself holds are secrets, however they are escaped.
- Overlapping finds are one secret, named by the table's earlier row: nothing of either stays.
- A stream is redacted in windows whose bounds depend on its bytes alone, and a whole text is a stream of one piece. So both
  give the same, at every split.
- Text is cheap: one pass for all keywords decides which rows are looked for, and in which blocks of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from hashlib import blake2s
from typing import Any
from urllib.parse import quote

import orjson
import re2

from engine.llm.errors import ProviderError
from engine.llm.frozen import dataclass
from engine.store.secret_rules import LEAD, Rule, shipped_rules

WINDOW = 128 * 1024
"""Bytes that are searched at once. An eighth of it is the longest secret that is found across the bounds of windows."""

_SHORTEST = 8
"""Bytes of the shortest exact value that is looked for: local servers take "none" or "x", which stand in any text."""

BLOCK = 512
"""Bytes in which keywords are looked for together. A match is looked for around the blocks that hold a keyword of its row."""

_BREAKS = (b"\n", b'"', b" ", b",", b";")
"""After these a window may end: no secret's beginning is told by what stands before them."""

_EXACT = "configured-key"

_REMEMBERED = 256
"""Clean texts that are remembered, about 1 kB each."""


@dataclass(slots=True, frozen=True)
class Found:
    """A secret in a text. `hold` is where what tells of it begins, `start` and `end` bound the secret itself."""

    hold: int
    start: int
    end: int
    rank: int
    """Index of the rule; -1 for a value of the gateway's own."""


class Redactor:
    """Finds and replaces secrets. What it finds never changes; RE2 lets any number of threads search at once."""

    def __init__(
        self, exact: Iterable[str] = (), *, salt: bytes = b"", rules: Sequence[Rule] | None = None, window: int = WINDOW
    ) -> None:
        """`exact` are values that are secrets wherever they stand; `salt` (at most 64 bytes) keys the placeholders."""
        self.window = window
        self._longest = window // 8
        self._rules = tuple(shipped_rules() if rules is None else rules)
        self._digest = blake2s(key=salt, digest_size=3)
        self._exact = {form: value for value in exact if len(value) >= _SHORTEST for form in _forms(value)}
        self._owners: list[int] = []
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        self._words = re2.Set.SearchSet(options)
        for rank, rule in enumerate(self._rules):
            for word in rule.keywords:
                self._words.Add(word)
                self._owners.append(rank)
        self._words.Compile()
        self._clean: set[str] = set()
        self._overlap = max((len(word) for rule in self._rules for word in rule.keywords), default=0)

    def knowing(self, *values: str) -> Redactor:
        """The same one, for which `values` are secrets too."""
        added = {form: value for value in values if len(value) >= _SHORTEST for form in _forms(value)}
        if not added:
            return self
        other = copy(self)
        other._exact = {**self._exact, **added}  # noqa: SLF001 (a copy of ours)
        other._clean = set()  # noqa: SLF001
        return other

    def redact(self, data: bytes) -> bytes:
        """`data` without its secrets. JSON stays JSON: no secret holds a quote that ends a string."""
        if len(data) <= self.window:
            return self._replace(data, self._found(data))
        stream = RedactingStream(self)
        return stream.feed(data) + stream.close()

    def text(self, text: str) -> str:
        """The same for text."""
        data = text.encode("utf-8", "surrogateescape")
        clean = self.redact(data)
        return text if clean is data else clean.decode("utf-8", "surrogateescape")

    def clean(self, text: str) -> bool:
        """Whether `text` holds no secret. For names, which a session says again with every request: those that are clean are remembered."""
        if text in self._clean:
            return True
        data = text.encode("utf-8", "replace")
        if self.redact(data) is not data:
            return False
        if len(self._clean) >= _REMEMBERED:
            self._clean.clear()
        self._clean.add(text)
        return True

    def count(self, data: bytes) -> int:
        """How many different secrets stand in `data`."""
        seen: set[bytes] = set()
        while data:
            finds, cut = (self._found(data), len(data)) if len(data) <= self.window else self.begun(data[: self.window])
            seen.update(data[found.start : found.end] for found in finds)
            data = data[cut:]
        return len(seen)

    def scrub(self, error: ProviderError, *others: str) -> None:
        """Take secrets, and `others`, out of what a provider said: some quote the key that they refuse."""
        here = self.knowing(*others)
        error.message = here.text(error.message)
        error.body = here.redact(error.body)
        error.headers = {name: here.text(str(value)) for name, value in error.headers.items()}
        error.args = (error.message,)

    def _found(self, data: bytes) -> list[Found]:
        """Secrets in their order; none overlaps another."""
        finds = list(self._exactly(data)) if self._exact else []
        for rank, places in self._places(data).items():
            rule = self._rules[rank]
            for hold, match in _matches(rule, data, places):
                start, end = rule.place(match, data)
                if rule.secret(data[start:end]):
                    finds.append(Found(hold, start, end, rank))
        return _merged(finds) if len(finds) > 1 else finds

    def _places(self, data: bytes) -> dict[int, list[list[int]]]:
        """Index of a rule → the stretches, from and to, in which a match of it may begin; in order and apart."""
        out: dict[int, list[list[int]]] = {}
        for at in range(0, len(data), BLOCK):
            end = at + BLOCK + self._overlap
            words = self._words.Match(data[at:end])
            if not words:
                continue
            start = max(at - LEAD, 0)
            for rank in {self._owners[word] for word in words}:
                places = out.setdefault(rank, [])
                if places and start <= places[-1][1]:
                    places[-1][1] = end
                else:
                    places.append([start, end])
        return out

    def _exactly(self, data: bytes) -> Iterator[Found]:
        for form in self._exact:
            at = data.find(form)
            while at >= 0:
                yield Found(at, at, at + len(form), -1)
                at = data.find(form, at + len(form))

    def _replace(self, data: bytes, finds: Sequence[Found]) -> bytes:
        if not finds:
            return data
        parts: list[bytes] = []
        at = 0
        for found in finds:
            parts += (data[at : found.start], self._placeholder(data[found.start : found.end], found.rank))
            at = found.end
        return b"".join((*parts, data[at:]))

    def _placeholder(self, secret: bytes, rank: int) -> bytes:
        if rank < 0:
            secret = self._exact.get(secret, "").encode() or secret
        digest = self._digest.copy()
        digest.update(secret)
        return f"[secret:{_EXACT if rank < 0 else self._rules[rank].id}:{digest.hexdigest()}]".encode()

    def begin(self, window: bytes) -> tuple[bytes, int]:
        """(the redacted beginning of a full window, how many bytes of it that was); the rest belongs to the next."""
        finds, cut = self.begun(window)
        return self._replace(window[:cut], finds), cut

    def begun(self, window: bytes) -> tuple[list[Found], int]:
        """(the secrets in the beginning of a full window, where that ends). It never ends inside of one."""
        last = len(window) - self._longest
        cut = max(
            (at + 1 for mark in _BREAKS if (at := window.rfind(mark, last - self._longest, last)) >= 0), default=last
        )
        done: list[Found] = []
        for found in self._found(window):
            if found.hold >= cut:
                break
            if found.end > cut:
                if done or found.hold:
                    cut = found.hold
                    break
                cut = found.end  # longer than any secret should be: it goes as far as it is seen
            done.append(found)
        return done, cut


class RedactingStream:
    """Redacts what comes in pieces. Holds back at most one window."""

    __slots__ = ("_held", "_redactor")

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = bytearray()

    def feed(self, piece: bytes) -> bytes:
        """What may be written down now."""
        self._held += piece
        out: list[bytes] = []
        while len(self._held) > self._redactor.window:
            clean, used = self._redactor.begin(bytes(self._held[: self._redactor.window]))
            out.append(clean)
            del self._held[:used]
        return b"".join(out)

    def close(self) -> bytes:
        """The rest."""
        held, self._held = bytes(self._held), bytearray()
        return self._redactor.redact(held)


def _matches(rule: Rule, data: bytes, places: Iterable[Sequence[int]]) -> Iterator[tuple[int, Any]]:
    """What one search of all `data` would find, and where it begins: a match has a keyword, so that is in one of the `places`."""
    at = 0
    for start, end in places:
        limit = end + rule.reach
        for match in rule.pattern.finditer(data, max(at, start), limit):
            hold, at = match.span()
            if at < limit:
                yield hold, match
                continue
            whole = rule.pattern.search(data, hold)  # it may go on
            at = whole.end()
            yield hold, whole


def _forms(value: str) -> set[bytes]:
    """The ways in which `value` is written: plain, inside a JSON string, inside a URL."""
    return {value.encode(), orjson.dumps(value)[1:-1], quote(value, safe="").encode()}


def _merged(finds: list[Found]) -> list[Found]:
    """Overlapping finds made one, by the name of the one whose rule comes first."""
    finds.sort(key=lambda found: (found.start, found.rank))
    out = finds[:1]
    for found in finds[1:]:
        last = out[-1]
        if found.start < last.end:
            hold, end, rank = min(last.hold, found.hold), max(last.end, found.end), min(last.rank, found.rank)
            out[-1] = Found(hold, last.start, end, rank)
        else:
            out.append(found)
    return out
