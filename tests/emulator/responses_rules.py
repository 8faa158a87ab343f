"""What the Responses API refuses, in its own words: parameters, tools, and the order and pairing of input items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.emulator import openai_words as words
from tests.emulator.models import Model
from tests.emulator.refusal import Refusal
from tests.emulator.seals import Seals
from tests.emulator.shape import Fields, fields
from tests.emulator.tokens import count

TOP = fields(
    "model",
    "background client_metadata context_management conversation include input instructions max_output_tokens max_tool_calls"
    " metadata parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_options prompt_cache_retention"
    " reasoning safety_identifier service_tier store stream stream_options temperature text tool_choice tools top_logprobs"
    " top_p truncation user moderation",
)
ITEMS: dict[str, Fields] = {
    "message": fields("type role content", "id status phase"),
    "function_call": fields("type call_id name arguments", "id status namespace caller async"),
    "function_call_output": fields("type call_id output", "id status caller name namespace"),
    "custom_tool_call": fields("type call_id name input", "id status namespace caller async"),
    "custom_tool_call_output": fields("type call_id output", "id status caller"),
    "reasoning": fields("type summary", "id content encrypted_content status"),
    "item_reference": fields("id", "type"),
    "web_search_call": fields("type", "id status action"),
    "local_shell_call": fields("type action", "id call_id status"),
    "local_shell_call_output": fields("type output", "id call_id status"),
    "tool_search_call": fields("type arguments", "id call_id execution status"),
    "tool_search_output": fields("type tools", "id call_id execution status"),
    "compaction": fields("type encrypted_content", "id"),
    "compaction_trigger": fields("type", "id"),
    "additional_tools": fields("type tools", "id role"),
    "configuration_update": fields("type", "id reasoning text"),
}
ID_STARTS = {"message": "msg", "function_call": "fc", "custom_tool_call": "ctc", "reasoning": "rs"}
PARTS: dict[str, Fields] = {
    "input_text": fields("type text", "prompt_cache_breakpoint"),
    "input_image": fields("type", "image_url file_id detail prompt_cache_breakpoint"),
    "input_file": fields("type", "file_id filename file_data file_url detail prompt_cache_breakpoint"),
    "output_text": fields("type text", "annotations logprobs"),
    "refusal": fields("type refusal"),
}
PASSTHROUGH = "internal_chat_message_metadata_passthrough"
"""A field that Codex adds to items when it talks to OpenAI itself."""
INPUT_PARTS = ("input_text", "input_image", "input_file")
TOOLS: dict[str, Fields] = {
    "function": fields("type name", "parameters strict description output_schema defer_loading allowed_callers async"),
    "custom": fields("type name", "description format defer_loading allowed_callers async"),
    "namespace": fields("type name tools", "description"),
    "web_search": fields("type", "external_web_access filters search_context_size search_content_types user_location"),
    "web_search_preview": fields("type", "search_content_types search_context_size user_location"),
    "tool_search": fields("type", "description execution parameters"),
    "file_search": fields("type vector_store_ids", "filters max_num_results ranking_options"),
    "code_interpreter": fields("type container", "allowed_callers"),
    "image_generation": fields("type", "model quality size background output_format partial_images"),
    "mcp": fields("type server_label", "server_url connector_id headers authorization require_approval allowed_tools"),
    "local_shell": fields("type"),
    "shell": fields("type", "environment allowed_callers"),
    "apply_patch": fields("type", "allowed_callers"),
}
INCLUDES = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
)
REASONING = fields("", "effort summary generate_summary context mode")
FORMATS = {
    "text": fields("type"),
    "json_object": fields("type"),
    "json_schema": fields("type name schema", "strict description"),
}
CALLS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}


@dataclass(slots=True)
class Stored:
    """What this emulated vendor keeps of answers it was allowed to store: items by response id."""

    responses: dict[str, list[Any]] = field(default_factory=dict)
    items: set[str] = field(default_factory=set)


@dataclass(slots=True, frozen=True)
class Context:
    """What the rules need beside the body."""

    models: Mapping[str, Model]
    seals: Seals
    stored: Stored


def check(body: Any, context: Context) -> Model:
    """The flags of the model asked for. Raises Refusal for the first thing the API would not accept."""
    if not isinstance(body, Mapping):
        raise Refusal("Invalid body: expected a JSON object.")
    words.shape("", body, TOP)
    model = context.models.get(body["model"])
    if model is None:
        raise Refusal(f"The requested model '{body['model']}' does not exist.", param="model", code="model_not_found")
    if not any(body.get(name) is not None for name in ("input", "previous_response_id", "prompt", "conversation")):
        raise Refusal(
            "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation' must be provided.",
            code="missing_required_parameter",
        )
    _settings(body, model)
    _tools(body)
    history = full_input(body, context.stored)
    _items(body.get("input"))
    _pairs(history)
    _reasoning(body, history, context)
    used = count(history) + count(body.get("tools") or [])
    if used > model.context:
        raise Refusal(
            "Your input exceeds the context window of this model. Please adjust your input and try again.",
            param="input",
            code="context_length_exceeded",
        )
    return model


def full_input(body: Mapping[str, Any], stored: Stored) -> list[Any]:
    """All items the model reads: those of the previous response first. Raises Refusal if that one is unknown."""
    before: list[Any] = []
    previous = body.get("previous_response_id")
    if previous is not None:
        if previous not in stored.responses:
            raise Refusal(
                f"Previous response with id '{previous}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        before = stored.responses[previous]
    given = body.get("input") or []
    if isinstance(given, str):
        given = [{"type": "message", "role": "user", "content": given}]
    if not isinstance(given, list):
        raise words.wrong_type("input", "one of a string or array of input items", given)
    return [*before, *given]


def _settings(body: Mapping[str, Any], model: Model) -> None:
    """Types, ranges and what this model does not take."""
    for name in ("temperature", "top_p", "top_logprobs"):
        if body.get(name) is not None and not model.sampling:
            raise Refusal(f"Unsupported parameter: '{name}' is not supported with this model.", param=name)
    heat = body.get("temperature")
    if heat is not None and heat < 0:
        raise Refusal(
            f"Invalid 'temperature': decimal below minimum value. Expected a value >= 0, but got {heat} instead.",
            param="temperature",
            code="decimal_below_min_value",
        )
    if heat is not None and heat > 2:
        raise Refusal(
            f"Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got {heat} instead.",
            param="temperature",
            code="decimal_above_max_value",
        )
    limit = body.get("max_output_tokens")
    if limit is not None and limit < 16:
        raise Refusal(
            f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got {limit} instead.",
            param="max_output_tokens",
            code="integer_below_min_value",
        )
    if limit is not None and limit > model.max_output:
        raise Refusal(
            f"Invalid 'max_output_tokens': integer above maximum value. Expected a value <= {model.max_output}, but got {limit} instead.",
            param="max_output_tokens",
            code="integer_above_max_value",
        )
    if body.get("instructions") is not None and not isinstance(body["instructions"], str):
        raise words.wrong_type("instructions", "a string", body["instructions"])
    for name in ("user", "safety_identifier", "prompt_cache_key"):
        if isinstance(body.get(name), str):
            words.too_long(name, body[name], 64)
    words.metadata(body.get("metadata"))
    for index, name in enumerate(body.get("include") or ()):
        if name not in INCLUDES:
            raise words.not_one_of(f"include[{index}]", name, INCLUDES)
    if body.get("stream_options") is not None and not body.get("stream"):
        raise Refusal(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    _reasoning_settings(body, model)
    form = (body.get("text") or {}).get("format")
    if form is not None:
        kind = form.get("type")
        if kind not in FORMATS:
            raise words.not_one_of("text.format.type", kind, FORMATS)
        words.shape("text.format", form, FORMATS[kind])


def _reasoning_settings(body: Mapping[str, Any], model: Model) -> None:
    reasoning = body.get("reasoning")
    if not model.always_thinks and "reasoning.encrypted_content" in (body.get("include") or ()):
        raise Refusal("Encrypted content is not supported with this model.", param="include")
    if reasoning is None:
        return
    words.shape("reasoning", reasoning, REASONING)
    for name in ("effort", "summary"):
        if reasoning.get(name) is not None and not model.efforts:
            raise Refusal(
                f"Unsupported parameter: 'reasoning.{name}' is not supported with this model.",
                param=f"reasoning.{name}",
                code="unsupported_parameter",
            )
    effort = reasoning.get("effort")
    if effort is not None and effort not in model.efforts:
        listed = ", ".join(f"'{name}'" for name in model.efforts)
        raise Refusal(
            f"Unsupported value: '{effort}' is not supported with the '{body['model']}' model. Supported values are: {listed}.",
            param="reasoning.effort",
            code="unsupported_value",
        )
    if reasoning.get("summary") not in (None, "auto", "concise", "detailed"):
        raise words.not_one_of("reasoning.summary", reasoning["summary"], ("auto", "concise", "detailed"))


def _tools(body: Mapping[str, Any]) -> None:
    tools = body.get("tools")
    for index, tool in enumerate(tools or ()):
        _tool(f"tools[{index}]", tool)
    choice = body.get("tool_choice")
    if choice is None:
        return
    names = {tool.get("name") for tool in tools or ()}
    if isinstance(choice, str):
        if choice not in ("none", "auto", "required"):
            raise words.not_one_of("tool_choice", choice, ("none", "auto", "required"))
        if choice == "required" and not tools:
            raise Refusal("Tool choice 'required' must be specified with 'tools' parameter.", param="tool_choice")
    elif choice.get("type") in ("function", "custom"):
        if "name" not in choice:
            raise words.missing("tool_choice.name")
        if choice["name"] not in names:
            raise Refusal(f"Tool choice '{choice['name']}' not found in 'tools' parameter.", param="tool_choice")


def _tool(path: str, tool: Any) -> None:
    kind = tool.get("type") if isinstance(tool, Mapping) else None
    if kind not in TOOLS:
        raise words.missing(f"{path}.type") if kind is None else words.not_one_of(f"{path}.type", kind, TOOLS)
    if "name" in TOOLS[kind].required and "name" not in tool:
        raise words.missing(f"{path}.name")
    words.shape(path, tool, TOOLS[kind])
    if "name" in tool:
        words.function_name(f"{path}.name", tool["name"])
    if kind == "function":
        words.function_schema(
            f"{path}.parameters", tool["name"], tool.get("parameters"), strict=bool(tool.get("strict"))
        )
    for index, inner in enumerate(tool["tools"] if kind == "namespace" else ()):
        _tool(f"{path}.tools[{index}]", inner)


def _items(given: Any) -> None:
    """Every item's fields, ids and parts, without regard to what comes before or after."""
    for index, item in enumerate(given if isinstance(given, list) else ()):
        path = f"input[{index}]"
        if not isinstance(item, Mapping):
            raise words.wrong_type(path, "an object", item)
        kind = item.get("type") or ("message" if "role" in item else "item_reference")
        if kind not in ITEMS:
            raise words.not_one_of(path, kind, ITEMS)
        words.shape(path, {"type": kind} | {key: item[key] for key in item if key != PASSTHROUGH}, ITEMS[kind])
        _ids(path, kind, item)
        match kind:
            case "message":
                _message(path, item)
            case "function_call":
                words.function_name(f"{path}.name", item["name"])
                if not isinstance(item["arguments"], str):
                    raise words.wrong_type(f"{path}.arguments", "a string", item["arguments"])
            case "function_call_output" | "custom_tool_call_output":
                _parts(f"{path}.output", item["output"], INPUT_PARTS)
            case "reasoning" if item.get("content"):
                raise Refusal(
                    f"Invalid '{path}.content': array too long. Expected an array with maximum length 0, but got an array with length {len(item['content'])} instead.",
                    param=f"{path}.content",
                    code="array_above_max_length",
                )


def _ids(path: str, kind: str, item: Mapping[str, Any]) -> None:
    for name in ("id", "call_id"):
        value = item.get(name)
        if value is not None:
            words.too_long(f"{path}.{name}", value, 64)
        if value == "":
            raise Refusal(
                f"Invalid '{path}.{name}': empty string. Expected a string with minimum length 1, but got an empty string instead.",
                param=f"{path}.{name}",
                code="empty_string",
            )
    start, given = ID_STARTS.get(kind, ""), item.get("id")
    if given is not None and not given.startswith(start):
        raise Refusal(
            f"Invalid '{path}.id': '{given}'. Expected an ID that begins with '{start}'.",
            param=f"{path}.id",
            code="invalid_value",
        )


def _message(path: str, item: Mapping[str, Any]) -> None:
    if item["role"] not in ("user", "system", "developer", "assistant"):
        raise words.not_one_of(f"{path}.role", item["role"], ("assistant", "system", "developer", "user"))
    _parts(
        f"{path}.content", item["content"], ("output_text", "refusal") if item["role"] == "assistant" else INPUT_PARTS
    )


def _parts(path: str, content: Any, allowed: tuple[str, ...]) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise words.wrong_type(path, "one of a string or array of content parts", content)
    for index, part in enumerate(content):
        where = f"{path}[{index}]"
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind not in allowed:
            raise words.not_one_of(where, kind, allowed)
        words.shape(where, part, PARTS[kind])
        if kind == "input_image" and part.get("image_url") is not None:
            words.data_url(f"{where}.image_url", part["image_url"])


def _pairs(history: list[Any]) -> None:
    """Every call answered later in the input, every answer after its call."""
    open_calls: dict[str, str] = {}
    closed: set[str] = set()
    for item in history:
        kind = item.get("type")
        if kind in CALLS:
            open_calls[item["call_id"]] = kind
        elif kind in CALLS.values():
            call_id, what = item["call_id"], kind.replace("_", " ").replace(" output", "")
            if call_id not in open_calls and call_id not in closed:
                raise Refusal(f"No tool call found for {what} output with call_id {call_id}.", param="input")
            closed.add(call_id)
            open_calls.pop(call_id, None)
    for call_id, kind in open_calls.items():
        raise Refusal(f"No tool output found for {kind.replace('_', ' ')} {call_id}.", param="input")


def _reasoning(body: Mapping[str, Any], history: list[Any], context: Context) -> None:
    """Reasoning and compaction items are this vendor's own, and reasoning is followed by what it led to."""
    for index, item in enumerate(history):
        if item.get("type") == "compaction" and (why := context.seals.decrypt(item["encrypted_content"])):
            raise Refusal(f"The compaction item could not be verified. Reason: {why}", code="invalid_encrypted_content")
        if item.get("type") == "compaction_trigger" and index + 1 < len(history):
            raise Refusal("A compaction_trigger must be the last input item.", param="input")
        if item.get("type") != "reasoning":
            continue
        item_id, sealed = item.get("id", ""), item.get("encrypted_content")
        if not sealed and item_id not in context.stored.items:
            raise Refusal(
                f"Item with id '{item_id}' not found. Items are not persisted when `store` is set to false. Try again with"
                " `store` set to true, or remove this item from your input.",
                404,
                param="input",
            )
        if sealed and (why := context.seals.decrypt(sealed, item_id)):
            raise Refusal(
                f"The encrypted content for item {item_id} could not be verified. Reason: {why}",
                code="invalid_encrypted_content",
            )
        after = next((other for other in history[index + 1 :] if other.get("type") != "reasoning"), {})
        follows = (
            after.get("type") in (*CALLS, "web_search_call", "local_shell_call", "tool_search_call")
            or after.get("role") == "assistant"
        )
        if not follows:
            raise Refusal(
                f"Item '{item_id}' of type 'reasoning' was provided without its required following item.", param="input"
            )


def arguments(text: str) -> Any:
    """Arguments as JSON, None where they are not."""
    try:
        return orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return None
