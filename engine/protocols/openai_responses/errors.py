"""The error tree in OpenAI's envelope, with the statuses and codes that make agents react well.

What the strictest client does (measured): a 400 with a code it knows is shown and not repeated, other 4xx are repeated five
times, 5xx up to thirty times; a 429 without `retry-after` ends the turn at once and loses the message; in a stream only
`response.failed` is read, and only some codes of it. So what can't get better by asking again is a 400 here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import orjson
import re2

from engine.llm.errors import (
    AuthenticationError,
    ClientError,
    GatewayError,
    InternalError,
    PolicyError,
    ProviderError,
)
from engine.llm.meanings import Meaning
from engine.llm.messages import JsonObject
from engine.protocols import error_bodies
from engine.protocols.openai_responses.words import NAME

_DEFAULT_WAIT = 5.0
"""Seconds a client is told to wait for a rate limit whose end the provider did not tell."""

_REFUSED = "invalid_prompt"
"""The code of a permanent error: agents show its message as it is and do not repeat the request."""

_MEANINGS: Mapping[Meaning, tuple[int, str, str]] = {
    "invalid_request": (400, "invalid_request_error", _REFUSED),
    "content_policy": (400, "invalid_request_error", _REFUSED),
    "incompatible": (400, "invalid_request_error", _REFUSED),
    "authentication": (400, "invalid_request_error", _REFUSED),
    "permission": (400, "invalid_request_error", _REFUSED),
    "not_found": (400, "invalid_request_error", "model_not_found"),
    "context_length": (400, "invalid_request_error", "context_length_exceeded"),
    "rate_limit": (429, "rate_limit_error", "rate_limit_exceeded"),
    "quota": (429, "insufficient_quota", "insufficient_quota"),
    "overloaded": (503, "server_error", "server_is_overloaded"),
    "server_error": (502, "server_error", "server_error"),
    "broken": (502, "server_error", "server_error"),
    "unreachable": (502, "server_error", "server_error"),
    "timeout": (504, "server_error", "server_error"),
}
"""meaning → (status, type, code)."""

_REPEATED = frozenset({401, 402, 403, 404, 413, 429})
"""Statuses after which agents ask five times more, or lose the message."""

_TRY_AGAIN = re2.compile(r"(?i)try again in \d")


def encode_error(error: GatewayError, *, event_id: str) -> tuple[int, JsonObject, dict[str, str]]:
    """See `WireProtocol.encode_error`. An error body of this protocol's own provider passes as it came."""
    headers: dict[str, str] = {}
    if event_id:
        headers["x-request-id"] = event_id
    status, kind, code = _place(error)
    if kind == "insufficient_quota" or (error.retryable is False and error.retry_after is None):
        headers["x-should-retry"] = "false"
    elif status == 429 or error.retry_after is not None:
        wait = _DEFAULT_WAIT if error.retry_after is None else error.retry_after
        headers["retry-after"] = str(math.ceil(wait))
    if isinstance(error, ProviderError) and (body := _own_body(error)) is not None:
        return error.status, body, headers
    param = error.field if isinstance(error, ClientError) else ""
    return status, {"error": {"message": error.message, "type": kind, "param": param or None, "code": code}}, headers


def failed(error: GatewayError) -> JsonObject:
    """The `error` member of a `response.failed`."""
    _, _, code = _place(error)
    if code == "model_not_found" or not isinstance(error, ProviderError | InternalError):
        code = _REFUSED  # agents read no other permanent code here
    message = error.message
    if code == "rate_limit_exceeded" and not _TRY_AGAIN.search(message):
        wait = _DEFAULT_WAIT if error.retry_after is None else error.retry_after
        message = f"{message.rstrip('.')}. Please try again in {wait:g}s."  # agents read the time from the words
    return {"code": code, "message": message}


def decode_error(status: int, body: bytes, headers: Mapping[str, str]) -> ProviderError:
    """See `WireProtocol.decode_error`."""
    return error_bodies.provider_error(status, body, headers, protocol=NAME)


def _place(error: GatewayError) -> tuple[int, str, str]:
    """(status, type, code) that say `error` best."""
    match error:
        case ProviderError():
            return _MEANINGS[error.meaning]
        case AuthenticationError():
            return error.status, "authentication_error", "invalid_api_key"
        case PolicyError():
            # A refusal stays one however often it is asked for; a status that invites repeating would cost the message.
            repeated = error.status in _REPEATED or error.status >= 500
            waits = error.status == 429 and error.retry_after is not None
            status = 400 if repeated and not waits else error.status
            return status, "policy_error", _REFUSED if status == 400 else error.code
        case ClientError():
            known = error.code in ("model_not_found", "context_length_exceeded")
            return error.status, "invalid_request_error", error.code if known else _REFUSED
    return error.status, "server_error", "server_error"


def _own_body(error: ProviderError) -> JsonObject | None:
    if error.protocol != NAME or error.in_stream or not error.body or error.status < 400:
        return None
    try:
        body = orjson.loads(error.body)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None
