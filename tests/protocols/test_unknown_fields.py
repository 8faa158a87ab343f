"""Fields that nobody here knows, at every level of a request that is translated: they ride along, or their loss is told.

On the preserve path nothing is decoded (`tests/stages/test_preserve.py`). What a translation cannot say it must announce before
anything is sent and report afterwards; that holds where a request is encoded in its own protocol, too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Model, Provider, Quirks
from engine.llm.errors import ClientError
from engine.llm.messages import JsonObject
from engine.llm.protocol import Target
from engine.protocols.registry import PROTOCOLS
from tests.protocols.fields import CHAT, MARK, MESSAGES, NAMES, RESPONSES, SCHEMA

PNG, PDF = "data:image/png;base64,aGk=", "data:application/pdf;base64,JVBERg=="
MARKED = {"cache_control": MARK}
BODIES: dict[str, JsonObject] = {
    MESSAGES: {
        "model": "m",
        "max_tokens": 100,
        "system": [{"type": "text", "text": "S", **MARKED}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "Q"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}, "citations": {"enabled": True}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "T", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "ZA=="},
                {"type": "text", "text": "A"},
                {"type": "tool_use", "id": "t1", "name": "read", "input": {"a": "b"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "R"}, {"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}]},
            ]},
            {"role": "assistant", "content": "On?"},
            {"role": "user", "content": "Yes."},
        ],
        "tools": [{"name": "read", "description": "d", "input_schema": SCHEMA, **MARKED}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
    },
    CHAT: {
        "model": "m",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "S"}]},
            {"role": "user", "content": [
                {"type": "text", "text": "Q"},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                {"type": "file", "file": {"filename": "t.pdf", "file_data": PDF}},
            ]},
            {"role": "assistant", "content": "A", "reasoning_content": "T", "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "read", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "t1", "content": [{"type": "text", "text": "R"}]},
        ],
        "tools": [{"type": "function", "function": {"name": "read", "description": "d", "parameters": SCHEMA, "strict": True}}],
        "tool_choice": {"type": "function", "function": {"name": "read"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
        "stream": True,
        "stream_options": {"include_usage": True},
        "reasoning_effort": "low",
    },
    RESPONSES: {
        "model": "m",
        "instructions": "S",
        "input": [
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "Q"},
                {"type": "input_image", "image_url": PNG, "detail": "low"},
                {"type": "input_file", "filename": "t.pdf", "file_data": PDF},
            ]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "T"}], "encrypted_content": "c2VhbA=="},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "A", "annotations": []}]},
            {"type": "function_call", "id": "fc_1", "call_id": "t1", "name": "read", "arguments": "{}", "status": "completed"},
            {"type": "function_call_output", "call_id": "t1", "output": [{"type": "input_text", "text": "R"}]},
        ],
        "tools": [
            {"type": "function", "name": "read", "description": "d", "parameters": SCHEMA, "strict": True},
            {"type": "custom", "name": "patch", "description": "p", "format": {"type": "text"}},
            {"type": "namespace", "name": "team", "description": "t", "tools": [{"type": "function", "name": "ask", "parameters": SCHEMA}]},
        ],
        "tool_choice": {"type": "function", "name": "read"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}, "verbosity": "low"},
    },
}  # fmt: skip
"""A request with an object of every kind that is translated."""

FREE = frozenset({"input_schema", "parameters", "schema"})
"""Fields whose objects are anybody's own."""

Path = tuple[Any, ...]


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Where the objects of a request stand."""
    if isinstance(value, dict):
        yield at
        for name, held in value.items():
            if name not in FREE and not (name == "input" and isinstance(held, dict)):
                yield from paths(held, (*at, name))
    elif isinstance(value, list):
        for index, held in enumerate(value):
            yield from paths(held, (*at, index))


def with_fields(client: str, places: dict[Path, str]) -> JsonObject:
    """The request with an unknown field in the objects at `places`, each with a value of its own."""
    body = copy.deepcopy(BODIES[client])
    for path, value in places.items():
        held: Any = body
        for step in path:
            held = held[step]
        held["novelty_2099"] = value
    return body


def translated(client: str, wire: str, body: JsonObject) -> tuple[str, set[str], set[str]]:
    """(what the provider gets as text, losses that were reported, losses that were announced)."""
    provider = Provider("p", dict.fromkeys(NAMES, "http://127.0.0.1"))
    able: dict[str, Any] = {"tools": True, "vision": True, "documents": True, "reasoning": True, "structured": True}
    target = Target(provider, Model("p", "m", max_output=64_000, **able), wire, Quirks(), take_back=lambda block: block)
    survey = PROTOCOLS[client].survey(body)
    sent, losses = PROTOCOLS[wire].encode_request(PROTOCOLS[client].decode_request(body), target)
    return orjson.dumps(sent).decode(), set(losses), survey.requires


PLACES = [(client, wire, path) for client in NAMES for wire in NAMES for path in paths(BODIES[client])]


@pytest.mark.parametrize(
    ("client", "wire", "path"), PLACES, ids=[f"{c}-to-{w}-{'.'.join(map(str, p))}" for c, w, p in PLACES]
)
def test_an_unknown_field_rides_along_or_is_told(client: str, wire: str, path: Path) -> None:
    """Wherever it stands: in what the provider gets, or `unknown_field`, announced and reported."""
    text, losses, announced = translated(client, wire, with_fields(client, {path: "novel"}))
    assert "novel" in text or "unknown_field" in losses & announced
    assert "unknown_field" not in translated(client, wire, BODIES[client])[1]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_however_many_there_are(data: st.DataObject) -> None:
    """None hides another: all ride along, or the loss is told."""
    client, wire = data.draw(st.sampled_from(NAMES)), data.draw(st.sampled_from(NAMES))
    found = data.draw(st.sets(st.sampled_from(list(paths(BODIES[client]))), min_size=1, max_size=6))
    places = {path: f"novel-{number}" for number, path in enumerate(sorted(found, key=str))}
    text, losses, announced = translated(client, wire, with_fields(client, places))
    assert all(value in text for value in places.values()) or "unknown_field" in losses & announced


@pytest.mark.parametrize("nothing", [None, "", [], {}, False, 0])
def test_a_field_that_says_nothing_is_no_loss(nothing: Any) -> None:
    """Clients spell out what they do not set, deep down at least."""
    for client in NAMES:
        for path in paths(BODIES[client]):
            if len(path) > 1:
                body = with_fields(client, {path: nothing})
                assert "unknown_field" not in PROTOCOLS[client].survey(body).requires, path


@pytest.mark.parametrize("client", NAMES)
@pytest.mark.parametrize("odd", [[], {}, 7, ["x", None], [[]], {"type": []}, {"type": {}}])
def test_odd_types_are_no_defect(client: str, odd: Any) -> None:
    """Whatever stands where objects are due: an answer or the client's error, never an exception of ours."""
    for name in BODIES[client]:
        for body in ({**BODIES[client], name: odd}, {**BODIES[client], name: [odd]}):
            try:
                PROTOCOLS[client].survey(body)
            except ClientError:
                continue
