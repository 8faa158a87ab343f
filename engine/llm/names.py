"""Names of models as providers write them."""

from __future__ import annotations

import re2

_WORDS = re2.compile(r"[a-z]+|\d+")
_DATE = re2.compile(r"\d{6,8}")


def same_model(one: object, other: str) -> bool:
    """Do two names mean one model? Providers answer with dates, other word orders and without the maker's prefix.

    A missing name is taken for the same: a history does not always say who wrote it.
    """
    if not isinstance(one, str) or not one or not other or one == other:
        return True
    first, second = _words(one), _words(other)
    return first <= second or second <= first


def sister(one: str, other: str) -> bool:
    """Are two names of one provider the same model, but for a date? A maker's prefix counts as nothing."""
    return one == other or (bool(one and other) and _words(one) == _words(other))


def _words(name: str) -> set[str]:
    words = _WORDS.findall(name.lower().rpartition("/")[2])
    return {word for word in words if word != "latest" and not _DATE.fullmatch(word)}
