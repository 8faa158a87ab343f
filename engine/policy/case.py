"""One request being decided: what the parts of a decision hand on to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from engine.llm.frozen import dataclass
from engine.policy.candidates import Option
from engine.policy.decision import Candidate, Denial, Facts, Reason, RuleHit
from engine.policy.model import DEFAULT_CLASS, Policy, Route

Outcome = Literal["true", "false", "error"]

OUTCOMES: Mapping[bool | None, Outcome] = {True: "true", False: "false", None: "error"}
"""What a condition gave → the word that is recorded."""


@dataclass(slots=True, frozen=True)
class ProviderState:
    """What is known of a provider, or of one model there, when a request comes; recorded with it."""

    key: bool = True
    """A credential is there, or none is needed."""
    missing: tuple[str, ...] = ()
    """Environment variables to set before it can be used."""
    healthy: bool = True
    """Neither broken nor cooling down."""
    state: str = "closed"
    """Of its breaker: closed, degraded, recovering, open."""
    limited: bool = False
    """At a limit that its row sets."""
    latency_p50_ms: float = 0.0
    error_rate: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return {
            "key": self.key,
            "missing": list(self.missing),
            "healthy": self.healthy,
            "state": self.state,
            "limited": self.limited,
            "latency_p50_ms": self.latency_p50_ms,
            "error_rate": self.error_rate,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ProviderState:
        """The state that `to_json` gave; unknown keys are ignored, missing ones have their defaults."""
        return cls(
            key=bool(data.get("key", True)),
            missing=tuple(data.get("missing", ())),
            healthy=bool(data.get("healthy", True)),
            state=str(data.get("state", "closed")),
            limited=bool(data.get("limited", False)),
            latency_p50_ms=float(data.get("latency_p50_ms", 0.0)),
            error_rate=float(data.get("error_rate", 0.0)),
        )


READY = ProviderState()
"""A provider of which nothing is known."""


@dataclass(slots=True, eq=False)
class Try:
    """A candidate on its way through the gate."""

    option: Option
    facts: dict[str, Any]
    """The candidate's facts, to be laid over the request's."""
    healthy: bool
    dropped: Reason | None = None
    rule: str = ""
    detail: str = ""

    def drop(self, reason: Reason, rule: str, detail: str = "") -> None:
        self.dropped, self.rule, self.detail = reason, rule, detail

    def candidate(self) -> Candidate:
        plain = self.option.candidate
        if self.dropped is None and not self.detail:
            return plain
        return Candidate(
            plain.ref,
            plain.provider,
            plain.model,
            plain.protocol,
            plain.preserve,
            plain.losses,
            self.dropped,
            self.rule or plain.rule,
            self.detail,
        )


@dataclass(slots=True, eq=False)
class Case:
    """One request being decided. `facts` is the caller's document with the policy's variables and switches filled in."""

    policy: Policy
    facts: Facts
    availability: Mapping[str, ProviderState]
    route_class: str = DEFAULT_CLASS
    class_rule: str = ""
    class_reason: Reason = "DEFAULT"
    route: Route | None = None
    """The candidates that an override chose."""
    override: str = ""
    canary: str = ""
    """Id of the canary that the session was drawn for."""
    hedge_ms: int = 0
    """After how long the next candidate is asked beside a slow one; 0 for never."""
    classified: bool = False
    denial: Denial | None = None
    hits: list[RuleHit] = field(default_factory=list)
    tries: list[Try] | None = None


def failed(rule: str) -> Denial:
    """The refusal of a rule without a value whose `on_error` is `deny`."""
    return Denial(rule, 403, f"the policy's rule '{rule}' could not be evaluated, and refuses then", "RULE_ERROR")
