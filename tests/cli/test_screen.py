"""What is printed does nothing to a terminal, and reads the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cli.screen import json_text, safe, safe_lines

NASTY = "\x00\x07\x1b\x7f\x85\x9b\r\n\t\u200b\u200e\u202e\u2028\u2029\u2066\u061c\u2060\ufeff\ud800\U000e0041"


@pytest.mark.parametrize("char", NASTY)
def test_nothing_drives_the_terminal_or_hides(char: str) -> None:
    """Controls, turns of direction, ends of lines, unseen characters, halves of pairs."""
    assert safe(f"a{char}b") == "a\ufffdb"


def test_words_stay() -> None:
    """In any script, with what joins their signs."""
    words = "Größe café 日本語 שלום नमस्ते‍ 👩‍💻 a\u00a0b"
    assert safe(words) == words
    assert safe_lines("a\n\tb\x1b") == "a\n\tb\ufffd"


@given(st.text())
def test_json_reads_the_same_and_does_nothing(text: str) -> None:
    """Whatever it holds; indented or not."""
    for indent in (False, True):
        told = json_text({"a": text}, indent=indent)
        assert json.loads(told) == {"a": text}
        assert safe_lines(told) == told
