"""The running gateway: one policy, its pipeline, and the services they use. No HTTP server here; the demo runs without one."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from engine.exchange import Exchange, Responder, Services, Simulated, Spend
from engine.exports import Exports
from engine.llm.protocol import WireProtocol
from engine.llm.returning import Seals
from engine.memory.conversations import Memory
from engine.pipeline import Pipeline, compile_pipeline
from engine.policy.budgets import start_of
from engine.policy.clients import ClientIdentity, identify
from engine.policy.model import Policy
from engine.protocols.registry import PROTOCOLS
from engine.protocols.tool_checks import ToolCheckCache
from engine.providers.credentials import Credentials, digest_of
from engine.providers.health import Health
from engine.providers.health_file import HealthFile, dump
from engine.providers.limits import Limits
from engine.providers.prices import PriceTable
from engine.providers.simulated import SimulatedProvider
from engine.providers.transport import Transport
from engine.shadow import Shadow
from engine.stages.record import settle
from engine.store.event import Event
from engine.store.ids import Ids
from engine.store.key import salt, sealing_key
from engine.store.ledger import Ledger
from engine.store.memory import REACH, remember
from engine.store.null_ledger import NullLedger
from engine.store.policies import PolicyStore
from engine.store.prefixes import Prefixes
from engine.store.protocol import EventStore
from engine.store.purse import Purses
from engine.store.redaction import Redactor
from engine.store.response_cache import AnswerStore
from engine.store.retention import Keep
from engine.store.rows import Filter
from engine.store.sessions import Sessions
from engine.store.traces import MIB, TraceStore
from engine.telemetry.metrics import Metrics


@dataclass(slots=True, frozen=True)
class Loaded:
    """A policy ready to serve: swapped as one, so a request sees one or the other."""

    policy: Policy
    pipeline: Pipeline


@dataclass(slots=True, frozen=True)
class ReloadState:
    """How the last reload went."""

    ok: bool = True
    count: int = 0
    """Policies taken over since the start."""
    failures: int = 0
    at: datetime | None = None
    error: str = ""
    """`file:line:column: message` of the first problem, empty when all is well."""


class Gateway:
    """Takes exchanges through the current policy's pipeline."""

    def __init__(
        self,
        policy: Policy,
        *,
        environ: Mapping[str, str],
        state: Path | None,
        log: Callable[..., None],
        simulated: Simulated | None = None,
        shadow: Policy | None = None,
        secrets: Iterable[str] = (),
        trace: bool = False,
    ) -> None:
        """`state` is the folder of the ledger; None keeps events in memory only. `shadow` only watches. `secrets` are values
        that are written nowhere: the gateway's own keys. `trace` keeps all prompts and answers. Raises PolicyInvalid.
        """
        self.loaded = _loaded(policy, prices := PriceTable.load(policy.models.values(), policy.providers))
        self.reload = ReloadState()
        self._environ = environ
        self._secrets = tuple(secrets)
        self._salt = salt(state) if state is not None else os.urandom(32)
        self._log = log
        credentials = Credentials(policy.providers.values(), environ)
        self._redactor = self._knowing(credentials)
        self._ids = Ids()
        recorded = state if policy.settings.telemetry_enabled else None
        self.policies = PolicyStore(recorded) if recorded is not None else None
        """Policies that requests were decided by, for explanations; None when nothing is recorded."""
        self._spent = _SpendClock()
        self._health_file = HealthFile(state, self.log) if state is not None else None
        self._saving: asyncio.Future[None] | None = None
        self.started_at = time.time()
        limits = Limits(time.monotonic, _now)
        ledger = _ledger(recorded, policy, self.log)
        self.shadow = _shadow(shadow, Purses(ledger.spend)) if shadow is not None else None
        self.services = Services(
            protocols=PROTOCOLS,
            credentials=credentials,
            redactor=self._redactor,
            transport=Transport(),
            health=Health(time.monotonic, limits),
            limits=limits,
            prices=prices,
            ledger=ledger,
            metrics=Metrics(),
            exports=Exports(policy, environ, log=self.log, state=recorded, store=ledger),
            sessions=Sessions(),
            tool_checks=ToolCheckCache(),
            prefixes=Prefixes(),
            memory=Memory(),
            seals=Seals(_sealing_key(state, self.log)),
            monotonic=time.monotonic,
            now=_now,
            uniform=random.uniform,
            sleep=asyncio.sleep,
            log=self.log,
            spend=self._spent.at,
            purses=Purses(ledger.spend),
            simulated=simulated or SimulatedProvider(),
        )
        self._keep_texts(state, policy, trace)

    def _keep_texts(self, state: Path | None, policy: Policy, everything: bool) -> None:
        """Where texts are kept, if somebody asks for that: traces and answers. Nothing is made before the first."""
        if state is None:
            return
        limit = policy.settings.trace_mib * MIB
        self.services.traces = TraceStore(state / "traces", limit=limit, log=self.log, everything=everything)
        self.services.answers = AnswerStore(state / "answers", limit=policy.cache.max_mib * MIB, log=self.log)

    async def start(self) -> None:
        """Open the connections and the ledger."""
        await self.services.transport.start()
        self.services.ledger.start()
        await self.services.exports.start()
        zone = self.loaded.policy.settings.timezone
        self._spent.begin(self.services.ledger, local(self.services.now(), zone))
        self.services.limits.begin(self.loaded.policy.providers.values(), self._events_since)
        if self._health_file is not None:
            self._health_file.load(self.services.health, time.monotonic(), time.time())
        recent = self._events_since(self.services.now() - REACH)
        remember(recent, self.services.sessions, self.services.prefixes, self.loaded.policy.prompt_cache)
        self._keep_policy()

    async def close(self) -> None:
        """Close them; what was recorded is safe afterwards."""
        await self.services.transport.close()
        await self.services.exports.close()
        if self._saving is not None:
            await self._saving
        if self._health_file is not None and self.services.health.changed:
            await asyncio.to_thread(self._health_file.save, self._health())
        await asyncio.to_thread(self.services.ledger.close)
        if self.services.traces is not None:
            await asyncio.to_thread(self.services.traces.close)
        if self.services.answers is not None:
            await self.services.answers.close()

    def swap(self, policy: Policy) -> None:
        """Serve new requests by `policy`; those under way keep theirs. Raises PolicyInvalid and changes nothing then."""
        prices = PriceTable.load(policy.models.values(), policy.providers)
        loaded = _loaded(policy, prices)
        credentials = Credentials(policy.providers.values(), self._environ)
        # New services, not changed ones: a request under way must find the keys of the providers it may still fall back to.
        self._redactor = self._knowing(credentials)
        self.services = replace(self.services, credentials=credentials, redactor=self._redactor, prices=prices)
        self.loaded = loaded
        self.services.ledger.keep(_keep(policy))
        if self.services.traces is not None:
            self.services.traces.limit = policy.settings.trace_mib * MIB
        if self.services.answers is not None:
            self.services.answers.limit(policy.cache.max_mib * MIB)
        self._keep_policy()

    def _events_since(self, moment: datetime) -> Iterable[Event]:
        """Recorded events from `moment` on, as many as can be read: a broken ledger costs memory, not the start."""
        with suppress(sqlite3.Error):
            yield from self.services.ledger.events(Filter(since=moment))

    def _health(self) -> bytes:
        return dump(self.services.health, time.monotonic(), time.time())

    def _keep_health(self) -> None:
        """Write down, beside the requests, who is out of order; while that is under way, the next request's end will."""
        if self._health_file is None or (self._saving is not None and not self._saving.done()):
            return
        self.services.health.changed = False
        self._saving = asyncio.get_running_loop().run_in_executor(None, self._health_file.save, self._health())

    def log(self, event: str, **fields: Any) -> None:
        """One structured line, without secrets."""
        clean = self._redactor.text
        self._log(event, **{name: clean(value) if isinstance(value, str) else value for name, value in fields.items()})

    def _knowing(self, credentials: Credentials) -> Redactor:
        return Redactor((*credentials.secrets, *self._secrets), salt=self._salt)

    def _keep_policy(self) -> None:
        """Store the policy that decides from now on. A full disk costs explanations of old events, not requests."""
        if self.policies is None:
            return
        try:
            self.policies.save(self.loaded.policy)
        except OSError as error:
            self.services.log("policy_not_kept", reason=error.strerror)

    def exchange(
        self,
        wire: WireProtocol,
        headers: Mapping[str, str],
        raw: bytes,
        responder: Responder,
        caller_credential: Mapping[str, str] | None = None,
        *,
        identity: ClientIdentity | None = None,
        passed: dict[tuple[str, str], Mapping[str, str]] | None = None,
    ) -> Exchange:
        """A new exchange under the current policy. `headers` has names in lower case; `identity` is who sends them, `passed` what
        of them goes on to providers, where that is known already.
        """
        services = self.services
        return Exchange(
            id=self._ids.new(),
            wire=wire,
            identity=identity or identify(headers),
            headers=headers,
            raw=raw,
            started=services.monotonic(),
            wall=local(services.now(), self.loaded.policy.settings.timezone),
            responder=responder,
            caller_credential=caller_credential or {},
            login=digest_of(*caller_credential.values()) if caller_credential else "",
            policy=self.loaded.policy,
            passed={} if passed is None else passed,
            shadow=self.shadow,
        )

    async def run(self, exchange: Exchange) -> None:
        """Take `exchange` through the pipeline of the policy it began with."""
        loaded = self.loaded
        pipeline = loaded.pipeline if loaded.policy is exchange.policy else compile_pipeline(exchange.policy)
        services = self.services
        services.metrics.in_flight += 1
        try:
            await pipeline.run(exchange, services)
        finally:
            services.metrics.in_flight -= 1
            if services.health.changed:
                self._keep_health()
            settle(exchange, services)  # where the record itself failed
            if exchange.bill is not None and exchange.bill.total_usd:
                self._spent.add(exchange.wall, exchange.bill.total_usd)


def _keep(policy: Policy) -> Keep:
    return Keep(policy.settings.keep_days, policy.settings.keep_mib)


def local(moment: datetime, timezone: str) -> datetime:
    """`moment` by the clocks of a place; by its own when none is named."""
    return moment.astimezone(ZoneInfo(timezone)) if timezone else moment


def _loaded(policy: Policy, prices: PriceTable) -> Loaded:
    """`policy` with its price facts filled in, and its graph proved. Raises PolicyInvalid."""
    priced = policy.priced(prices.rates())
    return Loaded(priced, compile_pipeline(priced))


def _ledger(state: Path | None, policy: Policy, log: Callable[..., None]) -> EventStore:
    return NullLedger() if state is None else Ledger(state / "ledger.sqlite", log=log, keep=_keep(policy))


def _now() -> datetime:
    return datetime.now().astimezone()


def _sealing_key(state: Path | None, log: Callable[..., None]) -> bytes:
    """The state folder's key. Without one, reasoning sealed before a restart is left out after it."""
    if state is not None:
        try:
            return sealing_key(state)
        except OSError as error:
            log("sealing_key_not_kept", reason=error.strerror)
    return os.urandom(32)


def _shadow(policy: Policy, purses: Purses) -> Shadow:
    prices = PriceTable.load(policy.models.values(), policy.providers)
    loaded = _loaded(policy, prices)
    return Shadow(loaded.policy, loaded.pipeline, prices, purses)


class _SpendClock:
    """Money spent today and this month, local time: read from the ledger once, then added up."""

    def __init__(self) -> None:
        self._day: Any = None
        self._month: Any = None
        self._spend = Spend()

    def begin(self, ledger: EventStore, now: datetime) -> None:
        self._roll(now)
        day, month = (ledger.spend(Filter(since=start_of(period, now))) for period in ("day", "month"))
        self._spend = Spend(day, month)

    def at(self, moment: datetime) -> Spend:
        self._roll(moment)
        return self._spend

    def add(self, moment: datetime, usd: float) -> None:
        self._roll(moment)
        self._spend = Spend(self._spend.day_usd + usd, self._spend.month_usd + usd)

    def _roll(self, moment: datetime) -> None:
        day, month = moment.date(), (moment.year, moment.month)
        if day != self._day:
            self._spend = Spend(0.0, self._spend.month_usd if month == self._month else 0.0)
            self._day, self._month = day, month
