"""The parser for cel-python's grammar, from tables that were worked out ahead.

Working them out takes a fifth of the gateway's start, reading them takes a tenth of that (measured). `tables.json` belongs to
one text of the grammar and one release of lark; beside any other, or where it is missing, the parser is built from the
grammar. So an outdated file costs time and changes nothing; a test says when it is outdated, and `write` makes it anew:

    python -c "from engine.policy.cel import syntax, tables; tables.write(syntax.grammar())"
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("tables.json")


def parser(grammar: str, callbacks: dict[str, Any]) -> Any:
    """The LALR parser for `grammar`; `callbacks` are lark's, by terminal."""
    return _ready(grammar, callbacks) or built(grammar, callbacks)


def built(grammar: str, callbacks: dict[str, Any]) -> Any:
    """The same parser, worked out now."""
    from lark import Lark  # noqa: PLC0415 - slow to import, and `sbgw --help` needs no expression

    return Lark(
        grammar, parser="lalr", start="expr", propagate_positions=True, maybe_placeholders=False, priority="invert",
        g_regex_flags=re.MULTILINE, lexer_callbacks=callbacks,
    )  # fmt: skip


def _ready(grammar: str, callbacks: dict[str, Any]) -> Any:
    """The parser from the file, None if that was made for something else."""
    from lark import Lark  # noqa: PLC0415

    try:
        held = json.loads(FILE.read_bytes())
    except (OSError, ValueError):
        return None
    if held["of"] != _identity(grammar):
        return None
    tables = held["data"]["parser"]["parser"]
    # JSON's keys are text, the tables' are numbers.
    tables["tokens"] = _numbered(tables["tokens"])
    tables["states"] = {state: _numbered(row) for state, row in _numbered(tables["states"]).items()}
    # What lark's own generator of standalone parsers calls; it has no public name, and no types.
    load: Any = Lark._load_from_dict  # noqa: SLF001
    return load(held["data"], _numbered(held["memo"]), lexer_callbacks=callbacks)


def _numbered(table: dict[str, Any]) -> dict[int, Any]:
    return {int(key): value for key, value in table.items()}


def _identity(grammar: str) -> str:
    """What tables are for: the grammar's text and lark's release."""
    import lark  # noqa: PLC0415

    return f"lark {lark.__version__}, grammar {sha256(grammar.encode()).hexdigest()}"


def write(grammar: str) -> None:
    """Work the tables out and keep them in the file."""
    from lark.grammar import Rule  # noqa: PLC0415
    from lark.lexer import TerminalDef  # noqa: PLC0415

    data, memo = built(grammar, {}).memo_serialize([TerminalDef, Rule])
    held = {"of": _identity(grammar), "data": data, "memo": memo}
    FILE.write_text(json.dumps(held, separators=(",", ":")) + "\n", encoding="utf-8")
