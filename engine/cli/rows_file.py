"""A file of model rows that commands write and policies extend: `extends: [default, imported.yaml]`.

It is a policy itself (it extends the default one), so it is checked, shown and run like any. What a person wrote there stays:
comments, order, and every field that a command has nothing to say about.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.cli.screen import fail
from engine.llm.messages import JsonObject
from engine.policy.document import load_document
from engine.policy.emit import emit
from engine.policy.rewrite import rewrite


def _over(held: Mapping[str, Any], row: Mapping[str, Any]) -> JsonObject:
    """`row` laid over `held` field by field, mappings too."""
    return dict(held) | {
        key: {**held[key], **value} if isinstance(value, Mapping) and isinstance(held.get(key), Mapping) else value
        for key, value in row.items()
    }


def rows_yaml(rows: Mapping[str, JsonObject], description: str) -> str:
    """A new file of `rows`."""
    return emit({"version": 1, "description": description, "extends": ["default"], "models": dict(rows)})


def write_rows(path: Path, rows: Mapping[str, JsonObject], description: str, *, replace: bool) -> list[str]:
    """Put `rows` into the file; the keys that were written. With `replace`, their fields go over those of a row that is there;
    without, such a row is left alone. Stops with a clear error when the file can't be read or written.
    """
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror}")
    if not data.strip():
        written, text = list(rows), rows_yaml(rows, description)
    else:
        loaded = load_document(data, str(path))
        if loaded.problems or loaded.root is None or not isinstance(value := loaded.root.plain(), dict):
            fail(f"{path} cannot be read as YAML", f"sbgw check {path}")
        held: dict[str, Any] = dict(value.get("models") or {})
        written = [ref for ref in rows if replace or ref not in held]
        for ref in written:
            held[ref] = _over(held.get(ref) or {}, rows[ref])
        text = rewrite(loaded.root, {**value, "models": held})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"cannot write {path}: {error.strerror}")
    return written
