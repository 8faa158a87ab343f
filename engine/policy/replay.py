"""What would another policy have done? Recorded requests, decided once more under two policies, in the order they came.

Rules kept here:

- Both sides are made anew, also the one that decided then. Where it decides otherwise today, that is `drift`, told apart from
  what the new policy changes.
- Money spent, and what a session knows of itself, depend on earlier decisions: they are the recorded figures plus what each
  side's own decisions changed about them.
- A figure that was recorded is exact, any other is an estimate and counted as such; unknown is neither 0 nor a guess.
- Pure: prices, provider states and the pipeline are given. Nothing is sent anywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from engine.llm.messages import Usage
from engine.policy.case import Case, ProviderState
from engine.policy.cel import ExprError
from engine.policy.decision import Facts
from engine.policy.difference import Kind, Outcome, differences
from engine.policy.model import Policy
from engine.policy.recall import FactsBroken, recall
from engine.policy.spending import Account, Bill, Books, Price

Availability = Mapping[str, ProviderState]

_MOST_MOVES = 500
"""Different moves (from, to) told apart for each kind of change."""


@dataclass(slots=True, frozen=True)
class Record:
    """A recorded request, as far as policies and sums need it."""

    id: str
    at: datetime
    policy: str
    """`name@digest` of the policy that decided."""
    facts: Any
    decision: Mapping[str, Any]
    states: Mapping[str, Any] = field(default_factory=dict)
    """The providers' states, as `availability_json` wrote them."""
    served: str = ""
    """`provider/name` that answered; empty when nobody did."""
    failed: frozenset[str] = frozenset()
    """Those that were tried and failed."""
    usage: Usage | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    """Of a whole answer; None for what failed or was broken off."""
    outrun: frozenset[str] = frozenset()
    """Those that were given up because one that was asked beside them began first."""


@dataclass(slots=True, frozen=True)
class Side:
    """A policy, ready to be asked."""

    policy: Policy
    walk: Callable[[Facts, Availability], tuple[Case, tuple[str, ...]]]
    """Decides by its pipeline."""
    price: Price


@dataclass(slots=True, frozen=True)
class Asked:
    """One side of an example, enough to ask for an explanation."""

    side: Side | None
    """None when that side is the recorded decision, because its policy is not there."""
    outcome: Outcome
    facts: Facts
    availability: Availability
    bill: Bill


@dataclass(slots=True, frozen=True)
class Change:
    record: Record
    kinds: tuple[Kind, ...]
    old: Asked
    new: Asked


@dataclass(slots=True)
class Tally:
    """Changes of one kind."""

    count: int = 0
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], Change] = field(default_factory=dict)

    def add(self, change: Change) -> None:
        self.count += 1
        move = moved(change.kinds[0], change.old.outcome, change.new.outcome)
        if move in self.moves or len(self.moves) < _MOST_MOVES:
            self.moves[move] += 1
            self.examples.setdefault(move, change)

    @property
    def example(self) -> Change | None:
        """A change of the commonest move."""
        return self.examples[self.moves.most_common(1)[0][0]] if self.moves else None


Verdict = Literal["same", "changed", "unknown", "skipped"]


@dataclass(slots=True)
class Replay:
    """Two policies side by side. `add` the records in the order of time, then read what came of it."""

    new: Side
    old: Callable[[Record], Side | None]
    """The policy to compare with, for a record; None takes the recorded decision for it."""
    availability: Callable[[Record], Availability]
    where: Callable[[Facts], bool] | None = None
    drifting: bool = True
    """Compare the old side with the record; senseless when the providers' states are not the recorded ones."""

    decided: int = 0
    skipped: int = 0
    same: int = 0
    tallies: dict[Kind, Tally] = field(default_factory=dict)
    touched: Counter[Kind] = field(default_factory=Counter)
    """Every kind that a change has, not only the weightiest."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Why records could not be decided."""
    filled: Counter[str] = field(default_factory=Counter)
    """Facts that were not recorded and taken as their defaults."""
    completed: int = 0
    """Records with such facts."""
    errors: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(section, rule, detail) of the new policy's rules that had no value."""
    failing: int = 0
    """Records with such rules."""
    drift: int = 0
    drift_example: Change | None = None
    unkept: Counter[str] = field(default_factory=Counter)
    """Labels of policies that decided then and are not there any more."""
    fired: set[tuple[str, str]] = field(default_factory=set)
    first: datetime | None = None
    last: datetime | None = None
    books: Books = field(default_factory=Books)

    def add(self, record: Record) -> Verdict:
        """Decide one more record under both policies."""
        return self.take(record)[0]

    def take(self, record: Record) -> tuple[Verdict, Change | None]:
        """The same, with the change if there is one."""
        try:
            facts, missing = recall(record.facts, self.new.policy.signals, self.new.policy.reads)
        except FactsBroken as error:
            self.unknown[str(error)] += 1
            return "unknown", None
        if self.where is not None and not self.where(facts):
            self.skipped += 1
            return "skipped", None
        self.decided += 1
        self.first, self.last = self.first or record.at, record.at
        if missing:
            self.completed += 1
            self.filled.update(missing)
        availability = self.availability(record)
        new = self._new(record, facts, availability)
        before = self._before(record, facts, availability, new)
        kinds = differences(before.outcome, new.outcome)
        self.books.close(record, before.bill, new.bill)
        if not kinds:
            self.same += 1
            return "same", None
        change = Change(record, kinds, before, new)
        self.touched.update(kinds)
        self.tallies.setdefault(kinds[0], Tally()).add(change)
        return "changed", change

    def never(self) -> list[tuple[str, Any]]:
        """(section, rule) of the new policy's rules that decided nothing, in their order."""
        policy = self.new.policy
        sections = (
            ("override", policy.overrides), ("classify", policy.classify), ("require", policy.require), ("deny", policy.deny),
            ("cache", policy.cache.rules), ("trace", policy.trace),
        )  # fmt: skip
        return [(name, rule) for name, rules in sections for rule in rules if (name, rule.id) not in self.fired]

    def _new(self, record: Record, facts: Facts, availability: Availability) -> Asked:
        side, account = self.new, self.books.new
        own = account.facts(facts, side.policy.prompt_cache, side.policy.budgets)
        case, _ = side.walk(own, availability)
        self._note(case)
        outcome = Outcome.of_case(case)
        self.fired |= {(name, rule) for name, rule in (("cache", outcome.kept), ("trace", outcome.traced)) if rule}
        return Asked(side, outcome, own, availability, self._bill(account, record, outcome, own, side))

    def _before(self, record: Record, facts: Facts, availability: Availability, new: Asked) -> Asked:
        """The old side; `new` is the other one, decided already."""
        side, account = self.old(record), self.books.old
        stored = Outcome.of_json(record.decision)
        if side is None:
            self.unkept[record.policy or "unknown"] += 1
            outcome = stored or Outcome("", "no_candidate")
            return Asked(None, outcome, facts, availability, self._bill(account, record, outcome, facts, self.new))
        if not side.policy.signals.keys() <= facts["signals"].keys():
            facts, _ = recall(record.facts, side.policy.signals)
        own = account.facts(facts, side.policy.prompt_cache, side.policy.budgets)
        # The same rules asked about the same facts say the same: decisions are pure, so a second walk is for nothing.
        alike = side.policy.digest == self.new.policy.digest and own == new.facts
        outcome = new.outcome if alike else Outcome.of_case(side.walk(own, availability)[0])
        asked = Asked(side, outcome, own, availability, self._bill(account, record, outcome, own, side))
        if self.drifting and stored is not None and side.policy.label == record.policy:
            kinds = differences(stored, outcome)
            if kinds:
                self.drift += 1
                recorded = Asked(None, stored, own, availability, asked.bill)
                self.drift_example = self.drift_example or Change(record, kinds, recorded, asked)
        return asked

    @staticmethod
    def _bill(account: Account, record: Record, outcome: Outcome, facts: Facts, side: Side) -> Bill:
        """What the outcome costs by the prices and the rows of `side`."""
        return account.bill(record, outcome, facts, side.price, side.policy.prompt_cache)

    def _note(self, case: Case) -> None:
        """Which rules took part, and which had no value."""
        failing = False
        for hit in case.hits:
            if hit.outcome == "error":
                failing = True
                self.errors[(hit.section, hit.id, hit.detail)] += 1
            elif (hit.outcome == "true") is not (hit.section == "require"):
                self.fired.add((hit.section, hit.id))
        self.failing += failing
        for found in case.tries or ():
            if found.dropped is not None:
                self.fired.add(("deny" if found.dropped == "GATE_DENY" else "require", found.rule))


def moved(kind: Kind, old: Outcome, new: Outcome) -> tuple[str, str]:
    """What a change of that kind goes from and to, in a few words."""
    match kind:
        case "denied" | "unserved" | "refusal":
            return old.refused or old.model, new.refused
        case "allowed":
            return old.refused, new.model
        case "model":
            return old.model, new.model
        case "class":
            return old.route_class, new.route_class
        case "protocol":
            return _reached(old), _reached(new)
        case "losses":
            return _listed(old.losses), _listed(new.losses)
        case "fallback":
            return _listed(old.chain[1:]), _listed(new.chain[1:])
        case "kept":
            return _kept(old.kept), _kept(new.kept)
        case "traced":
            return _kept(old.traced), _kept(new.traced)


def _reached(outcome: Outcome) -> str:
    return f"{outcome.model} as it is" if outcome.preserve else f"{outcome.model} by {outcome.protocol}"


def _kept(rule: str | None) -> str:
    return f"kept by {rule}" if rule else "not kept"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nothing"


def holds(facts: Mapping[str, Any], evaluate: Callable[[Mapping[str, Any]], Any]) -> bool:
    """Whether a filter's condition is true for these facts; one without a value is not."""
    try:
        return evaluate(facts) is True
    except ExprError:
        return False
