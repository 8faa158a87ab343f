"""Which beginnings of prompts providers still have in their caches: per conversation, model and key, in memory.

Rules kept here:

- A conversation is known by its segments, never by their text: a keyed 64-bit hash of each, and where it ends. Every request
  is hashed anew, since any byte of it may have changed; that is what the comparison costs.
- What is warm is what a provider's row promises (how long, how short), corrected by what it reports: the tokens it read and
  wrote replace our figure, and one that keeps less than it promises is believed less.
- A prompt cache belongs to the account of a key. Of a provider with several keys each has its own; what is told as warm for a
  model is what the key has that will be asked.
- A prefix breaks when a conversation goes on (its newest segment is there again) with something changed before. A new
  conversation, a summary in place of the old one, or a step back are no breaks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from engine.llm.catalogue import PromptCache, Rate
from engine.llm.messages import Usage
from engine.llm.prefix import Kind, Segments, place

MAX_SESSIONS = 500
"""Sessions whose prompts are remembered, about 10 kB for one of 200 turns; the one longest unused goes first."""

_MOST_CHAINS = 8
"""Conversations of a session (sub-agents, side calls) that are told apart."""

_MOST_ENTRIES = 32
"""Prefixes of a conversation remembered for a model."""

_MOST_HEADS = 500
_WEIGHT = 0.3
"""How much the newest report counts for what a provider keeps of its promise."""

_RISK = 0.015
"""Share of a session's cost that may be spent on keeping prompts for the longer time."""

_BYTES_PER_TOKEN = 4
_NEARLY = 0.9
"""Of what was expected: that much is as good as all of it."""

Rules = Callable[[str], PromptCache]
"""`provider/name` → how it keeps prompts."""

Place = tuple[str, str]
"""`provider/name`, and the name of the key whose account it is; empty where a provider has one key."""

Asked = Callable[[str], str]
"""`provider/name` → name of the key that will be asked."""


def one_key(_: str) -> str:
    """For providers that have one key each."""
    return ""


@dataclass(slots=True, frozen=True)
class Break:
    """A prefix that was warm and is not read again."""

    segment: str
    """The first that differs: `tools[3]`."""
    model: str
    tokens: int
    """Tokens of this prompt that would have been read from the cache."""


@dataclass(slots=True)
class _Entry:
    count: int
    """Segments it spans."""
    tokens: int
    until: float
    seconds: int = 0
    """How long every use keeps it."""


@dataclass(slots=True, eq=False)
class _Chain:
    """One conversation, as of its newest request."""

    kinds: list[Kind]
    digests: list[int]
    ends: list[int]
    """Bytes up to the end of each segment."""
    entries: dict[Place, list[_Entry]] = field(default_factory=dict)
    """What each has in its cache, shortest first."""
    asked: float = 0.0
    pauses: int = 0
    """Requests that came after the short time was over and before the long one was."""
    long_usd: float = 0.0
    """Spent on dearer writes for the longer time, as an estimate."""


@dataclass(slots=True, eq=False)
class Look:
    """A request's prompt as it was when it came. Kept until its answer is there."""

    key: str
    chain: _Chain | None
    kinds: list[Kind]
    digests: list[int]
    ends: list[int]
    blocks: list[int]
    """Content blocks up to the end of each segment."""
    marks: list[int]
    common: int
    """Segments it shares with the conversation's earlier request."""
    at: float
    protocol: str = ""
    """The client's."""
    warm: dict[str, int] = field(default_factory=dict)
    """`provider/name` → tokens that are expected to be read from its cache; models with none are absent."""
    held: dict[Place, int] = field(default_factory=dict)
    """The same of every key of theirs."""
    broken: Break | None = None
    bridges: dict[str, int] = field(default_factory=dict)
    """`provider/name` → segments of a prefix that it has, and finds only from one more breakpoint at its end: the client's own
    stand too far behind, for vendors count back over some blocks only, and parallel calls are many."""

    @property
    def head(self) -> int:
        """Segments before the conversation itself."""
        return self.kinds.index("message") if "message" in self.kinds else len(self.kinds)

    def reaches(self, count: int, marks: Sequence[int], lookback: int) -> bool:
        """Whether a prefix of `count` segments is found from a breakpoint at the end of one of the segments `marks`."""
        at = self.blocks[count - 1]
        return any(0 <= self.blocks[mark] - at < lookback for mark in marks if mark + 1 >= count)

    @property
    def head_digest(self) -> int:
        """Names what stands before the conversation. Clients of two protocols may say the same words there, and yet each of their
        translations puts them at another place of the provider's request.
        """
        return hash((self.protocol, *self.digests[: self.head]))

    @property
    def marked_head_only(self) -> bool:
        """Whether the client's breakpoints leave the conversation out, but for its beginning."""
        return bool(self.marks) and max(self.marks) <= self.head

    def reading(self, ref: str, key: str) -> int:
        """Tokens that are expected to be read from `ref`'s cache when it is asked with that key."""
        return self.held.get((ref, key), 0)

    def marked(self, hints: Sequence[str]) -> float:
        """Share of the prompt up to its last breakpoint, as it is sent with these hints; 0.0 without one."""
        marks = _sent(self, marking="marks" in hints, newest="newest" in hints)
        return self.ends[max(marks)] / self.ends[-1] if marks and self.ends[-1] else 0.0

    @property
    def warmest(self) -> tuple[str, int]:
        """The model that has most of the prompt, and how much; ("", 0) when none has any."""
        return max(self.warm.items(), key=lambda item: item[1], default=("", 0))


class Prefixes:
    """Conversations by session, bounded. All times are seconds of one clock, which callers give."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, list[_Chain]] = OrderedDict()
        self._heads: OrderedDict[tuple[Place, int], _Entry] = OrderedDict()
        """(kept_by, digest of tools and system) → what any conversation left in its cache."""
        self._restored: dict[str, dict[Place, _Entry]] = {}
        """Session of an earlier run → what its models had in their caches, until its first request."""
        self._kept: dict[str, float] = {}
        """Share of the expected tokens that a model has lately read."""

    def restore(self, session: str, ref: str, tokens: int, until: float, *, key: str = "") -> None:
        """`session` had so much of its prompt in `ref`'s cache, in that key's account, when an earlier run ended."""
        if session in self._restored or len(self._restored) < MAX_SESSIONS:
            self._restored.setdefault(session, {})[ref, key] = _Entry(0, tokens, until)

    def look(
        self,
        session: str,
        segments: Segments,
        rules: Rules,
        now: float,
        *,
        marking: bool,
        protocol: str = "",
        asked: Asked = one_key,
    ) -> Look:
        """What is warm for a request of `session` (empty: found by its first message) at `now`.

        `marking`: breakpoints will be set if the client set none. `protocol`: the client's. `asked`: the key that will be asked, of those that have several.
        """
        segments.measure()
        digests, ends = segments.digests, list(accumulate(segments.sizes))
        blocks = list(accumulate(segments.blocks))
        look = Look(session, None, segments.kinds, digests, ends, blocks, segments.marks, 0, now, protocol)
        if not session:
            look.key = f"#{hash(tuple(digests[: look.head + 1]))}"
        for chain in self._sessions.get(look.key, ()):
            common = _common(chain.digests, digests)
            if look.chain is None or common > look.common:
                look.chain, look.common = chain, common
                if common == len(digests):
                    break
        marks = _sent(look, marking=marking, newest=marking and look.marked_head_only)
        for kept_by, entries in look.chain.entries.items() if look.chain else ():
            tokens = self._bridged(kept_by[0], entries, rules(kept_by[0]), look, marks)
            if tokens:
                look.held[kept_by] = tokens
        if look.chain is None and look.head + 1 < len(look.kinds):
            restored = self._restored.get(look.key, {})
            look.held |= {kept_by: entry.tokens for kept_by, entry in restored.items() if entry.until > now}
        if look.common < look.head:
            self._from_heads(look, rules, marks)
        look.warm = {ref: tokens for (ref, key), tokens in look.held.items() if key == asked(ref)}
        look.broken = self._break(look, rules, marks)
        return look

    def note(
        self,
        look: Look,
        ref: str,
        cache: PromptCache,
        usage: Usage | None,
        *,
        hints: Sequence[str] = (),
        key: str = "",
    ) -> None:
        """The request was answered by `ref`, asked with that key, with that usage; `hints` were added to it (`engine.stages.hints`).

        A usage that says nothing of what was read is no reason to believe less of the cache.
        """
        kept_by = (ref, key)
        marks = _sent(look, marking="marks" in hints, newest="newest" in hints)
        if "bridge" in hints:
            marks = [*marks, look.bridges[ref] - 1]
        long = "long" in hints
        chain = self._continue(look, cache)
        self._restored.pop(look.key, None)
        if usage is None or usage.input_tokens is None:
            return
        read, written = usage.cached_tokens, usage.cache_write_tokens or 0
        if cache.kind == "none" and not read:
            return
        until = look.at + cache.seconds
        missed = False
        if read is not None and look.common >= look.head and (expected := look.held.get(kept_by, 0)):
            before = self._kept.get(ref, 1.0)
            self._kept[ref] = before + _WEIGHT * (min(read / expected, 1.0) - before)
            missed = read < expected * _NEARLY
        if cache.kind == "marks":
            kept = self._marked(look, read or 0, written, marks)
        else:
            whole = usage.input_tokens // cache.step * cache.step
            kept = [(len(look.digests), whole)] if whole >= cache.minimum or read else []
        entries = [e for e in chain.entries.get(kept_by, ()) if e.count <= look.common and e.until > look.at]
        if missed:  # what should have been read is not there any more
            entries = [e for e in entries if e.tokens <= (read or 0)]
        for entry in entries:
            if read and entry.tokens <= read:
                entry.until = max(entry.until, look.at + max(entry.seconds, cache.seconds))
        longest = {count for count, tokens in kept if long and count <= look.head and tokens > (read or 0)}
        longest |= {e.count for e in entries if e.seconds > cache.seconds and not missed}
        known = {count for count, _ in kept}
        entries = [e for e in entries if e.count not in known]
        for count, tokens in kept:
            seconds = cache.long_seconds if count in longest else cache.seconds
            entries.append(_Entry(count, tokens, look.at + seconds, seconds))
        chain.entries[kept_by] = _shortened(sorted(entries, key=lambda e: e.count))
        if kept:
            self._note_head(look, kept_by, usage, until)

    def long_pays(self, look: Look, ref: str, cache: PromptCache, rate: Rate | None, spent: float) -> bool:
        """Whether what stands before the conversation shall be kept for the longer time.

        Only for a conversation that pauses: each pause then costs that part of the prompt no more. And only as long as the
        dearer writes stay under a small share of what its session has `spent` (USD), so that a wrong guess does no harm.
        """
        chain, head = look.chain, look.head
        if rate is None or chain is None or not cache.long_seconds or not head:
            return False
        kept = [
            e
            for (of, _), entries in chain.entries.items()
            for e in entries
            if of == ref and e.count <= min(look.common, head) and e.seconds > cache.seconds
        ]
        if any(entry.until > look.at for entry in kept):
            return True
        pauses = chain.pauses + _paused(chain, look, cache)
        if not pauses or look.warm.get(ref, 0):
            return False
        dearer = look.ends[head - 1] / _BYTES_PER_TOKEN * (rate.write_long - rate.write) / 1e6
        if rate.write <= rate.read or chain.long_usd + dearer > spent * _RISK:
            return False
        chain.long_usd += dearer
        return True

    def _warm(self, ref: str, entries: list[_Entry], cache: PromptCache, look: Look, marks: Sequence[int]) -> int:
        best = 0.0
        chain, common = look.chain, look.common
        for entry in entries:
            if entry.until <= look.at:
                continue
            tokens = float(entry.tokens)
            if cache.kind == "marks":
                if entry.count > common or not look.reaches(entry.count, marks, cache.lookback):
                    continue
            elif entry.count > common:
                if not common or chain is None or not cache.partial or entry.count > len(chain.ends):
                    continue  # the conversation has gone back behind it: how much of it is shared is not known any more
                tokens *= chain.ends[common - 1] / chain.ends[entry.count - 1]
            best = max(best, tokens)
        kept = self._kept.get(ref, 1.0)
        best = best * kept if kept < _NEARLY else best  # what comes and goes by chance is no trend
        return cache.kept(int(best))

    def _bridged(self, ref: str, entries: list[_Entry], cache: PromptCache, look: Look, marks: Sequence[int]) -> int:
        """What is warm, with one breakpoint more where a client has one to spare and that finds more."""
        tokens = self._warm(ref, entries, cache, look, marks)
        room = cache.most_marks - len(set(marks))
        if cache.kind != "marks" or not look.marks or room <= 0:
            return tokens
        alive = [e.count for e in entries if e.until > look.at and look.head < e.count <= look.common]
        far = max((count for count in alive if not look.reaches(count, marks, cache.lookback)), default=0)
        if not far or (found := self._warm(ref, entries, cache, look, [*marks, far - 1])) <= tokens:
            return tokens
        look.bridges[ref] = far
        return found

    def _from_heads(self, look: Look, rules: Rules, marks: Sequence[int]) -> None:
        """Tools and system that another conversation left in a cache."""
        head = look.head_digest
        for (kept_by, digest), entry in self._heads.items():
            if digest == head and entry.until > look.at and entry.tokens > look.held.get(kept_by, 0):
                cache = rules(kept_by[0])
                if (marks if cache.kind == "marks" else cache.partial) and entry.tokens >= cache.minimum:
                    look.held[kept_by] = entry.tokens // cache.step * cache.step

    def _note_head(self, look: Look, kept_by: Place, usage: Usage, until: float) -> None:
        """Remember what other conversations may find; what was expected and not there is not expected again."""
        head = look.head
        if not head or head >= len(look.ends):
            return
        key = (kept_by, look.head_digest)
        entry, read = self._heads.get(key), usage.cached_tokens
        tokens = int((usage.input_tokens or 0) * look.ends[head - 1] / look.ends[-1])
        if look.common < head and read is not None and (read or kept_by in look.held):
            tokens = read
        elif entry is not None and not entry.tokens:
            tokens = 0  # each conversation has a head of its own there, whatever ours looks like
        self._heads[key] = _Entry(head, tokens, until)
        self._heads.move_to_end(key)
        if len(self._heads) > _MOST_HEADS:
            self._heads.popitem(last=False)

    def _marked(self, look: Look, read: int, written: int, marks: Sequence[int]) -> list[tuple[int, int]]:
        """(segments, tokens) of the prefixes that are kept now: the longest as reported, others by their share of it."""
        if not marks or not read + written:
            return []
        last = max(marks)
        whole, size = read + written, look.ends[last]
        return [
            (mark + 1, whole if mark == last else int(whole * look.ends[mark] / size)) for mark in sorted(set(marks))
        ]

    def _continue(self, look: Look, cache: PromptCache) -> _Chain:
        """The conversation that the request goes on with, or begins."""
        chains = self._sessions.setdefault(look.key, [])
        self._sessions.move_to_end(look.key)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        old = look.chain
        if old is not None and old in chains and (_goes_on(old, look) or look.common > look.head):
            chains.remove(old)
            pauses = old.pauses + _paused(old, look, cache)
            chain = _Chain(look.kinds, look.digests, look.ends, old.entries, look.at, pauses, old.long_usd)
        else:
            shared = {} if old is None else old.entries
            entries = {ref: [e for e in have if e.count <= look.common] for ref, have in shared.items()}
            chain = _Chain(look.kinds, look.digests, look.ends, entries, look.at)
        chains.append(chain)
        del chains[:-_MOST_CHAINS]
        return chain

    def _break(self, look: Look, rules: Rules, marks: Sequence[int]) -> Break | None:
        old = look.chain
        if old is None or look.common >= len(old.digests) or not _goes_on(old, look):
            return None
        lost: tuple[int, str] = (0, "")
        for kept_by, entries in old.entries.items():
            alive = max((e.tokens for e in entries if e.until > look.at), default=0)
            lost = max(lost, (alive - look.held.get(kept_by, 0), kept_by[0]))
        if lost[0] <= 0:
            return None
        at = min(look.common, len(look.kinds) - 1)
        return Break(place(look.kinds, at), lost[1], lost[0])


def _common(old: list[int], new: list[int]) -> int:
    """How many segments both begin with."""
    shorter = min(len(old), len(new))
    if old[:shorter] == new[:shorter]:
        return shorter
    return next(n for n in range(shorter) if old[n] != new[n])


def _goes_on(old: _Chain, look: Look) -> bool:
    """Whether the request has the conversation's newest segment in it."""
    return bool(old.digests) and old.digests[-1] in look.digests


def _shortened(entries: list[_Entry]) -> list[_Entry]:
    """The shortest, which stand before the conversation, and the longest."""
    return entries if len(entries) <= _MOST_ENTRIES else [*entries[:4], *entries[4 - _MOST_ENTRIES :]]


def _paused(chain: _Chain, look: Look, cache: PromptCache) -> bool:
    """Whether the request came after the short time was over and before the long one was."""
    return cache.seconds < look.at - chain.asked <= cache.long_seconds


def _sent(look: Look, *, marking: bool, newest: bool) -> list[int]:
    """Where breakpoints stand as the request is sent: the client's own, or ours if it set none and `marking`."""
    last = len(look.kinds) - 1
    if look.marks:
        return [*look.marks, last] if newest else look.marks
    return [n for n in dict.fromkeys((look.head - 1, last)) if n >= 0] if marking else []


def warm_facts(look: Look, rates: Mapping[str, Rate]) -> dict[str, object]:
    """What `session` of the facts says of a look."""
    model, tokens = look.warmest
    broken = look.broken
    cost = 0.0
    if broken is not None and (rate := rates.get(broken.model)) is not None:
        cost = broken.tokens * max(rate.write - rate.read, 0.0) / 1e6
    return {
        "warm": dict(look.warm),
        "warm_model": model,
        "warm_tokens": tokens,
        "prefix_break": broken.segment if broken else "",
        "prefix_break_tokens": broken.tokens if broken else 0,
        "prefix_break_usd": cost,
    }
