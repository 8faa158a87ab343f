"""Loss codes stand in one place, `engine/llm/losses.py`; where they are repeated for people and editors they are written from there.

python -m tests.losses_table
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

from engine.cli.losses import markdown
from engine.llm.losses import LOSSES

ROOT = Path(__file__).resolve().parent.parent


def schema(text: str) -> str:
    """The policies' schema with the codes that `allow_losses` may hold."""
    indent = " " * 14
    codes = textwrap.fill(
        ", ".join(f'"{code}"' for code in LOSSES), 86, initial_indent=indent, subsequent_indent=indent
    )
    return _between(r'("allow_losses": \{.*?"enum": \[\n).*?(\n +\])', codes, text)


def document(text: str) -> str:
    """The examples' page with the whole table."""
    return _between(r"(\n\n)\| code \|.*?\|\n(\n|\Z)", markdown(), text)


def _between(pattern: str, new: str, text: str) -> str:
    out, found = re.subn(pattern, lambda match: match[1] + new + match[2], text, flags=re.DOTALL)
    assert found == 1, pattern
    return out


PLACES: Mapping[Path, Callable[[str], str]] = {
    ROOT / "schemas/policy.schema.json": schema,
    ROOT / "examples/losses.md": document,
}
"""file → what it should be, made of what it is."""


if __name__ == "__main__":
    for path, written in PLACES.items():
        path.write_text(written(path.read_text("utf-8")), "utf-8")
