"""How fourteen vendors say that a prompt is too long, that one has to wait, and that asking again is of no use.

Shapes and wordings as recorded, quoted in issue threads, or in the vendors' documentation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

FULL = "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens in the messages."


class Vendor(NamedTuple):
    """One vendor. Each case is (HTTP status, body); `wire` is the protocol it is asked by."""

    wire: str
    full: tuple[int, Any]
    wait: tuple[int, Any]
    stop: tuple[int, Any]


def _messages(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def _nested(message: str, kind: str | None, code: str | int | None, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


_BEHIND = orjson.dumps(
    {"error": {"message": "Rate limit reached for requests per min", "code": "rate_limit_exceeded"}}
).decode()

VENDORS: dict[str, Vendor] = {
    "anthropic": Vendor(
        "anthropic-messages",
        (400, _messages("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")),
        (529, _messages("overloaded_error", "Overloaded")),
        (400, _messages("invalid_request_error", "Your credit balance is too low to access the Anthropic API.")),
    ),
    "openai": Vendor(
        "openai-responses",
        (400, _nested("Your input exceeds the context window of this model.", "invalid_request_error", "context_length_exceeded")),
        (429, _nested("Rate limit reached for m on tokens per min (TPM). Please try again in 2.5s.", "tokens", "rate_limit_exceeded")),
        (429, _nested("You exceeded your current quota, please check your plan.", "insufficient_quota", "insufficient_quota")),
    ),
    "groq": Vendor(
        "openai-chat",
        (413, _nested("Request too large for model m on tokens per minute (TPM): Limit 8000, Requested 9000", "tokens", "rate_limit_exceeded")),
        (498, _nested("Flex tier capacity exceeded", "invalid_request_error", "capacity_exceeded")),
        (404, _nested("The model m does not exist or you do not have access to it.", "invalid_request_error", "model_not_found")),
    ),
    "cerebras": Vendor(
        "openai-chat",
        (400, {"message": "Please reduce the length of the messages. Current length is 9000 while limit is 8192", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}),
        (429, {"message": "Requests per minute limit exceeded", "type": "too_many_requests_error", "param": "quota", "code": "request_quota_exceeded"}),
        (401, {"message": "Wrong API Key", "type": "invalid_request_error", "param": "api_key", "code": "invalid_api_key"}),
    ),
    "cloudflare": Vendor(
        "openai-chat",
        (413, {"success": False, "errors": [{"code": 3006, "message": "Request too large: the context window is 8192 tokens"}], "messages": [], "result": None}),
        (429, {"success": False, "errors": [{"code": 3040, "message": "Capacity temporarily exceeded, please try again."}], "messages": [], "result": None}),
        (429, {"success": False, "errors": [{"code": 3036, "message": "You have used up your daily free allocation of 10,000 neurons"}], "messages": [], "result": None}),
    ),
    "nvidia": Vendor(
        "openai-chat",
        (400, {"detail": FULL}),
        (503, {"status": 503, "title": "Service Unavailable", "detail": "ResourceExhausted: no capacity"}),
        (404, {"status": 404, "title": "Not Found", "detail": "Function 'a-b': Not found for account 'c'"}),
    ),
    "openrouter": Vendor(
        "openai-chat",
        (400, {"error": {"message": "This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 tokens.", "code": 400}}),
        (429, {"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": _BEHIND, "provider_name": "Behind"}}, "user_id": "u"}),
        (402, {"error": {"message": "This request requires more credits, or fewer max_tokens.", "code": 402}}),
    ),
    "gemini": Vendor(
        "openai-chat",
        (400, [{"error": {"code": 400, "message": "The input token count (9000) exceeds the maximum number of tokens allowed (8192).", "status": "INVALID_ARGUMENT"}}]),
        (429, [{"error": {"code": 429, "message": "Resource has been exhausted (e.g. check quota).", "status": "RESOURCE_EXHAUSTED",
                          "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17s"}]}}]),
        (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}}]),
    ),
    "mistral": Vendor(
        "openai-chat",
        (400, {"object": "error", "message": "Prompt contains 9000 tokens, too large for model with 8192 maximum context length", "type": "invalid_request_prompt", "param": None, "code": "3051"}),
        (429, {"object": "error", "message": "Requests rate limit exceeded", "type": "rate_limited", "param": None, "code": "1300"}),
        (422, {"object": "error", "detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 7}]}),
    ),
    "deepseek": Vendor(
        "openai-chat",
        (400, _nested(FULL, "invalid_request_error", "invalid_request_error")),
        (503, _nested("Service is too busy. We advise users to temporarily switch.", "service_unavailable_error", "service_unavailable_error")),
        (402, _nested("Insufficient Balance", "unknown_error", "invalid_request_error")),
    ),
    "fireworks": Vendor(
        "openai-chat",
        (400, {"error": {"object": "error", "type": "invalid_request_error", "message": "The prompt is too long: 9000, model maximum context length: 8192"}}),
        (429, {"fault": {"faultstring": "Rate limit quota violation. Too many requests.", "detail": {"errorcode": "policies.ratelimit.QuotaViolation"}}}),
        (412, {"error": {"object": "error", "type": "invalid_request_error", "message": "Account is suspended, possibly due to failed billing."}}),
    ),
    "ollama": Vendor(
        "openai-chat",
        (400, {"error": "the input length exceeds the context length"}),
        (503, {"error": "server busy, please try again. maximum pending requests exceeded"}),
        (404, {"error": "model 'm' not found"}),
    ),
    "vllm": Vendor(
        "openai-chat",
        (400, {"object": "error", "message": FULL, "type": "BadRequestError", "param": None, "code": 400}),
        (503, {"object": "error", "message": "The engine is overloaded", "type": "ServiceUnavailableError", "param": None, "code": 503}),
        (400, _nested('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', "BadRequestError", 400)),
    ),
    "llama.cpp": Vendor(
        "openai-chat",
        (400, {"error": {"code": 400, "message": "request (9000 tokens) exceeds the available context size (8192 tokens)", "type": "exceed_context_size_error", "n_prompt_tokens": 9000, "n_ctx": 8192}}),
        (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
        (400, {"error": {"code": 400, "message": "tools param requires --jinja flag", "type": "invalid_request_error"}}),
    ),
}  # fmt: skip
