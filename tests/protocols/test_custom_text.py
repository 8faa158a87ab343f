"""A custom tool's text on its way through JSON arguments."""

from __future__ import annotations

import json
from itertools import pairwise

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.protocols.custom_text import TextReader, unwrapped, wrapped

PATCH = '*** Begin Patch\n*** Update File: a.py\n@@ x = "é 😀 \\d\\\\n"\n-\told\n+new {"input":"}"}\n*** End Patch'
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    [PATCH, '"', "\\", '{"input":"x"}', '"}', '",']
)


def read(arguments: str, cuts: list[int]) -> list[str]:
    """What a reader tells, piece by piece, and at the end."""
    reader = TextReader()
    edges = sorted({0, len(arguments), *(min(cut, len(arguments)) for cut in cuts)})
    return [*(reader.feed(arguments[a:b]) for a, b in pairwise(edges)), reader.close()]


@given(TEXTS, st.booleans(), st.lists(st.integers(0, 300)))
@settings(deadline=None, max_examples=400)
def test_every_text_comes_back_however_it_is_cut(text: str, ascii_only: bool, cuts: list[int]) -> None:
    """Through our own spelling of the JSON and through one that escapes all it can."""
    arguments = json.dumps({"input": text}, indent=1) if ascii_only else wrapped(text)
    assert unwrapped(arguments) == text
    assert "".join(read(arguments, cuts)) == text
    assert "".join(read(arguments, list(range(len(arguments))))) == text


@given(st.text(st.sampled_from('{}":, \\ud83e\n[]input1abc'), max_size=60), st.booleans(), st.lists(st.integers(0, 80)))
@settings(deadline=None, max_examples=600)
def test_no_cut_changes_what_slips_mean(odd: str, begun: bool, cuts: list[int]) -> None:
    """Whatever a model wrote: all at once, byte by byte and randomly cut are one text, which JSON can carry on."""
    arguments = ('{"input":"' if begun else "") + odd
    whole = unwrapped(arguments)
    assert "".join(read(arguments, cuts)) == whole == "".join(read(arguments, list(range(len(arguments)))))
    orjson.dumps(whole)


@given(TEXTS.filter(lambda text: '"' not in text))
@settings(deadline=None, max_examples=100)
def test_the_text_grows_as_it_comes(text: str) -> None:
    """All of it is told before the arguments end."""
    arguments = wrapped(text)
    told = read(arguments, list(range(len(arguments))))
    assert "".join(told[: len(arguments) - 2]) == text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", ""),
        ("*** Begin", "*** Begin"),
        ('"x"', "x"),
        ('{"patch":"x"}', '{"patch":"x"}'),
        ('{"input":"a","note":1}', "a"),
        ('{"note":1,"input":"a"}', "a"),
        ('{"input":"a\nb"}', "a\nb"),
        ('{"input":"re \\d+"}', "re \\d+"),
        ('{"input":"say "hi", then go"}', 'say "hi", then go'),
        ('{"input":"x"}}', "x"),
        ('{"input":"x"', "x"),
        ('{"input":"x', "x"),
        ('{"input":"x\\', "x\\"),
        ('{"input":"\\ud83d\\ude00\\ud83d"}', "😀\ufffd"),
        ('```json\n{"input": "x"}\n```', "x"),
        ('{ const a = {"input": 1} }', '{ const a = {"input": 1} }'),
        ('{"input": {"a": 1}}', '{"input": {"a": 1}}'),
    ],
)
def test_slips(arguments: str, text: str) -> None:
    """What cannot mean anything else is understood, the rest passes as it is."""
    assert unwrapped(arguments) == text
    assert "".join(read(arguments, list(range(len(arguments))))) == text
