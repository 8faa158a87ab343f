"""The OpenTelemetry export, judged by a receiver that decodes its protobuf."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.proto", reason="needs the extra otel, which dev has")

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import ScopeMetrics
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from engine.telemetry import courier
from engine.telemetry.otlp import GenAIMetrics, spans_of
from tests.emulator import Emulator
from tests.spine import Behind, policy, spine
from tests.store.builders import full
from tests.telemetry.exporting import CANARY, ROWS, ask, dead_receiver, text, until
from tests.telemetry.receiver import Receiver


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliver at once."""
    monkeypatch.setattr(courier, "GATHER", 0.0)
    monkeypatch.setattr(courier, "SHORTEST", 0.01)


def plain(attributes: Any) -> dict[str, Any]:
    """OTLP attributes as a dict."""
    found: dict[str, Any] = {}
    for pair in attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [v.string_value for v in value.values] if kind == "array_value" else value
    return found


async def test_spans_by_the_genai_conventions() -> None:
    """A real receiver decodes the protobuf: one trace a request, a client span an attempt, the conventions' attributes."""
    async with Emulator(models=ROWS) as emu, Receiver() as receiver:
        environ = {
            "FIRST_KEY": emu.key, "OTEL_EXPORTER_OTLP_HEADERS": "X-Token=a%20b, other=c", "OTEL_SERVICE_NAME": "mine",
        }  # fmt: skip
        async with spine(text(emu, {"otlp": {"endpoint": receiver.url}}), env=environ) as gate:
            whole, streamed = await ask(gate, 2, headers={"x-session-id": "s-1", "x-sbgw-project": "shop"})
            await until(lambda: sum(path == "/v1/traces" for path, *_ in receiver.got) and _spans(receiver)[3:])
    assert {h["content-type"] for _, h, _ in receiver.got} == {"application/x-protobuf"}
    assert {(h["x-token"], h["other"]) for _, h, _ in receiver.got} == {("a b", "c")}
    assert not any(CANARY.encode() in body or emu.key.encode() in body for *_, body in receiver.got)
    spans = {span.name: span for span in _spans(receiver)[:2]}
    (server,) = [s for s in spans.values() if s.kind == Span.SPAN_KIND_SERVER]
    client = spans["chat m"]
    assert (client.kind, client.trace_id, client.parent_span_id) == (
        Span.SPAN_KIND_CLIENT,
        server.trace_id,
        server.span_id,
    )
    assert (
        server.start_time_unix_nano
        <= client.start_time_unix_nano
        <= client.end_time_unix_nano
        <= server.end_time_unix_nano
    )
    said = plain(client.attributes)
    assert {name: said[name] for name in said if name.startswith("gen_ai.")} == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "first", "gen_ai.request.model": "m",
        "gen_ai.request.stream": False, "gen_ai.conversation.id": "s-1", "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": whole["inputTokens"], "gen_ai.usage.output_tokens": whole["outputTokens"],
        "gen_ai.usage.cache_read.input_tokens": whole["cachedInputTokens"],
        **({"gen_ai.usage.reasoning.output_tokens": whole["reasoningTokens"]} if "reasoningTokens" in whole else {}),
    }  # fmt: skip
    assert plain(server.attributes)["sbgw.project"] == "shop"
    assert plain(server.attributes)["sbgw.event.id"] == whole["id"]
    last = plain(_spans(receiver)[3].attributes)
    assert last["gen_ai.response.time_to_first_chunk"] == pytest.approx(streamed["attempts"][0]["firstEventMs"] / 1000)
    assert plain(
        ExportTraceServiceRequest.FromString(_bodies(receiver, "/v1/traces")[0]).resource_spans[0].resource.attributes
    ) == {"service.name": "mine"}


def _bodies(receiver: Receiver, path: str) -> list[bytes]:
    return [body for where, _, body in receiver.got if where == path]


def _spans(receiver: Receiver) -> list[Span]:
    requests = [ExportTraceServiceRequest.FromString(body) for body in _bodies(receiver, "/v1/traces")]
    return [s for request in requests for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]


def test_names_are_those_of_the_conventions() -> None:
    """Every attribute and metric that is not our own is one of OpenTelemetry's package of them, of an event with every field."""
    packages = [
        pytest.importorskip(f"opentelemetry.semconv.{name}") for name in ("attributes", "_incubating.attributes")
    ]
    gen_ai_metrics = importlib.import_module("opentelemetry.semconv._incubating.metrics.gen_ai_metrics")
    known = {
        value
        for package in packages
        for module in pkgutil.iter_modules(package.__path__)
        for name, value in vars(importlib.import_module(f"{package.__name__}.{module.name}")).items()
        if name.isupper() and isinstance(value, str)
    }
    made = replace(full(), stream=True)
    said = {pair.key for span in spans_of(made, {}) for pair in span.attributes}
    metrics = GenAIMetrics({})
    metrics.observe(made)
    group = ScopeMetrics()
    metrics.write(group)
    said |= {pair.key for one in group.metrics for point in one.histogram.data_points for pair in point.attributes}
    assert sorted(name for name in said if not name.startswith("sbgw.") and name not in known) == []
    assert {one.name for one in group.metrics} <= {v for v in vars(gen_ai_metrics).values() if isinstance(v, str)}
    assert {"sbgw.repository", "sbgw.key", "sbgw.agent.parent", "gen_ai.usage.input_tokens"} <= said


async def test_metrics_by_the_genai_conventions() -> None:
    """Tokens and durations are cumulative histograms with the conventions' names, units, boundaries and attributes."""
    async with Emulator(models=ROWS) as emu, Receiver() as receiver:
        async with spine(text(emu, {"otlp": {"endpoint": receiver.url + "/"}}), env={"FIRST_KEY": emu.key}) as gate:
            events = await ask(gate, 3)
            await until(lambda: len(_spans(receiver)) == 6 and _counted(receiver) == 3)
    metrics = _metrics(receiver)
    assert {name: m.unit for name, m in metrics.items()} == {
        "gen_ai.client.token.usage": "{token}", "gen_ai.client.operation.duration": "s",
        "gen_ai.client.operation.time_to_first_chunk": "s",
    }  # fmt: skip
    points = {
        plain(p.attributes)["gen_ai.token.type"]: p for p in metrics["gen_ai.client.token.usage"].histogram.data_points
    }
    assert points["input"].sum == sum(event["inputTokens"] for event in events)
    assert list(points["output"].explicit_bounds)[:4] == [1, 4, 16, 64]
    assert sum(points["output"].bucket_counts) == points["output"].count == 3
    (seconds,) = metrics["gen_ai.client.operation.duration"].histogram.data_points
    assert plain(seconds.attributes) == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "first", "gen_ai.request.model": "m",
    }  # fmt: skip


def _metrics(receiver: Receiver) -> dict[str, Any]:
    bodies = _bodies(receiver, "/v1/metrics")
    if not bodies:
        return {}
    request = ExportMetricsServiceRequest.FromString(bodies[-1])
    return {m.name: m for m in request.resource_metrics[0].scope_metrics[0].metrics}


def _counted(receiver: Receiver) -> int:
    found = _metrics(receiver).get("gen_ai.client.operation.duration")
    return sum(point.count for point in found.histogram.data_points) if found is not None else 0


async def test_a_failed_attempt_and_a_refusal_are_errors() -> None:
    """`error.type` says how an attempt failed; a refused request has one span, with the error."""
    deny = {"deny": [{"id": "no", "when": 'client.project == "x"', "tags": ["t"]}]}
    async with Emulator(models=ROWS) as emu, Receiver() as receiver:
        rows = (
            Behind("down", lambda _: "http://127.0.0.1:9/v1", ("openai-chat",)),
            Behind("first", emu.url, ("openai-chat",)),
        )
        made = policy(*rows, settings={"telemetry": {"otlp": {"endpoint": receiver.url}}}, gate=deny)
        async with spine(made, env={"FIRST_KEY": emu.key, "DOWN_KEY": "k"}) as gate:
            await ask(gate)
            assert (await gate.ask("openai-chat", headers={"x-sbgw-project": "x"})).status == 403
            await until(lambda: len(_spans(receiver)) == 4)
    _, failed, served, denied = _spans(receiver)
    assert (plain(failed.attributes)["error.type"], failed.status.code) == ("unreachable", 2)
    assert ("error.type" in plain(served.attributes), served.status.code) == (False, 0)
    assert (denied.kind, plain(denied.attributes)["sbgw.tags"]) == (Span.SPAN_KIND_SERVER, ["t"])


async def test_a_dead_receiver_costs_no_request(tmp_path: Path) -> None:
    """Nobody listens at the OTLP endpoint: every request is answered and recorded."""
    await dead_receiver({"otlp": {"endpoint": "http://127.0.0.1:9"}}, tmp_path)


async def test_a_provider_goes_by_the_conventions_name() -> None:
    """Where a row says what the conventions call its provider, spans and metrics do too."""
    async with Emulator(models=ROWS) as emu, Receiver() as receiver:
        behind = Behind("first", emu.url, ("openai-chat",), row={"otel_name": "example.known"})
        made = policy(behind, settings={"telemetry": {"otlp": {"endpoint": receiver.url}}})
        async with spine(made, env={"FIRST_KEY": emu.key}) as gate:
            await ask(gate)
            await until(lambda: _counted(receiver) == 1)
    (point,) = _metrics(receiver)["gen_ai.client.operation.duration"].histogram.data_points
    found = {plain(span.attributes).get("gen_ai.provider.name") for span in _spans(receiver)}
    assert (found, plain(point.attributes)["gen_ai.provider.name"]) == ({None, "example.known"}, "example.known")


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def test_the_clients_trace_goes_on() -> None:
    """Its trace holds our spans, below its span; the event says so; a bad header is ignored; no provider hears of either."""
    async with Emulator(models=ROWS) as emu, Receiver() as receiver:
        made = text(emu, {"otlp": {"endpoint": receiver.url}})
        async with spine(made, env={"FIRST_KEY": emu.key}) as gate:
            for header in (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01"):
                answer = await gate.ask("openai-chat", headers={"traceparent": header, "tracestate": "vendor=opaque"})
                assert answer.status == 200
            await until(lambda: len(_spans(receiver)) == 4)
            bad, good = gate.events()
    server, client, other, _ = _spans(receiver)
    assert (server.trace_id.hex(), server.parent_span_id.hex(), client.trace_id.hex()) == (TRACE, SPAN, TRACE)
    assert (client.parent_span_id, server.flags) == (server.span_id, 0x301)
    assert (other.trace_id.hex() == TRACE, other.parent_span_id, other.flags) == (False, b"", 0)
    assert (good["traceParent"], "traceParent" in bad) == (f"00-{TRACE}-{SPAN}-01", False)
    assert not any(name.lower().startswith("trace") for request in emu.requests for name in request.headers)
