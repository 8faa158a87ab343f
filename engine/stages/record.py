"""record: one event per request, after every end, exactly once, safe before the client's last byte."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from typing import Any, ClassVar

from engine import __version__
from engine.exchange import Attempt, Exchange, Services, looks_for_secrets
from engine.llm.messages import JsonObject
from engine.llm.protocol import Survey, Tapped
from engine.policy.decision import Facts
from engine.policy.violations import tags, violations
from engine.stages import tape
from engine.stages.bill import Bill, bill
from engine.stages.kept import land
from engine.stages.stage import Stage
from engine.store.cleaning import cleaned
from engine.store.event import AttemptEvent, Event, Status, decision_json, timestamp_of, violation_json
from engine.store.quoting import unquoted
from engine.telemetry.trace_context import parent_of

_LONGEST_TOOL = 64
"""Characters kept of a tool's name; the vendors allow 64 to 128."""


class Record(Stage):
    needs: ClassVar[frozenset[str]] = frozenset({"reply"})

    async def run(self, exchange: Exchange, services: Services) -> str | None:
        land(exchange, services)
        exchange.bill = bill(exchange, services.prices, services.calibration)
        passed = settle(exchange, services)
        event = cleaned(event_of(exchange, services), services.redactor)
        if passed:
            event = replace(event, budget_thresholds=passed)
        if exchange.shadow is not None:
            event = replace(event, shadow=exchange.shadow.opinion(exchange))
            exchange.shadow.count(exchange)
        if exchange.served is not None and event.input_tokens is not None:
            used = event.input_tokens + (event.output_tokens or 0)
            services.limits.settle(exchange.served.taken, used)
        _remember(exchange, services)
        services.metrics.observe(event)
        tape.end(exchange, services, event)
        safe = services.ledger.complete(event)
        services.exports.publish(event)
        await safe
        return None


def settle(exchange: Exchange, services: Services) -> tuple[str, ...]:
    """Count what was spent of the budgets and give back what was reserved; the thresholds passed, as events hold them."""
    if exchange.hold is None:
        return ()
    usd = exchange.bill.total_usd if exchange.bill is not None else None
    passed = services.purses.settle(exchange.hold, usd, asked=bool(exchange.answer) and not exchange.cache_hit)
    for crossing in passed:
        services.log(
            "budget_threshold",
            event_id=exchange.id,
            budget=crossing.budget,
            of=", ".join(crossing.of),
            threshold=crossing.threshold,
            spent_usd=round(crossing.spent_usd, 6),
            limit_usd=crossing.limit_usd,
        )
    return tuple(crossing.label for crossing in passed)


def open_event(exchange: Exchange) -> Event:
    """The event of a request that has just begun, so that a crash shows it as interrupted."""
    exchange.origin = _origin(exchange)
    return Event(**exchange.origin)


def _origin(exchange: Exchange) -> dict[str, Any]:
    """What is known of a request when it comes."""
    facts, identity = exchange.facts, exchange.identity
    return {
        "id": exchange.id,
        "timestamp": timestamp_of(exchange.wall),
        "client": identity.name,
        "client_version": identity.version,
        "protocol": exchange.wire.name,
        "session_id": facts["session"]["id"] if facts else identity.session,
        "agent": identity.agent,
        "parent_agent": identity.parent,
        "project": identity.project,
        "repo_path": identity.repo,
        "requested_model": exchange.survey.model if exchange.survey else "",
        "policy": exchange.policy.label,
        "gateway_version": __version__,
        "trace_parent": parent_of(exchange.headers.get("traceparent", "")),
    }


def event_of(exchange: Exchange, services: Services) -> Event:
    """The finished exchange as its event."""
    facts, decision, owed = exchange.facts, exchange.decision, exchange.bill or Bill()
    cost = owed.cost
    answer, survey, reply = exchange.answer, exchange.survey, exchange.reply
    tapped = exchange.tapped or Tapped()
    usage = tapped.usage
    served = exchange.served
    last = answer.candidate if answer else exchange.attempts[-1].candidate if exchange.attempts else None
    return Event(
        **exchange.origin or _origin(exchange),
        route_class=decision.route_class if decision else "",
        class_rule=decision.class_rule if decision else "",
        selected_provider=last.provider if last else "",
        selected_model=last.model if last else "",
        fallback_chain=tuple(dict.fromkeys(attempt.candidate.ref for attempt in exchange.attempts)),
        input_tokens=usage.input_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
        cached_input_tokens=usage.cached_tokens if usage else None,
        cache_write_tokens=usage.cache_write_tokens if usage else None,
        reasoning_tokens=usage.reasoning_tokens if usage else None,
        cost_estimate_usd=cost.estimate_usd if cost else None,
        cost_reported_usd=cost.usd if cost and cost.provenance == "provider" else None,
        cost_provenance=cost.provenance if cost else "",
        price_table=cost.table if cost else "",
        cost_basis=owed.basis,
        wasted_usd=owed.wasted_usd,
        estimated_usd=owed.estimated_usd,
        requested_usd=owed.requested_usd,
        budgets=exchange.hold.budgets if exchange.hold else (),
        key_name=exchange.identity.key,
        latency_ms=round((services.monotonic() - exchange.started) * 1000, 2),
        first_event_ms=_rounded(exchange.first_event_ms),
        cache_hit=exchange.cache_hit,
        status=_status(exchange),
        error_class=_error_class(exchange),
        stream=bool(survey and survey.stream),
        http_status=reply.status if reply and not exchange.cancelled else None,
        facts=_counted(exchange, facts),
        decision=decision_json(decision) if decision else {},
        availability=services.health.told(exchange.case.availability) if exchange.case else {},
        path=tuple(exchange.path),
        losses=served.losses if served else (),
        attempts=tuple(
            _attempt(attempt, exchange.raw, answered=attempt is served, wasted=usd)
            for attempt, usd in zip_longest(exchange.attempts, owed.wasted)
        ),
        stop_reason=tapped.stop or "",
        repaired_calls=exchange.calls.repaired if exchange.calls else None,
        invalid_calls=exchange.calls.invalid if exchange.calls else None,
        workflow=_workflow(survey) if survey else {},
        tags=tags(exchange.policy, decision) if decision else (),
        violations=tuple(map(violation_json, violations(exchange.policy, decision))) if decision else (),
        request_digest=served.digest if served else "",
    )


def _counted(exchange: Exchange, facts: Facts) -> Facts:
    """The facts without a count that was not taken: nobody asked, so that there were none would be no truth."""
    if not facts or looks_for_secrets(exchange):
        return facts
    return {**facts, "request": {name: value for name, value in facts["request"].items() if name != "secrets"}}


def _workflow(survey: Survey) -> JsonObject:
    """The agent's step that the request is, by names alone."""
    out: JsonObject = {"turn": survey.turns}
    if survey.results:
        out["results"] = [
            {"tool": tool[:_LONGEST_TOOL]} | ({} if ok is None else {"ok": ok}) for tool, ok in survey.results
        ]
    return out


def _status(exchange: Exchange) -> Status:
    if exchange.cancelled:
        return "cancelled"
    if exchange.error is not None or exchange.answer is None:
        return "error"
    first = exchange.attempts[0].candidate.ref if exchange.attempts else exchange.answer.candidate.ref
    return "success" if exchange.answer.candidate.ref == first else "fallback_success"


def _error_class(exchange: Exchange) -> str:
    if exchange.cancelled:
        return "client_left"
    return exchange.error.code if exchange.error is not None else ""


def _attempt(attempt: Attempt, request: bytes, *, answered: bool, wasted: float | None) -> AttemptEvent:
    candidate = attempt.candidate
    return AttemptEvent(
        provider=candidate.provider,
        model=candidate.model,
        protocol=candidate.protocol,
        preserve=candidate.preserve,
        started_ms=round(attempt.started_ms, 2),
        latency_ms=round(attempt.latency_ms, 2),
        first_event_ms=_rounded(attempt.first_event_ms),
        status=attempt.status or None,
        meaning=attempt.meaning,
        message=unquoted(attempt.message, request),
        waited_ms=round(attempt.waited_ms, 2),
        passed_over=attempt.passed_over,
        hints=attempt.hints,
        key=attempt.key,
        answered=answered,
        wasted_usd=wasted,
        hedge=attempt.hedge,
        unhedged=attempt.unhedged,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _remember(exchange: Exchange, services: Services) -> None:
    """What the session's next request may know of this one."""
    if exchange.answer is not None and exchange.tapped is not None and exchange.tapped.sealed:
        services.seals.makers.note(exchange.tapped.sealed, exchange.answer.candidate.provider)
    if not exchange.facts:
        return
    request = exchange.facts["request"]
    usage = exchange.tapped.usage if exchange.tapped else None
    services.sessions.note(
        exchange.facts["session"]["id"],
        model=exchange.answer.candidate.ref if exchange.answer else "",
        tool_results=request["tool_results"],
        tool_errors=request["tool_errors"],
        prompt=exchange.prompt,
        cost_usd=exchange.bill.total_usd if exchange.bill else None,
        invalid_calls=exchange.calls.invalid if exchange.calls else 0,
        output_tokens=usage.output_tokens if usage else None,
        key=exchange.served.key if exchange.served is not None else "",
    )
    served, owed = exchange.served, exchange.bill
    if served is None or owed is None:
        return
    ref = served.candidate.ref
    if owed.basis == "usage" and usage is not None:
        services.calibration.note(
            ref, exchange.wire.name, usage, int(exchange.facts["estimate"]["input_tokens"]), served.heard
        )
    if exchange.prefix is not None:
        if owed.basis == "sizes" and owed.usage is not None:
            # The prompt is there all the same; what was read is unknown.
            usage = replace(owed.usage, cached_tokens=None)
        cache = exchange.policy.prompt_cache(ref)
        services.prefixes.note(exchange.prefix, ref, cache, usage, hints=served.hints, key=served.key)
