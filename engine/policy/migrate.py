"""Older policy formats made new: a list of pure steps from each version to the next.

Version 1 is the only one so far, so `STEPS` is empty. The next version adds a step, the schema's new number and nothing
else: the loader reads older files through the steps, and `sbgw policy migrate --write` makes the change in the file, with its
comments. A file of a newer version than this gateway knows is refused whole, since nothing in it need mean what it seems to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from engine.policy.document import Loaded, load_document
from engine.policy.nodes import Node
from engine.policy.problems import Problem
from engine.policy.rewrite import rewrite

VERSION = 1
"""The format that this gateway writes and compiles."""

Step = Callable[[dict[str, Any]], dict[str, Any]]

STEPS: Mapping[int, Step] = {}
"""Version → what makes of a document of that version one of the next. A step is pure and leaves `version` alone."""


@dataclass(slots=True, frozen=True)
class Formats:
    """The versions that can be read."""

    current: int = VERSION
    steps: Mapping[int, Step] | None = None

    def migrated(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document in the current version; it is not changed itself. Raises LookupError when no way leads there."""
        made = deepcopy(dict(document))
        while (version := made["version"]) != self.current:
            made = {**(self.steps or STEPS)[version](made), "version": version + 1}
        return made

    def reads(self, version: Any) -> bool:
        """Whether a way leads from this version to the current one."""
        known = isinstance(version, int) and not isinstance(version, bool) and version <= self.current
        return known and all(step in (self.steps or STEPS) for step in range(version, self.current))


FORMATS = Formats()


def newer(root: Node, formats: Formats = FORMATS) -> Problem | None:
    """The problem of a file that a later gateway wrote; None when its version is none of the future's."""
    node = root.get("version")
    version = node.value if node is not None else None
    if node is None or not isinstance(version, int) or isinstance(version, bool) or version <= formats.current:
        return None
    message = "this file needs a newer sbgw"
    hint = f"it is of version {version}; this one reads up to version {formats.current}"
    return node.problem("policy-version", message, hint=hint)


def brought_up(loaded: Loaded, formats: Formats = FORMATS) -> Loaded:
    """An older file as if it had been migrated, with a warning; any other file as it is."""
    root = loaded.root
    node = root.get("version") if root is not None else None
    if (
        root is None
        or node is None
        or loaded.problems
        or node.value == formats.current
        or not formats.reads(node.value)
    ):
        return loaded
    made = load_document(migrated_text(root, formats).encode(), loaded.source.file)
    hint = "`sbgw policy migrate --write` rewrites the file"
    message = f"this file is of version {node.value}; it is read as version {formats.current}"
    told = node.problem("policy-version", message, hint=hint, level="warning")
    return replace(made, problems=[told, *made.problems])


def migrated_text(root: Node, formats: Formats = FORMATS) -> str:
    """The file that `root` was read from, in the current version, with its comments. Raises LookupError like `migrated`."""
    return rewrite(root, formats.migrated(root.plain()))
