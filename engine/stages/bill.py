"""What a request cost: by the counts that the provider told, else by what came, and then it says so.

Rules kept here:

- Counts that were told are never mixed up with estimated ones: an event's token fields hold what the provider said, and
  `basis` says what the cost rests on. `usage`: all counts were told. `partial`: the answer broke off, the prompt's count was
  told. `sizes`: nothing was told, the prompt is estimated from its size and the answer from what came.
- An attempt that we gave up on (time ran out, the client left, another one was faster) was under way at the provider and is paid for: its prompt is
  counted, as an estimate, as wasted. So is an answer that came and was not taken (a tool call that fits nothing), as its
  provider counted it, or that broke off before it was passed on. What the provider refused, or failed at before it wrote
  anything, costs nothing.
- What the same answer would have cost on the model that was asked for is worked out here and recorded, with today's prices.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from engine.exchange import Answer, Attempt, Exchange
from engine.llm.errors import PolicyError
from engine.llm.frozen import dataclass
from engine.llm.messages import Usage
from engine.llm.protocol import Tapped
from engine.providers.prices import Cost, PriceTable
from engine.store.event import LOST

Basis = Literal["usage", "partial", "sizes", ""]

_UNDER_WAY = frozenset({"timeout", "cancelled", LOST})
"""How attempts end that we gave up on while the provider worked."""

_BYTES_PER_TOKEN = 4


@dataclass(slots=True, frozen=True)
class Bill:
    """The money of one request; None is unknown, or none where nobody was asked."""

    cost: Cost | None = None
    """Of the answer."""
    basis: Basis = ""
    """What `cost` was counted by."""
    wasted: tuple[float | None, ...] = ()
    """Estimate for each attempt, in order, that brought the client nothing; None for one that cost nothing, or nobody knows
    what, and for the one that answered. Empty if there was no other."""
    requested_usd: float | None = None
    """What the answer would have cost on the model asked for; of a refused request, its estimate there."""

    @property
    def wasted_usd(self) -> float | None:
        """All of it; None when that is nothing, or unknown."""
        known = [usd for usd in self.wasted if usd is not None]
        return sum(known) if known else None

    @property
    def total_usd(self) -> float | None:
        """Everything, as far as it is known; None when nothing is."""
        usd, wasted = self.cost.usd if self.cost is not None else None, self.wasted_usd
        return usd if wasted is None else (usd or 0.0) + wasted


def bill(exchange: Exchange, prices: PriceTable) -> Bill:
    """The bill of a finished exchange. Pure but for the price table's memory."""
    answer, wasted = exchange.answer, _wasted(exchange, prices)
    if answer is None:
        return Bill(wasted=wasted, requested_usd=_avoided(exchange, prices))
    usage, basis = counted(exchange, answer)
    if exchange.cache_hit and exchange.saved is not None:
        usage = exchange.saved
    cost = prices.cost(answer.candidate.ref, usage, exchange.wall)
    if exchange.cache_hit:  # nobody was asked: what it would have cost is what was saved
        return Bill(requested_usd=_requested(exchange, prices, usage, cost))
    return Bill(cost, basis if cost.usd is not None else "", wasted, _requested(exchange, prices, usage, cost))


def counted(exchange: Exchange, answer: Answer) -> tuple[Usage, Basis]:
    """The counts of the exchange's answer, and where they come from."""
    tapped, reply = exchange.tapped or Tapped(), exchange.reply
    whole = reply.body if reply is not None and answer.relay is None and answer.events is None else b""
    return _counted(exchange, answer, tapped, whole)


def _counted(exchange: Exchange, answer: Answer, tapped: Tapped, whole: bytes) -> tuple[Usage, Basis]:
    """The counts to price, and where they come from; `whole` is the answer if it came as one."""
    told = tapped.usage or Usage()
    if told.input_tokens is not None and told.output_tokens is not None and tapped.finished:
        return told, "usage"
    came = len(whole) // _BYTES_PER_TOKEN if whole else answer.heard.tokens
    output = max(told.output_tokens or 0, came)
    if told.input_tokens is not None:
        return replace(told, output_tokens=output), "partial"
    return _by_sizes(exchange, told, output), "sizes"


def _by_sizes(exchange: Exchange, told: Usage, output: int) -> Usage:
    """Counts that nobody told: the prompt by its size, as if no cache had any of it, so that budgets err on the safe side."""
    prompt = int(exchange.facts["estimate"]["input_tokens"]) if exchange.facts else 0
    return replace(told, input_tokens=prompt, output_tokens=output)


def _wasted(exchange: Exchange, prices: PriceTable) -> tuple[float | None, ...]:
    served, attempts = exchange.served, exchange.attempts
    if len(attempts) == 1 and served is not None:
        return ()
    return tuple(None if attempt is served else _given_up(exchange, prices, attempt) for attempt in attempts)


def _given_up(exchange: Exchange, prices: PriceTable, attempt: Attempt) -> float | None:
    """What an attempt cost that did not answer; None when that is nothing, or unknown."""
    told = attempt.spent
    if told is not None and told.input_tokens is not None:
        return prices.cost(attempt.candidate.ref, told, exchange.wall).usd
    if told is not None or attempt.heard.tokens or attempt.meaning in _UNDER_WAY:
        sizes = _by_sizes(exchange, Usage(), attempt.heard.tokens)
        return prices.cost(attempt.candidate.ref, sizes, exchange.wall).usd
    return None


def _requested(exchange: Exchange, prices: PriceTable, usage: Usage, cost: Cost) -> float | None:
    """The same tokens on the model that was asked for; its own cost where that is who answered.

    Had it served the whole session, its cache would hold what is warm anywhere now. Leaving that out would make a change of
    models look like a saving that it is not.
    """
    assert exchange.answer is not None
    named = _named(exchange)
    if exchange.answer.candidate.ref in named:
        return cost.usd
    warm = exchange.prefix.warmest[1] if exchange.prefix is not None else 0
    same = replace(usage, cost_usd=None, cached_tokens=max(usage.cached_tokens or 0, warm))
    for ref in named:
        usd = prices.cost(ref, same, exchange.wall).usd
        if usd is not None:
            return usd
    return None


def _avoided(exchange: Exchange, prices: PriceTable) -> float | None:
    """What a request that the policy refused would have cost, estimated."""
    if not isinstance(exchange.error, PolicyError) or exchange.attempts or not exchange.facts:
        return None
    estimate = exchange.facts["estimate"]
    for ref in _named(exchange):
        usd = prices.estimate(ref, estimate["input_tokens"], estimate["output_tokens"], at=exchange.wall)
        if usd is not None:
            return usd
    return None


def _named(exchange: Exchange) -> tuple[str, ...]:
    """`provider/name` of the models that the client's model name stands for."""
    survey = exchange.survey
    return tuple(model.ref for model in exchange.policy.catalogue.serving(survey.model)) if survey is not None else ()
