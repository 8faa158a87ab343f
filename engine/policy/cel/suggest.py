"""Which name a user may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

from engine.policy.cel.types import Struct

_CLOSE, _CERTAIN, _LISTED = 0.6, 0.8, 12


def closest(name: str, have: Iterable[str], cutoff: float = _CLOSE) -> str:
    """The most similar of the names that exist, empty when none is near. Case and underscores weigh nothing."""
    wanted = _plain(name)
    scored = [(SequenceMatcher(None, wanted, _plain(other)).ratio(), other) for other in have]
    best = max(scored, default=(0.0, ""))
    return best[1] if best[0] >= cutoff else ""


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def elsewhere(name: str, environment: Struct) -> str:
    """`estimate.input_tokens` for a bare `input_tokens`, when exactly one struct of facts has such a field."""
    found = [
        f"{root}.{name}"
        for root, kind in environment.fields.items()
        if isinstance(kind, Struct) and name in kind.fields
    ]
    return found[0] if len(found) == 1 else ""


def meant(name: str, have: Iterable[str], environment: Struct) -> str:
    """The best guess: nearly the same name here, the same name elsewhere, a similar name here."""
    have = list(have)
    return closest(name, have, _CERTAIN) or elsewhere(name, environment) or closest(name, have)


def listing(have: Iterable[str]) -> str:
    """`have: a, b, c`, at most twelve."""
    names = list(have)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"have: {', '.join(names[:_LISTED])}{more}" if names else "it has no fields"
