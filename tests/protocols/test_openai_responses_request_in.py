"""A Responses client's request in neutral words."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.llm.catalogue import Quirks
from engine.llm.errors import ClientError
from engine.llm.messages import (
    Block,
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
from tests.protocols.responses_kit import WIRE, target

NAME = WIRE.name


def decode(*items: Any, **fields: Any) -> LLMRequest:
    body = {"model": "m", "input": list(items), **fields}
    before = copy.deepcopy(body)
    request = WIRE.decode_request(body)
    assert before == body, "the client's body is not changed"
    return request


def test_one_turn_is_one_message() -> None:
    """Reasoning, text and calls of a turn stay together and in order; outputs are one user message."""
    request = decode(
        {"role": "user", "content": "go"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "E"},
        {"type": "message", "id": "msg_1", "role": "assistant", "phase": "commentary", "content": [{"type": "output_text", "text": "ok"}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "read", "arguments": ""},
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** Begin", "namespace": "n"},
        {"type": "function_call_output", "call_id": "c1", "output": "text"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_image", "image_url": "https://x/y.png"}]},
    )  # fmt: skip
    user, turn, results = request.messages
    assert Message("user", (Text("go"),)) == user
    assert turn.extra == {"id": "msg_1", "phase": "commentary"}
    assert (
        Thinking("hm", "E", summary=True, id="rs_1", origin=NAME),
        Text("ok"),
        ToolCall("c1", "read", "{}", item_id="fc_1"),
        ToolCall("c2", "patch", "*** Begin", kind="custom", namespace="n"),
    ) == turn.content
    assert (
        ToolResult("c1", (Text("text"),)),
        ToolResult("c2", (Image(url="https://x/y.png"),), kind="custom"),
    ) == results.content


def test_a_second_message_of_a_turn_is_a_message() -> None:
    """Commentary and final answer keep their own ids and phases."""
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}
    request = decode({**said, "phase": "commentary"}, {**said, "phase": "final_answer"})
    assert [message.extra["phase"] for message in request.messages] == ["commentary", "final_answer"]


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ({"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}, Text("a", {"prompt_cache_breakpoint": {"mode": "explicit"}})),
        ({"type": "refusal", "refusal": "no"}, Refusal("no")),
        ({"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"}, Image("image/png", "aGk=", extra={"detail": "low"})),
        ({"type": "input_image", "image_url": {"url": "https://x"}}, Image(url="https://x")),
        ({"type": "input_image", "file_id": "f"}, Opaque(NAME, {"type": "input_image", "file_id": "f"})),
        ({"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}, Document("application/pdf", "aGk=", title="a.pdf")),
        ({"type": "input_file", "file_data": "aGk="}, Document("application/pdf", "aGk=")),
        ({"type": "input_file", "file_url": "https://x/a.pdf"}, Document(url="https://x/a.pdf")),
        ({"type": "input_file", "file_id": "f"}, Document(file_id="f")),
        ({"type": "input_audio", "input_audio": {}}, Opaque(NAME, {"type": "input_audio", "input_audio": {}})),
        ("bare", Text("bare")),
    ],
)  # fmt: skip
def test_parts(part: Any, block: Block) -> None:
    """Every content part has its block; what has no word is kept whole."""
    assert (block,) == decode({"role": "user", "content": [part]}).messages[0].content


@pytest.mark.parametrize(
    ("item", "role"),
    [
        ({"type": "web_search_call", "id": "ws_1", "action": {}}, "assistant"),
        ({"type": "compaction", "encrypted_content": "E"}, "assistant"),
        ({"type": "local_shell_call_output", "output": ""}, "user"),
        ({"type": "item_reference", "id": "x"}, "user"),
        ({"type": "compaction_trigger"}, "user"),
        ({"type": "from_the_future", "x": 1}, "user"),
    ],
)
def test_items_of_this_protocol_alone(item: dict[str, Any], role: str) -> None:
    """They ride along whole, on the side that makes them."""
    assert (Message(role, (Opaque(NAME, item),)),) == decode(item).messages  # type: ignore[arg-type]


def test_tools_of_every_kind() -> None:
    """Functions, custom tools, namespaces and the provider's own; from items too."""
    request = decode(
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "custom", "name": "exec", "format": {"type": "text"}}]},
        {"type": "tool_search_output", "tools": [{"type": "function", "name": "late", "parameters": {}, "defer_loading": True}]},
        tools=[
            {"type": "function", "name": "read", "description": "Reads.", "parameters": {"type": "object"}, "strict": False, "new": 1},
            {"type": "function", "name": "late", "defer_loading": True},
            {"type": "function", "name": "never", "defer_loading": True},
            {"type": "namespace", "name": "group", "description": "G", "tools": [{"type": "function", "name": "read"}]},
            {"type": "web_search", "external_web_access": True},
            {"type": "function", "function": {"name": "chat_form", "parameters": {"type": "object"}}},
        ],
    )  # fmt: skip
    read, late, never, group, search, chat, execute = request.tools
    assert (read.description, read.schema, read.strict, read.extra) == ("Reads.", {"type": "object"}, False, {"new": 1})
    assert (late.deferred, never.deferred) == (False, True)
    assert (group.kind, group.members[0].name) == ("namespace", "read")
    assert (search.kind, search.name, search.extra["external_web_access"]) == ("server", "web_search", True)
    assert (chat.name, chat.schema) == ("chat_form", {"type": "object"})
    assert (execute.kind, execute.extra) == ("custom", {"format": {"type": "text"}})


@pytest.mark.parametrize(
    ("value", "choice"),
    [
        (None, None),
        ("auto", ToolChoice("auto")),
        ("required", ToolChoice("required")),
        ("none", ToolChoice("none")),
        ("strange", None),
        ({"type": "function", "name": "read"}, ToolChoice("tool", "read")),
        ({"type": "web_search"}, ToolChoice("tool", "web_search", {"server": {"type": "web_search"}})),
    ],
)
def test_tool_choice(value: Any, choice: ToolChoice | None) -> None:
    """The modes; a tool by name; a tool of the provider's."""
    assert choice == decode({"role": "user", "content": "x"}, tool_choice=value).tool_choice


def test_an_allow_list_leaves_the_listed_tools() -> None:
    """The restriction holds on every protocol, because the other tools are not offered there."""
    function = {"type": "function", "parameters": {"type": "object"}}
    allowed = [{"type": "function", "name": "a"}, {"type": "web_search"}, {"type": "function", "name": "inner"}]
    request = decode(
        {"role": "user", "content": "x"},
        tools=[
            {**function, "name": "a"},
            {**function, "name": "b"},
            {"type": "web_search"},
            {"type": "namespace", "name": "n", "tools": [{**function, "name": "inner"}, {**function, "name": "outer"}]},
        ],
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": allowed},
    )
    assert [tool.name for tool in request.tools] == ["a", "web_search", "n"]
    assert [member.name for member in request.tools[2].members] == ["inner"]
    assert ToolChoice("required") == request.tool_choice


def test_settings() -> None:
    """What has a field goes there; the rest rides in extra; the last effort change in the conversation holds."""
    request = decode(
        {"role": "user", "content": "x"},
        {"type": "configuration_update", "reasoning": {"effort": "low"}},
        instructions="be good",
        stream=True,
        temperature=0,
        top_p=0.5,
        max_output_tokens=100,
        parallel_tool_calls=False,
        reasoning={"effort": "high", "summary": "auto", "context": "all_turns"},
        text={"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True, "description": "d"}},
        prompt_cache_key="key",
        safety_identifier="me",
        service_tier="flex",
        store=False,
        include=["reasoning.encrypted_content"],
        previous_response_id=None,
        metadata={"a": "b"},
    )  # fmt: skip
    assert Message("system", (Text("be good"),)) == request.messages[0]
    assert (
        request.stream,
        request.temperature,
        request.top_p,
        request.max_output_tokens,
        request.parallel_tool_calls,
    ) == (True, 0, 0.5, 100, False)
    assert Reasoning(True, "low", summary="auto", extra={"context": "all_turns"}) == request.reasoning
    assert OutputFormat("json_schema", "n", {"type": "object"}, True, {"description": "d"}) == request.output_format
    assert (request.cache_key, request.user, request.service_tier, request.protocol) == ("key", "me", "flex", NAME)
    assert request.extra == {
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "metadata": {"a": "b"},
        "safety_identifier": "me",
    }
    assert request.verbosity == "low"


def test_foreign_reasoning_comes_back() -> None:
    """What another protocol sealed travels through a Responses client unchanged."""
    from engine.protocols.openai_responses import reasoning

    for thinking in (
        Thinking("shown", "sbgw1.m.h.c2ln", summary=True, origin="sbgw"),
        Thinking("", "sbgw1.m.h.a.b", origin="sbgw"),
    ):
        assert thinking == decode(reasoning.for_client(thinking, "rs_sbgw_1")).messages[0].content[0]


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (3, "input[0]"),
        ({"role": "robot"}, "input[0].role"),
        ({"type": "function_call_output", "output": "x"}, "input[0].call_id"),
    ],
)
def test_refusals(item: Any, field: str) -> None:
    """What can't be read is refused with its path."""
    with pytest.raises(ClientError) as error:
        WIRE.decode_request({"model": "m", "input": [item]})
    assert field == error.value.field


def test_nesting_without_end() -> None:
    """A request nested as deep as the codec allows is read like any other."""
    tool: dict[str, Any] = {"type": "function", "name": "f", "strict": True, "parameters": {}}
    schema: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    for _ in range(400):
        tool = {"type": "namespace", "name": "n", "tools": [tool]}
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"], "additionalProperties": False}
    deep = {"type": "function", "name": "deep", "strict": True, "parameters": schema}
    body = {"model": "m", "input": "x", "tools": [tool, deep]}
    assert {"namespace"} == WIRE.survey(body).requires
    request = WIRE.decode_request(body)
    assert request.tools[0].members == ()
    written, _ = WIRE.encode_request(replace(request, protocol="openai-chat"), target())
    assert written["tools"][1]["strict"] is False


def test_captured_requests(shared: Path) -> None:
    """Every recorded client request decodes and comes out again with the same meaning."""
    for path in sorted((shared / "captures").glob("*/*/*.json")):
        case = orjson.loads(path.read_bytes())
        if not str(case.get("path", "")).partition("?")[0].endswith("/responses") or not isinstance(case["body"], dict):
            continue
        request = WIRE.decode_request(case["body"])
        body, losses = WIRE.encode_request(request, target(Quirks(compaction=True)))
        if case["body"].get("previous_response_id"):
            continue  # holds only the newest items: their outputs have no call here
        again = WIRE.decode_request(body)
        assert _telling(request) == _telling(again), path
        assert [tool.name for tool in request.tools] == [tool.name for tool in again.tools], path
        assert not losses, path


def _telling(request: LLMRequest) -> list[Message]:
    """The messages that say something."""
    return [message for message in request.messages if any(block != Text("") for block in message.content)]
