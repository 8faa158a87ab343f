"""Regular expressions: RE2 only, so that no pattern takes more than linear time, and silent on standard error."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from engine.policy.cel.problems import Fault

Matcher = Callable[[str], bool]
MAX_PATTERN = 1_000
_MEMORY = 4 << 20
"""For one pattern and its automaton; beyond it RE2 refuses the pattern or starts its cache afresh."""

_KNOWN, _SHORT = 256, 128
"""Texts for which a pattern's word is remembered, and their longest: what rules ask about is mostly the model's name."""


def pattern_error(pattern: str) -> str:
    """Why RE2 refuses the pattern, empty when it accepts it. The text quotes the pattern: for load time only."""
    try:
        matcher(pattern)
    except Fault as fault:
        return fault.detail if fault.__cause__ is None else str(fault.__cause__)
    return ""


_SWALLOWED = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\v": r"\v"}
"""Characters that nobody looks for, and what somebody wrote to whom a backslash was lost on the way."""


def swallowed_escape(pattern: str) -> str:
    r"""The `\b` or the like that was read as one control character before the pattern saw it; empty when there is none."""
    return next((written for char, written in _SWALLOWED.items() if char in pattern), "")


@lru_cache(maxsize=64)
def matcher(pattern: str) -> Matcher:
    """Does the pattern match anywhere in a text? Raises Fault for a pattern that is none, without quoting it."""
    import re2  # noqa: PLC0415 - a C++ extension that not every command needs

    if len(pattern) > MAX_PATTERN:
        raise Fault("value", f"a regular expression of more than {MAX_PATTERN:,} characters")
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MEMORY
    try:
        # Patterns and texts as UTF-8 bytes: the binding then skips counting characters, half of its time.
        search = re2.compile(pattern.encode(), options).search
    except re2.error as error:
        told = error.args[0] if error.args else ""
        raise Fault("value", "not a regular expression") from ValueError(
            told.decode(errors="replace") if isinstance(told, bytes) else str(told)
        )
    known: dict[str, bool] = {}

    def matches(text: str) -> bool:
        found = known.get(text)
        if found is None:
            found = search(text.encode()) is not None
            if len(text) <= _SHORT:
                if len(known) >= _KNOWN:
                    known.clear()
                known[text] = found
        return found

    return matches
