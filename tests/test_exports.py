"""Exports of a whole gateway: what receivers get, and that a dead one or a full disk costs no request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft7Validator
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from engine.telemetry import courier
from tests.emulator import Emulator
from tests.emulator.models import Model
from tests.spine import Behind, Spine, policy, spine
from tests.telemetry.receiver import Receiver

ROWS = {"m": Model()}
CANARY = "canary-prompt-71c2"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliver at once."""
    monkeypatch.setattr(courier, "GATHER", 0.0)
    monkeypatch.setattr(courier, "SHORTEST", 0.01)


def text(emu: Emulator, telemetry: dict[str, Any], **more: Any) -> str:
    return policy(Behind("first", emu.url, ("openai-chat",)), settings={"telemetry": telemetry}, **more)


async def until(condition: Callable[[], Any]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("did not happen within ten seconds")


async def ask(gate: Spine, count: int = 1, **more: Any) -> list[dict[str, Any]]:
    """Requests that must be answered; their events."""
    found = []
    for number in range(count):
        streamed = {"stream": True, "stream_options": {"include_usage": True}} if number % 2 else {}
        body = {"model": "m", "messages": [{"role": "user", "content": CANARY}], **streamed}
        answer = await gate.ask("openai-chat", body, **more)
        assert answer.status == 200
        found.append(await gate.event(answer.headers["x-sbgw-event"]))
    return found


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


@pytest.mark.parametrize("kind", ["otlp", "webhook", "folder", "full"])
async def test_a_dead_receiver_costs_no_request(kind: str, tmp_path: Path) -> None:
    """Nobody listens, the file can't be made, the disk is full: every request is answered and recorded, and health of the
    export is told.
    """
    (tmp_path / "file").touch()
    settings: dict[str, Any] = {
        "otlp": {"otlp": {"endpoint": "http://127.0.0.1:9"}},
        "webhook": {"governance": {"url": "http://127.0.0.1:9/in"}},
        "folder": {"governance": {"file": str(tmp_path / "file" / "below")}},
        "full": {"governance": {"file": "/dev/full"}},
    }[kind]
    async with Emulator(models=ROWS) as emu:
        async with spine(text(emu, settings), env={"FIRST_KEY": emu.key}, state=tmp_path / "state") as gate:
            events = await ask(gate, 6)
            await until(lambda: not gate.gateway.services.exports.state()[0]["ok"])
            metrics = (await gate.send("GET", "/metrics")).body.decode()
            [state] = gate.gateway.services.exports.state()
    assert ([event["status"] for event in events], state["backlog"]) == (["success"] * 6, 6)
    assert f'sbgw_export_ok{{export="{state["export"]}"}} 0' in metrics
    assert [line["event"] for line in gate.logged if line["event"].startswith("export")] == [
        "export_failed",
        "export_lost",
    ]


async def test_a_receiver_that_hangs_costs_no_request() -> None:
    """A receiver that takes the connection and never answers holds up nobody."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Emulator(models=ROWS) as emu:
        made = text(emu, {"governance": {"url": f"http://127.0.0.1:{port}/in"}})
        async with spine(made, env={"FIRST_KEY": emu.key}) as gate:
            assert len(await ask(gate, 10)) == 10
    server.close()


async def test_the_governance_file(tmp_path: Path, root: Path) -> None:
    """Lines valid by the schema, for the owner alone, without a word of the prompt."""
    path = tmp_path / "below" / "governance.jsonl"
    async with Emulator(models=ROWS) as emu:
        made = text(
            emu, {"governance": {"file": str(path)}}, gate={"deny": [{"id": "no", "when": 'client.project == "x"'}]}
        )
        async with spine(made, env={"FIRST_KEY": emu.key}) as gate:
            await ask(gate, 2)
            await gate.ask("openai-chat", headers={"x-sbgw-project": "x"})
    records = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    schema = orjson.loads((root / "schemas/governance.schema.json").read_bytes())
    assert [e.message for record in records for e in Draft7Validator(schema).iter_errors(record)] == []
    assert [(record["kind"], record.get("violation", {}).get("rule")) for record in records] == [
        ("request", None), ("request", None), ("request", None), ("violation", "no"),
    ]  # fmt: skip
    assert (path.stat().st_mode & 0o777, CANARY.encode() in path.read_bytes()) == (0o600, False)


async def test_the_governance_webhook() -> None:
    """Tried again until it works, with the token, each record at least once; a refusal is not tried again."""
    async with (
        Emulator(models=ROWS) as emu,
        Receiver(statuses=[503, 429, 500], headers={"retry-after": "0"}) as receiver,
    ):
        made = text(emu, {"governance": {"url": f"{receiver.url}/in"}})
        environ = {"FIRST_KEY": emu.key, "SBGW_GOVERNANCE_TOKEN": "hush"}
        async with spine(made, env=environ) as gate:
            [event] = await ask(gate)
            await until(lambda: receiver.got)
            receiver.statuses = [400]
            await ask(gate)
            await until(lambda: gate.gateway.services.exports.state()[0]["refused"] == 1)
    [(path, headers, body)] = receiver.got
    assert (path, headers["authorization"], headers["content-type"]) == ("/in", "Bearer hush", "application/x-ndjson")
    assert (orjson.loads(body)["id"], receiver.asked) == (event["id"], 5)


async def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that shall export and can't says so, and serves."""
    import sys

    monkeypatch.setitem(sys.modules, "engine.telemetry.otlp", None)
    async with Emulator(models=ROWS) as emu:
        async with spine(text(emu, {"otlp": {"endpoint": "http://127.0.0.1:9"}}), env={"FIRST_KEY": emu.key}) as gate:
            await ask(gate)
    assert [line["event"] for line in gate.logged] == ["otel_not_installed"]
