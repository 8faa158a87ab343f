"""The tools that an exam offers: as the agent offers them, by name and by the shape of their schemas.

Only what an answer is judged by is here, in our own words. Names, required fields and enums are those of the agents' requests
(observed; `additionalProperties: false` too), because models are trained on some and stumble over others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.llm.messages import JsonObject, Tool


@dataclass(slots=True, frozen=True)
class Kit:
    """One agent's tools, and which of them an exam asks for what."""

    protocol: str
    """The agent's own protocol: a provider that speaks it is asked in it."""
    field: str
    """The field of a model's row that says whether this agent may depend on it."""
    tools: tuple[Tool, ...]
    look: tuple[str, str]
    """Tool and field that look at one file."""
    write: tuple[str, str]
    """Tool and field that take a text to be kept to the letter."""
    plan: tuple[str, str, str]
    """Tool that takes a plan, its list, and the text of one step."""


def _object(required: tuple[str, ...], **properties: JsonObject) -> JsonObject:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_TEXT: JsonObject = {"type": "string"}
_NUMBER: JsonObject = {"type": "number"}


def _steps(text: str, *more: str) -> JsonObject:
    status: JsonObject = {"type": "string", "enum": ["pending", "in_progress", "completed"]}
    item = _object((text, "status", *more), **{text: _TEXT, "status": status}, **dict.fromkeys(more, _TEXT))
    return {"type": "array", "items": item}


KITS: Mapping[str, Kit] = {
    "claude-code": Kit(
        protocol="anthropic-messages",
        field="claude_code_safe",
        tools=(
            Tool("Bash", "Runs a shell command and returns its output.", _object(
                ("command",), command=_TEXT, timeout=_NUMBER, description=_TEXT, run_in_background={"type": "boolean"}
            )),
            Tool("Read", "Reads a file. Call it several times in one answer to read several files at once.", _object(
                ("file_path",), file_path=_TEXT, offset=_NUMBER, limit=_NUMBER
            )),
            Tool("Write", "Writes a file, replacing what it held.", _object(
                ("file_path", "content"), file_path=_TEXT, content=_TEXT
            )),
            Tool("TodoWrite", "Keeps the list of steps of the task at hand.", _object(
                ("todos",), todos=_steps("content", "activeForm")
            )),
        ),
        look=("Read", "file_path"),
        write=("Write", "content"),
        plan=("TodoWrite", "todos", "content"),
    ),
    "codex": Kit(
        protocol="openai-responses",
        field="codex_safe",
        tools=(
            Tool("exec_command", "Runs a shell command and returns its output. Call it several times in one answer to run "
                 "several commands at once.", _object(
                ("cmd",), cmd=_TEXT, workdir=_TEXT, yield_time_ms=_NUMBER, max_output_tokens=_NUMBER
            )),
            Tool("write_stdin", "Writes characters to a running command.", _object(
                ("session_id", "chars"), session_id=_NUMBER, chars=_TEXT
            )),
            Tool("update_plan", "Keeps the plan of the task at hand.", _object(
                ("plan",), explanation=_TEXT, plan=_steps("step")
            )),
        ),
        look=("exec_command", "cmd"),
        write=("write_stdin", "chars"),
        plan=("update_plan", "plan", "step"),
    ),
}  # fmt: skip
"""Agent → its kit."""


def crowd(size: int = 40) -> tuple[Tool, ...]:
    """Tools as a large server of tools brings them: alike by name, with long nested schemas."""
    return tuple(
        Tool(
            f"mcp__tracker__{verb}_{noun}",
            f"{verb.capitalize()}s a {noun} of the tracker. Fields that are left out keep their value.",
            _object(
                ("key", "fields"),
                key={"type": "string", "description": f"Key of the {noun}, such as OPS-1."},
                fields=_object(
                    ("priority",),
                    priority={"type": "string", "enum": ["low", "normal", "high", "urgent"]},
                    labels={"type": "array", "items": _TEXT},
                    assignee=_object(("name",), name=_TEXT, team={"type": "string", "enum": ["core", "web", "data"]}),
                    history={"type": "array", "items": _object(("at", "by"), at=_TEXT, by=_TEXT, note=_TEXT)},
                ),
                notify={"type": "boolean", "default": False},
            ),
        )
        for verb in ("create", "update", "close", "archive", "link", "move", "copy", "watch")
        for noun in ("ticket", "board", "sprint", "release", "comment")
    )[:size]
