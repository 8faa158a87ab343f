"""Events as OpenTelemetry spans and metrics, in the protobuf of OTLP, by the GenAI semantic conventions.

Every request is a trace, or a part of the client's where that names one (`traceparent`; exported also when the client does not
sample it): a SERVER span for what the client waited for, and below it a CLIENT span `chat MODEL` for each attempt
at a provider, with the `gen_ai.*` attributes of the conventions (status Development, the names of November 2026). What they
have no word for is under `sbgw.*`. The metrics are the conventions' client metrics, cumulative since the start of the gateway.

Needs the extra `otel`. Nothing here waits or sends.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import (
    SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK,
    SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK,
    Span,
    Status,
)

from engine import __version__
from engine.store.event import AttemptEvent, Event
from engine.telemetry.series import Bounded, Histogram

TOKEN_BOUNDS = tuple(4.0**power for power in range(14))
SECOND_BOUNDS = tuple(0.01 * 2**power for power in range(14))
"""The boundaries that the conventions advise."""

_NS = 1_000_000
"""Nanoseconds of a millisecond."""

_MOST = 200

_REMOTE = SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
"""The parent is known to be of another process."""

_FINISH: Mapping[str, str] = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_call",
    "content_filter": "content_filter", "refusal": "content_filter",
}  # fmt: skip
"""Stop reasons → the conventions' finish reasons; others go as they are."""


class Spans:
    """Makes export requests for a resource."""

    def __init__(self, resource: Mapping[str, str], names: Mapping[str, str]) -> None:
        """`resource` holds attributes such as `service.name`; `names` what the conventions call a provider, where not as its row."""
        self._names = names
        self._resource = Resource(attributes=_attributes(resource))
        self._scope = InstrumentationScope(name="sbgw", version=__version__)

    def traces(self, events: Iterable[Event]) -> bytes:
        """The body of one POST to `/v1/traces`."""
        request = ExportTraceServiceRequest()
        group = request.resource_spans.add(resource=self._resource).scope_spans.add(scope=self._scope)
        for event in events:
            group.spans.extend(spans_of(event, self._names))
        return bytes(request.SerializeToString())

    def metrics(self, metrics: GenAIMetrics) -> bytes:
        """The body of one POST to `/v1/metrics`."""
        request = ExportMetricsServiceRequest()
        group = request.resource_metrics.add(resource=self._resource).scope_metrics.add(scope=self._scope)
        metrics.write(group)
        return bytes(request.SerializeToString())


class GenAIMetrics:
    """The conventions' client metrics. Label sets are bounded like those of `/metrics`."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._start = time.time_ns()
        common = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
        self._tokens = Histogram(
            "gen_ai.client.token.usage",
            "Number of input and output tokens used.",
            (*common, "gen_ai.token.type"),
            TOKEN_BOUNDS,
        )
        self._seconds = Histogram(
            "gen_ai.client.operation.duration", "GenAI operation duration.", (*common, "error.type"), SECOND_BOUNDS
        )
        self._first = Histogram(
            "gen_ai.client.operation.time_to_first_chunk", "Time to receive the first chunk.", common, SECOND_BOUNDS
        )
        self._name, self._model = Bounded(50), Bounded(_MOST)

    def observe(self, event: Event) -> None:
        """Count what a request's attempts did."""
        for attempt in event.attempts:
            common = ("chat", self._provider(attempt.provider), self._model(attempt.model))
            self._seconds.observe((*common, self._name(attempt.meaning)), attempt.latency_ms / 1000)
            if event.stream and attempt.first_event_ms is not None:
                self._first.observe(common, max(attempt.first_event_ms, 0.0) / 1000)
        if event.attempts:
            last = ("chat", self._provider(event.selected_provider), self._model(event.selected_model))
            for kind, tokens in (("input", event.input_tokens), ("output", event.output_tokens)):
                if tokens is not None:
                    self._tokens.observe((*last, kind), tokens)

    def _provider(self, row: str) -> str:
        return self._name(self._names.get(row, row))

    def write(self, group: Any) -> None:
        """Add all of them to a `ScopeMetrics`."""
        now = time.time_ns()
        for family, unit in ((self._tokens, "{token}"), (self._seconds, "s"), (self._first, "s")):
            if not family.counts:
                continue
            metric = group.metrics.add(name=family.name, description=family.help, unit=unit)
            metric.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
            for labels, counts in family.counts.items():
                said = {name: value for name, value in zip(family.labels, labels, strict=True) if value}
                metric.histogram.data_points.add(
                    attributes=_attributes(said), start_time_unix_nano=self._start, time_unix_nano=now, count=sum(counts),
                    sum=family.sums[labels], bucket_counts=counts, explicit_bounds=family.bounds,
                )  # fmt: skip


def spans_of(event: Event, names: Mapping[str, str]) -> list[Span]:
    """The request's span, then its attempts'; `names` as in `Spans`."""
    # Ids follow from the event's, so that a repeated delivery is known as the same span.
    digest = sha256(event.id.encode()).digest()
    trace, root, above, flags = digest[:16], digest[16:24], b"", 0
    if event.trace_parent:
        _, given, span, said = event.trace_parent.split("-")
        trace, above, flags = bytes.fromhex(given), bytes.fromhex(span), int(said, 16) | _REMOTE
    start = int(datetime.fromisoformat(event.timestamp).timestamp() * 1000) * _NS
    request = Span(
        trace_id=trace, span_id=root, parent_span_id=above, flags=flags,
        name=f"gateway {event.route_class}".strip(), kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=start, end_time_unix_nano=start + int(event.latency_ms * _NS),
        attributes=_attributes(_request(event)), status=_status(event.error_class),
    )  # fmt: skip
    spans, served = [request], event.answered_by
    for number, attempt in enumerate(event.attempts):
        began = start + int(attempt.started_ms * _NS)
        # An attempt that answers ends with the answer; its own latency is the time to the first content.
        answered = attempt is served and not attempt.meaning
        ends = start + int(event.latency_ms * _NS) if answered else began + int(attempt.latency_ms * _NS)
        spans.append(
            Span(
                trace_id=trace, span_id=sha256(f"{event.id}/{number}".encode()).digest()[:8], parent_span_id=root,
                name=f"chat {attempt.model}", kind=Span.SPAN_KIND_CLIENT, start_time_unix_nano=began,
                end_time_unix_nano=max(ends, began), attributes=_attributes(
                    _attempt(event, attempt, answered=answered)
                    | {"gen_ai.provider.name": names.get(attempt.provider, attempt.provider)}
                ),
                status=_status("" if attempt.outrun else attempt.meaning),
            )
        )  # fmt: skip
    return spans


def _request(event: Event) -> dict[str, Any]:
    return {
        "sbgw.event.id": event.id,
        "sbgw.client.name": event.client,
        "sbgw.client.version": event.client_version,
        "sbgw.project": event.project,
        "sbgw.repository": event.repo_path,
        "sbgw.key": event.key_name,
        "sbgw.agent.parent": event.parent_agent,
        "sbgw.protocol": event.protocol,
        "sbgw.route.class": event.route_class,
        "sbgw.route.rule": event.class_rule,
        "sbgw.policy": event.policy,
        "sbgw.status": event.status,
        "sbgw.cache.hit": event.cache_hit,
        "sbgw.fallback.chain": list(event.fallback_chain),
        "sbgw.losses": list(event.losses),
        "sbgw.tags": list(event.tags),
        "sbgw.cost.usd": event.total_usd,
        "gen_ai.conversation.id": event.session_id,
        "gen_ai.agent.id": event.agent,
        "gen_ai.request.model": event.requested_model,
        "http.response.status_code": event.http_status,
        "error.type": event.error_class,
    }


def _attempt(event: Event, attempt: AttemptEvent, *, answered: bool) -> dict[str, Any]:
    said: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": attempt.model,
        "gen_ai.request.stream": event.stream,
        "gen_ai.conversation.id": event.session_id,
        "gen_ai.agent.id": event.agent,
        "error.type": attempt.meaning,
        "http.response.status_code": attempt.status,
        "sbgw.protocol": attempt.protocol,
        "sbgw.preserved": attempt.preserve,
    }
    if answered:
        limit = event.facts.get("request", {}).get("max_output_tokens", 0)
        said |= {
            "gen_ai.request.max_tokens": limit or None,
            "gen_ai.response.finish_reasons": [_FINISH.get(event.stop_reason, event.stop_reason)]
            if event.stop_reason
            else [],
            "gen_ai.usage.input_tokens": event.input_tokens,
            "gen_ai.usage.output_tokens": event.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": event.cached_input_tokens,
            "gen_ai.usage.cache_creation.input_tokens": event.cache_write_tokens,
            "gen_ai.usage.reasoning.output_tokens": event.reasoning_tokens,
            "sbgw.cost.usd": event.cost_usd,
        }
        if event.stream and attempt.first_event_ms is not None:
            said["gen_ai.response.time_to_first_chunk"] = attempt.first_event_ms / 1000
    return said


def _status(error: str) -> Status:
    return Status(code=Status.STATUS_CODE_ERROR, message=error) if error else Status()


def _attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    """Those that are known: neither None, nor an empty text or list."""
    return [KeyValue(key=name, value=_value(value)) for name, value in values.items() if value not in (None, "", [])]


def _value(value: Any) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=min(value, 2**63 - 1))
        case float():
            return AnyValue(double_value=value)
        case list():
            return AnyValue(array_value=ArrayValue(values=[_value(one) for one in value]))
        case _:
            return AnyValue(string_value=str(value).encode("utf-8", "replace").decode())
