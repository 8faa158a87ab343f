"""Errors of the Chat protocol, from providers and to clients."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from engine.llm.errors import (
    AuthenticationError,
    ClientError,
    GatewayError,
    InternalError,
    PolicyError,
    ProviderError,
)
from engine.llm.meanings import EFFECTS
from tests.protocols.chat_kit import WIRE


def decode(status: int, body: Any, headers: dict[str, str] | None = None) -> ProviderError:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return WIRE.decode_error(status, raw, headers or {})


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (400, {"error": {"message": "m", "type": "invalid_request_error", "param": "x", "code": None}}, "invalid_request"),
        (400, {"error": {"message": "m", "code": "context_length_exceeded"}}, "context_length"),
        (400, {"error": {"message": "This model's maximum context length is 5 tokens", "code": 400}}, "context_length"),
        (413, {"error": {"message": "Request too large", "type": "tokens", "code": "rate_limit_exceeded"}}, "context_length"),
        (429, {"error": {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}}, "quota"),
        (429, {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}, "rate_limit"),
        (429, {"message": "Requests per minute limit exceeded", "type": "too_many_requests", "code": "request_quota_exceeded"}, "rate_limit"),
        (404, {"code": "Some requested entity was not found", "error": "The model grok-beta was deprecated"}, "not_found"),
        (401, {"detail": "Unauthorized"}, "authentication"),
        (404, {"status": 404, "title": "Not Found", "detail": "Function 'x': Not found for account"}, "not_found"),
        (429, {"status": 429, "title": "Too Many Requests"}, "rate_limit"),
        (400, {"success": False, "errors": [{"code": 7000, "message": "No route for that URI"}], "result": None}, "invalid_request"),
        (429, {"success": False, "errors": [{"code": 4006, "message": "you have used up your daily free allocation of 10,000 neurons"}]}, "quota"),
        (500, {"error": "something broke"}, "server_error"),
        (429, [{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}], "rate_limit"),
        (402, {"error": {"message": "more credits", "code": 402}}, "quota"),
        (400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": '{"error":{"message":"prompt is too long"}}'}}}, "context_length"),
        (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, "overloaded"),
        (502, b"<html><title>502 Bad Gateway</title></html>", "server_error"),
        (500, b"", "server_error"),
        (400, {"error": {"message": "m", "innererror": {}, "code": "content_filter"}}, "content_policy"),
    ],
)  # fmt: skip
def test_every_envelope_has_its_meaning(status: int, body: Any, meaning: str) -> None:
    """Flat, nested, a bare string, a list, integers for codes, a page, nothing."""
    error = decode(status, body)
    assert (error.meaning, error.status, error.protocol) == (meaning, status, "openai-chat")


@pytest.mark.parametrize(
    ("body", "headers", "wait"),
    [
        ({"error": {"message": "Please try again in 2.5s."}}, {}, 2.5),
        (
            [{"error": {"code": 429, "details": [{"@type": "RetryInfo", "retryDelay": "17s"}], "message": "m"}}],
            {},
            17.0,
        ),
        ({"error": {"message": "m"}}, {"Retry-After": "3"}, 3.0),
        ({"error": {"message": "m"}}, {}, None),
    ],
)
def test_how_long_to_wait(body: Any, headers: dict[str, str], wait: float | None) -> None:
    """From the headers, else from the body."""
    assert decode(429, body, headers).retry_after == wait


@pytest.mark.parametrize(
    ("error", "status", "expected", "headers"),
    [
        (ClientError("no", field="messages[0]"), 400,
         {"message": "no", "type": "invalid_request_error", "param": "messages[0]", "code": "invalid_request"},
         {"x-should-retry": "false"}),
        (AuthenticationError("wrong key"), 401,
         {"message": "wrong key", "type": "authentication_error", "param": None, "code": "invalid_gateway_key"},
         {"x-should-retry": "false"}),
        (PolicyError("denied"), 403,
         {"message": "denied", "type": "permission_error", "param": None, "code": "policy_denied"},
         {"x-should-retry": "false"}),
        (InternalError("oops"), 500,
         {"message": "oops", "type": "server_error", "param": None, "code": "internal_error"}, {}),
        (ProviderError("too long", meaning="context_length", protocol="anthropic-messages", body=b'{"type":"error"}'), 400,
         {"message": "too long", "type": "invalid_request_error", "param": None, "code": "context_length_exceeded"},
         {"x-should-retry": "false"}),
        (ProviderError("slow down", meaning="rate_limit", retry_after=1.2), 429,
         {"message": "slow down", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"},
         {"retry-after": "2"}),
        (ProviderError("bad key", meaning="authentication", status=401), 502,
         {"message": "bad key", "type": "api_error", "param": None, "code": "provider_authentication"},
         {"x-should-retry": "false"}),
    ],
)  # fmt: skip
def test_a_client_reads_whose_fault_it_is(error: GatewayError, status: int, expected: Any, headers: Any) -> None:
    """OpenAI's envelope, the codes that clients act on, and whether to try again."""
    assert WIRE.encode_error(error) == (status, {"error": expected}, headers)


def test_every_meaning_can_be_said() -> None:
    """With a code, as a body and in a stream."""
    for meaning in EFFECTS:
        _, body, _ = WIRE.encode_error(ProviderError("m", meaning=meaning))
        assert body["error"]["code"]
        assert orjson.loads(WIRE.encode_stream_error(ProviderError("m", meaning=meaning))[6:])["error"] == body["error"]


def test_a_providers_own_error_passes_unmodified() -> None:
    """Body, status and waiting time of the same protocol; another protocol's body does not."""
    body = {"error": {"message": "m", "type": "t", "extra": [1]}, "user_id": "u"}
    error = decode(429, body, {"Retry-After": "7", "X-Request-Id": "r"})
    status, sent, headers = WIRE.encode_error(error, event_id="evt")
    assert (status, sent) == (429, body)
    assert (headers["retry-after"], headers["x-request-id"]) == ("7", "r")
    page = decode(502, b"<html>bad gateway</html>")
    assert WIRE.encode_error(page)[1]["error"]["type"] == "server_error"


def test_no_key_is_shown() -> None:
    """Vendors quote the rejected key; we do not."""
    error = decode(
        401, {"error": {"message": "Incorrect API key provided: sk-abcdefghijklmnop", "code": "invalid_api_key"}}
    )
    assert "sk-abc" not in error.message
