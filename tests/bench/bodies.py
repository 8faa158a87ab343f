"""Requests as real agents send them: a small question, and an agent's turn of 120 kB with 25 tools and 41 messages.

Sizes and shapes follow captured requests of Claude Code: a system prompt in three blocks with cache breakpoints, tools with
long descriptions and nested schemas, a history of tool calls and results, an effort, metadata with the session. Words are
drawn from a seeded generator, so every run sends the same bytes.
"""

from __future__ import annotations

import random
from typing import Any

import orjson

AGENT_BYTES = 120_000

HEADERS = {
    "accept": "application/json",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
    "anthropic-dangerous-direct-browser-access": "true",
    "content-type": "application/json",
    "user-agent": "claude-cli/2.1.330 (external, cli)",
    "x-app": "cli",
    "x-claude-code-session-id": "5d1a3c52-7f10-4c7e-9c58-0c2f9a1f2b11",
    "x-stainless-arch": "x64",
    "x-stainless-lang": "js",
    "x-stainless-os": "Linux",
    "x-stainless-package-version": "0.94.0",
    "x-stainless-retry-count": "0",
    "x-stainless-runtime": "node",
    "x-stainless-runtime-version": "v22.11.0",
    "x-stainless-timeout": "600",
}
"""What Claude Code sends beside the body."""

_SYLLABLES = ("ra", "to", "mi", "sel", "ko", "ven", "du", "pra", "lin", "os", "ter", "ga", "fi", "nu", "bel", "ha")
_TOOLS = (
    "Agent", "Bash", "Glob", "Grep", "Read", "Edit", "Write", "NotebookEdit", "WebFetch", "WebSearch", "TodoWrite", "BashOutput",
    "KillShell", "Skill", "ExitPlanMode", "AskUserQuestion", "mcp__git__status", "mcp__git__diff", "mcp__git__log",
    "mcp__issues__list", "mcp__issues__show", "mcp__issues__comment", "mcp__docs__search", "mcp__docs__read", "mcp__db__query",
)  # fmt: skip


class Prose:
    """Text from a seeded generator."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def text(self, length: int) -> str:
        """About `length` characters of lines that look like prose and code."""
        words: list[str] = []
        size = 0
        while size < length:
            word = "".join(self._random.choices(_SYLLABLES, k=self._random.randint(1, 4)))
            end = self._random.choices((" ", ", ", ".\n", "(self, ", ' = "', '"\n    ', "_"), (60, 8, 6, 3, 2, 2, 4))[0]
            words.append(word + end)
            size += len(words[-1])
        return "".join(words)[:length]


def small(model: str, *, stream: bool) -> bytes:
    """A short question, with a few tools as an agent's first turn offers them."""
    return orjson.dumps(
        {
            "model": model,
            "max_tokens": 1024,
            "stream": stream,
            "system": "You answer briefly.",
            "messages": [{"role": "user", "content": "What does the function parse() in this module return?"}],
            "tools": [_tool("Read", Prose(1), 200)],
        }
    )


def agent(model: str, *, stream: bool, size: int = AGENT_BYTES) -> bytes:
    """An agent's turn of `size` bytes."""
    prose = Prose(7)
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": 32_000,
        "stream": stream,
        "system": [
            {"type": "text", "text": "You are a coding agent."},
            {"type": "text", "text": prose.text(9_000), "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": prose.text(2_500), "cache_control": {"type": "ephemeral"}},
        ],
        "messages": _history(prose),
        "tools": agent_tools(prose),
        "metadata": {
            "user_id": '{"session_id":"5d1a3c52-7f10-4c7e-9c58-0c2f9a1f2b11","account_uuid":"","device_id":"d0"}'
        },
        "output_config": {"effort": "medium"},
    }
    last = body["messages"][-1]["content"][0]
    missing = size - len(orjson.dumps(body))
    while missing > 0:
        last["content"] += prose.text(missing)
        missing = size - len(orjson.dumps(body))
    return orjson.dumps(body)


def _history(prose: Prose) -> list[dict[str, Any]]:
    """A question and twenty turns, each a sentence, a call (every fifth turn two) and its results."""
    messages: list[dict[str, Any]] = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": f"<system-reminder>\n{prose.text(1_500)}</system-reminder>"},
                {"type": "text", "text": "Find out why the importer drops the last row, and fix it."},
            ],
        }
    ]
    for turn in range(20):
        calls = [
            {"type": "tool_use", "id": f"toolu_{turn:02d}{number}{'a' * 19}", "name": "Read", "input": {"file_path": f"/repo/{turn}.py", "offset": 10 * turn}}
            for number in range(2 if turn % 5 == 4 else 1)
        ]  # fmt: skip
        results = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": prose.text(1_500), "is_error": False}
            for call in calls
        ]
        messages += [
            {"role": "assistant", "content": [{"type": "text", "text": prose.text(120)}, *calls]},
            {"role": "user", "content": results},
        ]
    messages[-1]["content"][-1]["cache_control"] = {"type": "ephemeral"}
    return messages


def agent_tools(prose: Prose) -> list[dict[str, Any]]:
    """25 tools with long descriptions and nested schemas."""
    return [_tool(name, prose, 1_100) for name in _TOOLS]


def _tool(name: str, prose: Prose, length: int) -> dict[str, Any]:
    return {
        "name": name,
        "description": prose.text(length),
        "input_schema": {
            "type": "object",
            "properties": {
                "file_path": {"type": "string", "description": prose.text(80)},
                "offset": {"type": "integer", "description": prose.text(60), "minimum": 0},
                "mode": {"type": "string", "enum": ["content", "files", "count"], "description": prose.text(60)},
                "edits": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"old": {"type": "string"}, "new": {"type": "string"}},
                        "required": ["old", "new"],
                        "additionalProperties": False,
                    },
                },
            },
            "required": ["file_path"],
            "additionalProperties": False,
        },
    }
