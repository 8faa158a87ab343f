"""Where events go beside the ledger: OpenTelemetry, the governance export, and whoever listens to the stream of events.

Receivers are made from the policy's settings when the gateway starts. Secrets come from the environment:
`OTEL_EXPORTER_OTLP_HEADERS` (`name=value,…`) and `SBGW_GOVERNANCE_TOKEN`.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson

from engine.llm.catalogue import Timeouts
from engine.llm.errors import ProviderError
from engine.policy.model import Policy
from engine.protocols.retry_after import retry_after
from engine.providers.transport import Transport
from engine.store.event import Event
from engine.store.protocol import EventStore
from engine.telemetry.courier import Courier, Refused, TooMuch, Undelivered
from engine.telemetry.cursor import Cursor
from engine.telemetry.governance import governance_records

TIMEOUTS = Timeouts(connect=3.0, first_event=10.0, idle=10.0, total=20.0)

_SENSELESS = frozenset({400, 406, 415, 422})
"""Statuses that say of the body that it is no good: the same one never will be."""

MAX_LISTENERS = 32
LISTENER_BACKLOG = 1_000
"""Events that wait for a listener; one that is slower than that misses the oldest of them."""

Post = Callable[[str, Mapping[str, str], bytes], Awaitable[None]]


class Listener:
    """Takes each finished event for somebody who may be slow."""

    def __init__(self) -> None:
        self.missed = 0
        """Events that were dropped since somebody last set this to 0."""
        self._waiting: deque[Event] = deque()
        self._some = asyncio.Event()
        self._ended = False

    def tell(self, event: Event) -> None:
        """A request has ended. Never waits."""
        if len(self._waiting) >= LISTENER_BACKLOG:
            self._waiting.popleft()
            self.missed += 1
        self._waiting.append(event)
        self._some.set()

    def end(self) -> None:
        """There will be no more, and what waits is not told."""
        self._ended = True
        self._some.set()

    async def next(self) -> Event | None:
        """The next event, as soon as there is one; None at the end."""
        while not self._ended:
            if self._waiting:
                return self._waiting.popleft()
            self._some.clear()
            await self._some.wait()
        return None


class Exports:
    """Publishes each finished event to its receivers and listeners. `start` it in the event loop."""

    def __init__(
        self,
        policy: Policy,
        environ: Mapping[str, str],
        *,
        log: Callable[..., None],
        state: Path | None = None,
        store: EventStore | None = None,
    ) -> None:
        """With a folder and the store of its events, what could not be delivered in this run is by the next one."""

        def past(name: str) -> Cursor | None:
            path = state / f"export-{name}.json" if state is not None else None
            return Cursor(path, store, datetime.now(UTC)) if path is not None and store is not None else None

        self._transport = Transport()
        self._listeners: set[Listener] = set()
        self.couriers = tuple(
            Courier(name, receiver, log=log, sleep=asyncio.sleep, uniform=random.uniform, past=past(name))
            for name, receiver in _receivers(policy, environ, self.post, log)
        )

    async def start(self) -> None:
        """Begin to deliver."""
        if self.couriers:
            await self._transport.start()
        for courier in self.couriers:
            courier.start()

    async def close(self) -> None:
        """Deliver what is left, for a few seconds at most."""
        await asyncio.gather(*(courier.close() for courier in self.couriers))
        await self._transport.close()

    def publish(self, event: Event) -> None:
        """A request has ended. Never waits, never raises."""
        for courier in self.couriers:
            courier.take(event)
        for listener in self._listeners:
            listener.tell(event)

    def listen(self) -> Listener | None:
        """Somebody who is told of all events from now on; None when there are too many. Hand it back with `leave`."""
        if len(self._listeners) >= MAX_LISTENERS:
            return None
        listener = Listener()
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """The listener has gone."""
        self._listeners.discard(listener)

    def hang_up(self) -> None:
        """Tell all listeners that there will be no more."""
        for listener in self._listeners:
            listener.end()

    def state(self) -> list[dict[str, Any]]:
        """How each export fares, for `/metrics`."""
        return [
            {"export": c.name, "sent": c.sent, "dropped": c.dropped, "refused": c.refused, "backlog": c.backlog, "ok": not c.failing}
            for c in self.couriers
        ]  # fmt: skip

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """POST `body`. Raises Undelivered for what may work later, Refused for what will not, TooMuch for what is too large.

        A receiver that does not let us in, or is not there, may be put right by somebody: what it should get is not given up.
        """
        try:
            answer = await self._transport.send(url, headers=headers, body=body, timeouts=TIMEOUTS)
            with closing(answer):
                await answer.read()
        except ProviderError as error:
            raise Undelivered(error.meaning) from None
        if answer.status < 300:
            return
        if answer.status == 413:
            raise TooMuch("HTTP 413")
        if answer.status in _SENSELESS:
            raise Refused(f"HTTP {answer.status}")
        raise Undelivered(f"HTTP {answer.status}", retry_after=retry_after(answer.headers))


class GovernanceFile:
    """Appends governance records to a file, one JSON object a line, for its owner alone."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def seen(self, event: Event) -> None:
        """Nothing to do before delivery."""

    async def deliver(self, events: list[Event]) -> None:
        """See `Receiver`. Written at once or not at all; a line cut short by a full disk is ended before the next try."""
        await asyncio.to_thread(self._append, _lines(events))

    def _append(self, data: bytes) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                size = os.fstat(handle).st_size
                written = os.write(handle, data)
                if written < len(data):
                    os.ftruncate(handle, size)
                    raise Undelivered("the disk is full")
            finally:
                os.close(handle)
        except OSError as error:
            raise Undelivered(error.strerror or type(error).__name__) from None


class GovernanceWebhook:
    """POSTs governance records as JSON lines."""

    def __init__(self, url: str, token: str, post: Post) -> None:
        self._url, self._post = url, post
        self._headers = {"content-type": "application/x-ndjson"} | (
            {"authorization": f"Bearer {token}"} if token else {}
        )

    def seen(self, event: Event) -> None:
        """Nothing to do before delivery."""

    async def deliver(self, events: list[Event]) -> None:
        """See `Receiver`."""
        await self._post(self._url, self._headers, _lines(events))


class OTLP:
    """Sends spans and metrics to an OTLP/HTTP receiver."""

    def __init__(self, endpoint: str, environ: Mapping[str, str], post: Post, names: Mapping[str, str]) -> None:
        from engine.telemetry.otlp import GenAIMetrics, Spans  # noqa: PLC0415 - the extra `otel` may be missing

        self._endpoint, self._post = endpoint.rstrip("/"), post
        self._headers = {"content-type": "application/x-protobuf", **_otlp_headers(environ)}
        self._spans = Spans({"service.name": environ.get("OTEL_SERVICE_NAME", "") or "sbgw"}, names)
        self._metrics = GenAIMetrics(names)

    def seen(self, event: Event) -> None:
        """Counted when it happened: a repeated delivery does not count again."""
        self._metrics.observe(event)

    async def deliver(self, events: list[Event]) -> None:
        """See `Receiver`. Metrics are sent with the traces and are cumulative: one that is lost is made good by the next."""
        traces = await asyncio.to_thread(self._spans.traces, events)
        await self._post(f"{self._endpoint}/v1/traces", self._headers, traces)
        with suppress(Refused, Undelivered):
            await self._post(f"{self._endpoint}/v1/metrics", self._headers, self._spans.metrics(self._metrics))


def _receivers(
    policy: Policy, environ: Mapping[str, str], post: Post, log: Callable[..., None]
) -> Iterator[tuple[str, Any]]:
    settings = policy.settings
    if settings.governance_file:
        yield "governance-file", GovernanceFile(Path(settings.governance_file).expanduser())
    if settings.governance_url:
        token = environ.get("SBGW_GOVERNANCE_TOKEN", "").strip()
        yield "governance-webhook", GovernanceWebhook(settings.governance_url, token, post)
    if settings.otlp_endpoint:
        try:
            names = {row.name: row.otel_name for row in policy.providers.values() if row.otel_name}
            yield "otlp", OTLP(settings.otlp_endpoint, environ, post, names)
        except ImportError:
            log("otel_not_installed", hint="pip install 'sbgw[otel]'; nothing is exported to the OTLP endpoint")


def _lines(events: list[Event]) -> bytes:
    records = (record for event in events for record in governance_records(event))
    return b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)


def _otlp_headers(environ: Mapping[str, str]) -> dict[str, str]:
    """`name=value` pairs, separated by commas, values percent-encoded, as the OTLP exporter specification says."""
    pairs = (pair.partition("=") for pair in environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(","))
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs if name.strip() and value.strip()}
