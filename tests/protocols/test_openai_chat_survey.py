"""What one pass over a Chat request tells."""

from __future__ import annotations

from typing import Any

import pytest

from engine.llm.errors import ClientError
from engine.llm.losses import LOSSES
from tests.protocols.chat_kit import WIRE

HI = [{"role": "user", "content": "hi"}]
PNG = "data:image/png;base64,aGVsbG8="


def survey(**fields: Any) -> Any:
    return WIRE.survey({"model": "m", "messages": HI, **fields})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": HI}, "model"),
        ({"model": "", "messages": HI}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": "hi"}, "messages"),
        ({"model": "m", "messages": [*HI, "hi"]}, "messages[1]"),
        ({"model": "m", "messages": [*HI, {"content": "hi"}]}, "messages[1]"),
    ],
)
def test_what_cannot_be_a_request_is_refused_with_its_place(body: dict[str, Any], field: str) -> None:
    """A missing model or conversation is the client's fault, and the error says where."""
    with pytest.raises(ClientError) as caught:
        WIRE.survey(body)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("fields", "codes"),
    [
        ({}, set()),
        ({"temperature": None, "tools": None, "stop": None}, set()),
        ({"logprobs": True}, {"logprobs"}),
        ({"logprobs": False}, set()),
        ({"top_logprobs": 2}, {"logprobs"}),
        ({"n": 1}, set()),
        ({"n": 2}, {"choices"}),
        ({"seed": 1}, {"seed"}),
        ({"temperature": 0}, {"sampling"}),
        ({"stop": "x"}, {"stop"}),
        ({"top_k": 3}, {"top_k"}),
        ({"response_format": {"type": "text"}}, set()),
        ({"response_format": {"type": "json_object"}}, {"output_format.json"}),
        ({"modalities": ["text", "audio"], "audio": {"voice": "x"}}, {"audio"}),
        ({"reasoning_effort": "low"}, {"effort"}),
        ({"parallel_tool_calls": False}, {"parallel_tools"}),
        ({"web_search_options": {}}, {"web_search"}),
        ({"user": "u"}, {"user"}),
        ({"service_tier": "flex"}, {"service_tier"}),
        ({"service_tier": "auto"}, set()),
        ({"stop": ["a", "b", "c", "d", "e"]}, {"stop", "stop.form"}),
        ({"reasoning_effort": "minimal"}, {"effort", "effort.word"}),
        ({"reasoning_effort": "none"}, {"effort", "effort.word", "thinking.off"}),
        ({"temperature": 1.2}, {"sampling", "sampling.range"}),
        ({"temperature": 1, "top_p": 0.9}, {"sampling", "sampling.range"}),
        ({"user": "u" * 65}, {"user", "user.long"}),
        ({"min_p": 0.1}, {"unknown_field"}),
        ({"tools": [{"type": "custom", "custom": {"name": "p"}}]}, {"custom_tool"}),
        ({"tools": [{"type": "web_search"}]}, {"web_search"}),
        ({"tools": [{"type": "code_interpreter"}]}, {"server_tool"}),
        ({"tool_choice": "auto"}, set()),
        ({"tool_choice": "required"}, {"forced_tool"}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"forced_tool"}),
    ],
)
def test_each_need_of_a_request_has_its_code(fields: dict[str, Any], codes: set[str]) -> None:
    """`requires` names what another protocol may not carry, and nothing else."""
    assert survey(**fields).requires == codes
    assert codes <= set(LOSSES)


@pytest.mark.parametrize(
    ("messages", "codes"),
    [
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}], {"image"}),
        ([{"role": "user", "content": [{"type": "file", "file": {"file_data": PNG}}]}], {"document"}),
        ([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}], {"audio"}),
        ([{"role": "user", "content": [{"type": "video_url"}]}], {"unknown_block"}),
        ([{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}]}], {"cache_control"}),
        ([*HI, {"role": "system", "content": "x"}, *HI], {"system.mid"}),
        ([{"role": "system", "content": "x"}, {"role": "developer", "content": "y"}, *HI], set()),
        ([*HI, {"role": "assistant", "content": "x"}], {"prefill"}),
        ([*HI, {"role": "assistant", "content": "x", "reasoning_content": "y"}, *HI], {"thinking.signature"}),
        (
            [*HI, {"role": "tool", "tool_call_id": "a", "content": [{"type": "image_url", "image_url": PNG}]}],
            {"image.tool_result", "tool_result.orphan"},
        ),
    ],
)
def test_each_need_of_the_conversation_has_its_code(messages: list[Any], codes: set[str]) -> None:
    """Images, files, audio and the rest are found wherever they stand."""
    assert survey(messages=messages).requires == codes


def test_a_turn_of_tools_is_counted() -> None:
    """Only results after the last assistant message belong to the newest turn."""
    made = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    found = survey(
        messages=[
            {"role": "system", "content": "é" * 10},
            *HI,
            {"role": "assistant", "content": None, "tool_calls": [made]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "assistant", "content": None, "tool_calls": [made, made]},
            {"role": "tool", "tool_call_id": "a", "content": "2"},
            {"role": "tool", "tool_call_id": "b", "content": "3"},
        ],
        tools=[{"type": "function", "function": {"name": "f"}}, {"type": "browser_search"}],
        stream=True,
        max_completion_tokens=100,
        temperature=0,
        reasoning_effort="high",
        prompt_cache_key="session",
    )
    assert (found.turns, found.tool_calls, found.tool_results, found.last_role) == (2, 3, 2, "tool")
    assert (found.tools, found.server_tools, found.tool_names) == (1, 1, ("f",))
    assert (found.system_bytes, found.newest_user_text, found.messages) == (20, "hi", 7)
    assert (found.stream, found.max_output_tokens, found.temperature) == (True, 100, 0.0)
    assert (found.effort, found.thinking, found.session) == ("high", True, "session")


def test_images_are_counted_by_piece_and_size() -> None:
    """Media cost tokens by the piece; their base64 must not count as text."""
    found = survey(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}] * 2}])
    assert (found.images, found.media_bytes) == (2, 2 * len(PNG))
