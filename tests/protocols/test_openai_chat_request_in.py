"""A client's Chat request in neutral words."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from engine.llm.errors import ClientError
from engine.llm.messages import (
    Document,
    Image,
    LLMRequest,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tests.protocols.chat_kit import WIRE

HI = {"role": "user", "content": "hi"}


def read(*messages: Any, **fields: Any) -> LLMRequest:
    body = {"model": "m", "messages": list(messages) or [HI], **fields}
    before = copy.deepcopy(body)
    decoded = WIRE.decode_request(body)
    assert body == before
    return decoded


def blocks(message: Any) -> tuple[Any, ...]:
    return read(message).messages[0].content


def test_roles_keep_their_place() -> None:
    """System and developer messages stand where the client put them."""
    roles = ["system", "user", "developer", "assistant"]
    assert [m.role for m in read(*({"role": r, "content": "x"} for r in roles)).messages] == roles


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ({"type": "text", "text": "a"}, Text("a")),
        ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
         Text("a", extra={"cache_control": {"type": "ephemeral"}})),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
         Image("image/png", "aGk=", extra={"detail": "low"})),
        ({"type": "image_url", "image_url": "https://e.org/a.png"}, Image(url="https://e.org/a.png")),
        ({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
         Document("application/pdf", "aGk=", title="a.pdf")),
        ({"type": "file", "file": {"file_id": "file-1"}}, Document(file_id="file-1")),
        ({"type": "refusal", "refusal": "no"}, Refusal("no")),
        ({"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, Thinking("hm", origin="openai-chat")),
        ({"type": "input_audio", "input_audio": {"data": "x"}},
         Opaque("openai-chat", {"type": "input_audio", "input_audio": {"data": "x"}})),
    ],
)  # fmt: skip
def test_each_part_becomes_its_block(part: Any, block: Any) -> None:
    """Text, images, files, refusals and thinking are understood, anything else is kept whole."""
    assert blocks({"role": "user", "content": [part]}) == (block,)


def test_results_of_one_turn_are_one_message() -> None:
    """Consecutive tool messages are blocks of one user message."""
    made = [{"id": i, "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}} for i in "ab"]
    messages = read(
        HI,
        {"role": "assistant", "content": None, "tool_calls": made},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}]},
        HI,
    ).messages
    assert messages[1].content == (ToolCall("a", "f", '{"a":1}'), ToolCall("b", "f", '{"a":1}'))
    assert messages[2] == Message("user", (ToolResult("a", (Text("1"),)), ToolResult("b", (Text("2"),))))
    assert len(messages) == 4


def test_legacy_functions_are_tools() -> None:
    """`functions`, `function_call` and the function role say the same as tools, ids made up for them."""
    decoded = read(
        HI,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        functions=[{"name": "f", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
    )
    made, result = decoded.messages[1].content[0], decoded.messages[2].content[0]
    assert isinstance(made, ToolCall)
    assert isinstance(result, ToolResult)
    assert made.id == result.call_id != ""
    assert decoded.tools[0].name == "f"
    assert decoded.tool_choice == ToolChoice("tool", "f")


def test_results_without_ids_answer_calls_in_order() -> None:
    """Some servers give no ids; the calls get some, and their results the same."""
    made = [{"id": "", "type": "function", "function": {"name": n}} for n in ("f", "g")]
    messages = read(
        HI,
        {"role": "assistant", "tool_calls": made},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
    ).messages
    ids = [block.id for block in messages[1].content if isinstance(block, ToolCall)]
    assert [block.call_id for block in messages[2].content if isinstance(block, ToolResult)] == ids
    assert len(set(ids)) == 2


@pytest.mark.parametrize(
    "said",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"reasoning": "hm", "reasoning_content": "hm"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        {"reasoning": "hm", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "x"}]},
    ],
)
def test_reasoning_in_the_history_is_told_once(said: dict[str, Any]) -> None:
    """Four names, alone or together, give one thinking block."""
    message = {"role": "assistant", "content": "x", **said}
    assert blocks(message) == (Thinking("hm", origin="openai-chat"), Text("x"))


@pytest.mark.parametrize(
    ("fields", "attribute", "value"),
    [
        ({"max_tokens": 5}, "max_output_tokens", 5),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_output_tokens", 6),
        ({"stop": "x"}, "stop", ("x",)),
        ({"stop": ["x", "y"]}, "stop", ("x", "y")),
        ({"stop": None}, "stop", ()),
        ({"reasoning_effort": "low"}, "reasoning", Reasoning(effort="low")),
        ({"reasoning_effort": "none"}, "reasoning", Reasoning(enabled=False, effort="none")),
        ({"reasoning": {"max_tokens": 99}}, "reasoning", Reasoning(budget_tokens=99)),
        ({"thinking": {"type": "disabled"}}, "reasoning", Reasoning(enabled=False)),
        ({"response_format": {"type": "text"}}, "output_format", None),
        ({"response_format": {"type": "json_object"}}, "output_format", OutputFormat("json_object")),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "strict": True}}},
         "output_format", OutputFormat("json_schema", "a", {}, strict=True)),
        ({"tool_choice": "any"}, "tool_choice", ToolChoice("required")),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice", ToolChoice("tool", "f")),
        ({"user": "u"}, "user", "u"),
        ({"safety_identifier": "s"}, "user", "s"),
        ({"prompt_cache_key": "k"}, "cache_key", "k"),
        ({"random_seed": 4}, "seed", 4),
        ({"min_p": 0.1, "n": 2, "stream_options": {"include_usage": True}}, "extra",
         {"min_p": 0.1, "n": 2, "stream_options": {"include_usage": True}}),
    ],
)  # fmt: skip
def test_each_field_finds_its_place(fields: dict[str, Any], attribute: str, value: Any) -> None:
    """Known fields have a word of their own; the others ride along."""
    assert getattr(read(**fields), attribute) == value


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": [{"role": "alien", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [3]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "assistant", "tool_calls": [3]}]}, "messages[0].tool_calls[0]"),
        ({"messages": [HI], "max_tokens": "5"}, "max_tokens"),
        ({"messages": [HI], "temperature": "warm"}, "temperature"),
        ({"messages": [HI], "tools": [{"type": "function"}]}, "tools[0].function.name"),
        ({"messages": [HI], "tool_choice": 3}, "tool_choice"),
    ],
)
def test_errors_name_the_field(body: dict[str, Any], field: str) -> None:
    """A client reads where its request is wrong."""
    with pytest.raises(ClientError) as caught:
        WIRE.decode_request({"model": "m", **body})
    assert caught.value.field == field
