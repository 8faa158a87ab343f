"""Errors of Anthropic Messages: what clients are told, and what providers meant."""

from __future__ import annotations

from typing import Any, get_args

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.errors import (
    AuthenticationError,
    ClientError,
    GatewayError,
    InternalError,
    PolicyError,
    ProviderError,
)
from engine.llm.meanings import Meaning
from engine.protocols.anthropic_messages import AnthropicMessages

WIRE = AnthropicMessages()


def provider(meaning: Meaning, message: str = "words", **fields: Any) -> ProviderError:
    return ProviderError(message, meaning=meaning, **fields)


@pytest.mark.parametrize(
    ("error", "status", "kind", "retry"),
    [
        (ClientError("is missing", field="model"), 400, "invalid_request_error", "false"),
        (ClientError("too large", status=413), 413, "request_too_large", "false"),
        (AuthenticationError("no key"), 401, "authentication_error", "false"),
        (PolicyError("denied"), 403, "permission_error", "false"),
        (InternalError("ours"), 500, "api_error", None),
        (provider("invalid_request", status=422), 400, "invalid_request_error", "false"),
        (provider("context_length", status=413), 400, "invalid_request_error", "false"),
        (provider("authentication", status=401), 502, "api_error", "false"),
        (provider("permission"), 403, "permission_error", "false"),
        (provider("not_found"), 404, "not_found_error", "false"),
        (provider("rate_limit"), 429, "rate_limit_error", None),
        (provider("quota", status=429), 402, "billing_error", "false"),
        (provider("overloaded", status=503), 529, "overloaded_error", None),
        (provider("content_policy"), 400, "invalid_request_error", "false"),
        (provider("incompatible"), 400, "invalid_request_error", "false"),
        (provider("broken"), 502, "api_error", None),
        (provider("server_error", status=503), 503, "api_error", None),
        (provider("unreachable"), 502, "api_error", None),
        (provider("timeout"), 504, "timeout_error", None),
    ],
)
def test_what_a_client_is_told(error: GatewayError, status: int, kind: str, retry: str | None) -> None:
    """Each failure has the status that makes a coding agent do the right thing; permanent ones are not repeated."""
    sent, body, headers = WIRE.encode_error(error, event_id="evt_1")
    assert (status, "error", kind, "evt_1") == (sent, body["type"], body["error"]["type"], body["request_id"])
    assert retry == headers.get("x-should-retry")
    assert headers["request-id"] == "evt_1"
    assert kind in WIRE.encode_stream_error(error).decode()


def test_the_field_is_named() -> None:
    """A client error says where, once."""
    assert WIRE.encode_error(ClientError("is missing", field="model"))[1]["error"]["message"] == "model: is missing"
    assert (
        WIRE.encode_error(ClientError("model: is missing", field="model"))[1]["error"]["message"] == "model: is missing"
    )


def test_retry_after_is_whole_seconds() -> None:
    """It is rounded up, and said only where waiting helps."""
    assert WIRE.encode_error(provider("rate_limit", retry_after=1.2))[2] == {"retry-after": "2"}
    assert WIRE.encode_error(provider("quota", retry_after=1.2))[2] == {"x-should-retry": "false"}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("prompt is too long: 210000 tokens > 200000 maximum", "prompt is too long: 210000 tokens > 200000 maximum"),
        (
            "This model's maximum context length is 1048565 tokens. However, you requested 1250025 tokens",
            "prompt is too long: 1250025 tokens > 1048565 maximum",
        ),
        (
            "prompt too long; exceeded max context length by 1119046 tokens (ref: 96164522-08b2)",
            "prompt is too long: prompt too long; exceeded max context length by 1119046 tokens (ref: 96164522-08b2)",
        ),
        ("the request is too long for the model", "prompt is too long: the request is too long for the model"),
        (
            "input length and `max_tokens` exceed context limit: 100000 + 128000 > 200000",
            "input length and `max_tokens` exceed context limit: 100000 + 128000 > 200000",
        ),
    ],
)
def test_a_long_prompt_starts_a_compaction(message: str, shown: str) -> None:
    """Coding agents compact on this wording and no other."""
    assert shown == WIRE.encode_error(provider("context_length", message))[1]["error"]["message"]


def test_a_provider_of_this_protocol_is_quoted() -> None:
    """Its body, status and the headers that clients act on go out as they came; a foreign body does not."""
    raw = b'{"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}, "request_id": "req_1"}'
    headers = {
        "Retry-After": "7",
        "Request-Id": "req_1",
        "Set-Cookie": "x",
        "anthropic-ratelimit-requests-remaining": "0",
    }
    error = WIRE.decode_error(429, raw, headers)
    status, body, passed = WIRE.encode_error(error, event_id="evt_1")
    assert (429, orjson.loads(raw)) == (status, body)
    assert passed == {"retry-after": "7", "request-id": "req_1", "anthropic-ratelimit-requests-remaining": "0"}
    assert WIRE.encode_stream_error(error) == b"event: error\ndata: " + orjson.dumps(orjson.loads(raw)) + b"\n\n"
    foreign = provider("rate_limit", "slow", protocol="openai-chat", body=b'{"error":{"message":"slow"}}')
    assert WIRE.encode_error(foreign)[1] == {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}
    html = WIRE.decode_error(502, b"<html><title>Bad Gateway</title></html>", {})
    assert WIRE.encode_error(html)[1] == {"type": "error", "error": {"type": "api_error", "message": "Bad Gateway"}}


def test_a_bad_key_is_permanent_for_clients_of_the_same_protocol() -> None:
    """Coding agents repeat a 401 for minutes unless told not to."""
    raw = b'{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}'
    status, _, headers = WIRE.encode_error(WIRE.decode_error(401, raw, {}))
    assert (status, headers) == (401, {"x-should-retry": "false"})


def envelope(kind: str, message: str) -> bytes:
    return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}})


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (400, envelope("invalid_request_error", "messages.0: bad"), "invalid_request"),
        (400, envelope("invalid_request_error", "prompt is too long: 2 tokens > 1 maximum"), "context_length"),
        (400, envelope("invalid_request_error", "Your credit balance is too low to access the API."), "quota"),
        (400, envelope("invalid_request_error", "This model does not support effort level 'max'."), "incompatible"),
        (401, envelope("authentication_error", "invalid x-api-key"), "authentication"),
        (402, envelope("billing_error", "pay"), "quota"),
        (403, envelope("permission_error", "no"), "permission"),
        (404, envelope("not_found_error", "model: x"), "not_found"),
        (413, envelope("request_too_large", "too large"), "context_length"),
        (429, envelope("rate_limit_error", "slow down"), "rate_limit"),
        (500, envelope("api_error", "Internal server error"), "server_error"),
        (529, envelope("overloaded_error", "Overloaded"), "overloaded"),
        (503, b"Service Unavailable", "overloaded"),
        (502, b"<html><body>Bad Gateway</body></html>", "server_error"),
        (404, b"", "not_found"),
        (302, b"", "broken"),
        (418, b"\xff\xfe", "invalid_request"),
    ],
)
def test_what_a_provider_means(status: int, body: bytes, meaning: Meaning) -> None:
    """Status, type and wording together decide; any bytes are read."""
    error = WIRE.decode_error(status, body, {})
    assert (meaning, status, body, WIRE.name) == (error.meaning, error.status, error.body, error.protocol)
    assert error.message


@given(
    st.integers(0, 999),
    st.binary(max_size=60) | st.sampled_from([b'{"error":[1]}', b'[{"error":{"code":3}}]', b"[]", b"3", b'"x"']),
)
@settings(deadline=None, max_examples=200)
def test_any_error_is_read_and_told(status: int, body: bytes) -> None:
    """No status and no bytes make the decoder raise, and what it reads can be told to a client."""
    error = WIRE.decode_error(status, body, {"retry-after": "x"})
    assert error.meaning in get_args(Meaning)
    sent, told, headers = WIRE.encode_error(error)
    assert 400 <= sent <= 599
    orjson.dumps([told, headers])
