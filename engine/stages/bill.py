"""What a request cost: by the counts that the provider told, else by what came, and then it says so.

Rules kept here:

- Counts that were told are never mixed up with estimated ones: an event's token fields hold what the provider said, and
  `basis` says what the cost rests on. `usage`: all counts were told. `partial`: the answer broke off, the prompt's count was
  told. `sizes`: nothing was told, the prompt is estimated from its size and the answer from what came. How much of the money
  rests on estimates is told beside it (`estimated_usd`).
- An estimate is what the same model is expected to count: by what it counted lately (`Calibration`), with as much of the prompt
  read from its cache, and written to it, as the gateway expected when the request came. What vendors do is not always known, so
  it can be wrong either way; nothing is added for safety.
- An attempt that we gave up on (time ran out, the client left, another one was faster) was under way at the provider and is
  paid for: its prompt is counted, as an estimate, as wasted. So is an answer that came and was not taken (a tool call that fits nothing), as its
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
from engine.providers.calibration import Calibration
from engine.providers.prices import Cost, PriceTable
from engine.store.event import LOST

Basis = Literal["usage", "partial", "sizes", ""]

_UNDER_WAY = frozenset({"timeout", "cancelled", LOST})
"""How attempts end that we gave up on while the provider worked."""

_BYTES_PER_TOKEN = 4


@dataclass(slots=True, frozen=True)
class Counts:
    """The tokens of one answer, or of an attempt at one."""

    usage: Usage
    """To be priced."""
    told: Usage
    """What of it the provider said."""
    basis: Basis


@dataclass(slots=True, frozen=True)
class Bill:
    """The money of one request; None is unknown, or none where nobody was asked."""

    cost: Cost | None = None
    """Of the answer."""
    basis: Basis = ""
    """What `cost` was counted by."""
    wasted: tuple[float | None, ...] = ()
    """For each attempt, in order, that brought the client nothing; None for one that cost nothing, or nobody knows
    what, and for the one that answered. Empty if there was no other."""
    requested_usd: float | None = None
    """What the answer would have cost on the model asked for; of a refused request, its estimate there."""
    estimated_usd: float | None = None
    """How much of `total_usd` rests on counts that nobody told; None when all were and nothing was wasted."""
    usage: Usage | None = None
    """What the answer was priced by."""

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


def bill(exchange: Exchange, prices: PriceTable, calibration: Calibration) -> Bill:
    """The bill of a finished exchange. Pure but for the price table's memory."""
    answer = exchange.answer
    wasted, guessed = _wasted(exchange, prices, calibration)
    if answer is None:
        return Bill(wasted=wasted, requested_usd=_avoided(exchange, prices), estimated_usd=guessed)
    if exchange.served is None:  # kept from an earlier request: what it would have cost is what was saved
        saved = exchange.saved or Usage()
        cost = prices.cost(answer.candidate.ref, saved, exchange.wall)
        return Bill(requested_usd=_requested(exchange, prices, saved, cost))
    counts = counted(exchange, answer, exchange.served, calibration)
    usage = counts.usage
    cost = prices.cost(answer.candidate.ref, usage, exchange.wall)
    if counts.basis != "usage" and cost.usd is not None:
        guessed = (guessed or 0.0) + cost.usd - _told_usd(exchange, prices, answer.candidate.ref, counts)
    basis = counts.basis if cost.usd is not None else ""
    return Bill(cost, basis, wasted, _requested(exchange, prices, usage, cost), guessed, usage)


def counted(exchange: Exchange, answer: Answer, served: Attempt, calibration: Calibration) -> Counts:
    """The counts of the exchange's answer, which the attempt `served` brought, and where they come from."""
    tapped, reply = exchange.tapped or Tapped(), exchange.reply
    whole = reply.body if reply is not None and answer.relay is None and answer.events is None else b""
    told = tapped.usage or Usage()
    if tapped.finished and told.input_tokens is not None and told.output_tokens is not None:
        return Counts(told, told, "usage")
    came = len(whole) // _BYTES_PER_TOKEN if whole else answer.heard.tokens
    return _counts(exchange, served, told, came, calibration)


def _counts(exchange: Exchange, attempt: Attempt, told: Usage, came: int, calibration: Calibration) -> Counts:
    """The counts of an attempt of which not everything was told, `came` tokens of whose answer were heard."""
    ref, protocol = attempt.candidate.ref, exchange.wire.name
    output = max(told.output_tokens or 0, calibration.answer(ref, protocol, came))
    if told.input_tokens is not None:
        return Counts(replace(told, output_tokens=output), told, "partial")
    size = int(exchange.facts["estimate"]["input_tokens"]) if exchange.facts else 0
    prompt = calibration.prompt(ref, protocol, size)
    read, written = _cached(exchange, attempt, prompt)
    long = written if "long" in attempt.hints else None
    usage = replace(
        told, input_tokens=prompt, output_tokens=output, cached_tokens=read,
        cache_write_tokens=written, cache_write_1h_tokens=long,
    )  # fmt: skip
    return Counts(usage, told, "sizes")


def _cached(exchange: Exchange, attempt: Attempt, prompt: int) -> tuple[int, int]:
    """Tokens of a prompt that the provider is expected to have read from its cache and written to it."""
    look, ref = exchange.prefix, attempt.candidate.ref
    if look is None:
        return 0, 0
    cache = exchange.policy.prompt_cache(ref)
    read = min(look.reading(ref, attempt.key), prompt)
    if cache.kind != "marks":  # what is kept unasked is priced as any other prompt
        return read, 0
    marked = cache.kept(int(prompt * look.marked(attempt.hints)))
    return read, max(marked - read, 0)


def _told_usd(exchange: Exchange, prices: PriceTable, ref: str, counts: Counts) -> float:
    """What of a cost rests on what the provider said."""
    told = replace(counts.told, output_tokens=counts.told.output_tokens or 0)
    return prices.cost(ref, told, exchange.wall).usd or 0.0


def _wasted(
    exchange: Exchange, prices: PriceTable, calibration: Calibration
) -> tuple[tuple[float | None, ...], float | None]:
    """(`Bill.wasted`, how much of it is estimated, None if nothing was wasted)."""
    served, attempts = exchange.served, exchange.attempts
    if len(attempts) == 1 and served is not None:
        return (), None
    found: list[float | None] = []
    guessed: float | None = None
    for attempt in attempts:
        counts = _given_up(exchange, attempt, calibration) if attempt is not served else None
        ref = attempt.candidate.ref
        usd = prices.cost(ref, counts.usage, exchange.wall).usd if counts is not None else None
        found.append(usd)
        if counts is not None and usd is not None:
            told = usd if counts.basis == "usage" else _told_usd(exchange, prices, ref, counts)
            guessed = (guessed or 0.0) + usd - told
    return tuple(found), guessed


def _given_up(exchange: Exchange, attempt: Attempt, calibration: Calibration) -> Counts | None:
    """The tokens of an attempt that did not answer and is paid for all the same; None when it is not."""
    spent = attempt.spent
    if spent is not None and spent.input_tokens is not None and spent.output_tokens is not None:
        return Counts(spent, spent, "usage")
    heard = attempt.heard
    if spent is None and not heard.tokens and attempt.meaning not in _UNDER_WAY:
        return None
    return _counts(exchange, attempt, spent or heard.told or Usage(), heard.tokens, calibration)


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
