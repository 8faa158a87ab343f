"""Which name a user may have meant."""

from __future__ import annotations

from collections.abc import Iterable

from engine.policy.cel.suggest import closest

__all__ = ["closest", "did_you_mean", "listing"]

_LISTED = 12


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """`; did you mean 'x'?` to go at the end of a message, empty when no name is near."""
    found = closest(name, options)
    return f"; did you mean '{found}'?" if found and found != name else ""


def listing(options: Iterable[str]) -> str:
    """`a, b, c` in the order given, at most twelve of them."""
    names = list(options)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
