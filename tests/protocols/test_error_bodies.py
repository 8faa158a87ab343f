"""Error answers in every vendor's shape: read, sorted, and made fit to show."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.llm.errors import ProviderError
from engine.llm.meanings import Meaning
from engine.protocols.error_bodies import ErrorBody, classify, clean, provider_error, read


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": {"message": "m", "type": "t", "code": "c", "param": "p"}}, ("m", "t", "c", "p")),
        ({"type": "error", "error": {"type": "t", "message": "m"}}, ("m", "t", "", "")),
        ({"message": "m", "type": "t", "param": None, "code": "c"}, ("m", "t", "c", "")),
        ({"code": "words", "error": "m"}, ("m", "", "words", "")),
        ({"detail": "m"}, ("m", "", "", "")),
        ({"detail": [{"loc": ["body", "n"], "msg": "m", "input": "secret"}]}, ("body.n: m", "", "", "")),
        ({"status": 404, "title": "T", "detail": "m"}, ("m", "", "", "")),
        ({"success": False, "errors": [{"code": 7000, "message": "m"}], "messages": []}, ("m", "", "7000", "")),
        ([{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}], ("m", "RESOURCE_EXHAUSTED", "", "")),
        ({"error": {"code": 400, "message": "Provider returned error", "metadata": {"raw": '{"error":{"message":"m","code":"c"}}'}}}, ("m", "", "c", "")),
        ({"error": {"code": 429, "message": "Provider returned error", "metadata": {"raw": "m is rate-limited upstream"}}}, ("m is rate-limited upstream", "", "", "")),
        ({"object": "error", "message": "m", "type": "t"}, ("m", "t", "", "")),
        ({"object": "error", "message": {"detail": [{"loc": ["body", "user"], "msg": "m", "input": "secret"}]}}, ("body.user: m", "", "", "")),
        ("m", ("m", "", "", "")),
        ({}, ("", "", "", "")),
        (None, ("", "", "", "")),
    ],
)  # fmt: skip
def test_shapes(body: Any, expected: tuple[str, str, str, str]) -> None:
    """Message, type, code and param are found wherever a vendor puts them."""
    found = read(b"\n\n" + orjson.dumps(body))
    assert expected == (found.message, found.type, found.code, found.param)


def test_other_bytes() -> None:
    """HTML gives its title, text itself, nothing nothing."""
    assert read(b"<html><head><title>502 Bad\nGateway</title></head>x</html>").message == "502 Bad Gateway"
    assert read(b"upstream <b>down</b>").message == "upstream down"
    assert read(b"plain").message == "plain"
    assert read(b"").message == ""


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (429, ErrorBody("You exceeded your current quota", code="insufficient_quota"), "quota"),
        (429, ErrorBody("You exceeded your current quota", type="RESOURCE_EXHAUSTED", wait=34.0), "rate_limit"),
        (429, ErrorBody("Quota exceeded for requests per day", type="RESOURCE_EXHAUSTED"), "quota"),
        (429, ErrorBody("daily free allocation of 10,000 neurons used up", code="4006"), "quota"),
        (413, ErrorBody("Request too large", type="tokens", code="rate_limit_exceeded"), "context_length"),
        (400, ErrorBody("This model's maximum context length is 8192 tokens"), "context_length"),
        (400, ErrorBody("exceeded max context length by 5 tokens"), "context_length"),
        (500, ErrorBody("the request exceeds the available context size"), "context_length"),
        (400, ErrorBody("API key not valid. Please pass a valid API key."), "authentication"),
        (400, ErrorBody("The response was filtered due to our content management policy"), "content_policy"),
        (404, ErrorBody("No endpoints found that support tool use"), "incompatible"),
        (400, ErrorBody("Unsupported parameter: 'stop' is not supported with this model."), "incompatible"),
        (400, ErrorBody("The model `x` has been decommissioned"), "not_found"),
        (400, ErrorBody("Model loading", code="tool_use_failed"), "broken"),
        (503, ErrorBody("Loading model"), "overloaded"),
        (400, ErrorBody("rate limit reached"), "rate_limit"),
        (402, ErrorBody("Insufficient Balance"), "quota"),
        (0, ErrorBody("hm", type="invalid_request_error"), "invalid_request"),
        (0, ErrorBody("hm"), "server_error"),
        (498, ErrorBody(""), "overloaded"),
        (524, ErrorBody(""), "timeout"),
        (599, ErrorBody(""), "server_error"),
        # Only what holds the conversation is shorter after a compaction.
        (400, ErrorBody("Invalid 'user': string too long.", code="string_above_max_length", param="user"), "invalid_request"),
        (400, ErrorBody("string too long", code="string_above_max_length", param="input[3].call_id"), "invalid_request"),
        (400, ErrorBody("string too long", code="string_above_max_length", param="messages[1].content"), "context_length"),
        (400, ErrorBody("string too long", code="string_above_max_length"), "context_length"),
        # What the caller's tools are called says nothing.
        (400, ErrorBody("Invalid schema for function 'rate_limit': 'required' is missing"), "invalid_request"),
        (400, ErrorBody('tools.0: "max_context_size" is no valid name'), "invalid_request"),
        # Too many tokens a minute are not too many in this prompt.
        (429, ErrorBody("Tokens per minute limit exceeded - too many tokens processed.", code="token_quota_exceeded"), "rate_limit"),
        (429, ErrorBody("Too many tokens, please wait before trying again."), "rate_limit"),
        (429, ErrorBody("Tokens per day limit exceeded - too many tokens processed.", code="token_quota_exceeded"), "quota"),
        (429, ErrorBody("high traffic right now", type="too_many_requests_error", code="queue_exceeded"), "overloaded"),
        (429, ErrorBody("The usage limit has been reached", type="usage_limit_reached", wait=3600.0), "quota"),
        (403, ErrorBody("Your newly created team doesn't have any credits yet."), "quota"),
        (403, ErrorBody("OAuth token has been revoked.", type="permission_error"), "authentication"),
        (400, ErrorBody("This organization has been disabled."), "permission"),
        (400, ErrorBody("Your organization must be verified to stream this model.", code="unsupported_value"), "permission"),
        (400, ErrorBody("User location is not supported for the API use.", type="FAILED_PRECONDITION"), "permission"),
        (400, ErrorBody('"auto" tool choice requires --enable-auto-tool-choice to be set'), "incompatible"),
    ],
)  # fmt: skip
def test_meanings(status: int, body: ErrorBody, meaning: Meaning) -> None:
    """Codes first, then wording, then status; the same words mean different things beside different statuses."""
    assert meaning == classify(status, body)


@pytest.mark.parametrize(
    ("body", "wait"),
    [
        ({"error": {"message": "x", "details": [{"@type": "a"}, {"retryDelay": "17.5s"}]}}, 17.5),
        ({"error": {"message": "Rate limit reached. Please try again in 7.66s. Visit"}}, 7.66),
        ({"error": {"message": "Please try again in 20ms"}}, 0.02),
        ({"error": {"message": "Please retry after 2 minutes"}}, 120.0),
        ({"error": {"message": "Please try again in 7m12s. Visit"}}, 432.0),
        ({"error": {"message": "Please try again in 1h2m3.5s."}}, 3723.5),
        ({"error": {"message": "Please try again in 3 more days"}}, None),
        ({"error": {"type": "usage_limit_reached", "message": "x", "resets_in_seconds": 3600}}, 3600.0),
        ({"error": {"message": "try later"}}, None),
    ],
)
def test_waits_named_in_the_body(body: Any, wait: float | None) -> None:
    """Some vendors say how long to wait only in words; headers win over them."""
    raw = orjson.dumps(body)
    assert wait == read(raw).wait
    assert provider_error(429, raw, {"retry-after": "3"}, protocol="p").retry_after == 3.0


def test_a_daily_quota_is_told_from_the_minutes_wait_beside_it() -> None:
    """Such bodies name the quota in their details, and in half a minute nothing is better."""
    failure = {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": "RequestsPerDay-Free"}],
    }
    body = {"code": 429, "message": "You exceeded your current quota.", "status": "RESOURCE_EXHAUSTED"}
    told = [{**body, "details": [failure, {"retryDelay": "36s"}]}, {**body, "details": [{"retryDelay": "36s"}]}]
    daily, minute = (provider_error(429, orjson.dumps([{"error": error}]), {}, protocol="p") for error in told)
    assert (daily.meaning, daily.retry_after) == ("quota", None)
    assert (minute.meaning, minute.retry_after) == ("rate_limit", 36.0)


def test_nothing_secret_is_shown() -> None:
    """Keys and URL queries are cut out, long texts shortened, and a rejected key is never quoted."""
    assert "sk-" not in clean("Incorrect API key provided: sk-abcdefghij1234567890")
    assert clean("see https://example.org/a?key=1&b=2 now") == "see https://example.org/a now"
    assert len(clean("x" * 5000)) == 800
    assert clean("claude-3-sonnet-20240229 and 8192 tokens") == "claude-3-sonnet-20240229 and 8192 tokens"
    error = provider_error(401, b'{"error":{"message":"Your api key: ****abcd is invalid"}}', {}, protocol="p")
    assert error.meaning == "authentication"
    assert "abcd" not in error.message


def test_an_error_inside_a_success_has_its_own_status() -> None:
    """Routers answer 200 and put the vendor's status into the body."""
    error = provider_error(200, b'{"error":{"message":"Upstream error","code":502}}', {}, protocol="p", in_stream=True)
    assert (error.status, error.meaning, error.in_stream) == (502, "server_error", True)


def recorded_errors(shared: Path) -> Iterator[tuple[str, ProviderError]]:
    for path in sorted((shared / "corpus").glob("*/*.json")):
        exchange = orjson.loads(path.read_bytes())
        response = exchange["response"]
        if not 400 <= response["status"] <= 599:
            continue
        raw = response["raw"].encode() if "raw" in response else orjson.dumps(response["body"])
        error = provider_error(response["status"], raw, dict(response["headers"]), protocol=exchange["protocol"])
        yield f"{path.parent.name}/{path.stem}", error


def test_every_recorded_error_is_sorted(shared: Path) -> None:
    """Each of the recorded errors means what a reader found it to mean, and none lacks words.

    The golden file was read line by line beside the bodies; write it anew with SBGW_GOLDEN=write and read what changed.
    """
    found = list(recorded_errors(shared))
    assert [name for name, error in found if not error.message] == []
    told = "".join(f"{error.meaning:<16} {error.status} {name}\n" for name, error in found)
    golden = Path(__file__).parent / "golden" / "meanings.txt"
    if os.environ.get("SBGW_GOLDEN") == "write":
        golden.write_text(told, "utf-8")
    assert told == golden.read_text("utf-8")
    assert len(found) > 60
