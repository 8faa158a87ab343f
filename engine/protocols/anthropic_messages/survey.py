"""One pass over a request's JSON: the numbers and codes that policies read before anything is decoded.

Everything odd inside a block is somebody else's business (the decoder's, or the provider's on the preserve path); only what
makes the whole no request of this protocol is an error. The pass touches every block once and copies no text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import re2

from engine.llm.envelope import is_ours
from engine.llm.errors import ClientError
from engine.llm.messages import JsonObject
from engine.llm.protocol import MAX_OUTCOMES, Survey, ToolOutcome
from engine.protocols.anthropic_messages.shapes import MESSAGE, SETTINGS
from engine.protocols.anthropic_messages.words import UNSEALED, field_losses
from engine.protocols.bounds import LONGEST_USER, MESSAGES_TIERS, PLAIN_EFFORTS, odd_stops
from engine.protocols.pairing import Pairing
from engine.protocols.unshared import block_loss, message_losses, tool_loss

_MAX_TOOL_NAMES = 64
_MAX_TEXT = 32768
_OLD_SESSION = re2.compile(r"_session_([0-9a-fA-F-]{36})$")
_COMPACTION = re2.compile(
    r"(?i)\b(?:create|write|provide|produce)\s+(?:a|an)\s+(?:\w+,?\s+){0,3}summary\s+of\s+(?:the|our|this)\s+conversation"
)
"""How Claude Code asks for a summary (2.1.330, run: its last text, behind the results of the last calls, says so in its first
kilobyte). A header tells nothing: the beta that comes with the call comes with others, too."""
_COMPACTION_HEAD = 4096
_INJECTED = "<system-reminder>"


def survey(body: JsonObject) -> Survey:
    """See `WireProtocol.survey`."""
    found = Survey()
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise ClientError("model: a model name is required", field="model")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ClientError("messages: a list of at least one message is required", field="messages")
    found.model = model
    found.stream = body.get("stream") is True
    _settings(found, body)
    _system(found, body.get("system"))
    _tools(found, body.get("tools"))
    _messages(found, messages)
    return found


def _settings(found: Survey, body: JsonObject) -> None:
    requires = found.requires
    for field, value in body.items():
        requires.update(field_losses(field, value))
    if (tier := body.get("service_tier")) is not None and tier not in MESSAGES_TIERS:
        requires.add("unknown_field")
    if (stops := body.get("stop_sequences")) and odd_stops(stops):
        requires.add("stop.form")
    if isinstance(limit := body.get("max_tokens"), int):
        found.max_output_tokens = max(limit, 0)
    if isinstance(temperature := body.get("temperature"), int | float):
        found.temperature = float(temperature)
    if "cache_control" in requires:
        found.cache_marks += 1
    _thinking(found, body.get("thinking"), body.get("output_config"), body.get("output_format"))
    _tool_choice(found, body.get("tool_choice"))
    _metadata(found, body.get("metadata"))
    if SETTINGS.strange(body):
        requires.add("unknown_field")


def _thinking(found: Survey, thinking: Any, config: Any, old_format: Any) -> None:
    if isinstance(thinking, dict):
        found.thinking = thinking.get("type") in ("enabled", "adaptive")
        if thinking.get("type") == "disabled":
            found.requires.add("thinking.off")
        if isinstance(budget := thinking.get("budget_tokens"), int):
            found.thinking_budget = budget
            found.requires.add("thinking.budget")
    output_format = old_format
    if isinstance(config, dict):
        if isinstance(effort := config.get("effort"), str) and effort:
            found.effort = effort
            plain = effort in PLAIN_EFFORTS and "thinking.off" not in found.requires
            found.requires |= {"effort"} if plain else {"effort", "effort.word"}
        output_format = config.get("format") or old_format
    if isinstance(output_format, dict):
        found.output_format = "json_schema"
        found.requires.add("output_format")


def _tool_choice(found: Survey, choice: Any) -> None:
    if not isinstance(choice, dict):
        return
    match choice.get("type"):
        case "any":
            found.tool_choice = "required"
            found.requires.add("forced_tool")
        case "tool":
            found.tool_choice = "tool"
            found.requires.add("forced_tool")
        case "none":
            found.tool_choice = "none"
    if choice.get("disable_parallel_tool_use") is not None:
        found.requires.add("parallel_tools")


def _metadata(found: Survey, metadata: Any) -> None:
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    if not isinstance(user, str) or not user:
        return
    found.user = user
    found.session = session_id(user)
    found.requires |= {"user", "user.long"} if len(user) > LONGEST_USER else {"user"}


def session_id(user: str) -> str:
    """The session that a client wrote into its user id: as a JSON member or as `…_session_<uuid>`; empty if none."""
    if user.startswith("{"):
        try:
            value = orjson.loads(user)
        except orjson.JSONDecodeError:
            return ""
        session = value.get("session_id")
        return session if isinstance(session, str) else ""
    match = _OLD_SESSION.search(user)
    return match.group(1) if match else ""


def _system(found: Survey, system: Any) -> None:
    if isinstance(system, str):
        found.system_bytes += len(system)
    elif isinstance(system, list):
        for block in system:
            if isinstance(block, dict):
                found.system_bytes += _length(block.get("text"))
                if block.get("cache_control"):
                    _mark(found)


def _tools(found: Survey, tools: Any) -> None:
    if not isinstance(tools, list):
        return
    requires = found.requires
    names: list[str] = []
    for tool in tools:
        if not isinstance(tool, dict):
            continue
        kind = tool.get("type")
        name = tool.get("name")
        if isinstance(name, str) and len(names) < _MAX_TOOL_NAMES:
            names.append(name)
        if tool.get("cache_control"):
            _mark(found)
        if tool.get("defer_loading"):
            requires.add("tool_search")
        if kind is None or kind == "custom":
            found.tools += 1
        else:
            _special_tool(found, str(kind))
    found.tool_names = tuple(names)
    if len(set(names)) < len(names):
        requires.add("tool.repeated")


_CLIENT_RUN = ("bash_", "text_editor_", "computer_", "memory_")
"""Tools of the vendor's own design that the client runs: no schema is sent, so only this protocol can offer them."""


def _special_tool(found: Survey, kind: str) -> None:
    if kind.startswith(_CLIENT_RUN):
        found.tools += 1
        found.requires.add("server_tool")
        return
    found.server_tools += 1
    found.requires.add(tool_loss(kind))


def _messages(found: Survey, messages: list[Any]) -> None:
    requires = found.requires
    found.messages = len(messages)
    turns = 0
    newest = 0
    role: Any = ""
    pairs = Pairing()
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(role := message.get("role"), str):
            raise ClientError(f"messages.{index}: a role is required", field=f"messages[{index}].role")
        if role == "assistant":
            turns += 1
            newest = index + 1
            pairs.assistant()
        elif role == "system":
            requires.add("system.mid")
            pairs.other()
        if len(message) > 2:
            requires |= message_losses(message)
        content = message.get("content")
        if isinstance(content, list):
            if MESSAGE.strange(message):
                requires.add("unknown_field")
            for block in content:
                if isinstance(block, dict):
                    if (kind := block.get("type")) != "text":
                        (_BLOCKS.get(str(kind)) or _other)(found, block)
                        if kind == "tool_use":
                            pairs.call(block.get("id"))
                        elif kind == "tool_result":
                            pairs.result(block.get("tool_use_id"))
                            continue
                    elif len(block) > 2:
                        _marked_text(found, block)
                    if role == "user":
                        pairs.other()
        elif role == "user":
            pairs.other()
        if role == "system":
            found.system_bytes += _text_length(content)
    requires |= pairs.end()
    found.turns = turns
    if role == "assistant":
        requires.add("prefill")
    _newest_turn(found, messages[newest:], messages[newest - 1] if newest else {})
    found.last_role = "tool" if found.tool_results else role
    found.newest_user_text = newest_user_text(messages)
    found.compaction = turns > 0 and _is_compaction(messages[-1])


def _newest_turn(found: Survey, messages: list[JsonObject], answer: JsonObject) -> None:
    """What came with the newest turn; `answer` is the assistant's message before it, whose calls the results name."""
    names: dict[Any, str] | None = None
    for message in messages:
        content = message.get("content")
        if not isinstance(content, list) or message["role"] != "user":
            continue
        for block in content:
            if isinstance(block, dict) and block.get("type") == "tool_result":
                found.tool_results += 1
                failed = block.get("is_error") is True
                found.tool_errors += failed
                if len(found.results) < MAX_OUTCOMES:
                    names = _called(answer) if names is None else names
                    tool_id = block.get("tool_use_id")
                    name = names.get(tool_id, "") if isinstance(tool_id, str) else ""
                    found.results.append(ToolOutcome(name, not failed))


def _called(answer: JsonObject) -> dict[Any, str]:
    """Id → name of the tools that an assistant's message calls."""
    content = answer.get("content")
    return {
        block["id"]: name
        for block in (content if isinstance(content, list) else ())
        if isinstance(block, dict) and isinstance(block.get("id"), str) and isinstance(name := block.get("name"), str)
    }


def newest_user_text(messages: list[JsonObject]) -> str:
    """What the user wrote last, without what clients inject around it; at most 32,768 characters, empty if nothing."""
    for message in reversed(messages):
        if message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str):
            texts = [content]
        else:
            blocks = content if isinstance(content, list) else ()
            texts = [b["text"] for b in blocks if isinstance(b, dict) and isinstance(b.get("text"), str)]
        texts = [text for text in texts if text and not text.startswith(_INJECTED)]
        if texts:
            return texts[0][:_MAX_TEXT] if len(texts) == 1 else "\n".join(texts)[:_MAX_TEXT]
    return ""


def _is_compaction(last: JsonObject) -> bool:
    """A coding agent's summary request is its last user message's last text and says so in its first lines."""
    if last.get("role") != "user":
        return False
    content = last.get("content")
    if isinstance(content, list) and content and isinstance(content[-1], dict):
        content = content[-1].get("text")
    return isinstance(content, str) and _COMPACTION.search(content[:_COMPACTION_HEAD]) is not None


def _mark(found: Survey) -> None:
    found.cache_marks += 1
    found.requires.add("cache_control")


def _marked_text(found: Survey, block: JsonObject) -> None:
    if block.get("cache_control"):
        _mark(found)
    if block.get("citations"):
        found.requires.add("citations")


def _media(found: Survey, block: JsonObject) -> None:
    source = block.get("source")
    if isinstance(source, dict):
        found.media_bytes += _length(source.get("data"))
        if source.get("type") == "file":
            found.requires.add("container")
    if block.get("cache_control"):
        _mark(found)


def _image(found: Survey, block: JsonObject) -> None:
    found.images += 1
    found.requires.add("image")
    _media(found, block)


def _document(found: Survey, block: JsonObject) -> None:
    found.documents += 1
    found.requires.add("document")
    citations = block.get("citations")
    if isinstance(citations, dict) and citations.get("enabled"):
        found.requires.add("citations")
    _media(found, block)


def _tool_use(found: Survey, block: JsonObject) -> None:
    found.tool_calls += 1
    if block.get("cache_control"):
        _mark(found)


def _tool_result(found: Survey, block: JsonObject) -> None:
    if block.get("is_error") is True:
        found.requires.add("tool_result.error")
    if block.get("cache_control"):
        _mark(found)
    content = block.get("content")
    if not isinstance(content, list):
        return
    for part in content:
        if isinstance(part, dict) and (kind := part.get("type")) != "text":
            if kind == "image":
                found.requires.add("image.tool_result")
            (_BLOCKS.get(str(kind)) or _other)(found, part)


def _thinking_block(found: Survey, block: JsonObject) -> None:
    state = block.get("signature") or block.get("data")
    if isinstance(state, str) and state != UNSEALED:
        found.sealed.append(state)
        if is_ours(state):
            return  # whether it can go back is known by its maker
    found.requires.add("thinking.signature")


def _compacted(found: Survey, block: JsonObject) -> None:
    """Readable text is carried as text; a compaction that failed has none and stands for nothing."""
    if block.get("encrypted_content") and not block.get("content"):
        found.requires.add(block_loss("compaction"))


def _other(found: Survey, block: JsonObject) -> None:
    found.requires.add(block_loss(str(block.get("type"))))


_BLOCKS: dict[str, Callable[[Survey, JsonObject], None]] = {
    "image": _image,
    "document": _document,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "thinking": _thinking_block,
    "redacted_thinking": _thinking_block,
    "compaction": _compacted,
}


def _length(text: Any) -> int:
    return len(text) if isinstance(text, str) else 0


def _text_length(content: Any) -> int:
    if isinstance(content, list):
        return sum(_length(block.get("text")) for block in content if isinstance(block, dict))
    return _length(content)
