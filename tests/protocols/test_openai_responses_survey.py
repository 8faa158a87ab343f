"""What one pass over a Responses request tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.llm.errors import ClientError
from engine.llm.losses import LOSSES
from tests.protocols.responses_kit import WIRE

FUNCTION = {"type": "function", "name": "read", "parameters": {}}
CALL = {"type": "function_call", "call_id": "c", "name": "read", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "x"}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,aGk="}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "input_text", "text": text}]}


def assistant(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def body(*items: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": list(items), **fields}


def test_counts_turns_and_tools() -> None:
    """Items of one turn count as one message; results are those after the last turn of the assistant."""
    found = WIRE.survey(
        body(
            {"role": "developer", "content": "be good"},
            user("<environment_context>…"),
            user("do it"),
            {"type": "reasoning", "summary": []},
            CALL,
            CALL,
            OUTPUT,
            CALL,
            OUTPUT,
            OUTPUT,
            tools=[FUNCTION, {"type": "namespace", "name": "n", "tools": [FUNCTION]}, {"type": "web_search"}],
            instructions="hello",
        )
    )
    assert (found.messages, found.turns, found.tool_calls, found.tool_results) == (7, 2, 3, 2)
    assert (found.tools, found.server_tools, found.tool_names) == (2, 1, ("read", "read"))
    assert (found.last_role, found.system_bytes, found.newest_user_text) == ("tool", 12, "do it")
    assert {"thinking.signature", "namespace", "web_search", "tool_result.order"} == found.requires


def test_injected_text_is_not_what_the_user_wrote() -> None:
    """The newest user text skips what the agent put into a user message."""
    found = WIRE.survey(
        body(user("fix the bug"), assistant("ok"), user("<environment_context>cwd</environment_context>"))
    )
    assert (found.newest_user_text, found.last_role, found.tool_results) == ("fix the bug", "user", 0)


def test_a_string_is_a_message() -> None:
    """Plain text input is one user message."""
    found = WIRE.survey({"model": "m", "input": "hi", "stream": True, "max_output_tokens": 5, "temperature": 0})
    assert (
        found.messages,
        found.last_role,
        found.newest_user_text,
        found.stream,
        found.max_output_tokens,
        found.temperature,
    ) == (1, "user", "hi", True, 5, 0.0)


@pytest.mark.parametrize(
    ("fields", "codes"),
    [
        ({"temperature": 1}, {"sampling"}),
        ({"top_logprobs": 0}, set()),
        ({"top_logprobs": 3}, {"logprobs"}),
        ({"previous_response_id": "resp_1"}, {"previous_response"}),
        ({"background": False}, set()),
        ({"background": True}, {"background"}),
        ({"prompt": {"id": "p"}}, {"container"}),
        ({"parallel_tool_calls": False}, {"parallel_tools"}),
        ({"reasoning": {"effort": "high"}}, {"effort"}),
        ({"text": {"format": {"type": "json_schema"}}}, {"output_format"}),
        (
            {
                "text": {"format": {"type": "text"}},
                "store": False,
                "include": [],
                "metadata": {},
                "truncation": "disabled",
            },
            set(),
        ),
        ({"truncation": "auto"}, {"context_management"}),
        ({"text": {"verbosity": "low"}}, {"verbosity"}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs"}),
        ({"reasoning": {"effort": "low", "context": "all_turns"}}, {"effort", "own_field"}),
        ({"context_management": [{"type": "compaction"}]}, {"context_management", "compaction"}),
        ({"tool_choice": "required"}, {"forced_tool"}),
        ({"tool_choice": {"type": "function", "name": "read"}}, {"forced_tool"}),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, set()),
        ({"service_tier": "flex", "safety_identifier": "me"}, {"service_tier", "user"}),
        ({"tools": [{"type": "custom", "name": "p"}]}, {"custom_tool"}),
        (
            {"tools": [{"type": "function", "name": "f", "defer_loading": True}, {"type": "tool_search"}]},
            {"tool_search"},
        ),
        ({"tools": [{"type": "mcp"}, {"type": "code_interpreter"}]}, {"container", "server_tool"}),
        ({"brand_new": 1}, {"unknown_field"}),
    ],
)
def test_fields_require(fields: dict[str, Any], codes: set[str]) -> None:
    """Each setting names the code of what another protocol may not carry."""
    assert codes == WIRE.survey(body(user("x"), **fields)).requires


@pytest.mark.parametrize(
    ("item", "codes"),
    [
        ({"role": "user", "content": [IMAGE]}, {"image"}),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}, {"image", "container"}),
        ({"role": "user", "content": [{"type": "input_file", "file_data": "x"}]}, {"document"}),
        ({"role": "user", "content": [{"type": "input_audio"}]}, {"audio"}),
        ({"role": "user", "content": [{"type": "input_hologram"}]}, {"unknown_block"}),
        (
            {"role": "user", "content": [{"type": "input_text", "text": "", "prompt_cache_breakpoint": {}}]},
            {"cache_control"},
        ),
        ({**OUTPUT, "output": [IMAGE]}, {"image", "image.tool_result", "tool_result.orphan"}),
        (
            {"type": "custom_tool_call", "call_id": "c", "name": "p", "input": ""},
            {"custom_tool", "prefill", "tool_result.missing"},
        ),
        ({"type": "web_search_call", "id": "ws"}, {"server_tool.result", "prefill"}),
        ({"type": "item_reference", "id": "x"}, {"previous_response"}),
        ({"type": "compaction", "encrypted_content": "x"}, {"compaction"}),
        ({"type": "compaction_trigger"}, {"compaction.summary"}),
        ({"type": "tool_search_output", "tools": []}, {"tool_search"}),
        ({"type": "additional_tools", "tools": [{"type": "custom", "name": "x"}]}, {"custom_tool"}),
        ({"type": "from_the_future"}, {"unknown_block"}),
        ({"role": "developer", "content": "and now"}, {"system.mid"}),
        (assistant("I begin"), {"prefill"}),
        (
            {**assistant("x"), "content": [{"type": "output_text", "text": "x", "annotations": [{}]}]},
            {"annotations", "prefill"},
        ),
    ],
)
def test_items_require(item: dict[str, Any], codes: set[str]) -> None:
    """Each item or part names the code of what another protocol may not carry."""
    assert codes == WIRE.survey(body(user("x"), item)).requires
    assert codes <= LOSSES.keys()


def test_media_is_counted_apart() -> None:
    """Base64 counts as media, not as text."""
    found = WIRE.survey(body({"role": "user", "content": [IMAGE, {"type": "input_file", "file_data": "abc"}]}))
    assert (1, 1, len(IMAGE["image_url"]) + 3) == (found.images, found.documents, found.media_bytes)


@pytest.mark.parametrize(
    ("metadata", "session", "compaction"),
    [
        ({}, "key", False),
        ({"session_id": "s"}, "s", False),
        ({"session_id": "s", "x-codex-turn-metadata": '{"request_kind":"compaction"}'}, "s", True),
        ({"x-codex-turn-metadata": '{"request_kind":"turn","note":"compaction"}'}, "key", False),
        ({"x-codex-turn-metadata": '"compaction" no json'}, "key", False),
    ],
)
def test_session_and_kind(metadata: dict[str, str], session: str, compaction: bool) -> None:
    """An agent's session id goes before its cache key; its metadata tells compaction calls."""
    found = WIRE.survey(body(user("x"), prompt_cache_key="key", client_metadata=metadata))
    assert (session, compaction) == (found.session, found.compaction)


def test_compaction_trigger() -> None:
    """A trailing trigger item asks for a compaction."""
    found = WIRE.survey(body(user("x"), {"type": "compaction_trigger"}))
    assert found.compaction
    assert {"compaction.summary"} == found.requires


@pytest.mark.parametrize(
    ("request_body", "field"),
    [
        ({"input": "x"}, "model"),
        ({"model": 3, "input": "x"}, "model"),
        ({"model": "m"}, "input"),
        ({"model": "m", "input": []}, "input"),
        ({"model": "m", "input": {}}, "input"),
        ({"model": "m", "input": [3]}, "input[0]"),
        ({"model": "m", "input": [{"role": "robot", "content": ""}]}, "input[0].role"),
    ],
)
def test_what_can_not_be_a_request(request_body: dict[str, Any], field: str) -> None:
    """Refused with the path of the field."""
    with pytest.raises(ClientError) as error:
        WIRE.survey(request_body)
    assert field == error.value.field


def test_a_continued_conversation_needs_no_input() -> None:
    """Input may be left out where the provider keeps the conversation."""
    assert WIRE.survey({"model": "m", "previous_response_id": "resp_1"}).previous_response


def test_captured_requests(shared: Path) -> None:
    """Every recorded client request surveys; none holds a field or item that we do not know."""
    seen = 0
    for path in sorted((shared / "captures").glob("*/*/*.json")):
        case = orjson.loads(path.read_bytes())
        if not str(case.get("path", "")).partition("?")[0].endswith("/responses") or not isinstance(case["body"], dict):
            continue
        seen += 1
        found = WIRE.survey(case["body"])
        if "type" not in case["body"]:  # a web socket's frame is this body with two more fields
            assert not found.requires & {"unknown_field", "unknown_block"}, path
        if case["body"].get("client_metadata"):
            assert found.session, path
    assert seen > 100
