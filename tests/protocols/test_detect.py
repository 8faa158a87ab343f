"""Telling a request's protocol from its body."""

from __future__ import annotations

from typing import Any

import pytest

from engine.protocols.detect import detect

USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"input": "hi"}, "openai-responses"),
        ({"input": [], "messages": [USER]}, "openai-responses"),
        ({"messages": [USER], "system": "x"}, "anthropic-messages"),
        ({"messages": [USER], "tools": [{"name": "t", "input_schema": {}}]}, "anthropic-messages"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "anthropic-messages"),
        ({"messages": [USER], "tools": [{"type": "function", "function": {"name": "t"}}]}, "openai-chat"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "openai-chat"),
        ({"messages": [USER]}, "openai-chat"),
        ({}, "openai-chat"),
        ({"messages": 3, "tools": "x"}, "openai-chat"),
        ({"messages": [3, {"content": [4]}], "tools": [5]}, "openai-chat"),
    ],
)
def test_by_shape(body: dict[str, Any], name: str) -> None:
    """What only one protocol writes tells it, whatever else is wrong with the body."""
    assert detect(body) == name


def test_by_header() -> None:
    """The version header tells where the body does not."""
    assert detect({"messages": [USER]}, {"anthropic-version": "2023-06-01"}) == "anthropic-messages"
