"""Twelve vendors' ways to say no, each told to the clients of all three protocols in the words that make agents do the right thing.

A full context makes agents compact, an overload makes them wait, what is permanent makes them stop at once.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from engine.protocols.registry import PROTOCOLS as WIRES
from tests.fidelity.clients import Sdks
from tests.fidelity.corpus import PROTOCOLS

SAID = "Said by the vendor"
FULL = "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens."

SHAPES: dict[str, tuple[str, int, Any, str]] = {
    "messages envelope": ("anthropic-messages", 529, {"type": "error", "error": {"type": "overloaded_error", "message": SAID}}, "overloaded"),
    "messages, too long": ("anthropic-messages", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8 maximum"}}, "context_length"),
    "openai, nested": ("openai-chat", 429, {"error": {"message": SAID, "type": "requests", "param": None, "code": "rate_limit_exceeded"}}, "rate_limit"),
    "openai, out of credit": ("openai-responses", 429, {"error": {"message": SAID, "type": "insufficient_quota", "code": "insufficient_quota"}}, "quota"),
    "openai, too long": ("openai-chat", 400, {"error": {"message": FULL, "type": "invalid_request_error", "code": "context_length_exceeded"}}, "context_length"),
    "flat": ("openai-chat", 400, {"object": "error", "message": FULL, "type": "BadRequestError", "param": None, "code": 400}, "context_length"),
    "array": ("openai-chat", 429, [{"error": {"code": 429, "message": SAID, "status": "RESOURCE_EXHAUSTED"}}], "rate_limit"),
    "integer code, wrapped": ("openai-chat", 503, {"error": {"code": 503, "message": "Provider returned error", "metadata": {"raw": orjson.dumps({"error": {"message": SAID}}).decode()}}}, "overloaded"),
    "list of errors": ("openai-chat", 404, {"success": False, "errors": [{"code": 7003, "message": SAID}], "messages": []}, "not_found"),
    "detail": ("openai-chat", 422, {"detail": [{"loc": ["body", "tools"], "msg": SAID, "type": "value_error"}]}, "invalid_request"),
    "code and error as words": ("openai-chat", 404, {"code": "The requested resource was not found", "error": SAID}, "not_found"),
    "problem document": ("openai-chat", 500, {"status": 500, "title": "Internal Server Error", "detail": SAID}, "server_error"),
    "filtered": ("openai-chat", 400, {"error": {"message": SAID, "code": "content_filter", "status": 400}}, "content_policy"),
    "no JSON at all": ("openai-chat", 502, None, "server_error"),
}  # fmt: skip
"""name → (wire, status, body, what it means)."""
WAITS = {"overloaded", "rate_limit", "server_error"}
"""What goes away by itself: the client may try again."""


@pytest.mark.parametrize("client", PROTOCOLS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_agent_reads_what_to_do(client: str, shape: str) -> None:
    """The meaning, the vendor's words, and a status and wording after which the client compacts, waits or stops."""
    wire, status, body, meaning = SHAPES[shape]
    raw = b"<html><title>502 Bad Gateway</title></html>" if body is None else orjson.dumps(body)
    error = WIRES[wire].decode_error(status, raw, {})
    assert meaning == error.meaning
    told_status, told, headers = WIRES[client].encode_error(error, event_id="ev1")
    raised: Any = Sdks().error(client, told_status, told, headers)
    text = str(raised.body)
    if meaning == "context_length":
        assert told_status == 400
        assert (
            ("prompt is too long" in text)
            if client == "anthropic-messages"
            else ("context_length_exceeded" in text or client == wire)
        )
    elif body is not None:
        assert SAID in text
    again = {name.lower(): value for name, value in headers.items()}.get("x-should-retry")
    worth_it = again != "false" and (told_status in (408, 409, 429) or told_status >= 500)
    assert worth_it == (meaning in WAITS), (told_status, again)


@pytest.mark.parametrize("client", PROTOCOLS)
@pytest.mark.parametrize("wire", PROTOCOLS)
def test_an_error_event_in_a_stream_keeps_its_meaning(client: str, wire: str) -> None:
    """An overload inside a stream is told in the client's own terminal event, as an overload."""
    error = WIRES[wire].decode_error(
        529 if wire == "anthropic-messages" else 503, orjson.dumps(SHAPES["messages envelope"][2]), {}
    )
    raw = WIRES[client].encode_stream_error(error).decode()
    assert "verloaded" in raw
    assert SAID in raw
