"""One scripted action in the words of whichever tools a client offers.

A script says "edit this file"; Claude Code has an `Edit` tool for that, Codex a shell that understands patches, and a client we
know nothing about offers some tool whose schema is all there is to go by.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.emulator.conversation import Offer


@dataclass(slots=True, frozen=True)
class Action:
    """Something the model wants done. `expect` is text that the result must hold."""

    expect: str = field(default="", kw_only=True)


@dataclass(slots=True, frozen=True)
class Read(Action):
    path: Path


@dataclass(slots=True, frozen=True)
class View(Action):
    """Look at an image file."""

    path: Path


@dataclass(slots=True, frozen=True)
class Edit(Action):
    """Replace the one line `old` by `new`."""

    path: Path
    old: str
    new: str


@dataclass(slots=True, frozen=True)
class Write(Action):
    path: Path
    content: str


@dataclass(slots=True, frozen=True)
class Shell(Action):
    command: str


class Raw(str):
    """Argument text exactly as a careless model writes it, JSON or not."""

    __slots__ = ()


@dataclass(slots=True, frozen=True)
class Tool(Action):
    """A call given literally; `input` is a JSON object, text for a custom tool, or `Raw` for arguments that may be broken."""

    name: str
    input: Any = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class AnyTool(Action):
    """A call of the first offered tool, with arguments made up from its schema."""


@dataclass(slots=True, frozen=True)
class PlannedCall:
    """A call by the name and with the arguments of an offered tool."""

    name: str
    input: Any
    namespace: str = ""
    custom: bool = field(default=False, kw_only=True)

    @property
    def arguments(self) -> str:
        """The argument text of the OpenAI wires."""
        return self.input if isinstance(self.input, Raw) else orjson.dumps(self.input).decode()


def patch(path: Path, old: str, new: str) -> str:
    """A one-line change in the patch language of Codex."""
    return f"*** Begin Patch\n*** Update File: {path}\n@@\n-{old}\n+{new}\n*** End Patch"


def _here(command: str, text: str) -> str:
    return f"{command} <<'PATCH'\n{text}\nPATCH"


Builder = Callable[[Any], dict[str, Any]]

CLAUDE_CODE: dict[type[Action], tuple[str, Builder]] = {
    Read: ("Read", lambda a: {"file_path": str(a.path)}),
    Edit: (
        "Edit",
        lambda a: {"file_path": str(a.path), "old_string": a.old, "new_string": a.new, "replace_all": False},
    ),
    View: ("Read", lambda a: {"file_path": str(a.path)}),
    Write: ("Write", lambda a: {"file_path": str(a.path), "content": a.content}),
    Shell: ("Bash", lambda a: {"command": a.command, "description": "Run a shell command"}),
}
CODEX: dict[type[Action], tuple[str, Builder]] = {
    Read: ("exec_command", lambda a: {"cmd": f"cat {shlex.quote(str(a.path))}"}),
    Edit: ("exec_command", lambda a: {"cmd": _here("apply_patch", patch(a.path, a.old, a.new))}),
    View: ("view_image", lambda a: {"path": str(a.path)}),
    Write: ("exec_command", lambda a: {"cmd": f"printf %s {shlex.quote(a.content)} > {shlex.quote(str(a.path))}"}),
    Shell: ("exec_command", lambda a: {"cmd": a.command, "yield_time_ms": 10_000}),
}
OPENCODE: dict[type[Action], tuple[str, Builder]] = {
    Read: ("read", lambda a: {"filePath": str(a.path)}),
    Edit: ("edit", lambda a: {"filePath": str(a.path), "oldString": a.old, "newString": a.new}),
    View: ("read", lambda a: {"filePath": str(a.path)}),
    Write: ("write", lambda a: {"filePath": str(a.path), "content": a.content}),
    Shell: ("bash", lambda a: {"command": a.command}),
}
QWEN_CODE: dict[type[Action], tuple[str, Builder]] = {
    Read: ("read_file", lambda a: {"file_path": str(a.path)}),
    Edit: ("edit", lambda a: {"file_path": str(a.path), "old_string": a.old, "new_string": a.new}),
    View: ("read_file", lambda a: {"file_path": str(a.path)}),
    Write: ("write_file", lambda a: {"file_path": str(a.path), "content": a.content}),
    Shell: ("run_shell_command", lambda a: {"command": a.command, "is_background": False}),
}
CONTINUE: dict[type[Action], tuple[str, Builder]] = {
    Read: ("Read", lambda a: {"filepath": str(a.path)}),
    Edit: ("Edit", lambda a: {"file_path": str(a.path), "old_string": a.old, "new_string": a.new}),
    Write: ("Write", lambda a: {"filepath": str(a.path), "content": a.content}),
    Shell: ("Bash", lambda a: {"command": a.command}),
}
DIALECTS: tuple[tuple[frozenset[str], dict[type[Action], tuple[str, Builder]]], ...] = (
    (frozenset({"Read", "Bash", "Checklist"}), CONTINUE),
    (frozenset({"Read", "Edit", "Bash"}), CLAUDE_CODE),
    (frozenset({"read", "edit", "bash"}), OPENCODE),
    (frozenset({"read_file", "run_shell_command"}), QWEN_CODE),
    (frozenset({"exec_command"}), CODEX),
)
"""Which tools must be offered for a dialect, and how it says each action. The first that fits is spoken."""


def plan(action: Action, offers: Sequence[Offer]) -> PlannedCall:
    """`action` as a call of one of the offered tools."""
    names = {offer.name: offer for offer in offers}
    if isinstance(action, Tool):
        offer = names.get(action.name)
        return PlannedCall(
            action.name, action.input, offer.namespace if offer else "", custom=bool(offer and offer.custom)
        )
    if isinstance(action, Edit) and (offer := names.get("apply_patch")) and offer.custom:
        return PlannedCall(offer.name, patch(action.path, action.old, action.new), offer.namespace, custom=True)
    for needed, words in DIALECTS:
        if needed <= names.keys() and type(action) in words:
            name, build = words[type(action)]
            return PlannedCall(name, build(action), names[name].namespace)
    first = offers[0]
    return PlannedCall(
        first.name, "made up" if first.custom else example(first.schema), first.namespace, custom=first.custom
    )


def example(schema: Mapping[str, Any]) -> Any:
    """A small value that fits a JSON schema's types, enums and required properties."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            return example(schema[word][0])
    kind = schema.get("type", "object")
    if isinstance(kind, list):
        kind = kind[0]
    match kind:
        case "object":
            properties = schema.get("properties") or {}
            return {name: example(properties.get(name, {"type": "string"})) for name in schema.get("required") or ()}
        case "array":
            return [example(schema.get("items") or {"type": "string"}) for _ in range(schema.get("minItems", 1))]
        case "integer" | "number":
            return max(1, schema.get("minimum", 1))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return "example"
