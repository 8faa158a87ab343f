"""What a policy says about one request: data only, so that it can be recorded, compared and explained.

The order of resolution is one and the same everywhere: override → class → route → canary → require → health → order →
fallback. A candidate that drops out keeps its place in the list with the reason, so that `explain` can show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from engine.llm.frozen import dataclass

Facts = dict[str, Any]
"""The document of `schemas/facts.schema.json`: nested plain dicts, complete (no nulls, defaults filled in), no message text."""

Reason = Literal[
    "RULE_MATCH", "DEFAULT", "OVERRIDE", "CANARY", "FALLBACK", "CACHE_HIT", "GATE_DENY", "SHADOW_DENY", "INCOMPATIBLE",
    "NO_KEY", "UNHEALTHY", "BUDGET", "DISABLED", "RULE_ERROR",
]  # fmt: skip
"""The closed set of reasons. With a rule's id it says why anything happened."""


@dataclass(slots=True, frozen=True)
class RuleHit:
    """A rule that took part. `outcome` is what its condition gave; `shadow` rules are recorded, not obeyed."""

    section: Literal["override", "classify", "route", "require", "deny", "cache", "var"]
    id: str
    outcome: Literal["true", "false", "error"]
    shadow: bool = False
    detail: str = ""


@dataclass(slots=True, frozen=True)
class Candidate:
    """One model that the route names, in the order in which it would be tried."""

    ref: str
    """`provider/name`."""
    provider: str
    model: str
    protocol: str
    """The provider's protocol this request would be sent in."""
    preserve: bool
    """True when that is the client's own protocol: nothing is translated."""
    losses: tuple[str, ...] = ()
    dropped: Reason | None = None
    """Why it is not tried; None when it is."""
    rule: str = ""
    """Id of the rule that dropped it, or of the route entry that brought it in."""
    detail: str = ""


@dataclass(slots=True, frozen=True)
class Denial:
    rule: str
    status: int
    message: str
    reason: Reason = "GATE_DENY"


@dataclass(slots=True, frozen=True)
class Decision:
    route_class: str = "fallback_safe"
    class_rule: str = ""
    """Id of the classify or override rule that chose the class; empty when none matched."""
    class_reason: Reason = "DEFAULT"
    candidates: tuple[Candidate, ...] = ()
    denial: Denial | None = None
    hits: tuple[RuleHit, ...] = ()
    """Rules whose outcome was true or an error, and every shadow rule's would-be outcome."""
    vars: Mapping[str, Any] = field(default_factory=dict)
    policy: str = ""
    """`name@digest` of the policy that decided."""
    canary: str = ""
    """Id of the canary that the session was drawn for, whose candidates came first; empty when none."""
    hedge_ms: int = 0
    """Milliseconds after which the next candidate is asked beside one that has not begun to answer; 0 for never."""

    @property
    def chain(self) -> tuple[Candidate, ...]:
        """The candidates that would be tried, in order."""
        return tuple(c for c in self.candidates if c.dropped is None)

    @property
    def chosen(self) -> Candidate | None:
        """The candidate that is tried first, None when there is none."""
        return next((c for c in self.candidates if c.dropped is None), None)
