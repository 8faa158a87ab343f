"""What secrets look like: the rows of `policies/secrets.yaml`, compiled. RE2 only, so no text can make a search slow.

A row is read strictly: an unknown key, an expression that does not compile or a row that says nothing is a ValueError with
the row's id, at load.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import re2
import yaml

from engine.llm.frozen import dataclass
from engine.policy.shipped import find_shipped

_START = r"(?:\b|_|\\[nrtbf]|%[0-9A-Fa-f]{2}|\\u00[0-9a-fA-F]{2})"
"""Where a word begins: in text, behind an underscore (`user_sk-…`), after an escape inside a JSON string, after a byte escaped in a URL."""

_ASSIGNED = r"""[\w. -]{0,32}?(?:["'`\\\]*]|%22){0,6}\s{0,4}(?:=>|:=|[:=|]|%3[AaDd])\s{0,4}(?:["'`\\*]|%22){0,6}"""
"""Between a name and its value, in the ways of JSON, YAML, shells, code, headers and URLs."""

_KEYS = frozenset({"id", "keywords", "pattern", "inside", "near", "value", "entropy", "kinds", "except", "reach"})

LEAD = 128
"""Bytes that may stand between a match's beginning and its keyword's; no pattern of the table needs half of them."""

REACH = 512
"""Bytes behind its keyword that a match may need before it is one, unless its row says otherwise. How far it then goes is open."""

_BACKSLASH, _PERCENT, _U, _UNDERSCORE = b"\\%u_"

_DIGITS = frozenset(b"0123456789")

_LOGS = (0.0, *(n * math.log2(n) for n in range(1, 1025)))


@dataclass(slots=True, frozen=True)
class Rule:
    """One row. The last group of `pattern` that took part is the secret."""

    id: str
    pattern: Any
    keywords: tuple[bytes, ...]
    """Expressions, one of which occurs in every text that `pattern` is found in."""
    entropy: float
    kinds: int
    """How many of lower case, upper case and digits occur at least."""
    exception: Any
    reach: int
    groups: int
    """How many groups `pattern` has. Without one, which spares RE2 half its work, the secret is all that is found behind `_START`."""

    def place(self, match: Any, data: bytes) -> tuple[int, int]:
        """From where to where the secret stands in `data`, of which `match` is a match."""
        start: int
        end: int
        start, end = match.span(self.groups)
        if not self.groups:
            # No secret begins with what an escape begins with.
            first = data[start]
            if first == _UNDERSCORE:
                start += 1
            else:
                start += 3 if first == _PERCENT else 0 if first != _BACKSLASH else 6 if data[start + 1] == _U else 2
        elif start < 0:  # in the other alternative
            start, end = match.span(match.lastindex)
        return start, end

    def secret(self, value: bytes) -> bool:
        """Whether what the pattern found is one: random enough, and not among the exceptions."""
        if self.kinds and _kinds(value) < self.kinds:
            return False
        if self.entropy and entropy(value) < self.entropy:
            return False
        return self.exception is None or self.exception.search(value) is None


@lru_cache(maxsize=1)
def shipped_rules() -> tuple[Rule, ...]:
    """The table that comes with the gateway. Compiling it takes tens of milliseconds."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return read_rules(yaml.load(find_shipped("policies", "secrets.yaml").read_bytes(), loader))  # noqa: S506 (safe)


def read_rules(rows: Sequence[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """The rows compiled, in their order. Raises ValueError."""
    return tuple(_rule(row) for row in rows)


def entropy(value: bytes) -> float:
    """Bits per byte of `value`, by the frequencies in it."""
    length = len(value)
    counts = Counter(value).values()
    if length < len(_LOGS):
        return (_LOGS[length] - sum(map(_LOGS.__getitem__, counts))) / length
    return -sum(n / length * math.log2(n / length) for n in counts)


def compiled(pattern: str, row: str) -> Any:
    """`pattern` over bytes. Raises ValueError that names the row."""
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    try:
        return re2.compile(pattern.encode("latin-1"), options)
    except re2.error as error:
        raise ValueError(f"{row}: not a regular expression: {error}") from None


def _rule(row: Mapping[str, Any]) -> Rule:
    if "id" not in row:
        raise ValueError("a row without id")
    name = str(row["id"])
    if unknown := row.keys() - _KEYS:
        raise ValueError(f"{name}: unknown key '{min(unknown)}'")
    if ("pattern" in row, "near" in row) not in {(True, False), (False, True)} or ("near" in row) != ("value" in row):
        raise ValueError(f"{name}: a row has a pattern, or near and value")
    if "pattern" in row and not row.get("keywords"):
        raise ValueError(f"{name}: no keywords")
    if "near" in row:
        words = "|".join(_quoted(row["near"]))
        source = f"(?i:{words}){_ASSIGNED}({row['value']})"
        keywords = tuple(f"(?i:{word})".encode() for word in _quoted(row["near"]))
    else:
        source = row["pattern"] if row.get("inside") else f"{_START}(?:{row['pattern']})"
        keywords = tuple(word.encode() for word in _quoted(row["keywords"]))
    exception = compiled(row["except"], name) if "except" in row else None
    pattern = compiled(source, name)
    return Rule(
        name,
        pattern,
        keywords,
        float(row.get("entropy", 0.0)),
        int(row.get("kinds", 0)),
        exception,
        int(row.get("reach", REACH)),
        pattern.groups,
    )


def _quoted(words: Iterable[str]) -> list[str]:
    return [re2.escape(word) for word in words]


def _kinds(value: bytes) -> int:
    return (not _DIGITS.isdisjoint(value)) + (value != value.lower()) + (value != value.upper())
