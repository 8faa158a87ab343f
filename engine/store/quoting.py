"""A provider's words about a request, without what they quote of it: the ledger holds no text of a request.

Validators like to quote what they refuse (`Input should be a list [input_value='fix the login of…']`). Rules kept here:

- What stands in quotation marks and in the request as well goes, unless it is one word: names of fields and models are no text.
- So does anything of `RUN` bytes or more, from a word on, that the request holds word for word.
- What is left says where something was. Vendors' own words may go with it where the prompt has them too; none is kept in doubt.
"""

from __future__ import annotations

import json
import re

import re2

RUN = 24
"""Bytes from which on a common passage is a quotation; vendors' sentences are not found in prompts by chance."""

LARGEST = 8 * 1024 * 1024
"""Bytes of a request that are searched, some milliseconds each; of a larger one's errors nothing is kept."""

GONE = "[…]"

_QUOTED = re.compile(r"""(?<!\w)(['"`])(.{4,}?)\1(?!\w)|“(.{4,}?)”""")

_ONE_WORD = re.compile(r"[\w./:@\[\]{}$*+-]*", re.ASCII)

_START = re.compile(r"(?<!\w)\w|[^\x00-\x7f]")
"""Where a passage may begin: at a word, or at any sign of a script that has no spaces."""


def unquoted(said: str, request: bytes) -> str:
    """`said` without what it quotes of `request`, the body as the client sent it."""
    if not said:
        return said
    if len(request) > LARGEST:
        return GONE
    return _QUOTED.sub(lambda found: _judged(found, request), _without_passages(said, request))


def _judged(found: re.Match[str], request: bytes) -> str:
    whole = found[0]
    inner = whole[1:-1].rstrip(".…")  # what is quoted is often cut
    return whole if _ONE_WORD.fullmatch(inner) or not _holds(request, inner) else f"{whole[0]}{GONE}{whole[-1]}"


def _without_passages(said: str, request: bytes) -> str:
    windows = [(match.start(), _window(said, match.start())) for match in _START.finditer(said)]
    windows = [(start, end) for start, end in windows if end and not _ONE_WORD.fullmatch(said, start, end)]
    out, at = "", 0
    for start, end in _held(said, windows, request):
        if end <= at:
            continue
        while end < len(said) and _holds(request, said[start : end + 1]):
            end += 1
        out += said[at:start] + GONE if start > at else "" if at else GONE
        at = end
    return out + said[at:]


def _window(said: str, start: int) -> int:
    """Where the shortest quotation that begins at `start` ends; 0 when there is too little left."""
    size = 0
    for at in range(start, len(said)):
        size += len(said[at].encode("utf-8", "replace"))
        if size >= RUN:
            return at + 1
    return 0


def _held(said: str, windows: list[tuple[int, int]], request: bytes) -> list[tuple[int, int]]:
    """Those of the windows that the request holds, found in one pass over it."""
    if not windows:
        return []
    options = re2.Options()
    options.max_mem = 64 << 20  # states of some hundred windows: without room for them a search finds nothing
    search, owners = re2.Set.SearchSet(options), list[tuple[int, int]]()
    for start, end in windows:
        for form in _forms(said[start:end]):
            search.Add(re2.escape(form))
            owners.append((start, end))
    search.Compile()
    return sorted({owners[number] for number in search.Match(request) or ()})


def _holds(request: bytes, text: str) -> bool:
    return any(form in request for form in _forms(text))


def _forms(text: str) -> set[bytes]:
    """How a request's JSON may hold `text`."""
    plain, escaped = json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]
    return {plain.encode("utf-8", "replace"), escaped.encode()}
