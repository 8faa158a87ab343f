"""What the Messages API refuses, in its own words. One function per concern; the first problem found is the answer.

Order as observed on the real API: headers, shape of the body, the model and its settings, then the conversation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.emulator import anthropic_fields as f
from tests.emulator.anthropic_history import check_history, is_blank
from tests.emulator.models import Model
from tests.emulator.refusal import Refusal
from tests.emulator.seals import Seals
from tests.emulator.shape import Fields
from tests.emulator.tokens import count

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
DOCS = "https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
Body = Mapping[str, Any]


@dataclass(slots=True, frozen=True)
class Context:
    """What the rules need beside the body."""

    models: Mapping[str, Model]
    seals: Seals
    betas: frozenset[str] = frozenset()

    def beta(self, prefix: str) -> bool:
        """Whether a beta that starts so was asked for."""
        return any(beta.startswith(prefix) for beta in self.betas)


def betas(header: str) -> frozenset[str]:
    """The names in an `anthropic-beta` header. Raises Refusal for a name the API does not know."""
    names = [name.strip() for name in header.split(",") if name.strip()]
    if unknown := [name for name in names if name not in f.BETAS]:
        listed = ", ".join(f"`{name}`" for name in unknown)
        raise Refusal(
            f"Unexpected value(s) {listed} for the `anthropic-beta` header. Please consult our documentation at"
            " docs.anthropic.com or try again without the header."
        )
    return frozenset(names)


def check_headers(headers: Mapping[str, str], key: str) -> None:
    """Authentication and version. Raises Refusal."""
    bearer = headers.get("authorization", "")
    given = headers.get("x-api-key", "")
    if not given and not bearer:
        raise Refusal("x-api-key header is required", 401)
    if given and given != key:
        raise Refusal("invalid x-api-key", 401)
    if not given and bearer.removeprefix("Bearer ").strip() != key:
        raise Refusal("Invalid bearer token", 401)
    version = headers.get("anthropic-version")
    if version is None:
        raise Refusal("anthropic-version: header is required")
    if version not in f.VERSIONS:
        raise Refusal(f"anthropic-version: {version!r} is not a valid version")
    if "application/json" not in headers.get("content-type", "application/json"):
        raise Refusal("Content-Type must be application/json")


def check(body: Any, context: Context, *, counting: bool = False) -> Model:
    """The flags of the model asked for. Raises Refusal for the first thing the API would not accept."""
    if not isinstance(body, Mapping):
        raise Refusal("Request body must be a JSON object")
    _shape("", body, f.COUNT if counting else f.TOP, context, f.BETA_TOP)
    if not isinstance(body["model"], str) or not body["model"]:
        raise Refusal("model: String should have at least 1 character")
    _system(body, context)
    _tools(body, context)
    _settings(body)
    _messages(body, context)
    _cache(body)
    model = context.models.get(body["model"])
    if model is None:
        raise Refusal(f"model: {body['model']}", 404)
    _model(body, model, context, counting=counting)
    check_history(body, model, context.seals)
    _limits(body, model, counting=counting)
    return model


def _shape(where: str, value: Any, known: Fields, context: Context, beta: Mapping[str, str] | None = None) -> None:
    """Unknown and missing keys of one object, at a path such as `messages.0.content.1.text`."""
    dot = f"{where}." if where else ""
    if not isinstance(value, Mapping):
        raise Refusal(f"{where}: Input should be a valid dictionary or object to extract fields from")
    for key in known.missing(value):
        raise Refusal(f"{dot}{key}: Field required")
    for key in known.unknown(value):
        if beta is None or key not in beta or not context.beta(beta[key]):
            raise Refusal(f"{dot}{key}: Extra inputs are not permitted")


def _variant(where: str, value: Any, kinds: Mapping[str, Fields], context: Context) -> str:
    """The `type` of a tagged object, its fields checked."""
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind not in kinds:
        allowed = ", ".join(f"'{name}'" for name in sorted(kinds))
        raise Refusal(
            f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {allowed}"
        )
    _shape(f"{where}.{kind}", value, kinds[kind], context)
    return str(kind)


def _settings(body: Body) -> None:
    """Types and ranges that hold for every model."""
    limit = body.get("max_tokens")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)):
        raise Refusal("max_tokens: Input should be a valid integer")
    if limit is not None and limit < 1:
        raise Refusal("max_tokens: Input should be greater than or equal to 1")
    if "stream" in body and not isinstance(body["stream"], bool):
        raise Refusal("stream: Input should be a valid boolean")
    heat = body.get("temperature")
    if heat is not None and not (isinstance(heat, int | float) and 0 <= heat <= 1):
        raise Refusal("temperature: range: 0..1")
    metadata = body.get("metadata")
    if metadata is not None:
        _shape("metadata", metadata, f.METADATA, _PLAIN)
        if len(metadata.get("user_id") or "") > 256:
            raise Refusal("metadata.user_id: String should have at most 256 characters")
    for index, stop in enumerate(body.get("stop_sequences") or ()):
        if not stop.strip():
            raise Refusal(f"stop_sequences.{index}: each stop sequence must contain non-whitespace")


def _system(body: Body, context: Context) -> None:
    system = body.get("system")
    if system is None or isinstance(system, str):
        return
    if not isinstance(system, list):
        raise Refusal("system: Input should be a valid list")
    for index, block in enumerate(system):
        if not isinstance(block, Mapping) or block.get("type") != "text":
            raise Refusal(f"system.{index}.type: Input should be 'text'")
        _shape(f"system.{index}", block, f.BLOCKS["text"], context)
        if not block["text"]:
            raise Refusal("system: text content blocks must be non-empty")


def _tools(body: Body, context: Context) -> None:
    tools = body.get("tools")
    choice = body.get("tool_choice")
    if choice is not None:
        _variant("tool_choice", choice, f.TOOL_CHOICE, context)
        if not tools:
            raise Refusal("tool_choice: tool_choice may only be specified while providing tools.")
    if tools is None:
        return
    if not isinstance(tools, list):
        raise Refusal("tools: Input should be a valid list")
    for index, tool in enumerate(tools):
        _tool(f"tools.{index}", tool, context)
    names = [tool.get("name") for tool in tools if tool.get("name")]
    if len(set(names)) != len(names):
        raise Refusal("tools: Tool names must be unique.")
    if tools and all(tool.get("defer_loading") for tool in tools):
        raise Refusal("At least one tool must have defer_loading=false.")
    if choice is not None and choice["type"] == "tool" and choice["name"] not in names:
        raise Refusal(f"Tool '{choice['name']}' not found in provided tools")


def _tool(where: str, tool: Any, context: Context) -> None:
    kind = (tool.get("type") or "custom") if isinstance(tool, Mapping) else "custom"
    if kind != "custom":
        if not kind.startswith(f.SERVER_TOOL_KINDS):
            raise Refusal(f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags")
        if "toolset" not in kind:
            _shape(f"{where}.{kind}", tool, f.SERVER_TOOL, context)
        return
    _shape(f"{where}.custom", tool, f.CUSTOM_TOOL, context)
    if not isinstance(tool["name"], str) or not TOOL_NAME.fullmatch(tool["name"]):
        raise Refusal(f"{where}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    if "description" in tool and not isinstance(tool["description"], str):
        raise Refusal(f"{where}.custom.description: Input should be a valid string")
    schema = tool["input_schema"]
    if not isinstance(schema, Mapping) or "type" not in schema:
        raise Refusal(f"{where}.custom.input_schema.type: Field required")
    if schema["type"] != "object":
        raise Refusal(f"{where}.custom.input_schema.type: Input should be 'object'")
    if any(word in schema for word in ("oneOf", "allOf", "anyOf")):
        raise Refusal(
            f"{where}.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level"
        )


def _messages(body: Body, context: Context) -> None:
    """Every message's role, fields and blocks, without regard to what comes before or after."""
    messages = body["messages"]
    if not isinstance(messages, list):
        raise Refusal("messages: Input should be a valid list")
    if not messages:
        raise Refusal("messages: at least one message is required")
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in f.BY_ROLE:
            raise Refusal(f"{where}.role: Input should be 'user', 'assistant' or 'system'")
        for key in f.MESSAGE.unknown(message):
            needed = f.SYSTEM_MESSAGE_BETA.get(key, ()) if role == "system" else ()
            if not any(context.beta(prefix) for prefix in needed):
                raise Refusal(f"{where}.{key}: Extra inputs are not permitted")
        if "content" not in message:
            raise Refusal(f"{where}.content: Field required")
        last = index == len(messages) - 1
        if is_blank(message["content"]) and not (last and role == "assistant") and not message.get("output_config"):
            raise Refusal(
                f"{where}: all messages must have non-empty content except for the optional final assistant message"
            )
        if isinstance(message["content"], str):
            continue
        if not isinstance(message["content"], list):
            raise Refusal(f"{where}.content: Input should be a valid list")
        for number, block in enumerate(message["content"]):
            _block(f"{where}.content.{number}", block, f.BY_ROLE[role], context)


def _block(where: str, block: Any, allowed: frozenset[str], context: Context) -> None:
    """One content block: known, allowed here, well-formed, not empty."""
    kinds = f.BLOCKS | {name: known for name, (known, beta) in f.BETA_BLOCKS.items() if context.beta(beta)}
    kind = _variant(where, block, {name: known for name, known in kinds.items() if name in allowed}, context)
    at = f"{where}.{kind}"
    match kind:
        case "text":
            if not isinstance(block["text"], str):
                raise Refusal(f"{at}.text: Input should be a valid string")
            if not block["text"]:
                said = "cache_control cannot be set for empty text blocks" if "cache_control" in block else ""
                raise Refusal(f"{at}: {said}" if said else "messages: text content blocks must be non-empty")
            if not block["text"].strip():
                raise Refusal("messages: text content blocks must contain non-whitespace text")
        case "tool_use":
            _identifier(f"{at}.id", block["id"])
            if not isinstance(block["input"], Mapping):
                raise Refusal(f"{at}.input: Input should be a valid dictionary")
            if not isinstance(block["name"], str) or not re.fullmatch(r"[a-zA-Z0-9_-]{1,200}", block["name"]):
                raise Refusal(f"{at}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,200}}$'")
        case "tool_result":
            _identifier(f"{at}.tool_use_id", block["tool_use_id"])
            _result(at, block, context)
        case "image" | "document":
            _source(f"{at}.source", kind, block["source"], context)


def _identifier(where: str, value: Any) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", value):
        raise Refusal(f"{where}: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")


def _result(where: str, block: Body, context: Context) -> None:
    if "is_error" in block and not isinstance(block["is_error"], bool):
        raise Refusal(f"{where}.is_error: Input should be a valid boolean")
    content = block.get("content")
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise Refusal(f"{where}.content: Input should be a valid list")
    allowed = frozenset({"text", "image", "search_result", "document", "tool_reference"})
    for index, part in enumerate(content):
        if isinstance(part, Mapping) and "cache_control" in part:
            raise Refusal(
                f"{where}.content.{index}.cache_control: cache_control may not be specified within `tool_result.content`."
                " Instead, place it directly on `tool_result`"
            )
        _block(f"{where}.content.{index}", part, allowed, context)


def _source(where: str, kind: str, source: Any, context: Context) -> None:
    kinds = {
        name: known for name, known in f.SOURCES.items() if kind == "document" or name in ("base64", "url", "file")
    }
    tag = _variant(where, source, kinds, context)
    if tag == "base64" and kind == "image":
        if source["media_type"] not in f.IMAGE_TYPES:
            allowed = ", ".join(f"'{name}'" for name in f.IMAGE_TYPES)
            raise Refusal(f"{where}.base64.media_type: Input should be {allowed}")
        if source["data"].startswith("data:") or not re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", source["data"]):
            raise Refusal(f"{where}.base64: invalid base64 data")


def marks(body: Body) -> Iterator[tuple[str, Any]]:
    """(path, value) of every `cache_control`, in the order tools, system, messages."""
    for index, tool in enumerate(body.get("tools") or ()):
        if tool.get("cache_control"):
            yield f"tools.{index}", tool["cache_control"]
    system = body.get("system")
    for index, block in enumerate(system if isinstance(system, list) else ()):
        if block.get("cache_control"):
            yield f"system.{index}", block["cache_control"]
    for index, message in enumerate(body.get("messages") or ()):
        for number, block in enumerate(message["content"] if isinstance(message["content"], list) else ()):
            if block.get("cache_control"):
                yield f"messages.{index}.content.{number}", block["cache_control"]
    if body.get("cache_control"):
        yield "", body["cache_control"]


def _cache(body: Body) -> None:
    found = list(marks(body))
    for where, mark in found:
        dot = f"{where}." if where else ""
        _shape(f"{dot}cache_control", mark, f.CACHE_CONTROL, _PLAIN)
        if mark["type"] != "ephemeral":
            raise Refusal(f"{dot}cache_control.type: Input should be 'ephemeral'")
        if mark.get("ttl", "5m") not in ("5m", "1h"):
            raise Refusal(f"{dot}cache_control.ephemeral.ttl: Input should be '5m' or '1h'")
    if len(found) > 4:
        raise Refusal(f"A maximum of 4 blocks with cache_control may be provided. Found {len(found)}.")
    short = False
    for where, mark in found:
        if mark.get("ttl", "5m") == "1h" and short:
            raise Refusal(
                f"{where}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control"
                " block. Note that blocks are processed in the following order: `tools`, `system`, `messages`."
            )
        short = short or mark.get("ttl", "5m") == "5m"


def _model(body: Body, model: Model, context: Context, *, counting: bool) -> None:
    """Settings that this model does not take."""
    for name in ("temperature", "top_p", "top_k"):
        if body.get(name) is not None and not model.sampling:
            raise Refusal(f"`{name}` is deprecated for this model.")
    if model.sampling and body.get("temperature") is not None and body.get("top_p") is not None:
        raise Refusal("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    _thinking(body, model, context, counting=counting)
    config = body.get("output_config")
    if config is not None:
        _shape("output_config", config, f.OUTPUT_CONFIG, context, f.OUTPUT_CONFIG_BETA)
        effort = config.get("effort")
        if effort is not None and not model.efforts:
            raise Refusal("This model does not support the effort parameter.")
        if effort is not None and effort not in model.efforts:
            raise Refusal(
                f"This model does not support effort level '{effort}'. Supported levels: {', '.join(sorted(model.efforts))}."
            )
    if not model.prefill and body["messages"][-1]["role"] == "assistant":
        raise Refusal(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )


def _thinking(body: Body, model: Model, context: Context, *, counting: bool) -> None:
    thinking = body.get("thinking")
    forced = (body.get("tool_choice") or {}).get("type") in ("any", "tool")
    on = model.always_thinks
    if thinking is not None:
        if context.beta("thinking-binding-controls") and isinstance(thinking, Mapping):
            thinking = {key: value for key, value in thinking.items() if key != "block_binding"}
        kind = _variant("thinking", thinking, f.THINKING, context)
        on = kind != "disabled"
        if kind == "enabled" and kind not in model.thinking and model.thinking:
            raise Refusal(
                '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and'
                ' "output_config.effort" to control thinking behavior.'
            )
        if kind not in model.thinking:
            raise Refusal(
                f"{kind} thinking is not supported on this model"
                if on
                else f'"thinking.type.{kind}" is not supported for this model.'
            )
        shows = (
            ("summarized", "omitted", "updates")
            if context.beta("thinking-display-updates")
            else ("summarized", "omitted")
        )
        if thinking.get("display") not in (None, *shows):
            raise Refusal(f"thinking.{kind}.display: Input should be {' or '.join(repr(s) for s in shows)}")
        if kind == "enabled":
            _budget(body, thinking["budget_tokens"], context, counting=counting)
    if on and forced:
        raise Refusal("Thinking may not be enabled when tool_choice forces tool use.")
    if on and model.sampling and body.get("temperature") not in (None, 1):
        raise Refusal(
            "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode."
            f" Please consult our documentation at {DOCS}"
        )
    if forced and not model.forced_tool:
        raise Refusal("tool_choice: forced tool use is not supported on this model")


def _budget(body: Body, budget: Any, context: Context, *, counting: bool) -> None:
    if not isinstance(budget, int) or budget < 1024:
        raise Refusal("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if not counting and budget >= body["max_tokens"] and not context.beta("interleaved-thinking"):
        raise Refusal(
            f"`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at {DOCS}"
            "#max-tokens-and-context-window-size"
        )


def _limits(body: Body, model: Model, *, counting: bool) -> None:
    used = count(dict(body))
    if used > model.context:
        raise Refusal(f"prompt is too long: {used} tokens > {model.context} maximum")
    if counting:
        return
    if body["max_tokens"] > model.max_output:
        raise Refusal(
            f"max_tokens: {body['max_tokens']} > {model.max_output}, which is the maximum allowed number of output tokens for"
            f" {body['model']}"
        )
    if used + body["max_tokens"] > model.context and not model.always_thinks:
        raise Refusal(
            f"input length and `max_tokens` exceed context limit: {used} + {body['max_tokens']} > {model.context},"
            " decrease input length or `max_tokens` and try again"
        )


_PLAIN = Context({}, Seals())
