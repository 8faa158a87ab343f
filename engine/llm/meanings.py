"""What a provider's failure means, and what follows from it: the one table that attempts, health and answers go by.

Reading a failure (status, code, wording, in-stream or not) is the protocols' business and ends with one of these words. What
the word does stands here and nowhere else: to this attempt, to the other candidates, to the key, the model or the provider
that it speaks about, and to what the client is told. Sorted by what one can do about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Meaning = Literal[
    "invalid_request",  # the request itself
    "context_length",  # too long for this model
    "content_policy",  # refused for its content
    "incompatible",  # this model can't do what the request needs
    "authentication",  # the key for the provider is bad
    "permission",  # the key may not use this model
    "not_found",  # no such model there
    "rate_limit",  # too much at once
    "quota",  # out of money or allowance
    "overloaded",  # the provider is full
    "broken",  # an answer that is not one: HTML, bad JSON, missing terminal event
    "server_error",  # 5xx without further meaning
    "unreachable",  # no connection, or none in time
    "timeout",  # first event, idle or total time ran out
]

Scope = Literal["", "model", "key", "provider"]
"""What a failure speaks about: nothing but the request, the model under this key, all that this key reaches, everything."""


@dataclass(slots=True, frozen=True)
class Effect:
    """What a failure of one meaning does."""

    status: int
    """HTTP status the client sees when the provider gave none. A provider's bad key is 502 to it: its own key is fine."""
    other: Literal["none", "larger", "any"]
    """Which candidates may be asked instead. A caller's mistake never travels to another vendor."""
    again: Literal["no", "told", "yes"] = "no"
    """May the last candidate be tried once more? `told`: if the provider said how long to wait."""
    scope: Scope = ""
    cool_down: float = 0.0
    """Seconds for which `scope` steps back at once, where the provider names no time of its own."""
    breaks: bool = False
    """Counts on the breaker of `scope`, which steps back after several of them."""
    other_key: bool = False
    """Another key of the same provider may be allowed what this one is not: it is asked before any other provider."""
    permanent: bool = False
    """The same request will not do later either, or not soon: clients are told not to repeat it."""


EFFECTS: Mapping[Meaning, Effect] = {
    "invalid_request": Effect(400, "none", permanent=True),
    "content_policy": Effect(400, "none", permanent=True),
    "context_length": Effect(400, "larger", permanent=True),
    "incompatible": Effect(400, "any", permanent=True),
    "authentication": Effect(502, "any", scope="key", cool_down=300.0, other_key=True, permanent=True),
    "permission": Effect(403, "any", scope="model", cool_down=600.0, other_key=True, permanent=True),
    "not_found": Effect(404, "any", scope="model", cool_down=600.0, permanent=True),
    "rate_limit": Effect(429, "any", "told", scope="model", cool_down=10.0, other_key=True),
    "quota": Effect(429, "any", scope="key", cool_down=600.0, other_key=True, permanent=True),
    "overloaded": Effect(529, "any", "yes", scope="model", breaks=True),
    "broken": Effect(502, "any", "yes", scope="model", breaks=True),
    "server_error": Effect(502, "any", "yes", scope="model", breaks=True),
    "unreachable": Effect(502, "any", "yes", scope="provider", breaks=True),
    "timeout": Effect(504, "any", scope="model", breaks=True),
}
"""An overload with a `retry-after` steps back for that long beside counting on the breaker: the longer of the two holds."""

PERMANENT: frozenset[Meaning] = frozenset(meaning for meaning, effect in EFFECTS.items() if effect.permanent)

TELLING: tuple[Meaning, ...] = ("rate_limit", "overloaded", "context_length")
"""Of several failures the client hears of the one that it can act upon: these, the most useful first."""
