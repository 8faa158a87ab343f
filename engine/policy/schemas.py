"""The shipped JSON Schemas, each as one document that stands alone: what it refers to in other files is taken in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from engine.policy.shipped import shipped_folder

NAMES = ("policy", "facts", "event", "models", "providers", "policy-test", "governance")

_SUFFIX = ".schema.json"


def bundled(name: str) -> dict[str, Any]:
    """The schema `name` with every reference inside it. Raises KeyError for a name that is not among `NAMES`."""
    if name not in NAMES:
        raise KeyError(name)
    folder = shipped_folder("schemas")
    taken: dict[str, Any] = {}
    whole: dict[str, Any] = _inside(_read(folder, name), "", folder, taken)
    if taken:
        whole["definitions"] = {**whole.get("definitions", {}), **taken}
    return whole


def _read(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads((folder / f"{name}{_SUFFIX}").read_bytes())
    return content


def _inside(node: Any, home: str, folder: Path, taken: dict[str, Any]) -> Any:
    """`node` of the file `home` (empty: the whole's own) with its references led to where things now are."""
    if isinstance(node, list):
        return [_inside(item, home, folder, taken) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: _inside(value, home, folder, taken) for key, value in node.items()}
    ref = node.get("$ref")
    if isinstance(ref, str):
        file, _, pointer = ref.partition("#")
        target = file.removesuffix(_SUFFIX) or home
        made["$ref"] = f"#/definitions/{target}{pointer}" if target else ref
        if target and target not in taken:
            taken[target] = {}  # it may refer to itself
            content = _read(folder, target)
            taken[target] = {
                key: _inside(value, target, folder, taken)
                for key, value in content.items()
                if key not in {"$schema", "$id"}
            }
    return made
