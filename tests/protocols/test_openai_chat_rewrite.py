"""The preserve path of Chat Completions: what changes, and that nothing else does."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from engine.llm.catalogue import Quirks
from tests.protocols.chat_kit import ABLE, WIRE, target

HI = {"role": "user", "content": "hi"}
CALL = {"id": "functions.f:0", "index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f"}}


def rewrite(body: dict[str, Any], quirks: Quirks | None = None) -> dict[str, Any]:
    before = copy.deepcopy(body)
    out = WIRE.rewrite(body, target(quirks))
    assert body == before, "the client's request is not touched"
    return out


def changed(fields: dict[str, Any], quirks: Quirks) -> dict[str, Any]:
    """What `fields` become beside model and messages."""
    out = rewrite({"model": "m", "messages": [HI], **fields}, quirks)
    return {k: v for k, v in out.items() if k not in {"model", "messages"}}


def test_only_the_model_changes() -> None:
    """Without quirks every other field, known or not, stays in its place."""
    body = {
        "zeta": [1, {"a": None}],
        "model": "m",
        "messages": [
            {"role": "developer", "content": "x"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [CALL],
                "reasoning": "r",
                "reasoning_details": [{"a": 1}],
            },
            {"role": "tool", "tool_call_id": "functions.f:0", "content": "1"},
        ],
        "max_tokens": 10**9,
        "alpha": None,
    }
    out = rewrite(body)
    assert (out, list(out)) == (body, list(body))
    assert out["messages"] is body["messages"]
    moved = rewrite({**body, "model": "other"})
    assert (moved["model"], moved["max_tokens"], list(moved)) == ("m", ABLE.max_output, list(body))
    assert moved["messages"][0]["role"] == "system"


@pytest.mark.parametrize(
    ("fields", "quirks", "expected"),
    [
        ({"max_tokens": 5, "a": 1}, Quirks(max_tokens_field="max_completion_tokens"), {"max_completion_tokens": 5, "a": 1}),
        ({"max_completion_tokens": 5}, Quirks(max_tokens_field="max_tokens"), {"max_tokens": 5}),
        ({}, Quirks(default_max_tokens=7), {"max_tokens": 7}),
        ({"temperature": 1, "top_p": 1}, Quirks(sampling=False), {}),
        ({"logit_bias": {}, "a": 1}, Quirks(drop=("logit_bias",)), {"a": 1}),
        ({"tool_choice": "required"}, Quirks(tool_choice_any="any"), {"tool_choice": "any"}),
        ({"tool_choice": "required"}, Quirks(forced_tools=False), {"tool_choice": "auto"}),
        ({"tool_choice": {"type": "function"}}, Quirks(forced_tools=False), {"tool_choice": "auto"}),
        ({"parallel_tool_calls": True}, Quirks(parallel_tools=False), {}),
        ({"stream_options": {}}, Quirks(stream_usage=False), {}),
        ({"seed": 3}, Quirks(seed_field="random_seed"), {"random_seed": 3}),
        ({"min_p": 1, "top_k": 1, "verbosity": "low", "stop": "x"}, Quirks(strict=True), {"verbosity": "low", "stop": "x"}),
        ({"reasoning_effort": "xhigh"}, Quirks(efforts=("low", "high")), {"reasoning_effort": "high"}),
        ({"reasoning_effort": "low"}, Quirks(reasoning_param="none"), {}),
        ({"reasoning_effort": "low"}, Quirks(reasoning_param="reasoning"), {"reasoning": {"effort": "low"}}),
        ({"reasoning_effort": "none"}, Quirks(reasoning_param="thinking"), {"thinking": {"type": "disabled"}}),
        ({"reasoning_effort": "high", "tools": [TOOL]}, Quirks(tools_with_reasoning=False), {"tools": [TOOL]}),
    ],
)  # fmt: skip
def test_each_quirk_changes_its_field(fields: dict[str, Any], quirks: Quirks, expected: dict[str, Any]) -> None:
    """A named quirk is applied; what it does not name stays."""
    assert changed(fields, quirks) == expected


def test_messages_keep_to_the_quirks() -> None:
    """Roles, ids, reasoning and unknown fields of messages, where a row says so."""
    said = [
        {"role": "system", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}], "name": "me"},
        {"role": "assistant", "content": None, "reasoning": "r", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "1"},
        {"role": "system", "content": "b"},
    ]
    quirks = Quirks(strict=True, system_role="developer", mid_system=False, tool_id="alnum9")
    out = rewrite({"model": "m", "messages": said}, quirks)["messages"]
    assert out[0] == {"role": "developer", "content": "a"}
    assert out[1] == {"role": "user", "content": [{"type": "text", "text": "x"}]}
    made = out[2]["tool_calls"][0]
    assert (set(out[2]), set(made)) == ({"role", "content", "tool_calls"}, {"id", "type", "function"})
    assert (out[3]["tool_call_id"], len(made["id"])) == (made["id"], 9)
    assert out[4] == {"role": "user", "content": "<system-reminder>\nb\n</system-reminder>"}
    echoed = rewrite({"model": "m", "messages": said, "tools": [TOOL]}, Quirks(echo_reasoning=True))["messages"]
    assert echoed[2]["reasoning_content"] == "r"


def test_a_schema_is_said_in_words_where_it_is_refused() -> None:
    """Plain JSON mode needs the schema in the prompt."""
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    out = rewrite({"model": "m", "messages": [HI], "response_format": form}, Quirks(json_schema=False))
    assert out["response_format"] == {"type": "json_object"}
    assert '{"type":"object"}' in out["messages"][0]["content"]


def test_state_of_other_protocols_stays_here() -> None:
    """Thinking that a translated turn left in the history is taken out before the request goes on."""
    kept = {"type": "reasoning.text", "text": "t", "format": "anthropic-claude-v1", "signature": "s"}
    ours = {"type": "reasoning.text", "text": "t", "format": "sbgw", "signature": "sbgw1.m.h.s"}
    said = [{"role": "assistant", "content": "x", "reasoning_details": d} for d in ([ours, kept], [ours])]
    out = rewrite({"model": "m", "messages": said})["messages"]
    assert [m.get("reasoning_details") for m in out] == [[kept], None]


def test_a_moved_request_fits_the_smaller_model() -> None:
    """A limit made for the model that was asked for is lowered to the chosen one's."""
    small = replace(ABLE, max_output=100)
    out = WIRE.rewrite({"model": "big", "messages": [HI], "max_completion_tokens": 5000}, target(Quirks(), small))
    assert out["max_completion_tokens"] == 100
