"""What every protocol shows of a conversation, asked of its JSON before anything is decoded."""

from __future__ import annotations

from typing import Any, TypeGuard

_BILLING = "x-anthropic-billing-header"
"""Start of a client's accounting line, which is no instruction: translations leave it out."""


def tells(text: Any) -> bool:
    """Whether `text` is a text that every protocol shows."""
    return isinstance(text, str) and bool(text.strip()) and not text.startswith(_BILLING)


def is_id(value: Any) -> TypeGuard[str]:
    """Whether `value` names a call."""
    return isinstance(value, str) and value != ""
