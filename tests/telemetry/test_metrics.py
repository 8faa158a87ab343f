"""Metrics: what an event adds to them, and the text that Prometheus reads."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.store.event import AttemptEvent
from engine.telemetry.metrics import MAX_MODELS, MAX_TIMED, Metrics
from engine.telemetry.series import MAX_SERIES, OTHER, Counter, Histogram, number
from tests.store.builders import event, full

SAMPLE = re.compile(
    r'^(?P<name>[a-z_]+)(?:\{(?P<labels>[a-z_]+="(?:[^"\\\n]|\\[\\"n])*"(?:,[a-z_]+="(?:[^"\\\n]|\\[\\"n])*")*)\})? (?P<value>\S+)$'
)


def samples(text: str) -> dict[tuple[str, str], float]:
    """(name, labels) → value; every line must be a comment or a sample, and no sample may come twice."""
    assert text.endswith("\n")
    found: dict[tuple[str, str], float] = {}
    for line in text[:-1].split("\n"):
        if line.startswith("# "):
            continue
        match = SAMPLE.fullmatch(line)
        assert match is not None, line
        key = (match["name"], match["labels"] or "")
        assert key not in found
        found[key] = float(match["value"])
    return found


def observed(*events: object) -> Metrics:
    metrics = Metrics()
    for one in events:
        metrics.observe(one)
    return metrics


def test_a_full_event_is_counted_everywhere() -> None:
    """Requests, tokens, cost, durations, caches, attempts, losses and errors of one event."""
    attempts = (
        AttemptEvent("a", "x", "openai-chat", meaning="overloaded"), AttemptEvent("b", "y", "openai-chat"),
    )  # fmt: skip
    found = samples(observed(event(attempts=attempts), full()).prometheus())
    served = 'client="claude-code",route_class="tool_heavy",provider="groq",model="llama"'
    expected = {
        (
            "sbgw_requests_total",
            f'client="claude-code",protocol="anthropic-messages",{served.split(",", 1)[1]},status="fallback_success"',
        ): 1,
        ("sbgw_tokens_total", f'{served},kind="input"'): 100,
        ("sbgw_tokens_total", f'{served},kind="output"'): 20,
        ("sbgw_tokens_total", f'{served},kind="cache_write"'): 7,
        ("sbgw_tokens_total", f'{served},kind="reasoning"'): 8,
        ("sbgw_cost_usd_total", served): 0.625,  # the wasted attempt is in it
        ("sbgw_request_duration_seconds_bucket", f'{served},le="0.05"'): 1,
        ("sbgw_request_duration_seconds_sum", served): 0.0315,
        ("sbgw_first_event_seconds_count", served): 1,
        ("sbgw_cache_total", 'result="hit"'): 1,
        ("sbgw_cache_total", 'result="miss"'): 1,
        ("sbgw_prefix_cache_total", 'provider="groq",model="llama",result="miss"'): 1,
        ("sbgw_attempts_total", 'provider="a",meaning="overloaded"'): 1,
        ("sbgw_attempts_total", 'provider="b",meaning="ok"'): 1,
        ("sbgw_fallbacks_total", 'from_provider="a",to_provider="b"'): 1,
        ("sbgw_errors_total", 'protocol="anthropic-messages",error_class="none"'): 1,
        ("sbgw_losses_total", 'code="top_k"'): 1,
        ("sbgw_tool_calls_amiss_total", 'provider="groq",model="llama",outcome="repaired"'): 1,
        ("sbgw_tool_calls_amiss_total", 'provider="groq",model="llama",outcome="invalid"'): 2,
    }
    assert {key: found.get(key) for key in expected} == expected


def test_unknown_is_not_zero() -> None:
    """An event that knows no tokens and no cost adds to neither, and its missing cost is counted."""
    found = samples(observed(event(selected_provider="p", selected_model="m")).prometheus())
    assert {
        name for name, _ in found if name in ("sbgw_tokens_total", "sbgw_cost_usd_total", "sbgw_prefix_cache_total")
    } == set()
    assert found["sbgw_requests_without_cost_total", 'provider="p",model="m"'] == 1


def test_trying_the_same_model_again_is_no_fallback() -> None:
    """Two attempts at one model count as attempts only."""
    twice = (AttemptEvent("a", "x", "openai-chat", meaning="timeout"), AttemptEvent("a", "x", "openai-chat"))
    names = {name for name, _ in samples(observed(event(attempts=twice)).prometheus())}
    assert ("sbgw_attempts_total" in names, "sbgw_fallbacks_total" in names) == (True, False)
    assert "sbgw_retries_total" in names


def test_labels_are_bounded() -> None:
    """Ten thousand made-up model names become two hundred and one."""
    metrics = observed(*(event(number, selected_model=f"m{number}") for number in range(10_000)))
    found = samples(metrics.prometheus())
    models = {re.search('model="([^"]*)"', labels)[1] for name, labels in found if name == "sbgw_requests_total"}
    assert (len(models), OTHER in models) == (MAX_MODELS + 1, True)
    assert sum(value for (name, _), value in found.items() if name == "sbgw_requests_total") == 10_000


def test_every_family_is_bounded() -> None:
    """Whatever names come, from clients, providers and rules: no family grows beyond its share, and none loses a count."""
    metrics = Metrics()
    for n in range(3_000):
        tries = (AttemptEvent(f"p{n}", "x", "openai-chat", meaning=f"m{n}"), AttemptEvent(f"q{n}", "y", "openai-chat"))
        metrics.observe(
            event(
                n, client=f"c{n}", route_class=f"r{n}", selected_provider=f"p{n}", selected_model=f"m{n}", attempts=tries,
                input_tokens=1, error_class=f"e{n}", losses=(f"l{n}",), invalid_calls=1, first_event_ms=5.0,
                cost_estimate_usd=1.0, requested_usd=2.0, cached_input_tokens=1, budget_thresholds=(f"b{n}:0.5",),
                violations=({"kind": "denied", "rule": f"rule{n}", "reason": "x"},),
                shadow={"policy": f"s{n}@1", "change": "model", "costEstimateUsd": 1.0},
            )
        )  # fmt: skip
    for family, rows in metrics.as_json().items():
        if isinstance(rows, list):
            assert len(rows) <= (MAX_TIMED if family.endswith("seconds") else MAX_SERIES) + 1, family
            values = (
                {name: {row[name] for row in rows} for name in rows[0] if isinstance(rows[0][name], str)}
                if rows
                else {}
            )
            assert all(len(found) <= MAX_MODELS + 1 for found in values.values()), family
    found = samples(metrics.prometheus())
    for family in ("sbgw_requests_total", "sbgw_request_duration_seconds_count", "sbgw_tool_calls_amiss_total"):
        assert sum(value for (name, _), value in found.items() if name == family) == 3_000
    assert len(metrics.prometheus()) < 3_000_000


def test_combinations_are_bounded() -> None:
    """A family never has more than its share of series, and loses no count."""
    counter = Counter("x_total", "x", ("a", "b"))
    histogram = Histogram("y", "y", ("a",), (1.0,))
    for value in range(MAX_SERIES + 500):
        counter.add((str(value), "b"))
        histogram.observe((str(value),), 0.5)
    assert (len(counter.values), counter.values[OTHER, OTHER]) == (MAX_SERIES + 1, 500)
    assert (len(histogram.counts), histogram.counts[OTHER,]) == (MAX_SERIES + 1, [500, 0])


@given(model=st.text(max_size=20), client=st.text(max_size=20))
@settings(deadline=None, max_examples=100)
def test_any_label_is_escaped(model: str, client: str) -> None:
    """Whatever a name holds, the text stays well-formed and the value can be read back."""
    text = observed(event(selected_model=model, client=client)).prometheus()
    line = next(line for line in text.split("\n") if line.startswith("sbgw_requests_total{"))
    match = SAMPLE.fullmatch(line)
    assert match is not None
    value = re.search(r'model="((?:[^"\\\n]|\\[\\"n])*)"', match["labels"])
    assert value is not None
    assert re.sub(r'\\([\\"n])', lambda m: "\n" if m[1] == "n" else m[1], value[1]) == model


@given(values=st.lists(st.floats(0, 1000), min_size=1, max_size=50))
@settings(deadline=None, max_examples=100)
def test_histograms_add_up(values: list[float]) -> None:
    """Buckets grow, the last holds all, each holds what is not above its bound, and the sum is the sum."""
    histogram = Histogram("h", "h", (), (0.5, 1.0, 10.0))
    for value in values:
        histogram.observe((), value)
    found = {line.split(" ")[0]: float(line.split(" ")[1]) for line in histogram.text() if not line.startswith("#")}
    for bound in ("0.5", "1", "10"):
        assert found[f'h_bucket{{le="{bound}"}}'] == sum(value <= float(bound) for value in values)
    assert found['h_bucket{le="+Inf"}'] == found["h_count"] == len(values)
    assert math.isclose(found["h_sum"], sum(values), rel_tol=1e-9, abs_tol=1e-9)


def test_percentiles_lie_in_their_bucket() -> None:
    """Estimates from buckets are between the bounds of the bucket that holds the true value."""
    histogram = Histogram("h", "h", (), (1.0, 2.0, 4.0))
    for value in [0.5] * 90 + [3.0] * 10:
        histogram.observe((), value)
    row = histogram.as_json()[0]
    assert 0 < row["p50"] <= 1
    assert 2 < row["p95"] <= row["p99"] <= 4


def test_gauges_of_now() -> None:
    """Requests under way and values given at the time of asking are shown."""
    metrics = Metrics()
    metrics.in_flight = 3
    found = samples(metrics.prometheus({"ledger_ok": 1}))
    assert (found["sbgw_in_flight_requests", ""], found["sbgw_ledger_ok", ""]) == (3, 1)
    assert metrics.as_json({"ledger_ok": 1})["ledger_ok"] == 1


def test_json_has_every_family() -> None:
    """The JSON form names the same families as the text."""
    metrics = observed(full())
    families = {
        line.split(" ")[2].removeprefix("sbgw_")
        for line in metrics.prometheus().split("\n")
        if line.startswith("# TYPE")
    }
    assert set(metrics.as_json()) == families


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (3.0, "3"), (0.1, "0.1"), (1e16, "1e+16"), (2.5e-7, "2.5e-07")])
def test_numbers(value: float, text: str) -> None:
    """Whole numbers have no fraction, the rest is exact."""
    assert number(value) == text
