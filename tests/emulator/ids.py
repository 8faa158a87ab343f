"""Identifiers and response headers that look like the vendors'."""

from __future__ import annotations

import datetime as dt
import secrets
import string

ALNUM = string.ascii_letters + string.digits


def random_id(prefix: str, length: int = 24, alphabet: str = ALNUM) -> str:
    """`prefix` and `length` random characters."""
    return prefix + "".join(secrets.choice(alphabet) for _ in range(length))


def anthropic_id(prefix: str) -> str:
    """`msg_01…`, `toolu_01…`: 24 base-58-like characters."""
    return random_id(prefix + "01", 22)


def item_id(prefix: str) -> str:
    """`rs_…`, `msg_…`, `fc_…`, `resp_…`: 50 hex digits, as the Responses API gives them."""
    return random_id(prefix + "_", 50, "0123456789abcdef")


def anthropic_headers(request_id: str) -> dict[str, str]:
    """Headers beside every answer of the Anthropic wire, errors too."""
    reset = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    limits = {
        "requests": (4000, 3999),
        "tokens": (4_800_000, 4_799_000),
        "input-tokens": (4_000_000, 3_999_000),
        "output-tokens": (800_000, 800_000),
    }
    headers = {"request-id": request_id, "anthropic-organization-id": "0b8f0f1e-emulated"}
    for name, (limit, remaining) in limits.items():
        headers[f"anthropic-ratelimit-{name}-limit"] = str(limit)
        headers[f"anthropic-ratelimit-{name}-remaining"] = str(remaining)
        headers[f"anthropic-ratelimit-{name}-reset"] = reset
    return headers


def openai_headers(request_id: str) -> dict[str, str]:
    """Headers beside every answer of the OpenAI wires."""
    return {
        "x-request-id": request_id,
        "openai-version": "2020-10-01",
        "openai-organization": "emulated",
        "openai-processing-ms": "7",
        "x-ratelimit-limit-requests": "30000",
        "x-ratelimit-limit-tokens": "150000000",
        "x-ratelimit-remaining-requests": "29999",
        "x-ratelimit-remaining-tokens": "149999980",
        "x-ratelimit-reset-requests": "2ms",
        "x-ratelimit-reset-tokens": "0s",
    }
