"""Who sends a request, as far as its headers tell: worked out once for headers that come again.

An agent sends the same headers with every request of a session, but for the length of the body. What follows from them alone
(their names in lower case, whether the guard lets them in, who that is, what goes on to a provider) is a tenth of a small
request's work, so it is remembered for the newest callers. Rules kept here:

- Headers are the same when every byte of every line is, in the same order.
- Only callers that the guard has let in with a key are remembered: a stranger fills no memory.
- A key is found by a keyed hash of all headers together, so how long that takes tells nothing of how much of it was right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from engine.bodies import lowered
from engine.guard import OPEN_PATHS, Guard
from engine.policy.clients import ClientIdentity, identify

_REMEMBERED = 64
"""Callers, and projects of each; beyond it all are worked out anew."""

_LENGTH = b"content-length"

_Lines = tuple[tuple[bytes, bytes], ...]


@dataclass(slots=True, eq=False)
class Caller:
    """What a request's headers say."""

    lines: _Lines
    headers: Mapping[str, str]
    """Names in lower case, but for the length of a body."""
    credential: Mapping[str, str]
    """The caller's own credential headers, ours left out."""
    key: str
    """Name of the gateway's key that is presented, empty for the one without."""
    passed: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    """What of the headers goes on to a provider, by its protocol and `auth`; filled by whoever sends first."""
    admitted: bool = False
    """The guard has let in a POST with them, to a path that needs a key."""
    _identities: dict[str, ClientIdentity] = field(default_factory=dict)

    def identity(self, project: str) -> ClientIdentity:
        """Who it is, for a project that the address names."""
        found = self._identities.get(project)
        if found is None:
            if len(self._identities) >= _REMEMBERED:
                self._identities.clear()
            found = identify(self.headers, project=project or self.key, key=self.key)
            self._identities[project] = found
        return found


CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
"""Where a request keeps who sent it."""


class Callers:
    """Callers that a guard has let in."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._known: dict[_Lines, Caller] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, request: web.BaseRequest) -> Caller:
        """Who sent `request`, let in or not."""
        lines = tuple(
            [line for line in request.raw_headers if len(line[0]) != len(_LENGTH) or line[0].lower() != _LENGTH]
        )
        found = self._known.get(lines)
        if found is None:
            headers = lowered(request)
            headers.pop("content-length", None)
            found = Caller(lines, headers, self.guard.caller_credential(headers), self.guard.key_name(headers))
        return found

    def admit(self, method: str, target: str, caller: Caller) -> None:
        """`Guard.admit`, which is asked once for POSTs of the same caller."""
        known = caller.admitted
        if known and method == "POST" and target.startswith("/"):
            return
        self.guard.admit(method, target, caller.headers)
        if method == "POST" and not known and target.partition("?")[0] not in OPEN_PATHS:
            caller.admitted = True
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[caller.lines] = caller
