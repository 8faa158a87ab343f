"""Everything that can go wrong with a request, sorted by whose fault it is.

    GatewayError                    has: status (HTTP), message (safe to show), code (stable, machine-readable)
    ├── ClientError                 the caller's request is at fault; never retried, never sent to another provider
    ├── AuthenticationError         the caller's key for this gateway is missing or wrong
    ├── PolicyError                 the policy refuses: a deny rule, or no candidate is left (`reasons` says why each dropped)
    ├── ProviderError               the provider failed; `meaning` says how, which decides retry and fallback
    └── InternalError               a defect of ours

A message never holds a header, a key, a URL's query or a prompt. Each protocol encodes the tree in its own envelope.
"""

from __future__ import annotations

from typing import Any, Literal

Meaning = Literal[
    "invalid_request",  # the request itself: no retry, no other provider
    "context_length",  # too long for this model: only a larger window helps
    "authentication",  # our key for the provider is bad
    "permission",  # the key may not use this model
    "not_found",  # no such model there
    "rate_limit",  # wait, then the same provider will do
    "quota",  # out of money or allowance: waiting does not help soon
    "overloaded",  # the provider is full
    "content_policy",  # refused for its content
    "incompatible",  # this model can't do what the request needs
    "broken",  # an answer that is not one: HTML, bad JSON, missing terminal event
    "server_error",  # 5xx without further meaning
    "unreachable",  # no connection
    "timeout",  # connect, first event, idle or total time ran out
]
"""What a provider's failure means (`notes/providers.md` §9.5 sorted by what one can do about it)."""

STATUS: dict[Meaning, int] = {
    "invalid_request": 400,
    "context_length": 400,
    "authentication": 502,
    "permission": 403,
    "not_found": 404,
    "rate_limit": 429,
    "quota": 429,
    "overloaded": 529,
    "content_policy": 400,
    "incompatible": 400,
    "broken": 502,
    "server_error": 502,
    "unreachable": 502,
    "timeout": 504,
}
"""The HTTP status a client sees when the provider gave none. A provider's bad key is 502 to the client: its own key is fine."""


class GatewayError(Exception):
    """Base of all. `retryable` None leaves the client to judge by status; False makes us send `x-should-retry: false`."""

    status = 500
    code = "internal_error"
    retryable: bool | None = None

    def __init__(self, message: str, *, code: str = "", status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.status = status or type(self).status
        self.retry_after = retry_after
        """Seconds to wait before trying again, None when unknown."""


class ClientError(GatewayError):
    """The request is at fault. `field` is a path like `messages[3].content` where known."""

    status = 400
    code = "invalid_request"
    retryable = False

    def __init__(self, message: str, *, field: str = "", code: str = "", status: int = 0) -> None:
        super().__init__(message, code=code, status=status)
        self.field = field


class AuthenticationError(GatewayError):
    status = 401
    code = "invalid_gateway_key"
    retryable = False


class PolicyError(GatewayError):
    """The policy refuses. `rule` is the deny rule's id (empty: no candidate left), `reasons` maps candidate to reason."""

    status = 403
    code = "policy_denied"
    retryable = False

    def __init__(
        self, message: str, *, rule: str = "", reasons: dict[str, str] | None = None, code: str = "", status: int = 0
    ) -> None:
        super().__init__(message, code=code, status=status)
        self.rule = rule
        self.reasons = reasons or {}


class ProviderError(GatewayError):
    """The provider failed.

    `body` and `headers` are what it sent with an error status (the preserve path passes them on unmodified to a client of
    the same protocol; `protocol` says which that is); `in_stream` is true when the error came inside a 200.
    """

    status = 502
    code = "provider_error"

    def __init__(
        self,
        message: str,
        *,
        meaning: Meaning,
        status: int = 0,
        code: str = "",
        retry_after: float | None = None,
        provider: str = "",
        protocol: str = "",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        in_stream: bool = False,
    ) -> None:
        super().__init__(message, code=code or meaning, status=status or STATUS[meaning], retry_after=retry_after)
        self.meaning: Meaning = meaning
        self.provider = provider
        self.protocol = protocol
        self.body = body
        self.headers: dict[str, Any] = headers or {}
        self.in_stream = in_stream


class InternalError(GatewayError):
    """A defect of ours. The message says only that, with the event id to look up."""
