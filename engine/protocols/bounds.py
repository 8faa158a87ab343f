"""Values that one protocol takes and another does not: what surveys announce, and how encoders bring them within bounds."""

from __future__ import annotations

import hashlib
from typing import Any

from engine.llm.messages import JsonObject

LONGEST_USER = 64
"""Characters of an end user's id, or a cache key, that every protocol takes."""
MOST_STOPS = 4
"""Stop sequences that every protocol with stop sequences takes."""
PLAIN_TIERS = ("auto", "default")
"""Service tiers of OpenAI's protocols that ask for nothing special."""
PLAIN_EFFORTS = ("low", "medium", "high")
"""Effort words that every protocol has."""

MESSAGES_TIERS = {"auto": "auto", "standard_only": "default"}
"""Service tiers of Messages, and what OpenAI's protocols call them."""


def short(key: str, longest: int = LONGEST_USER) -> str:
    """`key` if it has at most `longest` characters, else its digest, so that it stays one key."""
    return key if len(key) <= longest else hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def openai_tier(tier: str, *, own: bool, losses: set[str]) -> str:
    """The service tier for a provider of OpenAI's protocols; empty for none. `own`: it was asked for in one of them."""
    if own or not tier:
        return tier
    if tier not in MESSAGES_TIERS:
        losses.add("unknown_field")
    return MESSAGES_TIERS.get(tier, "")


def odd_stops(stops: Any) -> bool:
    """Whether some protocol with stop sequences refuses these: it takes four, or none of white space alone."""
    listed = stops if isinstance(stops, list) else [stops]
    return len(listed) > MOST_STOPS or any(isinstance(stop, str) and not stop.strip() for stop in listed)


def out_of_range(body: JsonObject, *, thinking: bool) -> bool:
    """Whether a request of OpenAI's protocols samples in a way that Messages refuses: hotter than 1, by heat and nucleus at
    once, or otherwise than plainly while it thinks.
    """
    heat, nucleus = _number(body.get("temperature")), _number(body.get("top_p"))
    if thinking and body.get("top_k") is not None:
        return True
    if heat is None:
        return thinking and nucleus is not None and nucleus < 0.95
    return heat > 1 or nucleus is not None or (thinking and heat != 1)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
