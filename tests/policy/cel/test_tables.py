"""The tables that ship are those of the installed grammar, and make the parser that the grammar makes."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from lark.exceptions import UnexpectedToken

from engine.policy.cel import syntax, tables

_CALLBACKS = {"IDENT": syntax._booleans}
_SOURCES = [
    *(Path(__file__).with_name("corpus.txt").read_text(encoding="utf-8").splitlines()),
    'request.tools > 3 && true ? [1, 2].exists(t, t == 1) : "a" in b.c',
    '{"a": 1}["a"] - -2 * 3 % 4',
]


def test_the_file_is_up_to_date() -> None:
    """It belongs to the grammar and the lark that are installed here."""
    assert tables._ready(syntax.grammar(), _CALLBACKS) is not None


def test_both_parsers_read_alike() -> None:
    """Every line of the corpus gives the same tree, with the same places, or stops at the same token."""
    ready, built = tables._ready(syntax.grammar(), _CALLBACKS), tables.built(syntax.grammar(), _CALLBACKS)
    for source in _SOURCES:
        assert _read(ready, source) == _read(built, source), source


def test_tables_of_another_grammar_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for another grammar, a broken one and a missing one all lead to a parser that is built."""
    held = orjson.loads(tables.FILE.read_bytes())
    for name, data in (
        ("other.json", orjson.dumps({**held, "of": "another"})),
        ("broken.json", b"{"),
        ("none.json", None),
    ):
        monkeypatch.setattr(tables, "FILE", tmp_path / name)
        if data is not None:
            tables.FILE.write_bytes(data)
        assert tables._ready(syntax.grammar(), _CALLBACKS) is None


def _read(parser: object, source: str) -> object:
    try:
        tree = parser.parse(source)
    except UnexpectedToken as stop:
        return stop.token, stop.token.type, stop.token.start_pos, frozenset(map(str, stop.accepts or ()))
    except Exception as error:  # noqa: BLE001  whatever one does with odd text, the other does
        return type(error)
    return [
        (str(node.data), node.meta.start_pos if not node.meta.empty else None) for node in tree.iter_subtrees()
    ], tree
