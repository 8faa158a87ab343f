"""Strict field tables: which keys an object may and must have, checked in one pass.

The wording of a complaint is each vendor's; this module only finds what is wrong and where.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, frozen=True)
class Fields:
    """The keys of one kind of object."""

    required: frozenset[str]
    optional: frozenset[str] = frozenset()

    def unknown(self, value: Mapping[str, Any]) -> Iterator[str]:
        """Keys that the vendor does not know, in the order they came."""
        return (key for key in value if key not in self.required and key not in self.optional)

    def missing(self, value: Mapping[str, Any]) -> Iterator[str]:
        """Required keys that are not there, sorted."""
        return (key for key in sorted(self.required) if key not in value)

    @property
    def all(self) -> frozenset[str]:
        """Every known key."""
        return self.required | self.optional


def fields(required: str, optional: str = "") -> Fields:
    """Fields from two space-separated lists."""
    return Fields(frozenset(required.split()), frozenset(optional.split()))


def texts(content: Any) -> Iterator[str]:
    """Every text in a content value: a string, or the `text` of its parts, or nothing."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, Iterable):
        for part in content:
            if isinstance(part, Mapping) and isinstance(part.get("text"), str):
                yield part["text"]


def images(value: Any) -> int:
    """Image parts anywhere inside a request's messages or items."""
    if isinstance(value, list):
        return sum(images(item) for item in value)
    if not isinstance(value, Mapping):
        return 0
    if value.get("type") in ("image", "image_url", "input_image"):
        return 1
    return sum(images(value[key]) for key in ("content", "output") if key in value)


def opening(messages: list[Any]) -> str:
    """What users say before the model first speaks: messages or items up to the first of the assistant's."""
    said: list[str] = []
    for message in messages:
        if message.get("role") == "assistant" or message.get("type") in (
            "function_call",
            "custom_tool_call",
            "reasoning",
        ):
            break
        if message.get("role") == "user":
            said.extend(texts(message["content"]))
    return " ".join(said)
