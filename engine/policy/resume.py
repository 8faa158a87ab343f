"""Goes on behind a YAML error, so that one stray character does not hide what is wrong with the rest of a file.

YAML has no place to start again inside a block, but a policy is a mapping of sections: the section that holds the error is
blanked out, at the same length, and the file is read once more. Positions stay what they are.
"""

from __future__ import annotations

import re
from typing import Any

MOST_ERRORS = 5
"""Errors after which a file is given up."""

_SECTION = re.compile(r"^[^\s#\-\]}][^\n]*", re.MULTILINE)
_NOT_LINE_END = re.compile(r"[^\r\n]")
_OPENED = ("quoted scalar", "flow mapping", "flow sequence", "block scalar")
"""What an error can be found a long way behind of: then the section that opened it is at fault too."""


def without_section(text: str, error: Any) -> str | None:
    """`text` with the section that holds a YAML error made of spaces; None when that leaves nothing to read."""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return None
    last = first = min(mark.index, len(text))
    if error.context_mark is not None and any(words in str(error.context) for words in _OPENED):
        first = min(first, error.context_mark.index)
    starts = [match.start() for match in _SECTION.finditer(text)]
    # What is found at the very beginning of a section is the fault of the one before it.
    begin = max((at for at in starts if at < first), default=None)
    if begin is None:
        begin = starts[0] if starts else 0
    end = min((at for at in starts if at > last), default=len(text))
    blanked = text[:begin] + _NOT_LINE_END.sub(" ", text[begin:end]) + text[end:]
    return blanked if blanked != text and blanked.strip() else None
