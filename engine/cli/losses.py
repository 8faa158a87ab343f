"""The table of loss codes: what a translation can lose, how bad that is, and between which protocols it happens."""

from __future__ import annotations

from engine.llm.losses import CARRIES, LOSSES
from engine.llm.messages import JsonObject

_SHORT = {"anthropic-messages": "Messages", "openai-chat": "Chat", "openai-responses": "Responses"}


def rows() -> list[JsonObject]:
    """One object per code, in the order of the list: `code`, `severity`, `what`, `kept_by` (protocols that can carry it)."""
    return [
        {
            "code": code,
            "severity": severity,
            "what": what,
            "kept_by": [name for name in CARRIES if code in CARRIES[name]],
        }
        for code, (severity, what) in LOSSES.items()
    ]


def markdown() -> str:
    """The table as the documents hold it."""
    head = "| code | severity | what is lost | kept when translated to |\n|---|---|---|---|\n"
    lines = (
        f"| `{row['code']}` | {row['severity']} | {row['what']} | {', '.join(_SHORT[name] for name in row['kept_by']) or '–'} |\n"
        for row in rows()
    )
    return head + "".join(lines)


def text() -> str:
    """The table for a terminal."""
    widest = max(len(row["code"]) for row in rows())
    lines = (f"{row['code']:<{widest}}  {row['severity']:<4}  {row['what']}" for row in rows())
    return "\n".join(lines)
