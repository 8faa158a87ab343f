"""Who may talk to us. Stands before every route and refuses by default.

A gateway on localhost is within reach of every web page in the user's browser and every process on the machine, so:

1. the request line names a path, not a URL;
2. the raw `Host` header is one of ours (DNS rebinding, CVE-2024-28224 and its kin); never `request.url` or `request.host`,
   which an absolute-form target can bend;
3. no web page calls: `Origin`, if sent, is ours; `Sec-Fetch-Site` is `same-origin` or `none`; there are no CORS headers
   and OPTIONS is refused;
4. the local key is there, compared in constant time, but for the few paths that say nothing (`/`, `/health`, `/api/hello`);
5. a body is JSON by its content type, which a web page can't send without asking first.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.llm.errors import AuthenticationError, ClientError, GatewayError

OPEN_PATHS = frozenset({"/", "/health", "/api/hello"})
"""Answered without a key: connectivity checks that tell nothing about the user."""

_JSON_TYPES = frozenset({"application/json", "text/json"})


class Misdirected(GatewayError):
    status = 421
    code = "wrong_host"
    retryable = False


class Forbidden(GatewayError):
    status = 403
    code = "forbidden_origin"
    retryable = False


@dataclass(slots=True, frozen=True)
class Guard:
    """The gateway's door. `keys` empty means authentication is off (`auth.mode: none`)."""

    hosts: frozenset[str]
    """Allowed `Host` values, port included, in lower case."""
    keys: tuple[bytes, ...]
    named: tuple[tuple[str, bytes], ...] = ()
    """Keys that stand for a project, with its name; all of them are in `keys` too."""

    @classmethod
    def of(
        cls, *, port: int, names: Iterable[str], keys: Iterable[str], named: Mapping[str, str] | None = None
    ) -> Guard:
        """A guard for a gateway on `port`, reachable under loopback names and `names`; `named` are further keys by project."""
        hosts = {"127.0.0.1", "localhost", "[::1]", *(name.lower() for name in names)}
        with_port = {f"{host}:{port}" for host in hosts}
        projects = tuple((name, key.encode()) for name, key in (named or {}).items())
        known = (*(key.encode() for key in keys), *(key for _, key in projects))
        return cls(frozenset(with_port | hosts if port == 80 else with_port), known, projects)

    def admit(self, method: str, target: str, headers: Mapping[str, str]) -> None:
        """Let a request in or raise what refuses it. `headers` has names in lower case, `target` is as sent."""
        if not target.startswith("/"):
            raise ClientError("the request line must name a path", code="absolute_target")
        if headers.get("host", "").lower() not in self.hosts:
            raise Misdirected(
                "this gateway is not known under that host name; use http://localhost or http://127.0.0.1"
            )
        self._no_web_page(method, headers)
        path = target.partition("?")[0]
        if path not in OPEN_PATHS:
            self._authenticate(headers)
        if method == "POST":
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind not in _JSON_TYPES:
                raise ClientError(
                    "send the request as content-type: application/json", code="unsupported_media_type", status=415
                )

    def _no_web_page(self, method: str, headers: Mapping[str, str]) -> None:
        if method == "OPTIONS":
            raise Forbidden("web pages may not call this gateway")
        origin = headers.get("origin")
        if origin is not None and origin.removeprefix("http://").lower() not in self.hosts:
            raise Forbidden("web pages may not call this gateway")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Forbidden("web pages may not call this gateway")

    def _authenticate(self, headers: Mapping[str, str]) -> None:
        if not self.keys or any(self.is_key(value) for value in presented(headers)):
            return
        raise AuthenticationError(
            # Claude Code hides a 401 that names the other key header behind "Not logged in" (measured).
            "the gateway's key is missing or wrong; send the output of `sbgw key` as Authorization: Bearer "
            "(`sbgw setup CLIENT` prints how)"
        )

    def is_key(self, value: str) -> bool:
        """Whether `value` is our key. Bytes, since compare_digest refuses non-ASCII strings."""
        given = value.encode()
        return any(hmac.compare_digest(given, key) for key in self.keys)

    def key_name(self, headers: Mapping[str, str]) -> str:
        """The project whose key a request presents, empty for another key."""
        for value in presented(headers) if self.named else ():
            given = value.encode()
            for name, key in self.named:
                if hmac.compare_digest(given, key):
                    return name
        return ""

    def caller_credential(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The caller's own credential headers, ours left out: what a provider with `auth: client` may get."""
        own: dict[str, str] = {}
        for name in ("authorization", "x-api-key"):
            value = headers.get(name)
            if value is not None and not self.is_key(_token(value)):
                own[name] = value
        return own


def presented(headers: Mapping[str, str]) -> Iterable[str]:
    """Every key a request presents; Claude Code may send two that differ."""
    for name in ("x-sbgw-key", "x-api-key", "authorization"):
        if value := headers.get(name):
            yield _token(value)


def _token(value: str) -> str:
    scheme, _, rest = value.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" and rest else value
