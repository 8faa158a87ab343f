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
