"""Looking into the gateway: health, metrics, and the decision for a request that is not sent anywhere."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiohttp import web

from engine import __version__
from engine.bodies import read_body
from engine.callers import CALLER
from engine.gateway import Gateway, ReloadState, local
from engine.llm.errors import ClientError
from engine.llm.messages import JsonObject
from engine.llm.protocol import WireProtocol
from engine.protocols.detect import detect
from engine.routes.reply import json_response
from engine.stages.decode import parse, prepare
from engine.store.event import decision_json
from engine.store.standing import standings
from engine.telemetry.metrics import export_metrics, memory_metrics


class Inspection:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def health(self, request: web.Request) -> web.StreamResponse:
        """`GET /health`: open, so it says only whether we work; providers and their keys are not named to strangers."""
        gateway = self._gateway
        ledger, reload = gateway.services.ledger, gateway.reload
        body: JsonObject = {
            "status": "ok" if ledger.ok and reload.ok else "degraded",
            "version": __version__,
            "policy": gateway.loaded.policy.label,
            "uptimeSeconds": round(time.time() - gateway.started_at, 1),
            "policyReload": "ok" if reload.ok else f"refused, the policy above still serves: {reload.error}",
            "ledger": "ok" if ledger.ok else "not writing; events are kept in memory",
        }
        if (upgrading := ledger.upgrading) is not None:
            body["ledgerUpgrade"] = {"done": round(upgrading.done, 3), "incomplete": sorted(upgrading.sums)}
        return json_response(body)

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """`GET /metrics`: Prometheus text; JSON with `?format=json` or `Accept: application/json`."""
        gateway = self._gateway
        wants_json = request.query.get("format") == "json" or "application/json" in request.headers.get("Accept", "")
        if not wants_json:
            text = gateway.services.metrics.prometheus() + _reload_metrics(gateway.reload)
            text += memory_metrics(int(gateway.services.memory.size), gateway.services.memory.reused)
            text += export_metrics(gateway.services.exports.state())
            return web.Response(text=text, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})
        body = gateway.services.metrics.as_json()
        body["providers"] = gateway.services.health.snapshot(gateway.loaded.policy, gateway.services.credentials)
        memory = gateway.services.memory
        body["memory"] = {"bytes": int(memory.size), "conversations": len(memory), "reusedBytes": memory.reused}
        body["exports"] = gateway.services.exports.state()
        body["policy"] = {
            "label": gateway.loaded.policy.label,
            "reloads": gateway.reload.count,
            "reloadFailures": gateway.reload.failures,
            "lastReloadOk": gateway.reload.ok,
            "lastReloadError": gateway.reload.error,
        }
        return json_response(body)

    async def providers(self, request: web.Request) -> web.StreamResponse:
        """`GET /providers`: state, reason, until when, latency, error rate and limits, of each provider and its models."""
        services = self._gateway.services
        rows = services.health.snapshot(self._gateway.loaded.policy, services.credentials)
        return json_response({"format_version": 1, "providers": rows})

    async def budgets(self, request: web.Request) -> web.StreamResponse:
        """`GET /budgets`: what of each pot is spent, reserved and left, and when it begins anew."""
        gateway = self._gateway
        services, policy = gateway.services, gateway.loaded.policy
        moment = local(services.now(), policy.settings.timezone)
        held = dict(services.purses.pots)
        rows = await asyncio.to_thread(standings, policy.budgets, held, services.ledger.pots, moment)
        return json_response({"format_version": 1, "budgets": rows})

    async def route(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/route`: what the policy says about the request in the body, in any protocol; nothing is sent on."""
        gateway = self._gateway
        raw = await read_body(request, gateway.loaded.policy.settings.max_body_mib << 20)
        wire = self._protocol(request, parse(raw))
        exchange = gateway.exchange(wire, request[CALLER].headers, raw, _NoResponder())
        await prepare(exchange, gateway.services)
        services = gateway.services
        availability = services.health.availability(exchange.policy, services.credentials, exchange.login)
        decision = gateway.loaded.pipeline.decide(exchange.facts, availability)
        chosen = decision.chosen
        body: JsonObject = {
            "protocol": wire.name,
            "class": decision.route_class,
            "model": chosen.ref if chosen else None,
            "decision": decision_json(decision),
            "facts": exchange.facts,
        }
        return json_response(body)

    def _protocol(self, request: web.Request, body: JsonObject) -> WireProtocol:
        """`?protocol=`, else what the body looks like."""
        protocols = self._gateway.services.protocols
        named = request.query.get("protocol", "")
        if named:
            if named not in protocols:
                raise ClientError(f"no protocol '{named}'; there are: {', '.join(protocols)}", field="protocol")
            return protocols[named]
        return protocols[detect(body, request.headers)]


def _reload_metrics(state: ReloadState) -> str:
    """How hot reload fares, as Prometheus reports its own."""
    return (
        "# HELP sbgw_policy_last_reload_ok Whether the policy on disk is the one that serves.\n"
        "# TYPE sbgw_policy_last_reload_ok gauge\n"
        f"sbgw_policy_last_reload_ok {int(state.ok)}\n"
        "# HELP sbgw_policy_reloads_total Saved policies, by whether they were taken over.\n"
        "# TYPE sbgw_policy_reloads_total counter\n"
        f'sbgw_policy_reloads_total{{result="taken"}} {state.count}\n'
        f'sbgw_policy_reloads_total{{result="refused"}} {state.failures}\n'
    )


class _NoResponder:
    """Nothing is streamed to someone who only asks for a decision."""

    started = False

    async def start(self, status: int, headers: Any) -> None:
        raise AssertionError("a decision has no stream")

    async def write(self, data: bytes) -> None:
        raise AssertionError("a decision has no stream")
