"""Failures that a test orders: what goes wrong, how often, and for which requests.

Status faults are answered in the vendor's envelope; the others break the connection or the stream in one of the ways real
providers have been seen to do it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tests.emulator.refusal import Refusal

Kind = Literal[
    "400",
    "401",
    "402",
    "403",
    "404",
    "413",
    "429",
    "500",
    "503",
    "529",
    "quota",  # out of credit: waiting does not help
    "context",  # too long for this model, in the vendor's words
    "html502",  # a load balancer's page with status 502
    "html200",  # the same page with status 200
    "drop-before-headers",
    "drop-after-headers",
    "drop-mid-stream",  # the connection is cut inside the answer
    "truncated",  # the stream ends cleanly without its terminal event
    "error-first-frame",  # an error event as the first frame inside a 200
    "error-mid-stream",  # an error event after some text
    "stall",  # nothing is sent for `seconds`, before the headers
    "stall-after-headers",
    "stall-mid-stream",
    "slow",  # nothing for `seconds`, then the whole answer
    "slow-after-headers",
    "slow-mid-stream",
    "empty200",  # status 200 and no body
    "204",  # no content, and proud of it
    "empty-object",  # status 200 and `{}`
    "bad-json",  # status 200 and half a JSON object, or a broken frame
    "redirect",  # 307 to `location`
    "408",
    "418",  # a status that nobody has heard of
    "502",
    "504",
    "520",  # of a content network, with its page
    # what these do stands in tests/emulator/odd.py
    "missing-terminal",
    "duplicate-terminal",
    "oversized-frame",
    "invalid-utf8",
    "wrong-type",
    "no-type",
    "json-for-stream",
    "error-json",
    "array-json",
    "html-for-stream",
    "empty-stream",
    "comments-only",
    "endless-pings",
    "endless-text",
    "left-open",
    "slow-drip",
    "gzip-bomb",
    "unknown-encoding",
    "garbage",
    "cut-headers",
    "short-body",
    "unknown-events",
    "skipped-frame",
]

OPENAI_QUOTA = "You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
STATUS: dict[str, dict[str, Refusal]] = {
    "anthropic": {
        "400": Refusal("messages.0.content.0.text: Extra inputs are not permitted", 400),
        "401": Refusal("invalid x-api-key", 401),
        "402": Refusal("Your credit balance is too low to access the Anthropic API.", 402),
        "403": Refusal("Your API key does not have permission to use the specified resource.", 403),
        "404": Refusal("model: claude-gone", 404),
        "413": Refusal("Request exceeds the maximum size", 413),
        "429": Refusal(
            "This request would exceed your organization's rate limit of 4,000,000 input tokens per minute.", 429
        ),
        "500": Refusal("Internal server error", 500),
        "503": Refusal("Service unavailable", 503),
        "529": Refusal("Overloaded", 529),
        "408": Refusal("Request timed out", 408),
        "418": Refusal("I am a teapot", 418),
        "502": Refusal("Bad gateway", 502),
        "504": Refusal("Gateway timeout", 504),
        "quota": Refusal(
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.",
            400,
        ),
        "context": Refusal("prompt is too long: 1200042 tokens > 1000000 maximum", 400),
    },
    "openai": {
        "400": Refusal("Unknown parameter: 'emulated'.", 400, param="emulated", code="unknown_parameter"),
        "401": Refusal(
            "Incorrect API key provided: sk-****. You can find your API key at https://platform.openai.com/account/api-keys.",
            401,
            code="invalid_api_key",
        ),
        "402": Refusal("Payment required", 402),
        "403": Refusal("You are not allowed to sample from this model", 403),
        "404": Refusal("The model `gone` does not exist or you do not have access to it.", 404, code="model_not_found"),
        "413": Refusal("Request too large", 413),
        "429": Refusal(
            "Rate limit reached for requests. Please try again in 1s.", 429, type="requests", code="rate_limit_exceeded"
        ),
        "500": Refusal("The server had an error while processing your request. Sorry about that!", 500),
        "503": Refusal(
            "The engine is currently overloaded, please try again later",
            503,
            type="service_unavailable_error",
            code="server_is_overloaded",
        ),
        "529": Refusal("Overloaded", 529, type="overloaded_error"),
        "408": Refusal("Request timed out", 408),
        "418": Refusal("I am a teapot", 418),
        "502": Refusal("Bad gateway", 502),
        "504": Refusal("Gateway timeout", 504),
        "quota": Refusal(OPENAI_QUOTA, 429, type="insufficient_quota", code="insufficient_quota"),
        "context": Refusal(
            "Your input exceeds the context window of this model. Please adjust your input and try again.",
            400,
            param="input",
            code="context_length_exceeded",
        ),
    },
}
"""The refusal behind each status fault, by vendor family."""

HTML = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"


@dataclass(slots=True)
class Fault:
    """One ordered failure. It fires `times` times, on requests of its wire that hold `at` tool results (None: any)."""

    kind: Kind
    retry_after: float | None = None
    """Seconds, sent as `retry-after`."""
    times: int = 1
    at: int | None = None
    seconds: float = 30.0
    """How long a stall lasts."""
    location: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    message: str = ""
    """Replaces the vendor's usual text."""

    def refusal(self, family: str) -> Refusal | None:
        """What a status fault refuses with; None for the other kinds. In-stream errors use the overload row."""
        found = STATUS[family].get(self.kind)
        if found is None:
            return None
        return Refusal(self.message or found.message, found.status, found.type, found.param, found.code)
