"""Each wire refuses what its vendor refuses, in the vendor's words, and takes what the vendor takes."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tests.emulator import anthropic_rules, chat_rules, responses_rules
from tests.emulator import models as rows
from tests.emulator.anthropic_history import end_prefix
from tests.emulator.chat_profiles import PROFILES
from tests.emulator.refusal import Refusal
from tests.emulator.seals import Seals

Body = dict[str, Any]
Change = Callable[[Body], object]
SEALS = Seals()
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def refusal(check: Callable[[], object]) -> Refusal | None:
    """What `check` refuses with, None if it doesn't."""
    try:
        check()
    except Refusal as found:
        return found
    return None


# ── Anthropic Messages ──


def claude_body() -> Body:
    """A conversation with one answered call, valid for every Claude model."""
    return {
        "model": "claude-haiku-4-5",
        "max_tokens": 1000,
        "system": [{"type": "text", "text": "Be short."}],
        "tools": [{"name": "weather", "description": "d", "input_schema": SCHEMA}],
        "messages": [
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Looking."},
                    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}},
                    {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {"city": "Oslo"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sun"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_2",
                        "content": [{"type": "text", "text": "snow"}],
                        "is_error": False,
                    },
                    {"type": "text", "text": "Go on."},
                ],
            },
        ],
    }


def claude(change: Change | None = None, *, beta: str = "") -> str:
    """The refusal of a changed conversation, empty if it is taken."""
    body = claude_body()
    if change is not None:
        change(body)
    context = anthropic_rules.Context(rows.CLAUDE, SEALS, frozenset(beta.split()))
    found = refusal(lambda: anthropic_rules.check(body, context))
    return str(found or "")


def put(path: str, value: Any) -> Change:
    """A change that sets (or, with None at `-name`, removes) what a dotted path names."""

    def change(body: Body) -> None:
        *way, last = path.split(".")
        place: Any = body
        for step in way:
            place = place[int(step) if step.lstrip("-").isdigit() else step]
        if last.startswith("-") and not last[1:].isdigit():
            del place[last[1:]]
        else:
            place[int(last) if isinstance(place, list) else last] = value

    return change


def several(*changes: Change) -> Change:
    """Changes one after the other."""
    return lambda body: [change(body) for change in changes]


MARK = {"type": "ephemeral"}
CLAUDE_REFUSES: dict[str, tuple[Change, str]] = {
    "no max_tokens": (put("-max_tokens", None), "max_tokens: Field required"),
    "no model": (put("-model", None), "model: Field required"),
    "unknown model": (put("model", "gpt-4"), "404 model: gpt-4"),
    "unknown parameter": (put("stream_options", {}), "stream_options: Extra inputs are not permitted"),
    "beta parameter": (put("context_management", {"edits": []}), "context_management: Extra inputs are not permitted"),
    "unknown field in text": (
        put("messages.1.content.0.annotations", []),
        "messages.1.content.0.text.annotations: Extra inputs are not permitted",
    ),
    "unknown field in call": (
        put("messages.1.content.1.index", 0),
        "messages.1.content.1.tool_use.index: Extra inputs",
    ),
    "unknown field in message": (put("messages.1.name", "x"), "messages.1.name: Extra inputs are not permitted"),
    "unknown field in tool": (
        put("tools.0.parameters", SCHEMA),
        "tools.0.custom.parameters: Extra inputs are not permitted",
    ),
    "no input_schema": (put("tools.0.-input_schema", None), "tools.0.custom.input_schema: Field required"),
    "schema no object": (
        put("tools.0.input_schema", {"type": "string"}),
        "tools.0.custom.input_schema.type: Input should be 'object'",
    ),
    "schema anyOf": (
        put("tools.0.input_schema", {"type": "object", "anyOf": []}),
        "does not support oneOf, allOf, or anyOf",
    ),
    "tool name": (put("tools.0.name", "a.b"), "tools.0.custom.name: String should match pattern"),
    "twice the same tool": (lambda b: b["tools"].append(b["tools"][0]), "tools: Tool names must be unique."),
    "role tool": (put("messages.0.role", "tool"), "messages.0.role: Input should be"),
    "role developer": (put("messages.0.role", "developer"), "messages.0.role: Input should be"),
    "assistant first": (lambda b: b["messages"].pop(0), 'first message must use the "user" role'),
    "no messages": (put("messages", []), "messages: at least one message is required"),
    "empty content": (put("messages.0.content", ""), "messages.0: all messages must have non-empty content"),
    "empty text": (put("messages.1.content.0.text", ""), "messages: text content blocks must be non-empty"),
    "blank text": (
        put("messages.1.content.0.text", " \n"),
        "messages: text content blocks must contain non-whitespace text",
    ),
    "image by the assistant": (
        put("messages.1.content.0", {"type": "image", "source": {"type": "url", "url": "https://x"}}),
        "messages.1.content.0: Input tag 'image'",
    ),
    "id pattern": (
        put("messages.1.content.1.id", "functions.weather:0"),
        "messages.1.content.1.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
    ),
    "input as text": (
        put("messages.1.content.1.input", "{}"),
        "messages.1.content.1.tool_use.input: Input should be a valid dictionary",
    ),
    "result missing": (
        lambda b: b["messages"][2]["content"].pop(1),
        "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_2.",
    ),
    "results after text": (
        lambda b: b["messages"][2]["content"].insert(0, {"type": "text", "text": "x"}),
        "ids were found without `tool_result` blocks immediately after: toolu_1, toolu_2",
    ),
    "no results at all": (lambda b: b["messages"].pop(), "immediately after: toolu_1, toolu_2"),
    "stray result": (lambda b: b["messages"].pop(1), "unexpected `tool_use_id` found in `tool_result` blocks: toolu_1"),
    "two results": (
        lambda b: b["messages"][2]["content"].insert(1, b["messages"][2]["content"][0]),
        "each tool_use must have a single result",
    ),
    "twice the same id": (put("messages.1.content.2.id", "toolu_1"), "`tool_use` ids must be unique"),
    "five marks": (
        lambda b: [
            block.update(cache_control=MARK) for block in [*b["system"], *b["tools"], *b["messages"][1]["content"]]
        ],
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    "mark inside a result": (
        put("messages.2.content.1.content.0.cache_control", MARK),
        "cache_control may not be specified within `tool_result.content`",
    ),
    "mark on thinking": (
        put("messages.1.content.0", {"type": "thinking", "thinking": "x", "signature": "y", "cache_control": MARK}),
        "thinking.cache_control: Extra inputs are not permitted",
    ),
    "long ttl late": (
        several(
            put("system.0.cache_control", MARK),
            put("messages.1.content.0.cache_control", {"type": "ephemeral", "ttl": "1h"}),
        ),
        "a ttl='1h' cache_control block must not come after a ttl='5m'",
    ),
    "choice without tools": (
        several(put("-tools", None), put("tool_choice", {"type": "auto"})),
        "tool_choice may only be specified while providing tools",
    ),
    "choice of no tool": (put("tool_choice", {"type": "tool", "name": "x"}), "Tool 'x' not found in provided tools"),
    "choice as text": (put("tool_choice", "auto"), "tool_choice: Input tag 'None'"),
    "long user": (
        put("metadata", {"user_id": "x" * 257}),
        "metadata.user_id: String should have at most 256 characters",
    ),
    "temperature range": (put("temperature", 1.5), "temperature: range: 0..1"),
    "too many tokens": (put("max_tokens", 64_001), "max_tokens: 64001 > 64000"),
    "too long": (put("messages.0.content", "x " * 500_000), "prompt is too long: 250"),
    "foreign signature": (
        put("messages.1.content.0", {"type": "thinking", "thinking": "x", "signature": "RW5jcnlwdGVk"}),
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    ),
    "foreign redaction": (
        put("messages.1.content.0", {"type": "redacted_thinking", "data": "RW5jcnlwdGVk"}),
        "Invalid `data` in `redacted_thinking` block",
    ),
    "small budget": (put("thinking", {"type": "enabled", "budget_tokens": 100}), "greater than or equal to 1024"),
    "budget over limit": (
        put("thinking", {"type": "enabled", "budget_tokens": 2000}),
        "`max_tokens` must be greater than `thinking.budget_tokens`",
    ),
    "thinking left out": (
        several(put("max_tokens", 4000), put("thinking", {"type": "enabled", "budget_tokens": 1024})),
        "Expected `thinking` or `redacted_thinking`, but found `text`",
    ),
    "effort on an old model": (
        put("output_config", {"effort": "low"}),
        "This model does not support the effort parameter.",
    ),
    "temperature while thinking": (
        several(
            put("max_tokens", 4000), put("temperature", 0), put("thinking", {"type": "enabled", "budget_tokens": 1024})
        ),
        "`temperature` may only be set to 1 when thinking is enabled",
    ),
    "image type": (
        put(
            "messages.0.content",
            [{"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": "AAAA"}}],
        ),
        "media_type: Input should be",
    ),
    "data url as data": (
        put(
            "messages.0.content",
            [
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "data:image/png;base64,AAAA"},
                }
            ],
        ),
        "invalid base64 data",
    ),
    "trailing space": (
        lambda b: b["messages"].append({"role": "assistant", "content": "So "}),
        "final assistant content cannot end with trailing whitespace",
    ),
}
NEWEST_REFUSES: dict[str, tuple[Change, str]] = {
    "temperature": (put("temperature", 1), "`temperature` is deprecated for this model."),
    "top_k": (put("top_k", 5), "`top_k` is deprecated for this model."),
    "budget": (
        put("thinking", {"type": "enabled", "budget_tokens": 2000}),
        '"thinking.type.enabled" is not supported for this model.',
    ),
    "thinking off": (
        put("thinking", {"type": "disabled"}),
        '"thinking.type.disabled" is not supported for this model.',
    ),
    "forced tool": (
        put("tool_choice", {"type": "any"}),
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    "prefill": (
        lambda b: b["messages"].append({"role": "assistant", "content": "So"}),
        "This model does not support assistant message prefill.",
    ),
    "effort word": (put("output_config", {"effort": "minimal"}), "does not support effort level 'minimal'"),
    "display word": (
        put("thinking", {"type": "adaptive", "display": "updates"}),
        "thinking.adaptive.display: Input should be",
    ),
}
CLAUDE_TAKES: dict[str, Change] = {
    "as it is": lambda b: None,
    "text content": put("messages.2.content.1.content", "snow"),
    "no content in a result": put("messages.2.content.1.-content", None),
    "system in between": lambda b: b["messages"].append({"role": "system", "content": "Mind the time."}),
    "two user messages": lambda b: b["messages"].append({"role": "user", "content": "And?"}),
    "results in two messages": lambda b: b["messages"].insert(
        3, {"role": "user", "content": [b["messages"][2]["content"].pop()]}
    ),
    "four marks": lambda b: [
        block.update(cache_control=MARK) for block in [*b["system"], *b["messages"][1]["content"]]
    ],
    "server tool": lambda b: b["tools"].append({"type": "web_search_20250305", "name": "web_search", "max_uses": 8}),
    "system as text": put("system", "Be short."),
}


@pytest.mark.parametrize("name", CLAUDE_REFUSES)
def test_messages_refuses(name: str) -> None:
    """The Messages API says what is wrong, and where."""
    change, words = CLAUDE_REFUSES[name]
    assert words in claude(change)


@pytest.mark.parametrize("name", NEWEST_REFUSES)
def test_the_newest_claude_refuses(name: str) -> None:
    """Settings that Claude 5.5 no longer takes."""
    change, words = NEWEST_REFUSES[name]
    assert words in claude(several(put("model", "claude-opus-5-5"), change))


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-opus-5-5"])
@pytest.mark.parametrize("name", CLAUDE_TAKES)
def test_messages_takes(name: str, model: str) -> None:
    """What the Messages API does not mind."""
    assert claude(several(put("model", model), CLAUDE_TAKES[name])) == ""


def test_betas_open_fields_and_unknown_betas_are_refused() -> None:
    """A beta header makes its field known; a name nobody knows is refused."""
    assert claude(put("context_management", {"edits": []}), beta="context-management-2025-06-27") == ""
    found = refusal(lambda: anthropic_rules.betas("claude-code-20250219, my-beta"))
    assert "Unexpected value(s) `my-beta` for the `anthropic-beta` header." in str(found)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "401 x-api-key header is required"),
        ({"x-api-key": "k"}, "400 anthropic-version: header is required"),
        ({"x-api-key": "other", "anthropic-version": "2023-06-01"}, "401 invalid x-api-key"),
        ({"authorization": "Bearer other", "anthropic-version": "2023-06-01"}, "401 Invalid bearer token"),
        ({"authorization": "Bearer k", "anthropic-version": "1999-01-01"}, "400 anthropic-version"),
        ({"authorization": "Bearer k", "anthropic-version": "2026-10-21"}, ""),
        ({"x-api-key": "k", "anthropic-version": "2023-06-01"}, ""),
    ],
)
def test_messages_headers(headers: dict[str, str], words: str) -> None:
    """Key and version are checked first."""
    found = str(refusal(lambda: anthropic_rules.check_headers(headers, "k")) or "")
    assert found.startswith(words)
    assert bool(words) == bool(found)


# ── preserved thinking ──


def thinking_body(model: str = "claude-opus-5-5") -> Body:
    """A conversation whose assistant turn begins with a thinking block of our own."""
    body = claude_body() | {"model": model}
    asked = {**body, "messages": body["messages"][:1]}
    block = {"type": "thinking", "thinking": "", "signature": SEALS.sign("", prefix=end_prefix(asked)[0])}
    body["messages"][1]["content"].insert(0, block)
    return body


@pytest.mark.parametrize(
    "change",
    [
        put("messages.0.content", [{"type": "text", "text": "Weather?", "cache_control": MARK}]),
        put("system", "Be short."),
        put("messages.2.content.0.content", "rain"),
        lambda b: b["tools"].append({"name": "later", "input_schema": SCHEMA, "defer_loading": True}),
    ],
)
def test_thinking_survives_what_is_no_change(change: Change) -> None:
    """Cache marks, a text as a list, tools loaded later and anything after the block leave it valid."""
    body = thinking_body()
    change(body)
    assert None is refusal(lambda: anthropic_rules.check(body, anthropic_rules.Context(rows.CLAUDE, SEALS)))


@pytest.mark.parametrize(
    "change",
    [
        put("messages.0.content", "Weather, please?"),
        put("system", "Be long."),
        put("tools.0.description", "e"),
        lambda b: b["messages"].insert(0, {"role": "user", "content": "Before."}),
    ],
)
@pytest.mark.parametrize(("model", "refused"), [("claude-opus-5-5", True), ("claude-opus-4-6", False)])
def test_thinking_is_bound_to_what_stood_before_it(change: Change, model: str, *, refused: bool) -> None:
    """Newest models refuse a block whose system, tools or earlier messages changed; older ones only want it genuine."""
    body = thinking_body(model)
    change(body)
    found = refusal(lambda: anthropic_rules.check(body, anthropic_rules.Context(rows.CLAUDE, SEALS)))
    assert refused == ("The block is bound to a different conversation." in str(found or ""))
    assert refused == (found is not None)


# ── Responses ──


def gpt_body() -> Body:
    """A Responses request with one answered call."""
    return {
        "model": "gpt-5.5",
        "store": False,
        "instructions": "Be short.",
        "tools": [{"type": "function", "name": "weather", "parameters": deepcopy(SCHEMA), "strict": False}],
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Hi."}]},
            {"role": "user", "content": "Weather?"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": SEALS.encrypt("rs_1")},
            {
                "type": "message",
                "role": "assistant",
                "id": "msg_1",
                "content": [{"type": "output_text", "text": "Looking."}],
            },
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "sun"},
        ],
    }


def gpt(change: Change | None = None) -> str:
    """The refusal of a changed request, empty if it is taken."""
    body = gpt_body()
    if change is not None:
        change(body)
    context = responses_rules.Context(rows.GPT, SEALS, responses_rules.Stored())
    return str(refusal(lambda: responses_rules.check(body, context)) or "")


GPT_REFUSES: dict[str, tuple[Change, str]] = {
    "unknown parameter": (put("max_tokens", 5), "Unknown parameter: 'max_tokens'."),
    "thinking": (put("thinking", {}), "Unknown parameter: 'thinking'."),
    "unknown model": (put("model", "x"), "The requested model 'x' does not exist."),
    "unknown item field": (put("input.4.index", 0), "Unknown parameter: 'input[4].index'."),
    "unknown part field": (
        put("input.0.content.0.cache_control", MARK),
        "Unknown parameter: 'input[0].content[0].cache_control'.",
    ),
    "unknown item": (put("input.1", {"type": "thinking"}), "Invalid value: 'thinking'. Supported values are:"),
    "role tool": (
        put("input.1.role", "tool"),
        "Invalid value: 'tool'. Supported values are: 'assistant', 'system', 'developer', and 'user'.",
    ),
    "input_text by the assistant": (
        put("input.3.content.0.type", "input_text"),
        "Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'.",
    ),
    "output_text by the user": (put("input.0.content.0.type", "output_text"), "Invalid value: 'output_text'."),
    "chat tool": (
        put("tools.0", {"type": "function", "function": {"name": "x"}}),
        "Missing required parameter: 'tools[0].name'.",
    ),
    "messages tool": (
        put("tools.0", {"name": "x", "input_schema": SCHEMA}),
        "Missing required parameter: 'tools[0].type'.",
    ),
    "tool name": (put("tools.0.name", "a.b"), "Invalid 'tools[0].name': string does not match pattern."),
    "long tool name": (
        put("tools.0.name", "a" * 65),
        "Expected a string with maximum length 64, but got a string with length 65 instead.",
    ),
    "schema": (
        put("tools.0.parameters", {"type": "string"}),
        "Invalid schema for function 'weather': schema must be a JSON Schema of 'type: \"object\"'",
    ),
    "strict schema": (
        put("tools.0.strict", True),
        "'additionalProperties' is required to be supplied and to be false.",
    ),
    "orphan output": (lambda b: b["input"].pop(4), "No tool call found for function call output with call_id call_1."),
    "orphan call": (lambda b: b["input"].pop(5), "No tool output found for function call call_1."),
    "reasoning last": (
        lambda b: b["input"].append(b["input"].pop(2)),
        "Item 'rs_1' of type 'reasoning' was provided without its required following item.",
    ),
    "reasoning before the user": (
        lambda b: b["input"].insert(1, b["input"].pop(2)),
        "was provided without its required following item",
    ),
    "reasoning without summary": (put("input.2.-summary", None), "Missing required parameter: 'input[2].summary'."),
    "reasoning with content": (
        put("input.2.content", [{"type": "reasoning_text", "text": "x"}]),
        "Invalid 'input[2].content': array too long.",
    ),
    "foreign reasoning": (
        put("input.2.encrypted_content", "gAAAAABforeign"),
        "The encrypted content for item rs_1 could not be verified. Reason: Encrypted content could not be decrypted or parsed.",
    ),
    "reasoning of another item": (
        put("input.2.id", "rs_2"),
        "Encrypted content item_id did not match the target item id.",
    ),
    "reasoning not kept": (
        put("input.2.-encrypted_content", None),
        "404 Item with id 'rs_1' not found. Items are not persisted when `store` is set to false.",
    ),
    "id of another kind": (
        put("input.4.id", "toolu_1"),
        "Invalid 'input[4].id': 'toolu_1'. Expected an ID that begins with 'fc'.",
    ),
    "long call_id": (put("input.4.call_id", "c" * 65), "Invalid 'input[4].call_id': string too long."),
    "arguments as object": (
        put("input.4.arguments", {}),
        "Invalid type for 'input[4].arguments': expected a string, but got an object instead.",
    ),
    "temperature": (put("temperature", 0.5), "Unsupported parameter: 'temperature' is not supported with this model."),
    "effort word": (
        put("reasoning", {"effort": "minimal"}),
        "Unsupported value: 'minimal' is not supported with the 'gpt-5.5' model.",
    ),
    "reasoning on a plain model": (
        several(put("model", "gpt-4.1"), put("reasoning", {"effort": "low"})),
        "Unsupported parameter: 'reasoning.effort' is not supported with this model.",
    ),
    "encrypted on a plain model": (
        several(put("model", "gpt-4.1"), put("include", ["reasoning.encrypted_content"])),
        "Encrypted content is not supported with this model.",
    ),
    "few tokens": (put("max_output_tokens", 10), "Expected a value >= 16, but got 10 instead."),
    "long user": (
        put("user", "u" * 160),
        "Invalid 'user': string too long. Expected a string with maximum length 64, but got a string with length 160 instead.",
    ),
    "unknown previous": (put("previous_response_id", "resp_1"), "Previous response with id 'resp_1' not found."),
    "image": (
        put("input.0.content.0", {"type": "input_image", "image_url": "iVBOR"}),
        "Invalid 'input[0].content[0].image_url'.",
    ),
    "no input": (put("-input", None), "must be provided."),
    "stream options alone": (put("stream_options", {}), "only allowed when 'stream' is enabled"),
    "choice of no tool": (
        put("tool_choice", {"type": "function", "name": "x"}),
        "Tool choice 'x' not found in 'tools' parameter.",
    ),
    "choice as in chat": (
        put("tool_choice", {"type": "function", "function": {"name": "weather"}}),
        "Missing required parameter: 'tool_choice.name'.",
    ),
    "metadata": (
        put("metadata", {"a": 1}),
        "Invalid type for 'metadata.a': expected a string, but got an integer instead.",
    ),
}


@pytest.mark.parametrize("name", GPT_REFUSES)
def test_responses_refuses(name: str) -> None:
    """The Responses API says what is wrong, and where."""
    change, words = GPT_REFUSES[name]
    assert words in gpt(change)


@pytest.mark.parametrize(
    "change",
    [
        None,
        put("input", "Weather?"),
        lambda b: b["input"].pop(2),
        lambda b: b["input"].append(
            {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}
        ),
        put("input.5.output", [{"type": "input_text", "text": "sun"}]),
        put("reasoning", {"effort": "high", "summary": "auto"}),
        lambda b: b["tools"].append(
            {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}]}
        ),
    ],
)
def test_responses_takes(change: Change | None) -> None:
    """What the Responses API does not mind."""
    assert gpt(change) == ""


# ── Chat Completions ──


def chat_body() -> Body:
    """A chat request with two answered calls, valid for every profile."""
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    return {
        "model": "any",
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": deepcopy(SCHEMA)}}],
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
            {"role": "assistant", "content": "Looking.", "tool_calls": [call, {**deepcopy(call), "id": "call_2"}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sun"},
            {"role": "tool", "tool_call_id": "call_2", "content": "snow"},
        ],
    }


def chat(change: Change | None = None, profile: str = "openai", model: rows.Model | None = None) -> str:
    """The refusal of a changed request by a profile, empty if it is taken."""
    body = chat_body()
    if profile == "deepseek":
        body["messages"][2]["reasoning_content"] = "Hm."
    if change is not None:
        change(body)
    context = chat_rules.Context(PROFILES[profile], {"any": model or rows.Model()})
    return str(refusal(lambda: chat_rules.check(body, context)) or "")


CHAT_REFUSES: dict[str, tuple[Change, str, str]] = {
    "thinking_blocks": (
        put("messages.2.thinking_blocks", []),
        "Unknown parameter: 'messages[2].thinking_blocks'.",
        "'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property 'thinking_blocks' is unsupported)]",
    ),
    "reasoning": (
        put("messages.2.reasoning", "x"),
        "Unknown parameter: 'messages[2].reasoning'.",
        "property 'reasoning' is unsupported",
    ),
    "reasoning_content": (
        put("messages.2.reasoning_content", "x"),
        "Unknown parameter: 'messages[2].reasoning_content'.",
        "property 'reasoning_content' is unsupported",
    ),
    "index": (
        put("messages.2.tool_calls.0.index", 0),
        "Unknown parameter: 'messages[2].tool_calls[0].index'.",
        "property 'index' is unsupported",
    ),
    "cache_control": (
        put("messages.1.content.0.cache_control", MARK),
        "Unknown parameter: 'messages[1].content[0].cache_control'.",
        "property 'cache_control' is unsupported",
    ),
    "tool cache_control": (
        put("tools.0.cache_control", MARK),
        "Unknown parameter: 'tools[0].cache_control'.",
        "property 'cache_control' is unsupported",
    ),
    "is_error": (
        put("messages.3.is_error", True),
        "Unknown parameter: 'messages[3].is_error'.",
        "property 'is_error' is unsupported",
    ),
    "top level": (put("thinking", {}), "Unknown parameter: 'thinking'.", "property 'thinking' is unsupported"),
    "output_config": (
        put("output_config", {}),
        "Unknown parameter: 'output_config'.",
        "property 'output_config' is unsupported",
    ),
    "unknown role": (
        put("messages.0.role", "human"),
        "Invalid value: 'human'. Supported values are:",
        "Invalid value: 'human'",
    ),
    "answer missing": (
        lambda b: b["messages"].pop(),
        "The following tool_call_ids did not have response messages: call_2",
        "call_2",
    ),
    "answer late": (
        lambda b: b["messages"].insert(4, {"role": "user", "content": "x"}),
        "did not have response messages: call_2",
        "call_2",
    ),
    "stray answer": (
        lambda b: b["messages"].pop(2),
        "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
        "must be a response",
    ),
    "empty tool_calls": (
        several(
            put("messages", [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "tool_calls": []}])
        ),
        "Invalid 'messages[1].tool_calls': empty array.",
        "empty array",
    ),
    "no content": (
        put("messages.2", {"role": "assistant", "content": None}),
        "Invalid value for 'content': expected a string, got null.",
        "got null",
    ),
    "empty tools": (put("tools", []), "Invalid 'tools': empty array.", "empty array"),
    "choice alone": (
        several(put("-tools", None), put("tool_choice", "auto")),
        "'tool_choice' is only allowed when 'tools' are specified.",
        "only allowed",
    ),
    "parallel alone": (
        several(put("-tools", None), put("parallel_tool_calls", True)),
        "'parallel_tool_calls' is only allowed when 'tools' are specified.",
        "only allowed",
    ),
    "choice any": (
        put("tool_choice", "any"),
        "Invalid value: 'any'. Supported values are: 'none', 'auto', and 'required'.",
        "'any'",
    ),
    "arguments as object": (
        put("messages.2.tool_calls.0.function.arguments", {}),
        "Invalid type for 'messages[2].tool_calls[0].function.arguments': expected a string, but got an object instead.",
        "expected a string",
    ),
    "messages tool": (
        put("tools.0", {"name": "x", "input_schema": SCHEMA}),
        "Missing required parameter: 'tools[0].type'.",
        "tools[0].type",
    ),
    "image in a tool message": (
        put("messages.3.content", [{"type": "image_url", "image_url": {"url": "https://x"}}]),
        "Invalid value: 'image_url'. Supported values are: 'text'.",
        "'image_url'",
    ),
    "long id": (
        several(put("messages.2.tool_calls.0.id", "c" * 41), put("messages.3.tool_call_id", "c" * 41)),
        "Expected a string with maximum length 40, but got a string with length 41 instead.",
        "maximum length 40",
    ),
    "long user": (
        put("user", "u" * 160),
        "Expected a string with maximum length 64, but got a string with length 160 instead.",
        "maximum length 64",
    ),
    "both limits": (
        several(put("max_tokens", 5), put("max_completion_tokens", 5)),
        "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        "at the same time",
    ),
    "limit too large": (
        put("max_tokens", 128_000),
        "max_tokens is too large: 128000. This model supports at most 64000 completion tokens",
        "too large",
    ),
    "stream options alone": (
        put("stream_options", {"include_usage": True}),
        "only allowed when 'stream' is enabled",
        "only allowed",
    ),
    "metadata alone": (
        put("metadata", {"a": "b"}),
        "The 'metadata' parameter is only allowed when 'store' is enabled.",
        "store",
    ),
    "effort on a plain model": (
        put("reasoning_effort", "low"),
        "Unrecognized request argument supplied: reasoning_effort",
        "reasoning_effort",
    ),
    "too long": (
        put("messages.1.content.0.text", "x " * 500_000),
        "This model's maximum context length is 200000 tokens.",
        "maximum context length",
    ),
}


@pytest.mark.parametrize("name", CHAT_REFUSES)
def test_chat_refuses(name: str) -> None:
    """Chat Completions says what is wrong, OpenAI's way and the strict vendor's way."""
    change, openai_words, strict_words = CHAT_REFUSES[name]
    assert openai_words in chat(change)
    assert strict_words in chat(change, "strict")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            put("max_tokens", 100),
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        ),
        (
            put("temperature", 0),
            "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
        ),
        (put("stop", ["x"]), "Unsupported parameter: 'stop' is not supported with this model."),
        (
            put("reasoning_effort", "high"),
            "Function tools with reasoning_effort are not supported for any in /v1/chat/completions. Please use /v1/responses instead.",
        ),
    ],
)
def test_reasoning_models_on_chat_refuse(change: Change, words: str) -> None:
    """OpenAI's reasoning models take fewer parameters."""
    assert words in chat(change, model=rows.GPT["gpt-5.6-sol"])


def test_deepseek_wants_its_reasoning_back() -> None:
    """Reasoning of turns with tools must come back; unknown fields are no matter."""
    assert chat(put("messages.2.thinking_blocks", []), "deepseek") == ""
    assert "The `reasoning_content` in the thinking mode must be passed back to the API." in chat(
        put("messages.2.-reasoning_content", None), "deepseek"
    )
    assert (
        chat(several(put("messages.2.-reasoning_content", None), put("thinking", {"type": "disabled"})), "deepseek")
        == ""
    )


@pytest.mark.parametrize("profile", [name for name, profile in PROFILES.items() if not profile.signs_calls])
@pytest.mark.parametrize(
    "change",
    [
        None,
        put("messages.2.-content", None),
        put("messages.2.content", None),
        put("max_tokens", 100),
        put("temperature", 0),
    ],
)
def test_chat_takes(change: Change | None, profile: str) -> None:
    """What no chat vendor minds."""
    assert chat(change, profile) == ""
