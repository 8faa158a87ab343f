"""Lists of models in the shapes that providers have, and what may be concluded from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.llm.errors import ProviderError
from engine.protocols.model_catalogue import ListedModel, next_page, read_models


@pytest.mark.parametrize(
    ("payload", "read"),
    [
        ({"object": "list", "data": [{"id": "gpt-6", "object": "model"}]}, ListedModel("gpt-6")),
        (
            {
                "data": [{"id": "claude-x", "type": "model", "max_input_tokens": 1000, "max_tokens": 100}],
                "has_more": False,
            },
            ListedModel("claude-x", 1000, 100),
        ),
        (
            {
                "data": [
                    {
                        "id": "a/b:free",
                        "context_length": 4000,
                        "top_provider": {"max_completion_tokens": 500},
                        "supported_parameters": ["tools", "reasoning", "temperature"],
                        "architecture": {"input_modalities": ["text", "image"]},
                        "expiration_date": "2027-01-31",
                    }
                ]
            },
            ListedModel("a/b:free", 4000, 500, tools=True, vision=True, reasoning=True, ends="2027-01-31"),
        ),
        (
            {"data": [{"id": "m", "supported_parameters": ["temperature"]}]},
            ListedModel("m", tools=False, vision=False, reasoning=False),
        ),
        (
            {"models": [{"name": "qwen3:30b", "model": "qwen3:30b", "capabilities": ["completion", "tools"]}]},
            ListedModel("qwen3:30b", tools=True, vision=False, reasoning=False),
        ),
        ([{"id": "bare"}], ListedModel("bare")),
        ({"data": [{"id": "models/gem-3"}]}, ListedModel("gem-3")),
        (
            {
                "data": [
                    {"id": "mis", "capabilities": {"function_calling": True, "vision": False}, "max_context_length": 9}
                ]
            },
            ListedModel("mis", 9, tools=True, vision=False),
        ),
        ({"data": [{"id": "v", "max_model_len": 7, "context_window": -1}]}, ListedModel("v", 7)),
    ],
)
def test_each_shape(payload: Any, read: ListedModel) -> None:
    """What is said plainly is taken, silence is None."""
    assert read_models(payload) == [read]


@pytest.mark.parametrize("payload", [{}, "no", None, {"data": {}}, {"error": {"message": "no"}}])
def test_what_is_no_list(payload: Any) -> None:
    """An error that says so."""
    with pytest.raises(ProviderError, match="no list"):
        read_models(payload)


def test_odd_entries_are_passed_over() -> None:
    """A name that could not stand in a row, or none; a model named twice is one."""
    listed = [{"id": "a b"}, {"id": ""}, {"id": 7}, "x", {"id": "a\x1b[31m"}, {"id": "ok"}, {"id": "ok"}]
    assert read_models(listed) == [ListedModel("ok")]


@pytest.mark.parametrize(
    ("name", "talks"),
    [
        ("text-embedding-3-small", False),
        ("whisper-1", False),
        ("gpt-4o-transcribe", False),
        ("nomic-embed-text:latest", False),
        ("gpt-image-1", False),
        ("gpt-6.1-sol", True),
        ("imagine-7b", True),
        ("qwen3-coder:30b", True),
    ],
)
def test_models_for_other_things(name: str, *, talks: bool) -> None:
    """A name that says so is believed."""
    assert ListedModel(name).talks == talks


@pytest.mark.parametrize(
    ("payload", "after"),
    [
        ({"has_more": True, "last_id": "z"}, "z"),
        ({"has_more": False, "last_id": "z"}, ""),
        ({"has_more": True}, ""),
        ([], ""),
    ],
)
def test_pages(payload: Any, after: str) -> None:
    """A list that has more names where it goes on."""
    assert next_page(payload) == after


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "models", "id", "name", "capabilities", "architecture", "input_modalities", "top_provider"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_list_or_a_provider_error(payload: Any) -> None:
    """Whatever a server sends."""
    try:
        assert all(model.name for model in read_models(payload))
    except ProviderError:
        return


def test_recorded_lists(shared: Path) -> None:
    """Every recorded list of a provider of text models is read."""
    files = sorted((shared / "corpus").glob("*/models-list*.json"))
    assert files
    for file in files:
        body = orjson.loads(file.read_bytes())["response"]["body"]
        if "deepgram" in file.name:  # speech alone, by kind
            with pytest.raises(ProviderError):
                read_models(body)
        else:
            assert read_models(body), file.name
