"""Values of the wrong type in any place: answered with an error of the tree, never with another exception."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Quirks
from engine.llm.errors import ClientError, ProviderError
from engine.llm.protocol import SSEEvent
from tests.protocols.chat_kit import WIRE, decode, encode, target
from tests.protocols.order import check

REQUEST = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [
            {"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
            {"type": "file", "file": {"filename": "f", "file_data": "data:application/pdf;base64,aGk="}},
        ]},
        {"role": "assistant", "content": None, "reasoning_details": [{"type": "reasoning.text", "text": "r", "format": "x"}],
         "tool_calls": [{"id": "a", "index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "anyOf": [{"properties": {}}]}}},
        {"type": "custom", "custom": {"name": "c", "format": {"type": "grammar", "grammar": {"definition": "x"}}}},
    ],
    "functions": [{"name": "g"}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    "reasoning": {"effort": "low", "max_tokens": 5},
    "stop": ["x"],
    "max_tokens": 5,
    "modalities": ["text"],
}  # fmt: skip
MESSAGE = {
    "role": "assistant",
    "content": [{"type": "text", "text": "x"}, {"type": "thinking", "thinking": [{"type": "text", "text": "y"}]}],
    "reasoning": "r",
    "reasoning_details": [{"type": "reasoning.text", "text": "r", "signature": "s", "index": 0}],
    "extra_content": {"google": {"thought_signature": "s"}},
    "tool_calls": [
        {
            "index": 0,
            "id": "a",
            "type": "function",
            "function": {"name": "f", "arguments": "{}"},
            "extra_content": {"a": "b"},
        },
        {"index": 1, "id": "b", "type": "custom", "custom": {"name": "c", "input": "x"}},
    ],
    "function_call": {"name": "f", "arguments": "{}"},
    "refusal": "n",
    "annotations": [{}],
    "images": [{"type": "image_url"}],
    "audio": {"id": "a"},
}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "cost": {"total_cost": 1}}
FIELDS = {
    "id": "i", "model": "m", "created": 1, "x_groq": {"usage": USAGE},
    "usage": {**USAGE, "prompt_tokens_details": {"cached_tokens": 1}, "completion_tokens_details": {"reasoning_tokens": 1}},
}  # fmt: skip
ANSWER = {**FIELDS, "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop", "stop_reason": "x"}]}
CHUNK = {**FIELDS, "choices": [{"index": 0, "delta": MESSAGE, "finish_reason": "stop", "stop_reason": "x"}]}
ERROR = {
    "error": {"message": "m", "type": "t", "code": 1, "metadata": {"raw": "{}"}, "details": [{"retryDelay": "1s"}]}
}

ODD = st.sampled_from(
    [None, True, 0, -1, 1.5, 10**18, "", "x", "data:", [], [[]], [None], ["x"], [{}], {}, {"a": {}}, {"type": []}]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of everything inside `value`."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in entries:
        yield (*path, key)
        yield from places(held, (*path, key))


def spoilt(template: Any) -> st.SearchStrategy[Any]:
    """`template` with one or two of its values replaced by something odd."""

    def replaced(changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
        out = copy.deepcopy(template)
        for path, odd in changes:
            held = out
            for key in path[:-1]:
                held = (
                    held[key]
                    if isinstance(held, dict) and key in held
                    else held[key]
                    if isinstance(held, list) and isinstance(key, int) and key < len(held)
                    else {}
                )
            if (isinstance(held, dict) and isinstance(path[-1], str)) or (
                isinstance(held, list) and isinstance(path[-1], int) and path[-1] < len(held)
            ):
                held[path[-1]] = copy.deepcopy(odd)
        return out

    change = st.tuples(st.sampled_from(sorted(places(template), key=str)), ODD)
    return st.lists(change, min_size=1, max_size=2).map(replaced)


@settings(max_examples=400, deadline=None)
@given(spoilt(REQUEST))
def test_requests(body: Any) -> None:
    """A client reads what is wrong; what is accepted can be sent on and rewritten."""
    try:
        WIRE.survey(body)
        decoded = WIRE.decode_request(body)
    except ClientError:
        return
    encode(decoded)
    strict = Quirks(strict=True, tool_id="alnum9", mid_system=False, echo_reasoning=True, json_schema=False)
    encode(decoded, strict)
    WIRE.rewrite(body, target())
    orjson.dumps(WIRE.rewrite(body, target(strict)))


@settings(max_examples=400, deadline=None)
@given(spoilt(ANSWER))
def test_answers(body: Any) -> None:
    """A provider's odd answer is an answer or a failure, and what it becomes can be said to a client."""
    WIRE.tap_response(body, quirks=Quirks())
    try:
        answer = WIRE.decode_response(body, quirks=Quirks())
    except ProviderError:
        return
    orjson.dumps(WIRE.encode_response(answer, model="m"))


@settings(max_examples=400, deadline=None)
@given(spoilt(CHUNK), spoilt(CHUNK), spoilt(ERROR))
def test_streams(first: Any, second: Any, last: Any) -> None:
    """Chunks of any shape keep the order of events."""
    for chunks in ([first, second], [first, last]):
        check(decode(chunks))
        tap = WIRE.stream_tap(quirks=Quirks())
        for value in chunks:
            tap.feed(SSEEvent("", orjson.dumps(value).decode()))
        tap.close()


@settings(max_examples=200, deadline=None)
@given(spoilt(ERROR))
def test_errors(body: Any) -> None:
    """An error body of any shape has a meaning."""
    WIRE.encode_error(WIRE.decode_error(400, orjson.dumps(body), {}))
