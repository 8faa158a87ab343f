"""Breakpoints that are added: at most what a request may have, never in place of the client's, and none that the API refuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from engine.protocols.anthropic_messages.marks import with_long_marks, with_marks
from engine.protocols.registry import PROTOCOLS

TOOL = {"name": "bash", "input_schema": {"type": "object"}}
MARK = {"type": "ephemeral"}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}


def marked(asked: dict[str, Any]) -> list[str]:
    """Where breakpoints stand."""
    places = []
    for name in ("tools", "system"):
        blocks = asked.get(name) if isinstance(asked.get(name), list) else []
        places += [f"{name}.{n}" for n, block in enumerate(blocks) if "cache_control" in block]
    for n, message in enumerate(asked["messages"]):
        content = message["content"] if isinstance(message["content"], list) else []
        places += [f"messages.{n}.{at}" for at, block in enumerate(content) if "cache_control" in block]
    return places


TALK = [
    {"role": "user", "content": "fix it"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "bash", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]},
    {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "s"}, {"type": "text", "text": "done"}]},
    {"role": "user", "content": [{"type": "text", "text": "more"}, {"type": "text", "text": ""}]},
]  # fmt: skip

CASES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("a question alone", body(), ["messages.0.0"]),
    ("system text as a string", body(system="be brief", tools=[TOOL]), ["system.0", "messages.0.0"]),
    ("tools without system", body(tools=[TOOL, TOOL]), ["tools.1", "messages.0.0"]),
    ("a tool that is not there yet", body(tools=[{**TOOL, "defer_loading": True}]), ["messages.0.0"]),
    ("a conversation", body(system=[{"type": "text", "text": "s"}], messages=TALK), ["system.0", "messages.2.0", "messages.4.0"]),
    ("thinking is left out", body(messages=[TALK[0], TALK[3]]), ["messages.1.1"]),
    ("nothing to mark", body(messages=[{"role": "user", "content": ""}]), []),
]  # fmt: skip


@pytest.mark.parametrize(("what", "asked", "places"), CASES, ids=[c[0] for c in CASES])
def test_where_breakpoints_are_set(what: str, asked: dict[str, Any], places: list[str]) -> None:
    """After the newest message, after tools and system, after the message before; the request given is not changed."""
    before = copy.deepcopy(asked)
    found = with_marks(asked, most=4)
    assert marked(found) == places
    assert asked == before
    segments = PROTOCOLS["anthropic-messages"].segments
    assert segments(found).values == segments(asked).values, "the prompt is the same one"


@pytest.mark.parametrize("most", range(4))
def test_never_more_than_the_vendor_takes(most: int) -> None:
    """The newest message first, since what it covers is the most."""
    found = marked(with_marks(body(system="s", messages=TALK), most=most))
    assert len(found) == min(most, 3)
    assert "messages.4.0" in found or not most


def test_one_more_beside_the_clients_own() -> None:
    """Theirs stay where they are."""
    asked = body(system=[{"type": "text", "text": "s", "cache_control": MARK}], messages=TALK)
    assert marked(with_marks(asked, most=1, newest=True)) == ["system.0", "messages.4.0"]


def test_the_longer_time_moves_nothing() -> None:
    """The breakpoints before the conversation ask for it, unless the client says a time itself."""
    asked = with_marks(body(system="s", tools=[TOOL], messages=TALK), most=4)
    longer = with_long_marks(asked)
    assert marked(longer) == marked(asked)
    assert longer["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert longer["messages"] == asked["messages"]
    own = body(system=[{"type": "text", "text": "s", "cache_control": {**MARK, "ttl": "5m"}}], messages=TALK)
    assert with_long_marks(own) is own
    bare = with_marks(body(), most=4)
    assert with_long_marks(bare) is bare
