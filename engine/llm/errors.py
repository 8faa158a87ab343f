"""Everything that can go wrong with a request, sorted by whose fault it is.

    GatewayError                    has: status (HTTP), message (safe to show), code (stable, machine-readable)
    ├── ClientError                 the caller's request is at fault; never retried, never sent to another provider
    ├── AuthenticationError         the caller's key for this gateway is missing or wrong
    ├── PolicyError                 the policy refuses: a deny rule, or no candidate is left (`reasons` says why each dropped)
    ├── ProviderError               the provider failed; `meaning` says how; `engine.llm.meanings` what that does
    └── InternalError               a defect of ours

A message never holds a header, a key, a URL's query or a prompt. Each protocol encodes the tree in its own envelope.
"""

from __future__ import annotations

from typing import Any

from engine.llm.meanings import EFFECTS, Meaning


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
        super().__init__(
            message, code=code or meaning, status=status or EFFECTS[meaning].status, retry_after=retry_after
        )
        self.meaning: Meaning = meaning
        self.provider = provider
        self.protocol = protocol
        self.body = body
        self.headers: dict[str, Any] = headers or {}
        self.in_stream = in_stream


class InternalError(GatewayError):
    """A defect of ours. The message says only that, with the event id to look up."""
