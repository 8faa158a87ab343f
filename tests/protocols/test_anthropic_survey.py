"""What one pass over a request of Anthropic Messages tells."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Model, Provider, Quirks
from engine.llm.errors import ClientError
from engine.llm.losses import LOSSES
from engine.llm.protocol import Survey, Target, ToolOutcome
from engine.protocols.anthropic_messages import AnthropicMessages

WIRE = AnthropicMessages()
TARGET = Target(Provider("p", {}), Model("p", "m"), WIRE.name, Quirks())
MARK = {"cache_control": {"type": "ephemeral"}}


def survey(messages: Any = None, **fields: Any) -> Survey:
    return WIRE.survey({"model": "m", "messages": messages or [{"role": "user", "content": "hi"}], **fields})


def content(*blocks: dict[str, Any], role: str = "user") -> list[dict[str, Any]]:
    return [{"role": role, "content": list(blocks)}]


def test_a_plain_request() -> None:
    """Nothing is required, nothing counted that is not there."""
    assert survey() == Survey(model="m", messages=1, last_role="user", newest_user_text="hi")


def test_an_agent_turn() -> None:
    """Counts, marks, newest results, and the text that the user wrote without what was injected."""
    found = survey(
        [
            {
                "role": "user",
                "content": [{"type": "text", "text": "<system-reminder>x"}, {"type": "text", "text": "fix it"}],
            },
            {"role": "system", "content": "env"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "", "signature": "s"},
                    {"type": "tool_use", "id": "a", "name": "Read", "input": {}},
                    {"type": "tool_use", "id": "b", "name": "Read", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "a", "is_error": True, "content": "no"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "b",
                        "content": [
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
                        ],
                        **MARK,
                    },
                ],
            },
        ],
        system=[{"type": "text", "text": "12345"}, {"type": "text", "text": "678", **MARK}],
        tools=[{"name": "Read", "input_schema": {}}, {"type": "web_search_20250305", "name": "web_search"}],
        max_tokens=100,
        stream=True,
        thinking={"type": "enabled", "budget_tokens": 2048},
        output_config={"effort": "high", "format": {"type": "json_schema", "schema": {}}},
        metadata={"user_id": '{"session_id":"s-1"}'},
        temperature=0.5,
    )
    assert found == Survey(
        model="m",
        stream=True,
        messages=4,
        turns=1,
        tools=1,
        server_tools=1,
        tool_names=("Read", "web_search"),
        tool_calls=2,
        tool_results=2,
        tool_errors=1,
        results=[ToolOutcome("Read", False), ToolOutcome("Read", True)],
        images=1,
        media_bytes=4,
        system_bytes=11,
        max_output_tokens=100,
        temperature=0.5,
        thinking=True,
        thinking_budget=2048,
        effort="high",
        output_format="json_schema",
        cache_marks=2,
        last_role="tool",
        newest_user_text="fix it",
        sealed=["s"],
        session="s-1",
        user='{"session_id":"s-1"}',
        requires={
            "cache_control", "system.mid", "thinking.signature", "tool_result.error", "image", "image.tool_result",
            "web_search", "max_output_tokens", "thinking.budget", "effort", "output_format", "user", "sampling",
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("user", "session"),
    [
        (
            '{"device_id":"d","session_id":"f34b92fe-3a4e-45c1-8fa2-52112c80201c"}',
            "f34b92fe-3a4e-45c1-8fa2-52112c80201c",
        ),
        ("user_abc_account__session_f34b92fe-3a4e-45c1-8fa2-52112c80201c", "f34b92fe-3a4e-45c1-8fa2-52112c80201c"),
        ("someone", ""),
        ("{broken", ""),
        ('{"session_id":3}', ""),
    ],
)
def test_sessions(user: str, session: str) -> None:
    """The session is found in both forms that a coding agent writes."""
    assert session == survey(metadata={"user_id": user}).session


@pytest.mark.parametrize(
    ("fields", "codes"),
    [
        ({"tool_choice": {"type": "any", "disable_parallel_tool_use": True}}, {"forced_tool", "parallel_tools"}),
        ({"tool_choice": {"type": "tool", "name": "x"}}, {"forced_tool"}),
        ({"tools": [{"name": "x", "input_schema": {}, "defer_loading": True}]}, {"tool_search"}),
        ({"tools": [{"name": "x", "input_schema": {}, "eager_input_streaming": True}]}, {"unknown_field"}),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, {"server_tool"}),
        ({"tools": [{"type": "code_execution_20260120", "name": "x"}]}, {"server_tool"}),
        ({"tools": [{"type": "tool_search_tool_bm25_20251119", "name": "x"}]}, {"tool_search"}),
        ({"tools": [{"type": "mcp_toolset"}]}, {"container"}),
        ({"mcp_servers": []}, {"container"}),
        ({"top_k": 1, "top_p": 0.5, "stop_sequences": ["x"]}, {"top_k", "sampling", "stop"}),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}}, {"context_management", "compaction"}),
        ({"service_tier": "auto", "novelty": 1}, {"service_tier", "unknown_field"}),
        ({"output_config": {"task_budget": {}}}, {"unknown_field"}),
        ({"cache_control": {"type": "ephemeral"}}, {"cache_control"}),
        ({"messages": content({"type": "text", "text": "x"}, role="assistant")}, {"prefill"}),
        (
            {"messages": content({"type": "server_tool_use"}, {"type": "novelty"})},
            {"server_tool.result", "unknown_block"},
        ),
        (
            {"messages": content({"type": "compaction", "content": "Short."}, {"type": "container_upload"})},
            {"container"},
        ),
        ({"messages": content({"type": "compaction", "encrypted_content": "x"})}, {"compaction"}),
        ({"messages": content({"type": "image", "source": {"type": "file"}})}, {"image", "container"}),
        (
            {"messages": content({"type": "document", "source": {}, "citations": {"enabled": True}})},
            {"document", "citations"},
        ),
        (
            {"messages": content({"type": "tool_result", "content": [{"type": "tool_reference"}]})},
            {"tool_search", "tool_result.orphan"},
        ),
    ],
)
def test_required_codes(fields: dict[str, Any], codes: set[str]) -> None:
    """Each thing that another protocol may not carry has its code."""
    assert codes == survey(**fields).requires


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Your task is to create a detailed summary of the conversation so far.", True),
        ("Please write a concise, structured summary of our conversation.", True),
        ("Summarise the conversation between Romeo and Juliet in a poem", False),
        ("fix the summary of the page", False),
    ],
)
def test_compaction_is_recognised_conservatively(text: str, expected: bool) -> None:
    """Only the newest text of the user counts, after an answer at least, and only the wording of such calls."""
    result = {"type": "tool_result", "tool_use_id": "a", "content": "x"}
    asks = content(result, {"type": "text", "text": text})
    spoken = content({"type": "text", "text": "ok"}, role="assistant")
    assert expected == survey([*spoken, *asks]).compaction
    assert not survey(asks).compaction
    assert not survey(
        [*content({"type": "text", "text": text}), *content({"type": "text", "text": "ok"}, role="assistant")]
    ).compaction


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["type", "content", "source", "text", "role", "id", "name", "input", "citations"]), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
blocks = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking", "x"]) | json},
    optional=dict.fromkeys(("text", "source", "content", "citations", "id", "tool_use_id", "name", "input", "cache_control", "signature"), json),
)  # fmt: skip


@given(st.lists(blocks | json, max_size=4), st.fixed_dictionaries({}, optional=dict.fromkeys(("system", "tools", "tool_choice", "thinking", "output_config", "metadata", "max_tokens", "temperature", "context_management", "output_format", "stream"), json)))  # fmt: skip
@settings(deadline=None, max_examples=200)
def test_anything_odd_is_tolerated(odd: list[Any], fields: dict[str, Any]) -> None:
    """Whatever stands in blocks and settings, the survey neither raises nor names an unknown code; decoding blocks works too."""
    body = {"model": "m", "messages": [{"role": "user", "content": odd}], **fields}
    found = WIRE.survey(body)
    assert found.requires <= LOSSES.keys()
    request = WIRE.decode_request({"model": "m", "messages": body["messages"]})
    with suppress(ClientError):  # there may be no words in it
        orjson.dumps(WIRE.encode_request(request, TARGET)[0])
