"""What Chat Completions refuses: parameters, messages by role, and tool calls answered one by one, right after they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.emulator import openai_words as words
from tests.emulator.chat_profiles import PARTS_BY_ROLE, ChatProfile
from tests.emulator.models import Model
from tests.emulator.refusal import Refusal
from tests.emulator.seals import Seals
from tests.emulator.shape import Fields, fields
from tests.emulator.tokens import count

TOOL = fields("type function")
FUNCTION = fields("name", "description parameters strict")
CUSTOM_TOOL = fields("type custom")
TOOL_CALL = fields("id type function")
CUSTOM_CALL = fields("id type custom")
SIGNED_CALL = fields("id type function", "extra_content")
UNSIGNED = "skip_thought_signature_validator"
"""What the vendor takes instead of a signature for a call that its model did not make."""
CALLED = fields("name arguments")
IMAGE_URL = fields("url", "detail")
STREAM_OPTIONS = fields("", "include_usage include_obfuscation")


@dataclass(slots=True, frozen=True)
class Context:
    """What the rules need beside the body."""

    profile: ChatProfile
    models: Mapping[str, Model]
    seals: Seals = field(default_factory=Seals)

    def shape(self, path: str, value: Any, known: Fields, role: str = "") -> None:
        """Unknown and missing keys of one object, in the vendor's words."""
        if not isinstance(value, Mapping):
            raise words.wrong_type(path, "an object", value)
        dot = f"{path}." if path else ""
        for key in () if self.profile.ignores_unknown else known.unknown(value):
            raise self.profile.unknown(dot + key, role)
        for key in known.missing(value):
            raise words.missing(dot + key)


def check(body: Any, context: Context) -> Model:
    """The flags of the model asked for. Raises Refusal for the first thing the vendor would not accept."""
    if not isinstance(body, Mapping):
        raise Refusal("We could not parse the JSON body of your request.")
    if not body.get("model"):
        raise Refusal("you must provide a model parameter")
    context.shape("", body, context.profile.top)
    model = context.models.get(body["model"])
    if model is None:
        raise Refusal(
            f"The model `{body['model']}` does not exist or you do not have access to it.", 404, code="model_not_found"
        )
    _settings(body, model, context)
    _tools(body, context)
    _messages(body, model, context)
    _pairs(body["messages"])
    if context.profile.wants_reasoning and (body.get("thinking") or {}).get("type") != "disabled":
        _reasoning_back(body["messages"])
    if context.profile.signs_calls:
        _signatures_back(body["messages"], context.seals)
    used = count(body["messages"]) + count(body.get("tools") or [])
    if used > model.context:
        raise Refusal(
            f"This model's maximum context length is {model.context} tokens. However, your messages resulted in {used} tokens."
            " Please reduce the length of the messages.",
            param="messages",
            code="context_length_exceeded",
        )
    return model


def _settings(body: Mapping[str, Any], model: Model, context: Context) -> None:
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        raise Refusal(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            param="max_tokens",
            code="invalid_parameter_combination",
        )
    if body.get("max_tokens") is not None and not model.legacy_max_tokens:
        raise Refusal(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    for name in ("max_tokens", "max_completion_tokens"):
        limit = body.get(name)
        if limit is not None and not 1 <= limit <= model.max_output:
            raise Refusal(
                f"{name} is too large: {limit}. This model supports at most {model.max_output} completion tokens, whereas you provided {limit}.",
                param=name,
                code="invalid_value",
            )
    for name, plain in (("temperature", 1), ("top_p", 1), ("presence_penalty", 0), ("frequency_penalty", 0)):
        if body.get(name) not in (None, plain) and not model.sampling:
            raise Refusal(
                f"Unsupported value: '{name}' does not support {body[name]} with this model. Only the default ({plain}) value is supported.",
                param=name,
                code="unsupported_value",
            )
    if body.get("temperature") is not None and not 0 <= body["temperature"] <= 2:
        raise Refusal(
            f"Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got {body['temperature']} instead.",
            param="temperature",
            code="decimal_above_max_value",
        )
    if body.get("stop") is not None and not model.sampling:
        raise Refusal(
            "Unsupported parameter: 'stop' is not supported with this model.",
            param="stop",
            code="unsupported_parameter",
        )
    _effort(body, model)
    for name in ("user", "safety_identifier", "prompt_cache_key"):
        if isinstance(body.get(name), str):
            words.too_long(name, body[name], 64)
    words.metadata(body.get("metadata"))
    if body.get("metadata") and not body.get("store"):
        raise Refusal("The 'metadata' parameter is only allowed when 'store' is enabled.", param="metadata")
    options = body.get("stream_options")
    if options is not None and not body.get("stream"):
        raise Refusal(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    if options is not None:
        context.shape("stream_options", options, STREAM_OPTIONS)
    if isinstance(body.get("stop"), list) and len(body["stop"]) > 4:
        raise Refusal(
            f"Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length {len(body['stop'])} instead.",
            param="stop",
            code="array_above_max_length",
        )
    form = body.get("response_format")
    if form is not None and form.get("type") not in ("text", "json_object", "json_schema"):
        raise words.not_one_of("response_format.type", form.get("type"), ("json_object", "json_schema", "text"))
    if form is not None and form["type"] == "json_schema" and "name" not in (form.get("json_schema") or {}):
        raise words.missing("response_format.json_schema.name")


def _effort(body: Mapping[str, Any], model: Model) -> None:
    effort = body.get("reasoning_effort")
    if effort is None:
        return
    if not model.efforts:
        raise Refusal("Unrecognized request argument supplied: reasoning_effort")
    if effort not in model.efforts:
        listed = ", ".join(f"'{name}'" for name in model.efforts)
        raise Refusal(
            f"Unsupported value: 'reasoning_effort' does not support '{effort}' with this model. Supported values are: {listed}.",
            param="reasoning_effort",
            code="unsupported_value",
        )
    if effort != "none" and body.get("tools") and not model.tools_with_effort_on_chat:
        raise Refusal(
            f"Function tools with reasoning_effort are not supported for {body['model']} in /v1/chat/completions. Please use /v1/responses instead.",
            param="reasoning_effort",
        )


def _tools(body: Mapping[str, Any], context: Context) -> None:
    tools = body.get("tools")
    if tools == []:
        raise words.empty_array("tools")
    for name in ("tool_choice", "parallel_tool_calls"):
        if body.get(name) is not None and not tools:
            raise Refusal(
                f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.", param=name
            )
    if tools is not None and len(tools) > 128:
        raise Refusal(
            f"Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length {len(tools)} instead.",
            param="tools",
            code="array_above_max_length",
        )
    names = []
    for index, tool in enumerate(tools or ()):
        path = f"tools[{index}]"
        if tool.get("type") == "custom" and context.profile.name == "openai":
            context.shape(path, tool, CUSTOM_TOOL)
            names.append(tool["custom"].get("name"))
            continue
        if tool.get("type") != "function":
            raise (
                words.missing(f"{path}.type")
                if "type" not in tool
                else words.not_one_of(f"{path}.type", tool["type"], ("function", "custom"))
            )
        context.shape(path, tool, TOOL)
        context.shape(f"{path}.function", tool["function"], FUNCTION)
        function = tool["function"]
        words.function_name(f"{path}.function.name", function["name"])
        words.function_schema(
            f"{path}.function.parameters",
            function["name"],
            function.get("parameters"),
            strict=bool(function.get("strict")),
        )
        names.append(function["name"])
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        raise words.not_one_of("tool_choice", choice, ("none", "auto", "required"))
    if (
        isinstance(choice, Mapping)
        and choice.get("type") == "function"
        and choice.get("function", {}).get("name") not in names
    ):
        raise Refusal("Invalid value for 'tool_choice': the specified function is not in 'tools'.", param="tool_choice")


def _messages(body: Mapping[str, Any], model: Model, context: Context) -> None:
    messages = body["messages"]
    if not isinstance(messages, list):
        raise words.wrong_type("messages", "an array of objects", messages)
    if not messages:
        raise words.empty_array("messages")
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in context.profile.messages:
            raise words.not_one_of(f"{path}.role", role, context.profile.messages)
        known = context.profile.messages[role]
        context.shape(path, message, known, role)
        if role == "assistant":
            _assistant(path, message, context)
        else:
            _content(f"{path}.content", message["content"], role, model, context)
        if role == "tool":
            words.too_long(f"{path}.tool_call_id", message["tool_call_id"], 40)


def _assistant(path: str, message: Mapping[str, Any], context: Context) -> None:
    calls = message.get("tool_calls")
    if calls == []:
        raise words.empty_array(f"{path}.tool_calls")
    content = message.get("content")
    if content is None and calls is None and not message.get("refusal") and not message.get("function_call"):
        raise Refusal("Invalid value for 'content': expected a string, got null.", param=f"{path}.content")
    if content is not None:
        _content(f"{path}.content", content, "assistant", None, context)
    for number, call in enumerate(calls or ()):
        where = f"{path}.tool_calls[{number}]"
        custom = isinstance(call, Mapping) and call.get("type") == "custom"
        context.shape(
            where,
            call,
            CUSTOM_CALL if custom else SIGNED_CALL if context.profile.signs_calls else TOOL_CALL,
            "assistant",
        )
        words.too_long(f"{where}.id", call["id"], 40)
        if custom:
            continue
        context.shape(f"{where}.function", call["function"], CALLED, "assistant")
        words.function_name(f"{where}.function.name", call["function"]["name"])
        if not isinstance(call["function"]["arguments"], str):
            raise words.wrong_type(f"{where}.function.arguments", "a string", call["function"]["arguments"])
        if context.profile.name == "strict":
            _json_arguments(where, call["function"]["arguments"])


def _json_arguments(path: str, text: str) -> None:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Refusal(
            f"'{path.replace('[', '.').replace(']', '')}.function.arguments' : value must be a valid JSON string"
        ) from None


def _content(path: str, content: Any, role: str, model: Model | None, context: Context) -> None:
    if isinstance(content, str):
        return
    if content is None:
        raise Refusal("Invalid value for 'content': expected a string, got null.", param=path)
    if not isinstance(content, list):
        raise words.wrong_type(path, "one of a string or array of objects", content)
    if not content:
        raise words.empty_array(path)
    for index, part in enumerate(content):
        where = f"{path}[{index}]"
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind not in context.profile.parts or kind not in PARTS_BY_ROLE[role]:
            raise words.not_one_of(
                f"{where}.type", kind, [p for p in PARTS_BY_ROLE[role] if p in context.profile.parts]
            )
        context.shape(where, part, context.profile.parts[kind], role)
        if kind == "image_url":
            if model is not None and not model.vision:
                raise Refusal("messages: image content is not supported with this model", param=where)
            context.shape(f"{where}.image_url", part["image_url"], IMAGE_URL, role)
            words.data_url(f"{where}.image_url.url", part["image_url"]["url"])


def _pairs(messages: list[Any]) -> None:
    """A message with tool calls is followed at once by one tool message for each, and tool messages stand nowhere else."""
    waiting: list[str] = []
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                raise Refusal(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
                    param=f"messages.[{index}].role",
                )
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            break
        waiting = [call["id"] for call in message.get("tool_calls") or ()]
        if len(set(waiting)) != len(waiting):
            raise Refusal("Duplicate value for 'tool_call_id'", param=f"messages.[{index}].tool_calls")
    if waiting:
        raise Refusal(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The"
            f" following tool_call_ids did not have response messages: {', '.join(waiting)}",
            param="messages",
        )


def _reasoning_back(messages: list[Any]) -> None:
    """Every assistant message that called tools still has its reasoning; an empty text does not count."""
    for message in messages:
        if message["role"] == "assistant" and message.get("tool_calls") and not message.get("reasoning_content"):
            raise Refusal("The `reasoning_content` in the thinking mode must be passed back to the API.")


def _signatures_back(messages: list[Any], seals: Seals) -> None:
    """No signature but the vendor's own; and since the user last spoke, the first call of each answer has one."""
    spoken = max((n for n, m in enumerate(messages) if m["role"] == "user"), default=-1)
    for index, message in enumerate(messages):
        for number, call in enumerate(message.get("tool_calls") or ()):
            held = (call.get("extra_content") or {}).get("google") or {}
            signature = held.get("thought_signature", "")
            if signature and signature != UNSIGNED and (why := seals.decrypt(signature)):
                raise Refusal(f"Corrupted thought signature. {why}")
            if not (signature or number) and index > spoken:
                name = call["function"]["name"]
                raise Refusal(
                    f"Function call is missing a thought_signature in functionCall parts. This is required for tools to work"
                    f" correctly. Function call `{name}`, position {index}."
                )
