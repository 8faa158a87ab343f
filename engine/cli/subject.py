"""What `explain` and `graph` are asked about: a recorded event, an exported one, facts, or a request's body."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from engine.cli.screen import PROBLEMS, USAGE, fail, safe
from engine.llm.errors import ClientError
from engine.policy.decision import Facts

if TYPE_CHECKING:
    from engine.llm.protocol import Survey
    from engine.policy.case import ProviderState
    from engine.policy.model import Policy
    from engine.store.event import Event
    from engine.store.reader import Reader

_HEX = frozenset("0123456789abcdef")


class Subject(Protocol):
    """Something a policy can be asked about."""

    title: str
    event: Event | None
    """The record, when there is one."""

    def facts(self, policy: Policy) -> Facts:
        """Facts for this policy, whose signals may be others than another one's."""

    def availability(self, policy: Policy) -> Mapping[str, ProviderState]:
        """States of the policy's providers."""


@dataclass(slots=True)
class Recorded:
    """An event, from the ledger or from a file; `event` lacks what a file of bare facts does not say."""

    title: str
    event: Event | None
    recorded: Facts
    states: Mapping[str, Any]

    def facts(self, policy: Policy) -> Facts:
        from engine.policy.recall import FactsBroken, recall

        try:
            found, missing = recall(self.recorded, policy.signals, policy.reads)
        except FactsBroken as error:
            fail(f"{self.title} can't be explained: {error}", code=PROBLEMS)
        if missing:
            shown = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
            sys.stderr.write(f"not recorded, taken as their defaults: {safe(shown)}\n")
        return found

    def availability(self, policy: Policy) -> Mapping[str, ProviderState]:
        from engine.policy.availability import availability_of

        return availability_of(self.states)


@dataclass(slots=True)
class Body:
    """A request that was not sent. Its text is searched for each policy's signals and leaves in no other way."""

    title: str
    protocol: str
    survey: Survey
    size: int
    client: str
    event: Event | None = None

    def facts(self, policy: Policy) -> Facts:
        from engine.policy.clients import ClientIdentity
        from engine.policy.facts import FactContext, build

        context = FactContext(
            protocol=self.protocol,
            identity=ClientIdentity(name=self.client),
            session=self.survey.session,
            history=None,
            draw=self.survey.session,
            body_bytes=self.size,
            now=datetime.now().astimezone(),
        )
        return build(self.survey, context, policy)

    def availability(self, policy: Policy) -> Mapping[str, ProviderState]:
        """By the keys of this environment, everybody healthy."""
        from engine.policy.case import ProviderState
        from engine.providers.credentials import Credentials

        credentials = Credentials(policy.providers.values(), os.environ)
        return {
            name: ProviderState(key=not (missing := credentials.missing(row)), missing=missing)
            for name, row in policy.providers.items()
        }


def find(name: str, state: Path, client: str) -> Subject:
    """What `name` means: `-` for standard input, `last`, a file, or the beginning of an event's id. Stops if nothing does."""
    if name == "-":
        return _read("standard input", sys.stdin.buffer.read(), client)
    path = Path(name)
    if path.is_file():
        try:
            return _read(name, path.read_bytes(), client)
        except OSError as error:
            fail(f"cannot read {name}: {error.strerror}")
    if name != "last" and not set(name) <= _HEX:
        fail(
            f"'{name}' is neither a file nor an event's id", "`sbgw events` lists the ids; `last` is the newest", USAGE
        )
    with ledger(state) as reader:
        event = next(iter(reader.recent(1)), None) if name == "last" else reader.get(name)
    if event is None:
        long_enough = name == "last" or len(name) >= 8
        hint = "`sbgw events` lists them" if long_enough else "give at least 8 characters of the id"
        fail("there are no events yet" if name == "last" else f"no event '{name}'", hint, PROBLEMS)
    return of_event(event)


def of_event(event: Event) -> Recorded:
    """An event as a subject."""
    return Recorded(f"event {event.id}", event, event.facts, event.availability)


@contextmanager
def ledger(state: Path) -> Iterator[Reader]:
    """The ledger of a state folder, to read. Stops with a clear line when there is none, or it can't be read."""
    from engine.store.ledger import read_only

    path = state / "ledger.sqlite"
    if not path.exists():
        fail(f"there are no records in {state}", "start the gateway with `sbgw run`", PROBLEMS)
    try:
        with read_only(path) as reader:
            yield reader
    except sqlite3.Error as error:
        hint = "start the gateway once: it brings the file up to date" if "no such column" in str(error) else ""
        fail(f"cannot read {path}: {error}", hint)


def _read(name: str, data: bytes, client: str) -> Subject:
    from engine.protocols.detect import detect
    from engine.protocols.registry import PROTOCOLS
    from engine.stages.decode import parse
    from engine.store.event import Event

    try:
        body = parse(data)
        if isinstance(body.get("facts"), dict):
            event = Event.from_json(body) if "id" in body and "timestamp" in body else None
            return Recorded(f"event {event.id}" if event else name, event, body["facts"], body.get("availability", {}))
        protocol = detect(body)
        return Body(name, protocol, PROTOCOLS[protocol].survey(body), len(orjson.dumps(body)), client)
    except (ClientError, ValueError) as error:
        fail(f"cannot use {name}: {error}", "it takes a request's JSON, or an event as `sbgw events export` writes it")
