"""How providers' prompt caches served recorded requests: what was expected of them, what they read, and what broke.

Rules kept here: a request counts where the provider told how much it read; where it did not, it is counted apart, and is no
miss. What was expected is the fact that was recorded when the request came, not a figure worked out afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from engine.store.event import Event


@dataclass(slots=True)
class Tokens:
    """Sums over the requests of a model or a session."""

    name: str
    requests: int = 0
    """Those whose provider told what it read."""
    untold: int = 0
    prompt: int = 0
    expected: int = 0
    read: int = 0
    written: int = 0
    hints: Counter[str] = field(default_factory=Counter)
    """What was added for the cache → requests."""
    errors: list[float] = field(default_factory=list)
    """|expected - read| as a share of the larger, of requests with either."""

    @property
    def expected_rate(self) -> float | None:
        """Share of the prompts that was expected to be read from the cache; None without a prompt."""
        return self.expected / self.prompt if self.prompt else None

    @property
    def hit_rate(self) -> float | None:
        """Share of the prompts that was read from the cache; None without a prompt."""
        return self.read / self.prompt if self.prompt else None

    @property
    def error(self) -> float | None:
        """The median of `errors`; None when nothing was expected or read."""
        return median(self.errors) if self.errors else None

    def add(self, event: Event, expected: int) -> None:
        served = event.answered_by
        self.hints.update(served.hints if served is not None else ())
        read, prompt = event.cached_input_tokens, event.input_tokens
        if read is None or prompt is None:
            self.untold += 1
            return
        self.requests += 1
        self.prompt += prompt
        self.expected += expected
        self.read += read
        self.written += event.cache_write_tokens or 0
        if read or expected:
            self.errors.append(abs(expected - read) / max(expected, read))


@dataclass(slots=True, frozen=True)
class Broken:
    """A prompt that departed from its conversation's warm beginning."""

    id: str
    timestamp: str
    client: str
    session: str
    segment: str
    """The first that differs."""
    model: str
    tokens: int
    usd: float
    """0.0 when the price is unknown."""


@dataclass(slots=True)
class Warmth:
    """The whole report."""

    whole: Tokens = field(default_factory=lambda: Tokens("all"))
    models: dict[str, Tokens] = field(default_factory=dict)
    sessions: dict[str, Tokens] = field(default_factory=dict)
    breaks: list[Broken] = field(default_factory=list)
    """Oldest first."""

    @classmethod
    def of(cls, events: Iterable[Event]) -> Warmth:
        """The report of answered requests, oldest first; others are passed over."""
        made = cls()
        for event in events:
            session = event.facts.get("session", {})
            if event.status not in ("success", "fallback_success") or event.cache_hit:
                continue
            ref = f"{event.selected_provider}/{event.selected_model}"
            expected = session.get("warm", {}).get(ref, 0)
            name = event.session_id or "(none)"
            for sums in (
                made.whole,
                made.models.setdefault(ref, Tokens(ref)),
                made.sessions.setdefault(name, Tokens(name)),
            ):
                sums.add(event, expected)
            if segment := session.get("prefix_break"):
                tokens, usd = session.get("prefix_break_tokens", 0), session.get("prefix_break_usd", 0.0)
                made.breaks.append(
                    Broken(event.id, event.timestamp, event.client, event.session_id, segment, ref, tokens, usd)
                )
        return made
