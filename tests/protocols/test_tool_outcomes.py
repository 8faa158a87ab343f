"""The tools that ran since the last answer, by name: read from each protocol's history, and bounded."""

from __future__ import annotations

from typing import Any

import pytest

from engine.llm.protocol import MAX_OUTCOMES
from engine.protocols.registry import PROTOCOLS


def anthropic(calls: list[tuple[str, str]], results: list[tuple[str, bool]]) -> dict[str, Any]:
    said = [{"type": "tool_use", "id": i, "name": n, "input": {}} for i, n in calls]
    back = [
        {"type": "tool_result", "tool_use_id": i, "content": "x", **({"is_error": True} if bad else {})}
        for i, bad in results
    ]
    return {
        "model": "m", "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": said}, {"role": "user", "content": back}],
    }  # fmt: skip


def chat(calls: list[tuple[str, str]], results: list[tuple[str, bool]]) -> dict[str, Any]:
    said = [{"id": i, "type": "function", "function": {"name": n, "arguments": "{}"}} for i, n in calls]
    back = [{"role": "tool", "tool_call_id": i, "content": "x"} for i, _ in results]
    return {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": said}, *back],
    }


def responses(calls: list[tuple[str, str]], results: list[tuple[str, bool]]) -> dict[str, Any]:
    said = [{"type": "function_call", "call_id": i, "name": n, "arguments": "{}"} for i, n in calls]
    back = [{"type": "function_call_output", "call_id": i, "output": "x"} for i, _ in results]
    return {"model": "m", "input": [{"role": "user", "content": "hi"}, *said, *back]}


MAKE = {"anthropic-messages": anthropic, "openai-chat": chat, "openai-responses": responses}
SAYS = {"anthropic-messages"}
"""Protocols that say whether a tool worked."""


@pytest.mark.parametrize("protocol", MAKE)
def test_results_are_named_by_their_calls(protocol: str) -> None:
    """In the order of the results; one that fits no call has no name."""
    body = MAKE[protocol]([("a", "Bash"), ("b", "Edit")], [("b", True), ("a", False), ("zz", False)])
    found = PROTOCOLS[protocol].survey(body)
    known = protocol in SAYS
    assert [(one.tool, one.ok) for one in found.results] == [
        ("Edit", False if known else None), ("Bash", True if known else None), ("", True if known else None),
    ]  # fmt: skip
    assert (found.turns, found.tool_results) == (1, 3)


@pytest.mark.parametrize("protocol", MAKE)
def test_only_the_newest_turn_counts(protocol: str) -> None:
    """Results before the last answer belong to an earlier request."""
    body = MAKE[protocol]([("a", "Bash")], [("a", False)])
    key = "input" if protocol == "openai-responses" else "messages"
    body[key] += [{"role": "assistant", "content": "done"}, {"role": "user", "content": "next"}]
    assert PROTOCOLS[protocol].survey(body).results == []


@pytest.mark.parametrize("protocol", MAKE)
def test_they_are_bounded(protocol: str) -> None:
    """A crowd of results is counted, the first of them named."""
    names = [(f"c{n}", f"Tool{n}") for n in range(MAX_OUTCOMES + 9)]
    found = PROTOCOLS[protocol].survey(MAKE[protocol](names, [(i, False) for i, _ in names]))
    assert (len(found.results), found.tool_results, found.results[-1].tool) == (
        MAX_OUTCOMES, MAX_OUTCOMES + 9, f"Tool{MAX_OUTCOMES - 1}",
    )  # fmt: skip


@pytest.mark.parametrize("protocol", MAKE)
@pytest.mark.parametrize("odd", [None, 3, [], {"x": 1}])
def test_odd_ids_and_names_do_no_harm(protocol: str, odd: Any) -> None:
    """What is no text names nothing."""
    body = MAKE[protocol]([(odd, odd)], [(odd, False)])
    assert [one.tool for one in PROTOCOLS[protocol].survey(body).results] == [""]
