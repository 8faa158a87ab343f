"""Which providers are worth a try right now: what the last attempts told.

A first, plain form: a provider that told us to wait, or failed several times in a row, steps behind the healthy ones until
its time is up. It is never shut out: with nobody else left it is still tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from engine.llm.errors import ProviderError
from engine.policy.decide import ProviderState

if TYPE_CHECKING:
    from engine.policy.model import Policy
    from engine.providers.credentials import Credentials

_FAULTLESS = frozenset(
    {"invalid_request", "context_length", "content_policy", "incompatible", "not_found", "permission"}
)
"""Failures that say nothing about the provider's health: the request, or this one model, is at fault."""

_COOL_DOWN = {"rate_limit": 10.0, "quota": 600.0, "authentication": 300.0}
"""Seconds to step back when the provider gave no time of its own."""

_FAILURES_IN_A_ROW = 3
_BROKEN_SECONDS = 30.0
_MAX_COOL_DOWN = 24 * 3600.0


class Health:
    """State per provider, as a snapshot that may be kept: a change makes a new mapping."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._failures: dict[str, int] = {}
        self._until: dict[str, float] = {}
        self._latency: dict[str, float] = {}
        self._errors: dict[str, float] = {}
        self._states: Mapping[str, ProviderState] = {}
        self._of: tuple[Policy | None, Credentials | None] = (None, None)
        self._changed: set[str] = set()
        self._due = 0.0
        """When the next cool-down ends."""

    def availability(self, policy: Policy, credentials: Credentials) -> Mapping[str, ProviderState]:
        """Every provider of `policy`: is a key there, is it healthy, how fast, how often it fails."""
        now = self._monotonic()
        if self._of[0] is not policy or self._of[1] is not credentials:
            self._of = (policy, credentials)
            self._states = {name: self._state(name, now) for name in policy.providers}
        elif self._changed or now >= self._due:
            # A snapshot may be held by a request: what changed gets a new mapping, the rest of it is shared.
            names = self._changed if now < self._due else self._states.keys()
            self._states = {**self._states, **{name: self._state(name, now) for name in names if name in self._states}}
        else:
            return self._states
        self._changed = set()
        self._due = min((t for t in self._until.values() if t > now), default=float("inf"))
        return self._states

    def _state(self, name: str, now: float) -> ProviderState:
        policy, credentials = self._of
        assert policy is not None
        assert credentials is not None
        missing = credentials.missing(policy.providers[name])
        return ProviderState(
            key=not missing,
            missing=missing,
            healthy=self._until.get(name, 0.0) <= now,
            latency_ms=round(self._latency.get(name, 0.0), 1),
            error_rate=round(self._errors.get(name, 0.0), 3),
        )

    def succeeded(self, provider: str, first_event_ms: float) -> None:
        """An attempt brought an answer; its first content came after `first_event_ms`."""
        self._failures.pop(provider, None)
        self._until.pop(provider, None)
        before = self._latency.get(provider, first_event_ms)
        self._latency[provider] = before + 0.2 * (first_event_ms - before)
        self._errors[provider] = self._errors.get(provider, 0.0) * 0.9
        self._changed.add(provider)

    def failed(self, provider: str, error: ProviderError) -> None:
        """An attempt failed. A fault of the request itself changes nothing."""
        if error.meaning in _FAULTLESS:
            return
        self._errors[provider] = self._errors.get(provider, 0.0) * 0.9 + 0.1
        self._changed.add(provider)
        now = self._monotonic()
        if error.meaning in _COOL_DOWN:
            wait = error.retry_after if error.retry_after is not None else _COOL_DOWN[error.meaning]
            self._until[provider] = max(self._until.get(provider, 0.0), now + min(wait, _MAX_COOL_DOWN))
            return
        count = self._failures[provider] = self._failures.get(provider, 0) + 1
        if count >= _FAILURES_IN_A_ROW:
            self._until[provider] = now + _BROKEN_SECONDS

    def snapshot(self, policy: Policy, credentials: Credentials) -> list[dict[str, object]]:
        """For `/health`: one row per provider."""
        now = self._monotonic()
        return [
            {
                "provider": name,
                "key": state.key,
                "healthy": state.healthy,
                "retryInSeconds": round(max(0.0, self._until.get(name, 0.0) - now), 1),
                "latencyMs": state.latency_ms,
                "errorRate": state.error_rate,
            }
            for name, state in self.availability(policy, credentials).items()
        ]
