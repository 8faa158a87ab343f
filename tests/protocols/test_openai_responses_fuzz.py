"""Documents with anything anywhere: a value, or an error of the tree, never a defect."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Quirks
from engine.llm.errors import ClientError, ProviderError
from engine.llm.protocol import SSEEvent
from tests.protocols import order
from tests.protocols.responses_kit import (
    WIRE,
    added,
    completed,
    created,
    decode,
    delta,
    done,
    encode,
    function_call,
    message,
    output_text,
    target,
)

ODD = st.sampled_from([None, True, 0, -1, 1.5, "", "x", [], [None], ["x"], [[]], {}, {"type": 3}, {"x": {"y": []}}])
REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "s"}],
    "content": [{"type": "reasoning_text", "text": "r"}],
    "encrypted_content": "sbgw1.mac.header.seal",
}
CITED = message(
    output_text("hi", annotations=[{"type": "url_citation"}], logprobs=[]), {"type": "refusal", "refusal": "no"}
)
CUSTOM = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "p", "input": "i", "namespace": "n"}
ITEMS = [CITED, REASONING, function_call('{"a":1}'), CUSTOM, {"type": "web_search_call", "id": "ws"}]
ANSWER = completed(*ITEMS, error=None, incomplete_details=None)["response"]
REQUEST: dict[str, Any] = {
    "model": "m",
    "instructions": "be good",
    "input": [
        {"role": "developer", "content": [{"type": "input_text", "text": "a"}]},
        {"role": "user", "content": [
            {"type": "input_text", "text": "a"},
            {"type": "input_image", "image_url": "data:image/png;base64,aGk="},
            {"type": "input_file", "file_data": "aGk=", "filename": "f"},
        ]},
        *ITEMS,
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "x"}]},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "x"},
        {"type": "additional_tools", "tools": [{"type": "custom", "name": "x"}]},
        {"type": "configuration_update", "reasoning": {"effort": "low"}},
        {"type": "tool_search_output", "tools": [{"type": "function", "name": "t"}]},
    ],
    "tools": [
        {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {"a": {}}}, "strict": True},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g"}]},
        {"type": "custom", "name": "p", "format": {"type": "text"}},
        {"type": "mcp", "server_label": "l"},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}, "verbosity": "low"},
    "client_metadata": {"session_id": "s", "x-codex-turn-metadata": '{"request_kind":"compaction"}'},
    "context_management": [{"type": "compaction"}],
    "metadata": {"a": "b"},
    "stream": True,
    "max_output_tokens": 9,
    "temperature": 1,
    "user": "me",
    "prompt_cache_key": "k",
    "service_tier": "auto",
    "truncation": "auto",
    "previous_response_id": "resp_1",
}  # fmt: skip
EVENTS = [
    created(),
    *(added(item, index) for index, item in enumerate(ITEMS)),
    delta("output_text", "hi", 0, content_index=0),
    {"type": "response.output_text.annotation.added", "output_index": 0, "annotation": {}},
    {"type": "response.content_part.done", "output_index": 0, "content_index": 0, "part": output_text("hi")},
    delta("reasoning_summary_text", "s", 1, summary_index=0),
    delta("function_call_arguments", "{", 2),
    {"type": "response.custom_tool_call_input.done", "output_index": 3, "input": "i"},
    *(done(item, index) for index, item in enumerate(ITEMS)),
    {"type": "response.completed", "response": ANSWER},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every member, at any depth."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in pairs for place in [(*path, key), *places(inner, (*path, key))]]


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> Any:
    """The document with up to three members replaced by something odd, or gone."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(places(changed)))
        holder = changed
        for key in way:
            holder = holder[key]
        if isinstance(holder, dict) and draw(st.booleans()):
            del holder[last]
        else:
            holder[last] = copy.deepcopy(draw(ODD))
    return changed


@settings(max_examples=200, deadline=None)
@given(mutated(REQUEST))
def test_requests(body: dict[str, Any]) -> None:
    """A client's request surveys, decodes, encodes and is rewritten, or is refused as the client's fault."""
    try:
        WIRE.survey(body)
        request = WIRE.decode_request(body)
    except ClientError:
        return
    for protocol in (WIRE.name, "openai-chat"):
        orjson.dumps(WIRE.encode_request(replace(request, protocol=protocol), target())[0])
    WIRE.rewrite(body, target())


@settings(max_examples=200, deadline=None)
@given(mutated(ANSWER))
def test_answers(body: dict[str, Any]) -> None:
    """A provider's answer decodes and encodes, or is an error; the tap never fails."""
    WIRE.tap_response(body, quirks=Quirks())
    try:
        response = WIRE.decode_response(body, quirks=Quirks())
    except ProviderError:
        return
    orjson.dumps(WIRE.encode_response(response, model="m"))


@settings(max_examples=200, deadline=None)
@given(mutated(EVENTS))
def test_streams(events: list[Any]) -> None:
    """A provider's stream decodes in order, whatever it holds, and can be told to a client."""
    sent = [SSEEvent("", orjson.dumps(event).decode()) for event in events]
    told = decode(sent)
    order.check(told)
    encode(told)
    listener = WIRE.stream_tap(quirks=Quirks())
    for event in sent:
        listener.feed(event)
    listener.close()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | ODD.map(orjson.dumps), st.sampled_from([200, 400, 401, 429, 500, 503, 599]))
def test_errors(body: bytes, status: int) -> None:
    """Any bytes are an error answer."""
    error = WIRE.decode_error(status, body, {})
    orjson.dumps(WIRE.encode_error(error)[1])
    WIRE.encode_stream_error(error)
