"""Errors as clients of this protocol read them best, and providers' errors understood.

What a status makes a coding agent do was measured: 401, 429 and 5xx are repeated for three minutes unless
`x-should-retry: false` comes along; 402 and 403 are shown at once with our words; 404 is shown with the client's own words;
"prompt is too long" starts a compaction. So each meaning gets the status that makes the right thing happen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson
import re2

from engine.llm.errors import ClientError, GatewayError, PolicyError, ProviderError
from engine.llm.meanings import PERMANENT, Meaning
from engine.llm.messages import JsonObject
from engine.protocols import error_bodies, sse
from engine.protocols.anthropic_messages.words import NAME

_MEANINGS: Mapping[Meaning, tuple[int, str]] = {
    "invalid_request": (400, "invalid_request_error"),
    "context_length": (400, "invalid_request_error"),
    "authentication": (502, "api_error"),
    "permission": (403, "permission_error"),
    "not_found": (404, "not_found_error"),
    "rate_limit": (429, "rate_limit_error"),
    "quota": (402, "billing_error"),
    "overloaded": (529, "overloaded_error"),
    "content_policy": (400, "invalid_request_error"),
    "incompatible": (400, "invalid_request_error"),
    "broken": (502, "api_error"),
    "server_error": (502, "api_error"),
    "unreachable": (502, "api_error"),
    "timeout": (504, "timeout_error"),
}
"""meaning → (status, type) for an error that a provider of another protocol gave, or that has no body of its own."""

_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_PASSED = ("retry-after", "retry-after-ms", "x-should-retry", "request-id")
_COMPACTABLE = re2.compile(r"(?i)^(?:prompt is too long|input length and `max_tokens` exceed)")
_AMOUNT = re2.compile(r"(?i)\b(\d{4,9})(?: \w+)? tokens?\b")


def encode_error(error: GatewayError, *, event_id: str = "") -> tuple[int, JsonObject, dict[str, str]]:
    """See `WireProtocol.encode_error`. A provider's own error of this protocol goes out as it came."""
    headers = _headers(error)
    if isinstance(error, ProviderError) and 400 <= error.status <= 599 and (body := _own_body(error)) is not None:
        passed = {name: value for name, value in error.headers.items() if _may_pass(name.lower())}
        return error.status, body, {**headers, **{name.lower(): value for name, value in passed.items()}}
    status, kind = _status_and_type(error)
    body = {"type": "error", "error": {"type": kind, "message": _message(error)}}
    if event_id:
        body["request_id"] = event_id
        headers["request-id"] = event_id
    return status, body, headers


def encode_stream_error(error: GatewayError) -> bytes:
    """See `WireProtocol.encode_stream_error`."""
    body = _own_body(error)
    if body is None or body.get("type") != "error":
        body = {"type": "error", "error": {"type": _status_and_type(error)[1], "message": _message(error)}}
    return sse.encode("error", orjson.dumps(body))


def decode_error(status: int, body: bytes, headers: Mapping[str, str]) -> ProviderError:
    """See `WireProtocol.decode_error`."""
    return error_bodies.provider_error(status, body, headers, protocol=NAME)


def _own_body(error: GatewayError) -> JsonObject | None:
    if not isinstance(error, ProviderError) or error.protocol != NAME or not error.body:
        return None
    try:
        value: Any = orjson.loads(error.body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _status_and_type(error: GatewayError) -> tuple[int, str]:
    if isinstance(error, ProviderError):
        status, kind = _MEANINGS[error.meaning]
        if error.meaning == "server_error" and 500 <= error.status <= 599:
            status = error.status
        return status, kind
    default = "invalid_request_error" if isinstance(error, ClientError) else "api_error"
    if isinstance(error, PolicyError):
        default = "permission_error"
    return error.status, _TYPES.get(error.status, default)


def _headers(error: GatewayError) -> dict[str, str]:
    headers: dict[str, str] = {}
    permanent = isinstance(error, ProviderError) and error.meaning in PERMANENT
    if error.retryable is False or (permanent and error.retryable is None):
        headers["x-should-retry"] = "false"
    elif error.retryable is True:
        headers["x-should-retry"] = "true"
    if error.retry_after is not None and not permanent:
        headers["retry-after"] = str(math.ceil(error.retry_after))
    return headers


def _may_pass(name: str) -> bool:
    return name in _PASSED or name.startswith("anthropic-ratelimit-")


def _message(error: GatewayError) -> str:
    if isinstance(error, ClientError) and error.field and not error.message.startswith(error.field.split("[")[0]):
        return f"{error.field}: {error.message}"
    if not isinstance(error, ProviderError) or error.meaning != "context_length":
        return error.message
    if _COMPACTABLE.search(error.message):
        return error.message
    amounts = sorted({int(amount) for amount in _AMOUNT.findall(error.message)})
    if len(amounts) >= 2:
        return f"prompt is too long: {amounts[-1]} tokens > {amounts[0]} maximum"
    return f"prompt is too long: {error.message}"
