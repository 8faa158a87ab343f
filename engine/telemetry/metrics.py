"""What the gateway counts, fed by each completed event and by nothing else.

Prefix `sbgw_`, seconds and US dollars as units. What an event does not know is not counted as 0: an answer whose cost is
unknown adds to `sbgw_requests_without_cost_total` instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.store.event import LOST, Event
from engine.telemetry.money import Money
from engine.telemetry.series import Bounded, Counter, Histogram, Labels, gauge

MAX_MODELS = 200
MAX_NAMES = 50
"""Distinct clients, classes, providers and codes each: all come from closed lists or the policy, so this is a backstop."""

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)
"""Buckets of a request's duration: local answers to long agent turns."""

FIRST_EVENT_SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)

MAX_TIMED = 400
"""Label combinations of a histogram: each is some fifteen lines of text."""

_SERVED = ("client", "route_class", "provider", "model")

_COUNTERS: Mapping[str, tuple[str, str, Labels]] = {
    "requests": (
        "sbgw_requests_total", "Requests answered, by how they ended.",
        ("client", "protocol", "route_class", "provider", "model", "status"),
    ),
    "tokens": (
        "sbgw_tokens_total",
        "Tokens as providers report them. cached_input and cache_write are parts of input, reasoning of output.",
        (*_SERVED, "kind"),
    ),
    "cache": ("sbgw_cache_total", "Requests by whether the response cache answered.", ("result",)),
    "cached_prompts": (
        "sbgw_prefix_cache_total", "Answers by whether the provider's prompt cache held part of the prompt.",
        ("provider", "model", "result"),
    ),
    "attempts": (
        "sbgw_attempts_total", "Tries at providers; meaning is ok or how one failed.", ("provider", "meaning")
    ),
    "retries": ("sbgw_retries_total", "Further tries at the model that was just tried.", ("provider",)),
    "fallbacks": (
        "sbgw_fallbacks_total", "Moves from one model's provider to the next.", ("from_provider", "to_provider")
    ),
    "hedges": (
        "sbgw_hedges_total", "Tries begun beside a slow one, by provider and outcome: won, lost, failed, left.",
        ("provider", "outcome"),
    ),
    "errors": ("sbgw_errors_total", "Requests that failed, by error class.", ("protocol", "error_class")),
    "losses": ("sbgw_losses_total", "What translations lost, by loss code.", ("code",)),
    "calls": (
        "sbgw_tool_calls_amiss_total", "Tool calls of models that are checked: repaired on their way, or invalid.",
        ("provider", "model", "outcome"),
    ),
    "violations": ("sbgw_policy_violations_total", "Rules broken, by rule and by what came of it.", ("kind", "rule")),
    "shadow": (
        "sbgw_shadow_requests_total", "Requests by how the shadow policy's decision differs.", ("policy", "change")
    ),
    "shadow_cost": (
        "sbgw_shadow_cost_usd_total",
        "Cost of requests that both policies price: as served, and as the shadow policy would have it (estimate).",
        ("policy", "side"),
    ),
}  # fmt: skip
"""What is counted: its name here → its name for others, its help, its labels."""

_ENDED = {LOST: "lost", "cancelled": "left"}
"""Meaning of an attempt beside another that did not answer → its outcome, if that is not that it failed."""

_TIMES: Mapping[str, tuple[str, str, tuple[float, ...]]] = {
    "duration": ("sbgw_request_duration_seconds", "From a request's start to the end of its answer.", SECONDS),
    "first_event": (
        "sbgw_first_event_seconds", "From a request's start to the first content of its answer.", FIRST_EVENT_SECONDS
    ),
}  # fmt: skip
"""How long things took: its name here → its name for others, its help, its buckets."""


class Metrics:
    """Counters since the gateway started. Used from the event loop alone; `observe` takes about ten microseconds."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Requests under way now; whoever runs them keeps it."""
        self._name = Bounded(MAX_NAMES)
        self._model = Bounded(MAX_MODELS)
        self._count = {name: Counter(*row) for name, row in _COUNTERS.items()}
        self._time = {
            name: Histogram(full, text, _SERVED, bounds, most=MAX_TIMED)
            for name, (full, text, bounds) in _TIMES.items()
        }
        self._money = Money(self._name, _SERVED)
        self._families: tuple[Counter | Histogram, ...] = (
            *self._count.values(),
            *self._time.values(),
            *self._money.families,
        )

    def observe(self, event: Event) -> None:
        """Count a completed request."""
        count = self._count
        client, route_class = self._name(event.client), self._name(event.route_class)
        provider, model = self._name(event.selected_provider), self._model(event.selected_model)
        served = (client, route_class, provider, model)
        count["requests"].add((client, event.protocol, route_class, provider, model, event.status))
        for kind, tokens in (
            ("input", event.input_tokens),
            ("output", event.output_tokens),
            ("cached_input", event.cached_input_tokens),
            ("cache_write", event.cache_write_tokens),
            ("reasoning", event.reasoning_tokens),
        ):
            if tokens:
                count["tokens"].add((*served, kind), tokens)
        self._money.observe(event, served)
        self._time["duration"].observe(served, event.latency_ms / 1000)
        if event.first_event_ms is not None:
            self._time["first_event"].observe(served, event.first_event_ms / 1000)
        count["cache"].add(("hit" if event.cache_hit else "miss",))
        if event.cached_input_tokens is not None:
            count["cached_prompts"].add((provider, model, "hit" if event.cached_input_tokens else "miss"))
        self._observe_troubles(event, (provider, model))
        for violation in event.violations:
            count["violations"].add((violation["kind"], self._name(violation["rule"] or "no_candidate")))
        if event.shadow:
            self._observe_shadow(event)

    def _observe_shadow(self, event: Event) -> None:
        count = self._count
        policy = self._name(str(event.shadow["policy"]).partition("@")[0])
        count["shadow"].add((policy, str(event.shadow["change"])))
        would = event.shadow.get("costEstimateUsd")
        if would is not None and (cost := event.cost_usd) is not None:
            count["shadow_cost"].add((policy, "served"), cost)
            count["shadow_cost"].add((policy, "shadow"), would)

    def _observe_troubles(self, event: Event, served: Labels) -> None:
        """Attempts, retries, fallbacks, errors, losses and calls that did not fit; `served` are provider and model."""
        count, before = self._count, None
        for attempt in event.attempts:
            provider = self._name(attempt.provider)
            count["attempts"].add((provider, self._name(attempt.meaning or "ok")))
            if attempt.hedge:
                won, ended = attempt.answered, _ENDED.get(attempt.meaning, "failed")
                count["hedges"].add((provider, "won" if won else ended))
            elif before == (attempt.provider, attempt.model):
                count["retries"].add((provider,))
            elif before is not None:
                count["fallbacks"].add((self._name(before[0]), provider))
            before = (attempt.provider, attempt.model)
        if event.error_class:
            count["errors"].add((event.protocol, self._name(event.error_class)))
        for code in event.losses:
            count["losses"].add((self._name(code),))
        for outcome, calls in (("repaired", event.repaired_calls), ("invalid", event.invalid_calls)):
            if calls:
                count["calls"].add((*served, outcome), calls)

    def prometheus(self, gauges: Mapping[str, float] | None = None) -> str:
        """Everything as Prometheus text 0.0.4. `gauges` are further values of now, by name without prefix."""
        lines = [*gauge("sbgw_in_flight_requests", "Requests under way.", self.in_flight)]
        for name, value in (gauges or {}).items():
            lines += gauge(f"sbgw_{name}", name.replace("_", " ").capitalize() + ".", value)
        for family in self._families:
            lines += family.text()
        return "\n".join(lines) + "\n"

    def as_json(self, gauges: Mapping[str, float] | None = None) -> dict[str, Any]:
        """The same as JSON: a list of labelled values per family, histograms with estimated percentiles."""
        out: dict[str, Any] = {"in_flight_requests": self.in_flight, **(gauges or {})}
        for family in self._families:
            out[family.name.removeprefix("sbgw_")] = family.as_json()
        return out


def memory_metrics(held: int, reused: int) -> str:
    """What the memory of work done holds and has saved, as Prometheus text."""
    total = Counter("sbgw_memory_reused_bytes_total", "Bytes of requests that were not worked on again.", ())
    total.add((), reused)
    about = "Bytes that are remembered of conversations, about."
    return "\n".join([*gauge("sbgw_memory_bytes", about, held), *total.text()]) + "\n"


def export_metrics(states: Sequence[Mapping[str, Any]]) -> str:
    """How exports fare, as Prometheus text; empty without any."""
    if not states:
        return ""
    events = Counter("sbgw_export_events_total", "Events by what became of their export.", ("export", "result"))
    lines: list[str] = []
    for state in states:
        for result in ("sent", "dropped", "refused"):
            events.add((state["export"], result), state[result])
    lines += events.text()
    for name, key, text in (
        ("sbgw_export_backlog", "backlog", "Events that wait for their export."),
        ("sbgw_export_ok", "ok", "Whether the last delivery worked."),
    ):
        lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
        lines += [f'{name}{{export="{state["export"]}"}} {int(state[key])}' for state in states]
    return "\n".join(lines) + "\n"
