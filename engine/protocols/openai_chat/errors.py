"""Errors in OpenAI's envelope, read from providers and written for clients.

`{"error": {"message", "type", "param", "code"}}`. Clients act on status and `code`; a permanent failure says
`x-should-retry: false`, which OpenAI's and Anthropic's SDKs obey. In a stream the error is a `data:` line with the same
envelope: the SDKs raise it with its message. `[DONE]` is not sent after it, because it would say that the answer is whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from engine.llm.errors import (
    AuthenticationError,
    ClientError,
    GatewayError,
    PolicyError,
    ProviderError,
)
from engine.llm.meanings import PERMANENT, Meaning
from engine.llm.messages import JsonObject
from engine.protocols import error_bodies
from engine.protocols.openai_chat.fields import NAME

_KINDS: Mapping[Meaning, tuple[str, str]] = {
    "invalid_request": ("invalid_request_error", ""),
    "context_length": ("invalid_request_error", "context_length_exceeded"),
    "authentication": ("api_error", "provider_authentication"),
    "permission": ("permission_error", ""),
    "not_found": ("invalid_request_error", "model_not_found"),
    "rate_limit": ("rate_limit_error", "rate_limit_exceeded"),
    "quota": ("insufficient_quota", "insufficient_quota"),
    "overloaded": ("server_error", "server_is_overloaded"),
    "content_policy": ("invalid_request_error", "content_filter"),
    "incompatible": ("invalid_request_error", "unsupported_value"),
    "broken": ("server_error", "bad_gateway"),
    "server_error": ("server_error", "server_error"),
    "unreachable": ("server_error", "bad_gateway"),
    "timeout": ("server_error", "timeout"),
}
"""Meaning → (type, code); an empty code leaves the provider's own."""

_PASSED_HEADERS = ("retry-after", "retry-after-ms", "x-should-retry", "x-request-id")


def decode_error(status: int, body: bytes, headers: Mapping[str, str]) -> ProviderError:
    """A provider's error answer; any bytes are accepted."""
    return error_bodies.provider_error(status, body, headers, protocol=NAME)


def encode_error(error: GatewayError, *, event_id: str = "") -> tuple[int, JsonObject, dict[str, str]]:
    """(status, body, headers). A provider's error of this protocol keeps its body, status and waiting time."""
    headers = _headers(error, event_id)
    if isinstance(error, ProviderError) and (body := _unmodified(error)) is not None:
        passed = {name: str(error.headers[name]) for name in _PASSED_HEADERS if name in error.headers}
        return error.status, body, headers | passed
    status = error.status
    if isinstance(error, ProviderError) and error.meaning == "authentication":
        status = 502  # the client's own key is fine
    return status, envelope(error), headers


def envelope(error: GatewayError) -> JsonObject:
    """The error's JSON, as a body and as a stream's last event."""
    kind, code, param = "server_error", error.code, None
    match error:
        case ProviderError():
            kind, named = _KINDS[error.meaning]
            code = named or error.code
        case ClientError():
            kind, param = "invalid_request_error", error.field or None
        case AuthenticationError():
            kind = "authentication_error"
        case PolicyError():
            kind = "permission_error"
    return {"error": {"message": error.message, "type": kind, "param": param, "code": code}}


def encode_stream_error(error: GatewayError) -> bytes:
    """The event that ends a stream which has begun."""
    return b"data: " + orjson.dumps(envelope(error)) + b"\n\n"


def _headers(error: GatewayError, event_id: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    if event_id:
        headers["x-request-id"] = event_id
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
    permanent = isinstance(error, ProviderError) and error.meaning in PERMANENT
    if error.retryable is False or (permanent and error.retryable is not True):
        headers["x-should-retry"] = "false"
    return headers


def _unmodified(error: ProviderError) -> JsonObject | None:
    """The provider's own body, when it is this protocol's and a JSON object."""
    if error.protocol != NAME or not error.body or error.in_stream:
        return None
    try:
        value: Any = orjson.loads(error.body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
