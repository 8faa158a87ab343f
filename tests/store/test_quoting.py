"""A provider's words without what they quote of the request; what they say of it stays."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.store.quoting import GONE, LARGEST, RUN, unquoted

PROMPT = 'Please fix the login of "Mrs Ünal" in Köln, she pays with card 4711 and is angry.\n然后写一封道歉信给她,说我们很抱歉。'
BODY = {
    "model": "claude-sonnet-4-5-20250929",
    "max_completion_tokens": 5,
    "messages": [{"role": "user", "content": PROMPT}],
}


def bodies() -> list[bytes]:
    return [json.dumps(BODY).encode(), json.dumps(BODY, ensure_ascii=False).encode()]


@pytest.mark.parametrize("request_", bodies(), ids=["ascii", "utf-8"])
@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Input should be a list [type=list_type, input_value='Please fix the login of...', input_type=str]",
         f"Input should be a list [type=list_type, input_value='{GONE}', input_type=str]"),
        ("refused: pays with card 4711 and is angry. is against the rules", f"refused: {GONE} is against the rules"),
        ("refused: 'card 4711'", f"refused: '{GONE}'"),
        ("“in Köln, she” is no place", f"“{GONE}” is no place"),
        ("unsafe: 然后写一封道歉信给她,说我们很抱歉。 and Please fix the login of Mrs", f"unsafe: {GONE} and {GONE}Mrs"),
        ('quoted: fix the login of "Mrs Ünal" in Köln', f"quoted: {GONE}"),
        ("Unsupported parameter: 'max_completion_tokens' for claude-sonnet-4-5-20250929",
         "Unsupported parameter: 'max_completion_tokens' for claude-sonnet-4-5-20250929"),
        ("the model 'm' can't be 'read at all'", "the model 'm' can't be 'read at all'"),
        ("", ""),
    ],
)  # fmt: skip
def test_quotations_go(request_: bytes, said: str, kept: str) -> None:
    """However the request escapes its text; names of fields and models stay."""
    assert unquoted(said, request_) == kept


def test_a_long_message_is_searched_whole() -> None:
    """Hundreds of passages at once, in a script without spaces too."""
    said = "".join(chr(0x4E00 + number * 7) for number in range(800))
    for request in (json.dumps({"content": said}).encode(), json.dumps({"content": said}, ensure_ascii=False).encode()):
        assert (unquoted(said, request), unquoted(said[::-1], request)) == (GONE, said[::-1])


def test_nothing_is_kept_of_what_is_not_searched() -> None:
    """A request too large to search."""
    assert unquoted("some words", b" " * (LARGEST + 1)) == GONE


@given(st.lists(st.sampled_from(PROMPT.split()), min_size=1, max_size=9), st.integers(0, 60), st.integers(30, 90))
def test_no_passage_stays(around: list[str], start: int, length: int) -> None:
    """Wherever a passage begins and whatever stands around it, no more of it is left than a quotation's length at its edges."""
    passage = PROMPT.splitlines()[0][start : start + length]
    left = unquoted(f"no: {passage} {' '.join(reversed(around))}", bodies()[0])
    longest = max(
        len(passage[a:b]) for a in range(len(passage) + 1) for b in range(a, len(passage) + 1) if passage[a:b] in left
    )
    assert longest < RUN + max(map(len, passage.split()), default=0)
