"""Fields that nobody here knows, below the top of a request: tomorrow's, or a vendor's own.

On the preserve path they ride along untouched. A translation reads what it knows, so what it does not know is lost as
`unknown_field`: surveys announce it and encoders report it, both by the shapes that each protocol writes down.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Shape:
    """The known fields of an object, and what is known of those that hold objects in turn."""

    __slots__ = ("_below", "_fields", "_plain")

    def __init__(self, fields: str | None, **below: Shape | Mapping[str, Shape]) -> None:
        """`fields` are names between blanks, those in `below` are known, too; None: they are judged elsewhere.

        What stands below is of one shape, or of one by its `type` ("" for those without); a type that is not listed has a loss of
        its own.
        """
        self._plain = frozenset(fields.split() if fields else ())
        """Known, and no objects."""
        self._fields = None if fields is None else self._plain.union(below)
        self._below = tuple(below.items())

    def strange(self, value: Mapping[str, Any]) -> bool:
        """Whether something in `value` bears a field that is not known and says something. Never raises."""
        names = value.keys()
        if names <= self._plain:  # nearly all of a conversation
            return False
        fields = self._fields
        if fields is not None and not names <= fields and any(value[name] for name in names - fields):
            return True
        for name, below in self._below:
            held = value.get(name)
            if held.__class__ is list:
                for one in held:
                    if one.__class__ is dict and _strange(one, below):
                        return True
            elif held.__class__ is dict and _strange(held, below):
                return True
        return False


def _strange(value: dict[str, Any], below: Shape | Mapping[str, Shape]) -> bool:
    if below.__class__ is not Shape:
        kind = value.get("type") or ""
        found = below.get(kind) if kind.__class__ is str else None  # type: ignore[union-attr]
        return found is not None and found.strange(value)
    return below.strange(value)


MARK = Shape("type ttl")
"""A cache breakpoint."""
