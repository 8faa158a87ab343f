"""What a decision would have cost, and what later facts would have been because of it.

Each side of a replay has an account. It starts from the recorded figures and adds what that side's own decisions changed: the
money of the day and the month, the session's cost and last model, and which prompts a provider still has in its cache.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING, Any

from engine.llm.catalogue import PromptCache
from engine.llm.messages import Usage
from engine.policy.budgets import Budget, Pot
from engine.policy.decision import Facts
from engine.policy.difference import Outcome

if TYPE_CHECKING:
    from engine.policy.replay import Record

Price = Callable[[str, Usage, datetime], float | None]
"""(`provider/name`, tokens, when) → USD; None when the price is unknown."""

Keeps = Callable[[str], PromptCache]
"""`provider/name` → how it keeps prompts, by its row."""


@dataclass(slots=True, frozen=True)
class Bill:
    """What one side's decision about one request comes to."""

    served: str
    """`provider/name` that would have answered; empty when nobody would."""
    usd: float | None
    """None when it can't be known."""
    estimated: bool = False
    unknown: str = ""
    """Why it can't: `tokens` nobody counted, or the name of a model without a price."""
    cold_usd: float = 0.0
    """Part of it that is due to a prefix that is not in this model's cache, and was in the other's."""


@dataclass(slots=True)
class Account:
    """The figures of one side."""

    days: dict[str, float] = field(default_factory=dict)
    """Date → USD more (or less) than recorded."""
    months: dict[str, float] = field(default_factory=dict)
    sessions: dict[str, float] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    """Session → the model that served it last, where that is not the recorded one."""
    used: dict[tuple[str, str], float] = field(default_factory=dict)
    """(session, model) → when it served it last."""
    really: dict[tuple[str, str], float] = field(default_factory=dict)
    """The same, as it was."""
    moved: dict[str, set[str]] = field(default_factory=dict)
    """Session → models that this side used at other times than they really were used."""
    prompts: dict[tuple[str, str], int] = field(default_factory=dict)
    """(session, model) → tokens of the newest prompt that it served."""
    pots: dict[Pot, float] = field(default_factory=dict)
    """What is spent of the policy's budgets. A pot begins with what was recorded of it, or with nothing."""
    drawn: tuple[Pot, ...] = ()
    """The pots of the request that is decided now."""

    def facts(self, facts: Facts, keeps: Keeps, budgets: tuple[Budget, ...] = ()) -> Facts:
        """The facts as they would have been under this side's earlier decisions. Not copied when that changes nothing."""
        date, session = facts["now"]["date"], facts["session"]["id"]
        day, month = self.days.get(date, 0.0), self.months.get(date[:7], 0.0)
        if day or month:
            budget = facts["budget"]
            spent = {"day_usd": max(budget["day_usd"] + day, 0.0), "month_usd": max(budget["month_usd"] + month, 0.0)}
            facts = {**facts, "budget": {**budget, **spent}}
        if budgets:
            facts = {**facts, "budget": {**facts["budget"], **self._figures(facts, budgets)}}
        more, model = self.sessions.get(session, 0.0), self.models.get(session)
        if session and (more or model is not None):
            own = facts["session"]
            cost = max(own["cost_usd"] + more, 0.0)
            facts = {**facts, "session": {**own, "cost_usd": cost, "model": own["model"] if model is None else model}}
        moved = self.moved.get(session) if session else None
        if not moved:
            return facts
        return {**facts, "session": {**facts["session"], **self._warm(facts, session, moved, keeps)}}

    def _warm(self, facts: Facts, session: str, moved: set[str], keeps: Keeps) -> dict[str, Any]:
        """What this side would have in prompt caches: the recorded tokens for models that it used as they really were used, for
        the others the tokens of the prompt before as long as their rows say that it is kept, and nothing else.
        """
        warm: dict[str, int] = {ref: tokens for ref, tokens in facts["session"]["warm"].items() if ref not in moved}
        now, prompt = facts["now"]["unix"], facts["estimate"]["input_tokens"]
        for ref in moved:
            tokens = min(self.prompts.get((session, ref), 0), prompt)
            if kept := self._kept((session, ref), tokens, now, keeps):
                warm[ref] = kept
        model, tokens = max(warm.items(), key=lambda item: item[1], default=("", 0))
        return {"warm": warm, "warm_model": model, "warm_tokens": tokens}

    def _figures(self, facts: Facts, budgets: tuple[Budget, ...]) -> dict[str, Any]:
        """`budget.NAME` of the facts by this side's own spending."""
        found: dict[str, Any] = {}
        drawn: list[Pot] = []
        for budget in budgets:
            pot = budget.pot(facts)
            spent = 0.0
            if pot is not None:
                recorded = facts["budget"].get(budget.id)
                begun = float(recorded["spent_usd"]) if isinstance(recorded, dict) else 0.0
                spent = self.pots.setdefault(pot, begun)
                drawn.append(pot)
            found[budget.id] = {"spent_usd": spent}
        self.drawn = tuple(drawn)
        return found

    def _kept(self, key: tuple[str, str], tokens: int, now: float, keeps: Keeps) -> int:
        """How much of a prompt of so many tokens the model of `key` still has at `now`; 0 where nothing is known of its cache."""
        cache = keeps(key[1])
        lasts = cache.kind != "none" and now - self.used.get(key, float("-inf")) <= cache.seconds
        return cache.kept(tokens) if lasts else 0

    def bill(self, record: Record, outcome: Outcome, facts: Facts, price: Price, keeps: Keeps) -> Bill:
        """What `outcome` would have cost, and note what that changes for later requests."""
        bill = self._priced(record, _answering(record, outcome), facts, price, keeps)
        self._settle(record, bill, facts["session"]["id"], facts)
        return bill

    def _priced(self, record: Record, served: str, facts: Facts, price: Price, keeps: Keeps) -> Bill:
        if not served:
            return Bill("", 0.0)
        session = facts["session"]["id"]
        key = (session, served)
        if served == record.served and (not session or self.used.get(key) == self.really.get(key)):
            return Bill(served, record.cost_usd, unknown="" if record.cost_usd is not None else "tokens")
        usage = record.usage
        if usage is None or usage.input_tokens is None or usage.output_tokens is None:
            return Bill(served, None, unknown="tokens")
        usage = replace(usage, cost_usd=None)
        warm = bool(session) and self._kept(key, usage.input_tokens or 0, record.at.timestamp(), keeps) > 0
        asked = usage if warm else _cold(usage, marks=facts["request"]["cache_marks"] > 0)
        usd = price(served, asked, record.at)
        if usd is None:
            return Bill(served, None, estimated=True, unknown=served)
        lost = 0.0
        if asked is not usage:
            lost = max(usd - (price(served, usage, record.at) or usd), 0.0)
        return Bill(served, usd, estimated=True, cold_usd=lost)

    def _settle(self, record: Record, bill: Bill, session: str, facts: Facts) -> None:
        drawn, self.drawn = self.drawn, ()
        if bill.usd is not None:
            for pot in drawn:
                self.pots[pot] += bill.usd
            more = bill.usd - (record.cost_usd or 0.0)
            if more:
                date = facts["now"]["date"]
                self.days[date] = self.days.get(date, 0.0) + more
                self.months[date[:7]] = self.months.get(date[:7], 0.0) + more
                if session:
                    self.sessions[session] = self.sessions.get(session, 0.0) + more
        if not session:
            return
        if bill.served == record.served:
            self.models.pop(session, None)
        elif bill.served:
            self.models[session] = bill.served
        now = record.at.timestamp()
        if bill.served:
            self.used[(session, bill.served)] = now
            self.prompts[(session, bill.served)] = facts["estimate"]["input_tokens"]
        if record.served:
            self.really[(session, record.served)] = now
        if bill.served != record.served:
            self.moved.setdefault(session, set()).update(filter(None, (bill.served, record.served)))


def _answering(record: Record, outcome: Outcome) -> str:
    """The model that would have answered: the first of the chain that was not seen to fail on this request, or, where the next is
    asked beside a slow one, whoever was seen to be faster.

    Nobody, when the chain begins with one that failed and nobody else answered either: that would have gone the same way.
    """
    if not outcome.chain or (not record.served and outcome.chain[0] in record.failed):
        return ""
    answers = next((ref for ref in outcome.chain if ref not in record.failed), "")
    outrun = outcome.hedged and answers in record.outrun and record.served in outcome.chain
    return record.served if outrun else answers


def _cold(usage: Usage, *, marks: bool) -> Usage:
    """The same tokens for a model that has nothing of the prompt in its cache; with `marks`, or if it wrote anything at all, it
    writes what it would have read.
    """
    read, written = usage.cached_tokens or 0, usage.cache_write_tokens or 0
    if not read and not written:
        return usage
    return replace(
        usage, cached_tokens=0, cache_write_tokens=read + written if marks or written else 0, cache_write_1h_tokens=0
    )


@dataclass(slots=True)
class Books:
    """Both sides' accounts, and the sums over what both know."""

    old: Account = field(default_factory=Account)
    new: Account = field(default_factory=Account)
    old_usd: float = 0.0
    new_usd: float = 0.0
    old_estimated_usd: float = 0.0
    new_estimated_usd: float = 0.0
    cold_usd: float = 0.0
    """Part of the new figure: prefixes read anew that the old side had in a cache."""
    priced: int = 0
    unpriced: Counter[str] = field(default_factory=Counter)
    """Why requests are in no sum: `tokens`, or a model without a price."""
    delays: list[tuple[str, str, float]] = field(default_factory=list)
    """(old model, new model, recorded ms); a model is empty where the recorded time is its own."""
    answered: dict[str, list[float]] = field(default_factory=dict)
    """Model → recorded times of its answers."""

    def close(self, record: Record, old: Bill, new: Bill) -> None:
        """Add one request to the sums, if both sides know what it cost."""
        if old.usd is None or new.usd is None:
            self.unpriced[new.unknown or old.unknown] += 1
        else:
            self.priced += 1
            self.old_usd += old.usd
            self.new_usd += new.usd
            self.old_estimated_usd += old.usd if old.estimated else 0.0
            self.new_estimated_usd += new.usd if new.estimated else 0.0
            self.cold_usd += new.cold_usd - old.cold_usd
        if record.latency_ms is None or not record.served:
            return
        self.answered.setdefault(record.served, []).append(record.latency_ms)
        if old.served and new.served:
            names = [bill.served if bill.served != record.served else "" for bill in (old, new)]
            self.delays.append((names[0], names[1], record.latency_ms))

    def delay(self) -> Delay:
        """The middle delay of both sides, over requests of which both are known or can be estimated."""
        middles = {ref: median(times) for ref, times in self.answered.items()}
        old: list[float] = []
        new: list[float] = []
        left: Counter[str] = Counter()
        for was, would, took in self.delays:
            before, after = (middles.get(ref) if ref else took for ref in (was, would))
            if before is None or after is None:
                left[would if after is None else was] += 1
                continue
            old.append(before)
            new.append(after)
        if not old:
            return Delay(None, None, 0, left)
        estimated = sum(bool(was or would) for was, would, _ in self.delays) - left.total()
        return Delay(median(old), median(new), estimated, left)


@dataclass(slots=True, frozen=True)
class Delay:
    old_ms: float | None
    new_ms: float | None
    estimated: int
    """Requests whose figure is the median of the other model's recorded answers."""
    left: Counter[str]
    """Model without a recorded answer → requests left out because of it."""
