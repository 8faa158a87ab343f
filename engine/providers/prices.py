"""What an answer costs: rates looked up once per model when a policy is loaded, then plain arithmetic.

Rules kept here:

- Unknown stays unknown. A model without a price has the cost None, never 0, and so has an answer without token counts.
- Whoever knows best wins: what the provider itself charged, then the policy's own `price`, then the price table. The
  estimate is kept beside the provider's figure.
- Prices of the table may depend on the size of the prompt, on the date, on the hour and on the service tier. All of that is
  resolved into `_Rates`, floats per token; a property test holds them against the table's own calculation.
- A reported 0 beside a known price is no report: some vendors fill the field in without meaning it, and a budget that
  believed it would never be used up.
- A cached or written token without a price of its own is billed like any other input token.

The price table is the package `genai-prices` with the data it ships; nothing is fetched. Importing it takes a tenth of a
second, so only `PriceTable.load` does it, and only if some provider names a `price_id`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from datetime import UTC, datetime
from typing import Any, Literal

from engine.llm.catalogue import Model, Provider, Rate
from engine.llm.frozen import dataclass
from engine.llm.messages import Usage

Provenance = Literal["provider", "override", "catalogue", "unknown"]

_PER_MILLION = 1e-6

_CLASSES = (
    ("input", "input_mtok"),
    ("output", "output_mtok"),
    ("read", "cache_read_mtok"),
    ("write", "cache_write_mtok"),
    ("write_1h", "cache_write_1h_mtok"),
)
"""Field of `_Rates` → the table's name for that class of tokens."""

_STANDARD_TIERS = frozenset({"", "auto", "default", "standard"})
"""Service tiers at the normal price."""

_MOST_ENTRIES = 4096
"""Beyond that many models, names without a row are not looked up any more; clients choose them."""


@dataclass(slots=True, frozen=True)
class Cost:
    """What one answer cost."""

    usd: float | None
    """None when it can't be known."""
    provenance: Provenance = "unknown"
    table: str = ""
    """Name and version of the price table that was used, empty if none was."""
    estimate_usd: float | None = None
    """The price table's own figure, also when the provider's was taken."""


@dataclass(slots=True, frozen=True)
class _Rates:
    """USD per token for prompts above `above` tokens."""

    above: int
    input: float
    output: float
    read: float
    write: float
    write_1h: float

    def cost(self, prompt: int, answer: int, read: int, write: int, write_1h: int) -> float:
        """`read` and `write` are parts of `prompt`, `write_1h` is a part of `write`."""
        plain = max(prompt - read - write, 0)
        return (
            plain * self.input
            + read * self.read
            + (write - write_1h) * self.write
            + write_1h * self.write_1h
            + answer * self.output
        )


@dataclass(slots=True)
class _Entry:
    """How one model is priced. `tiers` by prompt size, largest first; `dated` when they depend on date or hour."""

    provenance: Provenance
    tiers: tuple[_Rates, ...] = ()
    info: Any = None
    """The table's model, for what depends on time or service tier."""
    dated: bool = False
    variants: bool = False
    resolved: dict[int, tuple[_Rates, ...]] = field(default_factory=dict)
    """Identity of one of the table's price sets → its rates."""

    def rates(self, prompt: int, at: datetime | None, tier: str = "") -> _Rates:
        tiers = self.tiers
        if at is not None and self.dated:
            tiers = self._at(at)
        if self.variants and tier not in _STANDARD_TIERS:
            tiers = _tiers(self.info.get_prices(at or datetime.now(UTC), {"service_tier": tier})) or tiers
        for rates in tiers:
            if prompt > rates.above:
                return rates
        return tiers[-1]

    def _at(self, at: datetime) -> tuple[_Rates, ...]:
        prices = self.info.get_prices(at)
        found = self.resolved.get(id(prices))
        if found is None:
            found = self.resolved[id(prices)] = _tiers(prices) or self.tiers
        return found


class PriceTable:
    """Prices of the models of one policy. Make it with `load`; all other methods take microseconds and never raise."""

    __slots__ = ("_entries", "_lookup", "_providers", "version")

    def __init__(
        self, entries: Mapping[str, _Entry], providers: Mapping[str, Provider], lookup: _Lookup | None
    ) -> None:
        self._entries = dict(entries)
        self._providers = providers
        self._lookup = lookup
        self.version = lookup.version if lookup else ""
        """Name and version of the price table, empty when no provider needs one."""

    @classmethod
    def load(
        cls, models: Iterable[Model], providers: Mapping[str, Provider], *, at: datetime | None = None
    ) -> PriceTable:
        """Look up every model's price. `at` resolves dated prices where a caller of `estimate` gives no time."""
        lookup = _Lookup(at or datetime.now(UTC)) if any(p.price_id for p in providers.values()) else None
        entries: dict[str, _Entry] = {}
        for model in models:
            if model.price:
                entries[model.ref] = _override(model.price)
            elif (
                lookup
                and not (model.local or model.name.endswith("*"))
                and (provider := providers.get(model.provider))
                and (entry := lookup.find(provider, model.name))
            ):
                entries[model.ref] = entry
        return cls(entries, providers, lookup)

    def known(self, ref: str) -> bool:
        """Whether `provider/name` has a price."""
        return self._entry(ref) is not None

    def rates(self, *, at: datetime | None = None) -> dict[str, Rate]:
        """What a million tokens of a short prompt cost, for every row that has a price: a policy's price facts."""
        return {ref: _rate(entry.rates(0, at)) for ref, entry in self._entries.items()}

    def per_million(self, ref: str, *, at: datetime | None = None) -> tuple[float, float] | None:
        """USD per million input and output tokens of a short prompt; None when unknown."""
        entry = self._entry(ref)
        if entry is None:
            return None
        rate = _rate(entry.rates(0, at))
        return rate.input, rate.output

    def estimate(self, ref: str, input_tokens: int, output_tokens: int, *, at: datetime | None = None) -> float | None:
        """USD for a request of that size without any cached token; None when the price is unknown."""
        entry = self._entry(ref)
        if entry is None:
            return None
        rates = entry.rates(input_tokens, at)
        return input_tokens * rates.input + output_tokens * rates.output

    def cost(self, ref: str, usage: Usage, at: datetime) -> Cost:
        """What an answer of `provider/name` with that usage cost. `at` is when it was asked for, with a time zone."""
        estimate = self._estimate(ref, usage, at)
        if usage.cost_usd is not None and (usage.cost_usd > 0 or (usage.cost_usd == 0 and not estimate.usd)):
            return Cost(usage.cost_usd, "provider", estimate.table, estimate.usd)
        return estimate

    def _estimate(self, ref: str, usage: Usage, at: datetime) -> Cost:
        prompt, answer = usage.input_tokens, usage.output_tokens
        entry = self._entry(ref)
        if entry is None or prompt is None or answer is None:
            return Cost(None)
        read = min(usage.cached_tokens or 0, prompt)
        write = min(usage.cache_write_tokens or 0, prompt - read)
        write_1h = min(usage.cache_write_1h_tokens or 0, write)
        tier = usage.extra.get("service_tier", "") if entry.variants else ""
        rates = entry.rates(prompt, at, tier if isinstance(tier, str) else "")
        usd = rates.cost(prompt, answer, read, write, write_1h)
        return Cost(usd, entry.provenance, self.version if entry.provenance == "catalogue" else "", usd)

    def _entry(self, ref: str) -> _Entry | None:
        """The model's entry. A name without a row, served by a provider's wildcard, is looked up once and remembered."""
        entry = self._entries.get(ref)
        if entry is None and self._lookup is not None and ref not in self._lookup.missed:
            name, _, model = ref.partition("/")
            provider = self._providers.get(name)
            if provider is None or len(self._entries) + len(self._lookup.missed) >= _MOST_ENTRIES:
                return None
            entry = self._lookup.find(provider, model)
            if entry is None:
                self._lookup.missed.add(ref)
            else:
                self._entries[ref] = entry
        return entry


def _rate(rates: _Rates) -> Rate:
    each = (rates.input, rates.output, rates.read, rates.write, rates.write_1h)
    return Rate(*(round(usd / _PER_MILLION, 9) for usd in each))


class _Lookup:
    """The price table itself. Finding a model goes through its matching rules: a millisecond, hence only at load."""

    __slots__ = ("_at", "_snapshot", "missed", "version")

    def __init__(self, at: datetime) -> None:
        # A tenth of a second, most of it pydantic; a gateway with local models alone never pays it.
        from genai_prices import __version__, data_snapshot  # noqa: PLC0415

        self._at = at
        self._snapshot = data_snapshot.get_snapshot()
        self.version = f"genai-prices {__version__}"
        self.missed: set[str] = set()

    def find(self, provider: Provider, name: str) -> _Entry | None:
        """The entry for a provider's model; None when the table does not know it, or not what it charges."""
        if not provider.price_id:
            return None
        try:
            _, info = self._snapshot.find_provider_model(name, None, provider.price_id, None)
        except LookupError:
            return None
        tiers = _tiers(info.get_prices(self._at))
        if not tiers:
            return None
        return _Entry("catalogue", tiers, info, isinstance(info.prices, list), bool(info.price_variants))


def _override(price: Mapping[str, float]) -> _Entry:
    """An entry from a row's own `price`, USD per million tokens."""
    base = price.get("input", 0.0)
    read, write = price.get("cached_input", base), price.get("cache_write", base)
    hour = price.get("cache_write_1h", write)
    rates = _Rates(0, *(rate * _PER_MILLION for rate in (base, price.get("output", 0.0), read, write, hour)))
    return _Entry("override", (rates,))


def _tiers(prices: Any) -> tuple[_Rates, ...]:
    """One of the table's price sets as rates by prompt size, largest first; empty if it has no token prices."""
    given = {key: getattr(prices, key) for _, key in _CLASSES}
    if given["input_mtok"] is None and given["output_mtok"] is None:
        return ()
    # A tier's rate holds for the whole prompt as soon as it is longer than the tier's start.
    starts = {tier.start for price in given.values() for tier in getattr(price, "tiers", ())}
    return tuple(_rates_above(given, start) for start in sorted(starts | {0}, reverse=True))


def _rates_above(given: Mapping[str, Any], start: int) -> _Rates:
    rate: dict[str, float] = {}
    for name, key in _CLASSES:
        price = given[key]
        if price is None:
            fallback = {"read": "input", "write": "input", "write_1h": "write"}.get(name)
            rate[name] = rate[fallback] if fallback else 0.0
            continue
        value = getattr(price, "base", price)
        for tier in getattr(price, "tiers", ()):
            if tier.start <= start:
                value = tier.price
        rate[name] = float(value) * _PER_MILLION
    return _Rates(start, **rate)
