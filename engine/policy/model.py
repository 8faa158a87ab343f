"""A compiled policy: frozen, free of files and text, ready to be asked by any number of requests at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from engine.llm.catalogue import Model, PromptCache, Provider
from engine.llm.meanings import Meaning
from engine.policy.budgets import Budget
from engine.policy.candidates import Rates, Resolver
from engine.policy.compose import Resolved
from engine.policy.decision import Reason
from engine.policy.expression import Expression, Template
from engine.policy.problems import Problem, Span
from engine.policy.resolve import Catalogue

Mode = Literal["enforce", "shadow"]
"""Rules that are `off` are not compiled."""

DEFAULT_CLASS = "fallback_safe"
"""The class of what no rule knows, and the route of a class that has none."""

CLASSES = ("cheap_edit", "fast_code", "deep_reasoning", "tool_heavy", "long_context", DEFAULT_CLASS)
"""The classes that exist without a policy's own."""

FALL_BACK: frozenset[Meaning] = frozenset(
    {
        "context_length", "authentication", "permission", "not_found", "rate_limit", "quota", "overloaded", "incompatible",
        "broken", "server_error", "unreachable", "timeout",
    }
)  # fmt: skip
"""Failures after which the next candidate is tried, unless the policy names its own."""


@dataclass(slots=True, frozen=True)
class Settings:
    host: str = "127.0.0.1"
    port: int = 8787
    experimental: bool = False
    auth: Literal["local-key", "none"] = "local-key"
    keepalive_seconds: float = 15.0
    telemetry_enabled: bool = True
    keep_days: int = 90
    keep_mib: int = 2048
    otlp_endpoint: str = ""
    governance_file: str = ""
    governance_url: str = ""
    store_prompts: bool = False
    redact_secrets: bool = True
    trace_mib: int = 256
    max_body_mib: int = 32
    timezone: str = ""
    """IANA name of the place whose clocks count; empty for this machine's own."""
    cors: Literal["none"] = "none"


@dataclass(slots=True, frozen=True)
class Fallback:
    attempts: int = 4
    total_seconds: float = 600.0
    """No new attempt begins later than this after the first."""
    on: frozenset[Meaning] = FALL_BACK


@dataclass(slots=True, frozen=True)
class AnswerSettings:
    """Which models' tool calls are checked before the agent sees them, and what is held back until then."""

    check: Literal["off", "unproven", "all"] = "unproven"
    hold: Literal["calls", "answer"] = "calls"
    """`calls`: tool calls and the reasoning before them; `answer`: everything."""

    def checks(self, model: Model, client: str) -> bool:
        """Whether answers of `model` for `client` are checked. Proven is what this client's agent loop may depend on."""
        if self.check != "unproven":
            return self.check == "all"
        match client:
            case "claude-code":
                return model.claude_code_safe != "yes"
            case "codex":
                return model.codex_safe != "yes"
            case _:
                return "yes" not in (model.claude_code_safe, model.codex_safe)


@dataclass(slots=True, frozen=True)
class CacheSettings:
    """`prefix`: know what is in providers' prompt caches, and help them to keep it. `response`: keep answers here."""

    prefix: bool = True
    response: bool = False
    rules: tuple[KeepRule, ...] = ()
    """One of them must hold for a request's answer to be kept."""
    ttl_seconds: float = 3600.0
    max_mib: int = 64
    memory_mib: int = 64
    """How much is remembered of conversations, so that only what is new in them is worked on; 0 for nothing."""

    def keeps(self, facts: Mapping[str, Any]) -> str:
        """The rule by which the answer to such a request may be kept and told again; empty when it may not."""
        return wanted_by(self.rules, facts) if self.response else ""


@dataclass(slots=True, frozen=True, eq=False)
class Rule:
    """What rules of all kinds share."""

    id: str
    span: Span
    shadow: bool
    """Evaluated and recorded, not obeyed."""
    on_error: str
    """What happens when a condition has no value: `next`, `deny` or `class`."""
    since: str
    tags: tuple[str, ...] = field(default=(), kw_only=True)
    """Words of the user's own for governance; they decide nothing."""


@dataclass(slots=True, frozen=True, eq=False)
class ClassRule(Rule):
    when: Expression | None = None
    route_class: str = DEFAULT_CLASS


@dataclass(slots=True, frozen=True, eq=False)
class OverrideRule(Rule):
    when: Expression | None = None
    route: Route | None = None
    route_class: str = ""
    """`pinned` for the one that the caller names."""
    reason: Reason = "OVERRIDE"


@dataclass(slots=True, frozen=True, eq=False)
class RequireRule(Rule):
    require: Expression
    when: Expression | None = None


@dataclass(slots=True, frozen=True, eq=False)
class DenyRule(Rule):
    when: Expression | None = None
    status: int = 403
    message: Template | None = None
    candidate: bool = False
    """It reads facts of a candidate, so it is asked for each."""
    reason: Reason = "GATE_DENY"


@dataclass(slots=True, frozen=True, eq=False)
class KeepRule(Rule):
    """Says of which requests something is kept: a trace, or the answer."""

    when: Expression

    def wants(self, facts: Mapping[str, Any]) -> bool:
        """Whether the rule is in force and holds."""
        return not self.shadow and self.when.holds(facts)


def wanted_by(rules: Iterable[KeepRule], facts: Mapping[str, Any]) -> str:
    """Id of the first rule that is in force and holds; empty when none does."""
    return next((rule.id for rule in rules if rule.wants(facts)), "")


@dataclass(slots=True, frozen=True, eq=False)
class Entry:
    """One line of a route. `use` is `provider`, `provider/model`, `requested` or `pinned`."""

    use: str
    id: str = ""
    when: Expression | None = None
    span: Span | None = None


@dataclass(slots=True, frozen=True, eq=False)
class Canary:
    """Other candidates that go first for a share of the sessions."""

    id: str
    percent: float
    buckets: int
    """Sessions whose `session.bucket` is below this are drawn; a bucket is a hundredth of a percent."""
    places: frozenset[int]
    """Indexes of its entries in the route: the first ones."""
    span: Span | None = None

    @property
    def condition(self) -> str:
        """For which sessions it counts, as an expression."""
        return f"session.bucket < {self.buckets}"


@dataclass(slots=True, frozen=True, eq=False)
class Route:
    name: str
    """The class, or the id of the override."""
    entries: tuple[Entry, ...]
    """Those of a canary first, which count for drawn sessions only."""
    order: Expression | None = None
    conditional: tuple[int, ...] = ()
    """Indexes of entries with a condition."""
    canary: Canary | None = None
    hedge_ms: int = 0
    """Milliseconds after which the next candidate is asked beside one that has not begun to answer; 0 for never."""


@dataclass(slots=True, frozen=True, eq=False)
class Step:
    """One step of the pipeline as written; the graph is proved by the pipeline."""

    id: str
    use: str
    span: Span
    settings: Mapping[str, Any] = field(default_factory=dict)
    when: Expression | None = None
    on: Mapping[str, tuple[str, Span]] = field(default_factory=dict)
    """Exit → (id of the step it leads to, where that is written)."""


@dataclass(slots=True, frozen=True, eq=False)
class FloorRule:
    """A condition that no policy can take away; a candidate for which it is not true drops out."""

    id: str
    holds: Expression
    reason: Reason


@dataclass(slots=True, frozen=True, eq=False)
class Floor:
    rules: tuple[FloorRule, ...]
    """In the order in which they are asked."""
    all_hold: Expression
    """Their conjunction: one evaluation for a candidate that passes, which most do."""


@dataclass(slots=True, frozen=True)
class GateRules:
    """The rules that one gate asks."""

    require: tuple[RequireRule, ...]
    early: tuple[DenyRule, ...]
    """Deny rules about the request alone."""
    late: tuple[DenyRule, ...]
    """Deny rules about candidates."""

    @classmethod
    def of(cls, require: tuple[RequireRule, ...], deny: tuple[DenyRule, ...]) -> GateRules:
        return cls(require, tuple(r for r in deny if not r.candidate), tuple(r for r in deny if r.candidate))


@dataclass(frozen=True, eq=False)
class Policy:
    """Policies compare by identity; `digest` says whether two are the same."""

    name: str
    resolved: Resolved
    settings: Settings
    catalogue: Catalogue
    signals: Mapping[str, Any]
    """Name → compiled RE2 expression."""
    vars: tuple[tuple[str, Expression], ...]
    overrides: tuple[OverrideRule, ...]
    classify: tuple[ClassRule, ...]
    routes: Mapping[str, Route]
    require: tuple[RequireRule, ...]
    deny: tuple[DenyRule, ...]
    floor: Floor
    fallback: Fallback
    cache: CacheSettings
    answers: AnswerSettings
    steps: tuple[Step, ...]
    budgets: tuple[Budget, ...] = ()
    """What they do stands among the overrides and the deny rules."""
    trace: tuple[KeepRule, ...] = ()
    rates: Rates = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()
    """What the checks found that is no error."""
    read: frozenset[str] = frozenset()
    """Dotted paths of the facts that its expressions read."""

    @property
    def digest(self) -> str:
        """SHA-256 of everything the policy says, rows included."""
        return self.resolved.digest

    @cached_property
    def label(self) -> str:
        """`name@digest`, the digest's first twelve digits."""
        return f"{self.name}@{self.digest[:12]}"

    @cached_property
    def tags(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """(section, id) → tags, of the rules that have some."""
        return {(section, rule.id): rule.tags for section, rule in self._rules() if rule.tags}

    @cached_property
    def rule_ids(self) -> frozenset[tuple[str, str]]:
        """(section, id) of all its rules."""
        return frozenset((section, rule.id) for section, rule in self._rules())

    def _rules(self) -> Iterator[tuple[str, Rule]]:
        sections: Mapping[str, tuple[Rule, ...]] = {
            "override": self.overrides, "classify": self.classify, "require": self.require, "deny": self.deny,
            "cache": self.cache.rules, "trace": self.trace,
        }  # fmt: skip
        return ((section, rule) for section, rules in sections.items() for rule in rules)

    @property
    def sources(self) -> tuple[str, ...]:
        """The files it is made of, in the order in which they were laid over each other."""
        return tuple(source.file for source in self.resolved.sources)

    @property
    def providers(self) -> Mapping[str, Provider]:
        """Provider rows in their order."""
        return self.catalogue.providers

    @property
    def models(self) -> Mapping[str, Model]:
        """Model rows in their order, keyed `provider/name`."""
        return self.catalogue.models

    @cached_property
    def gate_rules(self) -> GateRules:
        """All its rules, for a gate that names none."""
        return GateRules.of(self.require, self.deny)

    @cached_property
    def resolver(self) -> Resolver:
        """Finds candidates; remembers what it found."""
        return Resolver(self.catalogue, self.rates)

    def route(self, name: str) -> Route:
        """The route of a class, or that of `fallback_safe`."""
        return self.routes.get(name) or self.routes[DEFAULT_CLASS]

    def traces(self, facts: Mapping[str, Any]) -> str:
        """The rule that wants such a request's trace kept; empty when none does."""
        return wanted_by(self.trace, facts)

    def priced(self, rates: Rates) -> Policy:
        """The same policy with `rates` behind its price facts; rows that state a price keep it."""
        return replace(self, rates={**rates, **self.rates})

    def model(self, ref: str) -> Model:
        """The row of `provider/name`, or one made up for a name without a row. Raises KeyError for an unknown provider."""
        return self.catalogue.model(ref)

    def reads(self, fact: str) -> bool:
        """Whether an expression of the policy reads `fact`, a dotted path, by itself or with all that is beside it."""
        return any(fact == path or fact.startswith(path + ".") for path in self.read)

    @cached_property
    def reads_secrets(self) -> bool:
        """Whether secrets have to be looked for before it can decide."""
        return self.reads("request.secrets")

    def prompt_cache(self, ref: str) -> PromptCache:
        """How `provider/name` keeps prompts; nothing is known of one whose provider is gone."""
        row = self.models.get(ref)
        if row is not None:
            return row.cache
        return self.model(ref).cache if ref.partition("/")[0] in self.providers else PromptCache()

    def knows(self, model: str) -> bool:
        """Whether a row or a provider's name prefix serves a model of that name."""
        return bool(self.catalogue.serving(model))
