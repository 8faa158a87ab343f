"""Errors in both directions: what agents are told, and what a provider's error answer means."""

from __future__ import annotations

from pathlib import Path
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
from engine.llm.meanings import Meaning
from tests.protocols.responses_kit import WIRE


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "headers"),
    [
        (ClientError("bad", field="input[3]"), 400, "invalid_request_error", "invalid_prompt", {"x-should-retry": "false"}),
        (ClientError("big", status=413), 413, "invalid_request_error", "invalid_prompt", {"x-should-retry": "false"}),
        (ClientError("no such", code="model_not_found"), 400, "invalid_request_error", "model_not_found", {"x-should-retry": "false"}),
        (AuthenticationError("key"), 401, "authentication_error", "invalid_api_key", {"x-should-retry": "false"}),
        (PolicyError("denied"), 400, "policy_error", "invalid_prompt", {"x-should-retry": "false"}),
        (PolicyError("no key is set", code="no_candidate", status=503), 400, "policy_error", "invalid_prompt", {"x-should-retry": "false"}),
        (PolicyError("pay", status=402), 400, "policy_error", "invalid_prompt", {"x-should-retry": "false"}),
        (InternalError("a defect"), 500, "server_error", "server_error", {}),
    ],
)  # fmt: skip
def test_our_own_errors(error: GatewayError, status: int, kind: str, code: str, headers: dict[str, str]) -> None:
    """What asking again can't mend is a 400 that agents show and do not repeat; Codex asks five times more after a 402."""
    got, body, sent = WIRE.encode_error(error, event_id="e1")
    param = error.field if isinstance(error, ClientError) and error.field else None
    assert {"error": {"message": error.message, "type": kind, "param": param, "code": code}} == body
    assert (status, {"x-request-id": "e1", **headers}) == (got, sent)


@pytest.mark.parametrize(
    ("meaning", "wait", "status", "code", "headers"),
    [
        ("invalid_request", None, 400, "invalid_prompt", {}),
        ("content_policy", None, 400, "invalid_prompt", {}),
        ("incompatible", None, 400, "invalid_prompt", {}),
        ("authentication", None, 400, "invalid_prompt", {}),
        ("permission", None, 400, "invalid_prompt", {}),
        ("not_found", None, 400, "model_not_found", {}),
        ("context_length", None, 400, "context_length_exceeded", {}),
        ("rate_limit", None, 429, "rate_limit_exceeded", {"retry-after": "5"}),
        ("rate_limit", 1.2, 429, "rate_limit_exceeded", {"retry-after": "2"}),
        ("quota", 600.0, 429, "insufficient_quota", {"x-should-retry": "false"}),
        ("overloaded", None, 503, "server_is_overloaded", {}),
        ("overloaded", 3.0, 503, "server_is_overloaded", {"retry-after": "3"}),
        ("broken", None, 502, "server_error", {}),
        ("unreachable", None, 502, "server_error", {}),
        ("timeout", None, 504, "server_error", {}),
    ],
)
def test_a_providers_errors(
    meaning: Meaning, wait: float | None, status: int, code: str, headers: dict[str, str]
) -> None:
    """From a provider of another protocol: the status and code that say the same here."""
    error = ProviderError("words", meaning=meaning, retry_after=wait, protocol="anthropic-messages", body=b"{}")
    got, body, sent = WIRE.encode_error(error)
    assert (status, code, "words", headers) == (got, body["error"]["code"], body["error"]["message"], sent)


def test_a_policy_that_names_a_wait_means_it() -> None:
    """A budget that frees up again is a rate limit to the client; one without a wait is a refusal."""
    waiting = PolicyError("spent", status=429)
    waiting.retry_after = 30
    status, _, headers = WIRE.encode_error(waiting)
    assert (status, headers) == (429, {"retry-after": "30"})
    assert WIRE.encode_error(PolicyError("spent", status=429))[0] == 400


def test_a_body_of_this_protocol_passes() -> None:
    """Agents match its wording; only the wait that they insist on is added."""
    raw = {"error": {"message": "Rate limit", "type": "tokens", "param": None, "code": "rate_limit_exceeded"}}
    error = WIRE.decode_error(429, orjson.dumps(raw), {})
    assert (429, raw, {"retry-after": "5"}) == WIRE.encode_error(error)


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"[1]", b""])
def test_a_body_that_is_no_envelope_is_replaced(body: bytes) -> None:
    """A web page or a bare list is no error that this protocol's clients can read."""
    status, told, _ = WIRE.encode_error(WIRE.decode_error(502, body, {}))
    assert status == 502
    assert told["error"]["code"] == "server_error"


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (400, {"error": {"code": "context_length_exceeded", "message": "too long"}}, "context_length"),
        (400, {"error": {"code": "model_not_found", "message": "x"}}, "not_found"),
        (400, {"error": {"message": "No tool output found for function call c.", "type": "invalid_request_error"}}, "invalid_request"),
        (401, {"error": {"code": "invalid_api_key", "message": "Incorrect"}}, "authentication"),
        (429, {"error": {"code": "insufficient_quota", "message": "x"}}, "quota"),
        (429, {"error": {"code": "rate_limit_exceeded", "message": "Please try again in 2.5s"}}, "rate_limit"),
        (503, {"error": {"code": "server_is_overloaded", "message": "x"}}, "overloaded"),
        (400, {"code": "invalid-argument", "error": "Incorrect API key provided."}, "authentication"),
        (500, {"detail": "oops"}, "server_error"),
    ],
)  # fmt: skip
def test_what_an_error_answer_means(status: int, body: Any, meaning: str) -> None:
    """From code, type, wording and status, in any envelope."""
    error = WIRE.decode_error(status, orjson.dumps(body), {})
    assert (meaning, WIRE.name, status) == (error.meaning, error.protocol, error.status)


def test_the_wait_is_read_from_the_words() -> None:
    """Where no header tells it."""
    body = orjson.dumps({"error": {"code": "rate_limit_exceeded", "message": "Please try again in 2.5s"}})
    assert WIRE.decode_error(429, body, {}).retry_after == 2.5
    assert WIRE.decode_error(429, body, {"Retry-After": "7"}).retry_after == 7


def test_models_are_listed() -> None:
    """The list has the vendor's shape, limits ride along."""
    listed = WIRE.encode_models(
        [{"id": "p/m", "created": 5, "owned_by": "p", "context": 9, "max_output": 3}, {"id": "x"}]
    )
    assert listed == {
        "object": "list",
        "data": [
            {
                "id": "p/m",
                "object": "model",
                "created": 5,
                "owned_by": "p",
                "context_length": 9,
                "max_output_tokens": 3,
            },
            {"id": "x", "object": "model", "created": 0, "owned_by": "sbgw"},
        ],
    }


def test_recorded_errors(shared: Path) -> None:
    """Every recorded error answer has a meaning and can be told to a client."""
    seen = 0
    for path in sorted((shared / "corpus").glob("*/openai-responses.*.json")):
        response = orjson.loads(path.read_bytes())["response"]
        if response["status"] < 400:
            continue
        seen += 1
        error = WIRE.decode_error(response["status"], orjson.dumps(response["body"]), response["headers"])
        assert error.meaning not in ("broken", "server_error"), path
        status, body, _ = WIRE.encode_error(error)
        assert (response["status"], response["body"]) == (status, body), path
    assert seen > 10
