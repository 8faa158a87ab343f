"""How a vendor says no: one exception for the rules to raise, and the envelope each vendor wraps around it.

A rule states status, message and where it is; it never builds JSON. The envelopes are those of recorded error answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


@dataclass(slots=True)
class Refusal(Exception):
    """The emulated vendor refuses a request. `param` and `code` are what OpenAI-shaped envelopes carry beside the text."""

    message: str
    status: int = 400
    type: str = ""
    param: str | None = None
    code: str | None = None

    def __str__(self) -> str:
        return f"{self.status} {self.message}"


def anthropic_error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Anthropic's envelope."""
    kind = refusal.type or ANTHROPIC_TYPES.get(refusal.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": refusal.message}, "request_id": request_id}


def openai_error(refusal: Refusal, request_id: str = "") -> dict[str, Any]:
    """OpenAI's envelope, the same for Chat Completions and Responses."""
    return {
        "error": {
            "message": refusal.message,
            "type": refusal.type or ("server_error" if refusal.status >= 500 else "invalid_request_error"),
            "param": refusal.param,
            "code": refusal.code,
        }
    }


def groq_error(refusal: Refusal, request_id: str = "") -> dict[str, Any]:
    """The envelope of vendors that leave `param` out and `code` too where they have none."""
    error = {"message": refusal.message, "type": refusal.type or "invalid_request_error"}
    return {"error": error | ({"code": refusal.code} if refusal.code else {})}


def deepseek_error(refusal: Refusal, request_id: str = "") -> dict[str, Any]:
    """Like OpenAI's, with a code that says nothing."""
    kind = refusal.type or "invalid_request_error"
    return {"error": {"message": refusal.message, "type": kind, "param": None, "code": "invalid_request_error"}}


def canonical(value: Any) -> bytes:
    """One byte form per JSON value, whatever the order of its keys."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
