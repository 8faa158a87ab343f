"""The event of one request: what is recorded, exported, counted and shown, and nothing else is.

Its JSON is `schemas/event.schema.json`: the fields of `GatewayRequestEvent` first, ours after them, names in camelCase. Rules
kept here:

- What is not known is absent, never 0: a missing token count or cost is None here and no key in the JSON.
- No message text, header value or key has a place in it; names and ids that a client gives of itself have.
- `timestamp` is UTC with milliseconds, so that sorting the strings sorts the events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, field, fields
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from engine.llm.frozen import dataclass
from engine.llm.messages import JsonObject
from engine.policy.decision import Candidate, Decision, RuleHit
from engine.policy.violations import Violation

Status = Literal["open", "success", "fallback_success", "error", "cancelled", "interrupted"]
"""`open` while under way; `fallback_success` when another than the first candidate answered; `cancelled` when the client
left; `interrupted` when the gateway ended (or was killed) before the answer did."""


LOST = "lost"
"""Meaning of an attempt that was given up because another, under way beside it, had begun to answer."""

Unhedged = Literal["login", "attempts", "unfit", "budget"]
UNHEDGED: Mapping[Unhedged, str] = {
    "login": "the caller's own login is with it",
    "attempts": "no attempt was left",
    "unfit": "nobody else was well and within limits",
    "budget": "a budget had too little left",
}
"""Why nobody was asked beside a slow attempt, in words."""


@dataclass(slots=True, frozen=True)
class AttemptEvent:
    """One try at one model. Times are milliseconds; `started_ms` counts from the request's start."""

    provider: str
    model: str
    protocol: str
    preserve: bool = False
    """The client's own protocol: nothing was translated."""
    started_ms: float = 0.0
    latency_ms: float = 0.0
    first_event_ms: float | None = None
    """From the attempt's start to the provider's first content."""
    status: int | None = None
    """The provider's HTTP status, None when there was no answer."""
    meaning: str = ""
    """How it failed (`engine.llm.meanings.Meaning`), empty when it did not; `cancelled` when the client left, `lost`."""
    message: str = ""
    """The failure in words; nothing that they quote of the request."""
    waited_ms: float = 0.0
    """Waited before it, because the provider asked for it or to back off."""
    passed_over: tuple[str, ...] = ()
    """`provider/model` of those whose turn it was, but which were failing or at a limit."""
    hints: tuple[str, ...] = ()
    """What was added for the provider's prompt cache: `marks newest long key affinity`."""
    key: str = ""
    """The variable that held the key, of a provider that has several."""
    answered: bool = False
    """Its answer is the client's. Older events do not tell: there it was always the last (`Event.answered_by`)."""
    wasted_usd: float | None = None
    """Estimate of what it cost without answering; what the answer cost is the event's."""
    hedge: bool = False
    """It began beside the one before it, which had not begun to answer in the time that the route sets."""
    unhedged: Unhedged | Literal[""] = ""
    """Why none began beside it, though it had not begun to answer by then."""

    @property
    def outrun(self) -> bool:
        """It was given up for the answer of one beside it: neither a failure nor an answer."""
        return self.meaning == LOST


@dataclass(slots=True, frozen=True)
class Event:
    """One request. Empty strings, empty tuples and None mean: not known or not applicable."""

    id: str
    timestamp: str
    client: str
    protocol: str
    session_id: str = ""
    repo_path: str = ""
    route_class: str = ""
    requested_model: str = ""
    selected_provider: str = ""
    """The provider that answered, or was tried last; empty when none was."""
    selected_model: str = ""
    fallback_chain: tuple[str, ...] = ()
    """`provider/model` of every model that was tried, in order, without repetition."""
    input_tokens: int | None = None
    """The whole prompt, cached and cache-written tokens included."""
    output_tokens: int | None = None
    """The whole answer, reasoning included."""
    cached_input_tokens: int | None = None
    cost_estimate_usd: float | None = None
    latency_ms: float = 0.0
    """From the request's start to its end (or until now, while open)."""
    cache_hit: bool = False
    status: Status = "open"
    error_class: str = ""
    """The error's stable code, empty when all went well."""

    client_version: str = ""
    agent: str = ""
    """The client's sub-agent, empty for its main loop."""
    parent_agent: str = ""
    """The agent or thread that started it, where the client says so."""
    project: str = ""
    stream: bool = False
    http_status: int | None = None
    """What the client was answered with."""
    class_rule: str = ""
    """The rule that chose the route class."""
    facts: JsonObject = field(default_factory=dict)
    """`schemas/facts.schema.json`: replaying them through a policy gives its decision."""
    decision: JsonObject = field(default_factory=dict)
    """`decision_json` of the decision."""
    availability: JsonObject = field(default_factory=dict)
    """`availability_json` of the providers' states it was decided with."""
    path: tuple[str, ...] = ()
    """Ids of the pipeline's steps taken, with the exit where one was used: `gate.deny`."""
    losses: tuple[str, ...] = ()
    """Codes of what the translation that answered really lost."""
    attempts: tuple[AttemptEvent, ...] = ()
    policy: str = ""
    """`name@digest`."""
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_reported_usd: float | None = None
    """What the provider itself says it charges."""
    cost_provenance: str = ""
    """Where the cost comes from: `provider override catalogue unknown`."""
    price_table: str = ""
    """Name and version of the price table used."""
    cost_basis: str = ""
    """What the estimate was counted by: `usage` (as the provider told), `partial` (the answer broke off; the prompt's count was
    told), `sizes` (nothing was told). Empty when there is no cost."""
    wasted_usd: float | None = None
    """Of attempts that were given up while the provider worked; no part of the answer's cost."""
    estimated_usd: float | None = None
    """How much of both rests on counts that no provider told; None when all were told and
    nothing was wasted."""
    requested_usd: float | None = None
    """What the same tokens would have cost on the model asked for; of a refused request, its estimate there."""
    key_name: str = ""
    """Name of the gateway's key that the request presented."""
    budgets: tuple[str, ...] = ()
    """Names of the policy's budgets that it counts for."""
    budget_thresholds: tuple[str, ...] = ()
    """Shares of them that it passed: `day:0.8`."""
    stop_reason: str = ""
    first_event_ms: float | None = None
    """Until the answer's first content."""
    shadow: JsonObject = field(default_factory=dict)
    """What the policy given as `--shadow` would have done: policy, routeClass, model, change, denied, costEstimateUsd."""
    repaired_calls: int | None = None
    """Tool calls that were brought right on their way; None when the model's calls were not checked."""
    invalid_calls: int | None = None
    """Tool calls that fitted nothing the request offered, those of a model that was given up for them included."""
    workflow: JsonObject = field(default_factory=dict)
    """Where in the agent's work the request stands: `turn`, answers before it; `results`, the tools that ran since the last one,
    each `{tool, ok}`, `ok` absent where the protocol does not say."""
    tags: tuple[str, ...] = ()
    """Tags of the policy's rules that took part, sorted."""
    violations: tuple[JsonObject, ...] = ()
    """What broke a rule, or would have: kind, section, rule, reason, tags, detail. Empty values are left out."""
    request_digest: str = ""
    """SHA-256 of the body that was sent to the provider that answered."""
    gateway_version: str = ""
    trace_parent: str = ""
    """The client's span that the request belongs to, `00-TRACE-SPAN-FLAGS`, where it says so by the rules."""

    @property
    def cost_usd(self) -> float | None:
        """The answer's best known cost: the provider's own figure, else the estimate."""
        return self.cost_estimate_usd if self.cost_reported_usd is None else self.cost_reported_usd

    @property
    def total_usd(self) -> float | None:
        """That and what was wasted on the way to it, as far as known; None when nothing is."""
        return self.cost_usd if self.wasted_usd is None else (self.cost_usd or 0.0) + self.wasted_usd

    @property
    def answered_by(self) -> AttemptEvent | None:
        """The attempt whose answer the client got, as far as it came; None when there was none, or it was kept."""
        told = next((attempt for attempt in self.attempts if attempt.answered), None)
        if told is None and self.attempts and (self.first_event_ms is not None or self.status in _ANSWERED):
            return self.attempts[-1]
        return told

    @property
    def saving(self) -> tuple[str, float] | None:
        """(how, USD) that the answer cost less than on the model asked for; below 0 it cost more. None when that is unknown.

        `downgrade` or `dearer`: another model served. `cache`: no provider was asked. `refused`: nobody answered.
        """
        if self.requested_usd is None:
            return None
        if self.cache_hit:
            return "cache", self.requested_usd
        if not self.selected_provider:
            return "refused", self.requested_usd
        if self.cost_usd is None:
            return None
        less = self.requested_usd - self.cost_usd
        return ("downgrade", less) if less > 0 else ("dearer", less) if less < 0 else None

    def to_json(self) -> JsonObject:
        """The event by its schema; absent fields are left out, required ones always there."""
        out: JsonObject = {}
        # Once a request: one call for all values, and no comparison of containers.
        for (_, key, always, _), value in zip(_EVENT, _values(self), strict=True):
            if value or always or value.__class__ in NUMBERS:
                out[key] = value
        out["fallbackChain"] = list(self.fallback_chain)
        if self.losses:
            out["losses"] = list(self.losses)
        for key, names in (("budgets", self.budgets), ("budgetThresholds", self.budget_thresholds)):
            if names:
                out[key] = list(names)
        for name in ("path", "tags", "violations"):
            if value := getattr(self, name):
                out[name] = list(value)
        if self.attempts:
            out["attempts"] = [attempt_json(attempt) for attempt in self.attempts]
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Event:
        """The event that `to_json` gave. Unknown keys are passed over; a missing required one is a ValueError."""
        found = _known(data, _EVENT)
        for name in ("fallback_chain", "losses", "path", "budgets", "budget_thresholds", "tags", "violations"):
            if name in found:
                found[name] = tuple(found[name])
        found["attempts"] = tuple(attempt_of(attempt) for attempt in data.get("attempts", ()))
        return cls(**found)


LONGEST = timedelta(hours=1)
"""No request takes longer, so what has ended since a moment began at most that much before it."""


def end_of(event: Event) -> datetime:
    """When it ended. Nobody saw when an interrupted one did: as late as it may have."""
    began = datetime.fromisoformat(event.timestamp)
    return began + (LONGEST if event.status == "interrupted" else timedelta(milliseconds=event.latency_ms))


def timestamp_of(moment: datetime) -> str:
    """`moment` (with a time zone) as an event's timestamp: `2026-11-23T09:30:00.125Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def attempt_json(attempt: AttemptEvent) -> JsonObject:
    """One attempt by the event's schema."""
    out: JsonObject = {}
    for name, key, always, _ in _ATTEMPT:
        value = getattr(attempt, name)
        if always or not (value is None or value is False or value in ("", ())):
            out[key] = list(value) if isinstance(value, tuple) else value
    return out


def attempt_of(data: Mapping[str, Any]) -> AttemptEvent:
    """The attempt that `attempt_json` gave. Raises ValueError when a required key is missing."""
    found = _known(data, _ATTEMPT)
    for name in ("passed_over", "hints"):
        if name in found:
            found[name] = tuple(found[name])
    return AttemptEvent(**found)


def decision_json(decision: Decision) -> JsonObject:
    """A decision by the event's schema: camelCase, and what is empty is left out."""
    out: JsonObject = {
        "routeClass": decision.route_class,
        "classReason": decision.class_reason,
        "candidates": [_candidate_json(candidate) for candidate in decision.candidates],
        "policy": decision.policy,
    }
    if decision.class_rule:
        out["classRule"] = decision.class_rule
    if decision.canary:
        out["canary"] = decision.canary
    if decision.hedge_ms:
        out["hedgeMs"] = decision.hedge_ms
    if decision.hits:
        out["hits"] = [_hit_json(hit) for hit in decision.hits]
    if decision.vars:
        out["vars"] = dict(decision.vars)
    if (denial := decision.denial) is not None:
        out["denial"] = {
            "rule": denial.rule, "status": denial.status, "message": denial.message, "reason": denial.reason
        }  # fmt: skip
    return out


def violation_json(violation: Violation) -> JsonObject:
    """A violation by the event's schema."""
    out: JsonObject = {"kind": violation.kind, "rule": violation.rule, "reason": violation.reason}
    if violation.section:
        out["section"] = violation.section
    if violation.tags:
        out["tags"] = list(violation.tags)
    if violation.detail:
        out["detail"] = violation.detail
    return out


def _candidate_json(candidate: Candidate) -> JsonObject:
    out: JsonObject = {
        "ref": candidate.ref,
        "provider": candidate.provider,
        "model": candidate.model,
        "protocol": candidate.protocol,
        "preserve": candidate.preserve,
    }
    if candidate.losses:
        out["losses"] = list(candidate.losses)
    if candidate.dropped is not None:
        out["dropped"] = candidate.dropped
    if candidate.rule:
        out["rule"] = candidate.rule
    if candidate.detail:
        out["detail"] = candidate.detail
    return out


def _hit_json(hit: RuleHit) -> JsonObject:
    out: JsonObject = {"section": hit.section, "id": hit.id, "outcome": hit.outcome}
    if hit.shadow:
        out["shadow"] = True
    if hit.detail:
        out["detail"] = hit.detail
    return out


class _Field(NamedTuple):
    """How one attribute stands in JSON."""

    name: str
    key: str
    always: bool
    """Written even when empty."""
    needed: bool
    """Has no default."""


_ANSWERED = ("success", "fallback_success")

_ALWAYS = frozenset(
    {
        "id", "timestamp", "client", "protocol", "route_class", "selected_provider", "selected_model", "fallback_chain",
        "latency_ms", "cache_hit", "status", "stream",
    }
)  # fmt: skip
_ALWAYS_IN_ATTEMPT = frozenset({"provider", "model", "protocol", "preserve", "started_ms", "latency_ms", "waited_ms"})


def _fields(kind: type[Event | AttemptEvent], always: frozenset[str]) -> tuple[_Field, ...]:
    def camel(name: str) -> str:
        first, *rest = name.split("_")
        return first + "".join(word.capitalize() for word in rest)

    return tuple(
        _Field(f.name, camel(f.name), f.name in always, f.default is MISSING and f.default_factory is MISSING)
        for f in fields(kind)
    )


NUMBERS = frozenset({int, float, bool})
"""What is known also when it is 0."""

_EVENT = _fields(Event, _ALWAYS)
_values = attrgetter(*(f.name for f in _EVENT))
KEYS: Mapping[str, str] = {f.name: f.key for f in _EVENT}
"""Attribute of an event → its key in JSON."""
KEPT: frozenset[str] = frozenset(f.name for f in _EVENT if f.always)
"""Attributes that are written even when they are empty."""

_ATTEMPT = _fields(AttemptEvent, _ALWAYS_IN_ATTEMPT)


def _known(data: Mapping[str, Any], table: tuple[_Field, ...]) -> dict[str, Any]:
    found = {f.name: data[f.key] for f in table if data.get(f.key) is not None}
    missing = [f.key for f in table if f.needed and f.name not in found]
    if missing:
        raise ValueError(f"an event without {', '.join(missing)}")
    return found
