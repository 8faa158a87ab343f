"""Prompts as segments: in the providers' order, the same through a session, whatever is odd in a request."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.llm.prefix import place
from engine.protocols.registry import PROTOCOLS

CAPTURES = Path(__file__).parents[3] / "shared" / "captures"
PATHS = {
    "/v1/messages": "anthropic-messages",
    "/v1/responses": "openai-responses",
    "/v1/chat/completions": "openai-chat",
}

SESSIONS = [
    ("claude/long", 9), ("claude/parallel-tools", 2), ("claude/t1-toolloop", 2), ("codex/long", 9), ("codex/parallel", 2),
    ("opencode/anthropic", 2), ("opencode/compat", 2), ("opencode/openai", 2), ("qwen/t1", 2), ("cn/openai", 2),
]  # fmt: skip


def recorded(case: str) -> list[tuple[str, Any]]:
    """(protocol, body) of the case's requests that offer tools, in order."""
    found = []
    for path in sorted((CAPTURES / case).glob("*.json")):
        call = json.loads(path.read_bytes())
        protocol = PATHS.get(str(call.get("path", "")).partition("?")[0])
        if protocol and isinstance(call.get("body"), dict) and call["body"].get("tools"):
            found.append((protocol, call["body"]))
    return found


@pytest.mark.skipif(not CAPTURES.exists(), reason="the captured requests are not here")
@pytest.mark.parametrize(("case", "least"), SESSIONS, ids=[s[0] for s in SESSIONS])
def test_recorded_sessions_only_grow(case: str, least: int) -> None:
    """Each client's requests begin with all segments of an earlier one, though its breakpoints move and texts change shape."""
    chains: dict[tuple[int, ...], list[bytes]] = defaultdict(list)
    grown = 0
    for protocol, body in recorded(case):
        values = [orjson.dumps(v) for v in PROTOCOLS[protocol].segments(body).values]
        key = tuple(hash(v) for v in values[:1])
        if chains[key] and values[: len(chains[key])] == chains[key]:
            grown += 1
        chains[key] = values
    assert grown >= least - 1


def test_the_order_is_that_of_the_provider() -> None:
    """Tools first, then system, then what is said; context that a client puts in front is told apart."""
    text = {"type": "text", "text": "t"}
    tool = {"name": "x", "input_schema": {}}
    asked = {
        "messages": [
            {"role": "system", "content": "env"},
            {"role": "user", "content": [{"type": "text", "text": "<system-reminder>rules</system-reminder>"}]},
            {"role": "user", "content": "go"},
        ],
        "system": [text, text],
        "tools": [tool, {**tool, "defer_loading": True}],
        "tool_choice": {"type": "any"},
    }
    found = PROTOCOLS["anthropic-messages"].segments(asked)
    names = [place(found.kinds, n) for n in range(len(found.kinds))]
    assert names == [
        "tools[0]",
        "system[0]",
        "system[1]",
        "settings[0]",
        "instructions[0]",
        "instructions[1]",
        "message[0]",
    ]
    items = [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "base"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment_context>"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]},
    ]
    found = PROTOCOLS["openai-responses"].segments({"input": items, "instructions": "i", "tools": [tool]})
    assert found.kinds == ["tools", "system", "system", "instructions", "message"]
    chat = {
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [text]}],
        "response_format": {},
    }
    found = PROTOCOLS["openai-chat"].segments(chat)
    assert found.kinds == ["settings", "system", "message"]
    assert found.values[-1]["content"] == "t"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["role", "content", "type", "text", "cache_control", "name", "tools", "messages"]) | st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(fields=st.fixed_dictionaries({}, optional={
    "messages": JSON, "input": JSON, "system": JSON, "tools": JSON, "text": JSON, "instructions": JSON, "tool_choice": JSON,
    "response_format": JSON, "cache_control": JSON,
}))  # fmt: skip
@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_anything_odd_is_a_segment(protocol: str, fields: dict[str, Any]) -> None:
    """No request makes it fail or is changed by it, and marks point at segments."""
    before = orjson.dumps(fields)
    found = PROTOCOLS[protocol].segments(fields)
    assert len(found.kinds) == len(found.values) == len(found.blocks)
    assert all(0 <= mark < len(found.kinds) for mark in found.marks)
    orjson.dumps(found.values)
    assert orjson.dumps(fields) == before
