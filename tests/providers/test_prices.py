"""Prices: the arithmetic against the table's own, who wins, and what stays unknown."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Model, Provider
from engine.llm.messages import Usage
from engine.providers.prices import Cost, PriceTable

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
NIGHT = datetime(2026, 11, 23, 2, tzinfo=UTC)


def provider(name: str, price_id: str = "", **more: Any) -> Provider:
    return Provider(name=name, endpoints={"openai-chat": "http://h"}, price_id=price_id, **more)


PROVIDERS = {
    p.name: p
    for p in (
        provider("anthropic", "anthropic"),
        provider("openai", "openai"),
        provider("groq", "groq"),
        provider("deepseek", "deepseek"),
        provider("gemini", "google"),
        provider("openrouter", "openrouter"),
        provider("nvidia"),
        provider("ollama", local=True),
    )
}
NAMES = {
    "anthropic": ["claude-opus-5-5", "claude-haiku-5-5", "claude-sonnet-4-5", "claude-opus-4-6"],
    "openai": ["gpt-6-sol", "gpt-5.6-terra", "gpt-5-mini", "gpt-4o", "o3"],
    "groq": ["openai/gpt-oss-120b"],
    "deepseek": ["deepseek-v4-pro", "deepseek-flash"],
    "gemini": ["gemini-3.8-flash", "gemini-2.5-pro"],
    "openrouter": ["openai/gpt-oss-120b"],
    "nvidia": ["some-model"],
    "ollama": ["qwen3"],
}
MODELS = [Model(provider=p, name=n) for p, names in NAMES.items() for n in names]
PRICED = [m for m in MODELS if m.provider not in ("nvidia", "ollama")]
TABLE = PriceTable.load(MODELS, PROVIDERS, at=NOON)


def usd(ref: str, at: datetime = NOON, **tokens: Any) -> float | None:
    return TABLE.cost(ref, Usage(**tokens), at).usd


def test_flat_price_with_cached_and_written_tokens() -> None:
    """Cached and written tokens are parts of the prompt and have prices of their own."""
    # 10,000 plain at 4, 80,000 read at 0.2, 10,000 written at 5, 100 out at 20 dollars per million
    cost = usd("anthropic/claude-opus-5-5", input_tokens=100_000, output_tokens=100, cached_tokens=80_000,
               cache_write_tokens=10_000)  # fmt: skip
    assert cost == pytest.approx(0.04 + 0.016 + 0.05 + 0.002)


def test_writes_for_an_hour_cost_more() -> None:
    """The hour's cache writes are part of all writes and cost twice the input price."""
    short = usd("anthropic/claude-opus-5-5", input_tokens=1000, output_tokens=0, cache_write_tokens=1000)
    long = usd("anthropic/claude-opus-5-5", input_tokens=1000, output_tokens=0, cache_write_tokens=1000,
               cache_write_1h_tokens=1000)  # fmt: skip
    assert (short, long) == (pytest.approx(0.005), pytest.approx(0.008))


def test_long_prompts_cost_the_higher_tier() -> None:
    """Beyond 272,000 tokens the whole prompt is billed at the higher rate."""
    assert usd("openai/gpt-6-sol", input_tokens=100_000, output_tokens=1000) == pytest.approx(0.21)
    assert usd("openai/gpt-6-sol", input_tokens=300_000, output_tokens=1000) == pytest.approx(1.215)


def test_price_by_the_hour() -> None:
    """Off-peak hours cost half where the vendor says so."""
    assert usd("deepseek/deepseek-v4-pro", NIGHT, input_tokens=1_000_000, output_tokens=0) == pytest.approx(1.32)
    assert usd("deepseek/deepseek-v4-pro", NOON, input_tokens=1_000_000, output_tokens=0) == pytest.approx(0.66)


def test_price_by_the_date() -> None:
    """A price rise announced for a date holds from that date on."""
    later = datetime(2027, 1, 2, tzinfo=UTC)
    assert usd("gemini/gemini-3.8-flash", input_tokens=1_000_000, output_tokens=0) == pytest.approx(0.75)
    assert usd("gemini/gemini-3.8-flash", later, input_tokens=1_000_000, output_tokens=0) == pytest.approx(1.5)


def test_service_tier_of_the_answer() -> None:
    """An answer from the flex tier is billed at the flex price, an unknown tier at the normal one."""
    tokens = {"input_tokens": 100_000, "output_tokens": 1000}
    assert usd("openai/gpt-6-sol", **tokens, extra={"service_tier": "flex"}) == pytest.approx(0.105)
    for tier in ("default", "new-tier", None, 7):
        assert usd("openai/gpt-6-sol", **tokens, extra={"service_tier": tier}) == pytest.approx(0.21)


@pytest.mark.parametrize("ref", ["nvidia/some-model", "ollama/qwen3", "nobody/model", "ollama", ""])
def test_unknown_price_is_none(ref: str) -> None:
    """A model without a price costs an unknown amount, not nothing."""
    assert TABLE.cost(ref, Usage(input_tokens=10, output_tokens=10), NOON) == Cost(None)
    assert TABLE.estimate(ref, 10, 10) is None
    assert TABLE.per_million(ref) is None
    assert not TABLE.known(ref)


@pytest.mark.parametrize("usage", [Usage(), Usage(input_tokens=5), Usage(output_tokens=5)])
def test_unknown_usage_is_none(usage: Usage) -> None:
    """An answer whose tokens were not told costs an unknown amount."""
    assert TABLE.cost("openai/gpt-6-sol", usage, NOON) == Cost(None)


def test_provider_reported_cost_wins() -> None:
    """What the provider charged is the cost, and the table's figure stays beside it."""
    cost = TABLE.cost("openrouter/openai/gpt-oss-120b", Usage(input_tokens=1000, output_tokens=0, cost_usd=0.5), NOON)
    assert (cost.usd, cost.provenance) == (0.5, "provider")
    assert cost.estimate_usd == pytest.approx(0.0001)
    assert TABLE.cost("nvidia/some-model", Usage(cost_usd=0.0), NOON).usd == 0.0


def test_policy_price_wins_over_the_table() -> None:
    """A row's own price is used, with cached tokens at the input price unless it says otherwise."""
    rows = [
        Model("openai", "gpt-6-sol", price={"input": 1.0, "output": 2.0}),
        Model("ollama", "x", price={"input": 1.0, "output": 2.0, "cached_input": 0.5, "cache_write": 3.0}),
    ]
    table = PriceTable.load(rows, PROVIDERS, at=NOON)
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000, cached_tokens=200_000, cache_write_tokens=100_000)
    cost = table.cost("openai/gpt-6-sol", usage, NOON)
    assert (cost.usd, cost.provenance, cost.table) == (pytest.approx(3.0), "override", "")
    assert table.cost("ollama/x", usage, NOON).usd == pytest.approx(0.7 + 0.1 + 0.3 + 2.0)


def test_a_name_without_a_row_is_looked_up_once() -> None:
    """A wildcard's model is priced when it is met first; one that the table does not know stays unknown."""
    table = PriceTable.load([], PROVIDERS, at=NOON)
    assert table.per_million("anthropic/claude-opus-5-5", at=NOON) == (4.0, 20.0)
    assert table.per_million("anthropic/no-such-model", at=NOON) is None


def test_rates_of_all_rows() -> None:
    """The rates for a policy's facts hold the rows with a price and no others."""
    rates = TABLE.rates(at=NOON)
    assert rates["groq/openai/gpt-oss-120b"] == (0.15, 0.6, 0.075, 0.15, 0.15)
    assert set(rates) == {m.ref for m in PRICED}


def test_local_models_have_no_price() -> None:
    """A local model is not priced by a vendor's table even if its provider names one."""
    row = Model("openai", "gpt-6-sol", local=True)
    assert PriceTable.load([row], {"openai": provider("openai")}).estimate(row.ref, 1, 1) is None


def test_no_table_without_a_priced_provider() -> None:
    """With local providers alone the price table is not even imported."""
    table = PriceTable.load([Model("ollama", "x")], {"ollama": PROVIDERS["ollama"]})
    assert table.version == ""


def test_costs_name_their_table() -> None:
    """A cost says which table it came from, with the version."""
    cost = TABLE.cost("openai/gpt-6-sol", Usage(input_tokens=1, output_tokens=1), NOON)
    assert cost.provenance == "catalogue"
    assert cost.table.startswith("genai-prices 0.")


@settings(deadline=None, max_examples=200)
@given(
    model=st.sampled_from(PRICED),
    prompt=st.integers(0, 1_200_000),
    answer=st.integers(0, 128_000),
    parts=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    hours=st.integers(0, 24 * 400),
)
def test_agrees_with_the_table(
    model: Model, prompt: int, answer: int, parts: tuple[float, float, float], hours: int
) -> None:
    """Our arithmetic gives what the price table's own calculation gives, at any size, mix and time."""
    import genai_prices

    at = NOON - timedelta(days=200) + timedelta(hours=hours)
    read = int(prompt * parts[0])
    write = int((prompt - read) * parts[1])
    write_1h = int(write * parts[2])
    expected = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=prompt,
            output_tokens=answer,
            cache_read_tokens=read,
            cache_write_tokens=write,
            cache_write_1h_tokens=write_1h,
        ),
        model.name,
        provider_id=PROVIDERS[model.provider].price_id,
        genai_request_timestamp=at,
    )
    usage = Usage(
        input_tokens=prompt,
        output_tokens=answer,
        cached_tokens=read,
        cache_write_tokens=write,
        cache_write_1h_tokens=write_1h,
    )
    found = TABLE.cost(model.ref, usage, at).usd
    assert found is not None
    assert math.isclose(found, float(expected.total_price), rel_tol=1e-9, abs_tol=1e-12)


@settings(deadline=None, max_examples=100)
@given(*(st.none() | st.integers(0, 10_000),) * 5)
def test_never_negative(
    prompt: int | None, answer: int | None, read: int | None, write: int | None, hour: int | None
) -> None:
    """Counts that contradict each other never make a cost negative or raise."""
    usage = Usage(prompt, answer, read, write, hour)
    found = TABLE.cost("anthropic/claude-opus-5-5", usage, NOON).usd
    assert found is None or found >= 0


@pytest.mark.bench
def test_speed(capsys: pytest.CaptureFixture[str]) -> None:
    """A cost takes a few microseconds, dated prices included."""
    usage = Usage(input_tokens=100_000, output_tokens=100, cached_tokens=80_000)
    for ref in ("groq/openai/gpt-oss-120b", "openai/gpt-6-sol", "deepseek/deepseek-v4-pro"):
        began = time.perf_counter()
        for _ in range(2000):
            TABLE.cost(ref, usage, NOON)
        took = (time.perf_counter() - began) / 2000 * 1e6
        with capsys.disabled():
            print(f"\n{ref}: {took:.2f} µs", end="")  # noqa: T201
