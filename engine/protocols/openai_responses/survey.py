"""One cheap pass over a request: what the facts of a policy are made of.

Nothing is decoded or copied but the newest user text. Only what can't be a request is refused; odd fields are a provider's
business. Sizes are in characters, which for the mostly ASCII text of agents is as good as bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from engine.llm.envelope import is_ours
from engine.llm.errors import ClientError
from engine.llm.messages import JsonObject
from engine.llm.protocol import MAX_OUTCOMES, Survey, ToolOutcome
from engine.llm.returning import COMPACTION, SUMMARY
from engine.protocols.bounds import LONGEST_USER, PLAIN_EFFORTS, PLAIN_TIERS, out_of_range
from engine.protocols.compaction import ITEM, TRIGGER
from engine.protocols.openai_responses.reasoning import OWN_ID
from engine.protocols.openai_responses.shapes import SETTINGS, strange
from engine.protocols.openai_responses.words import field_losses, made_by_model, text
from engine.protocols.pairing import Pairing
from engine.protocols.unshared import block_loss, message_losses, tool_loss

_MAX_NAMES = 64
_MAX_TEXT = 32768
_INJECTED = ("<environment_context>", "<user_instructions>", "<skills_instructions>", "<system-reminder>")
"""How text begins that an agent, not its user, put into a user message."""


def survey(body: JsonObject) -> Survey:
    """See `WireProtocol.survey`."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise ClientError("model must be a non-empty string", field="model")
    found = Survey(model=model, stream=body.get("stream") is True)
    _fields(found, body)
    names: list[str] = []
    _tools(found, body.get("tools"), names)
    _choice(found, body.get("tool_choice"))
    _metadata(found, body)
    given = body.get("input")
    if isinstance(given, str):
        found.messages, found.last_role, found.newest_user_text = 1, "user", given[:_MAX_TEXT]
    elif isinstance(given, list) and given:
        _items(found, given, names)
    elif not (body.get("prompt") or body.get("previous_response_id") or body.get("conversation")):
        raise ClientError("input must be a string or a non-empty list of items", field="input")
    found.tool_names = tuple(names[:_MAX_NAMES])
    return found


def _fields(found: Survey, body: JsonObject) -> None:
    requires = found.requires
    for name, value in body.items():
        requires.update(field_losses(name, value))
    if body.get("parallel_tool_calls") is False:
        requires.add("parallel_tools")
    if isinstance(limit := body.get("max_output_tokens"), int):
        found.max_output_tokens = limit
    if isinstance(temperature := body.get("temperature"), int | float):
        found.temperature = float(temperature)
    if isinstance(instructions := body.get("instructions"), str):
        found.system_bytes = len(instructions)
    found.previous_response = "previous_response" in requires
    found.stored = body.get("store") is not False
    if isinstance(reasoning := body.get("reasoning"), dict) and isinstance(effort := reasoning.get("effort"), str):
        found.effort = effort
        found.thinking = effort not in ("", "none")
        requires.update(("effort",) if effort in PLAIN_EFFORTS else ("effort", "effort.word"))
        requires.update(("thinking.off",) if effort == "none" else ())
    wanted = said.get("format") if isinstance(said := body.get("text"), dict) else None
    if isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema"):
        found.output_format = wanted["type"]
        requires.add("output_format" if wanted["type"] == "json_schema" else "output_format.json")
    if (tier := body.get("service_tier")) is not None and tier not in PLAIN_TIERS:
        requires.add("service_tier")
    if SETTINGS.strange(body):
        requires.add("unknown_field")
    if out_of_range(body, thinking=found.thinking):
        requires.add("sampling.range")
    found.user = str(body.get("user") or body.get("safety_identifier") or "")
    if len(found.user) > LONGEST_USER:
        requires.add("user.long")


def _metadata(found: Survey, body: JsonObject) -> None:
    """Session and kind of call: an agent's own session id first, since side calls have cache keys of their own."""
    metadata = body.get("client_metadata")
    turn = metadata.get("x-codex-turn-metadata") if isinstance(metadata, dict) else None
    if isinstance(turn, str) and '"compaction"' in turn:
        try:
            parsed = orjson.loads(turn)
        except orjson.JSONDecodeError:
            parsed = None
        found.compaction = isinstance(parsed, dict) and parsed.get("request_kind") == "compaction"
    session = metadata.get("session_id") if isinstance(metadata, dict) else None
    found.session = str(session or body.get("prompt_cache_key") or "")


def _tools(found: Survey, tools: Any, names: list[str], *, nested: bool = False) -> None:
    requires = found.requires
    seen: set[str] = set()
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict):
            continue
        kind = tool.get("type", "function")
        if kind == "namespace":
            requires.add("namespace")
            if not nested:
                _tools(found, tool.get("tools"), names, nested=True)
            continue
        if kind in ("function", "custom"):
            found.tools += 1
            inner = tool.get("function")  # the Chat form, which lenient servers take
            name = str(tool.get("name") or (inner.get("name") if isinstance(inner, dict) else "") or "")
            names.append(name)
            if name in seen:
                requires.add("tool.repeated")
            seen.add(name)
            if kind == "custom":
                requires.add("custom_tool")
            if tool.get("defer_loading"):
                requires.add("tool_search")
        else:
            found.server_tools += 1
            requires.add(tool_loss(str(kind)))
            if kind == "mcp":
                requires.add("server_tool")  # the provider runs what the server offers


def _choice(found: Survey, choice: Any) -> None:
    mode = choice
    if isinstance(choice, dict):
        mode = choice.get("mode", "auto") if choice.get("type") == "allowed_tools" else "tool"
    if mode in ("none", "required", "tool"):
        found.tool_choice = mode
        if mode != "none":
            found.requires.add("forced_tool")


def _items(found: Survey, items: list[Any], names: list[str]) -> None:
    requires = found.requires
    speaker = ""
    called: dict[str, str] = {}
    pairs = Pairing()
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise ClientError("an input item must be an object", field=f"input[{index}]")
        kind = item.get("type") or "message"
        before = speaker
        if strange(item):
            requires.add("unknown_field")
        if kind == "message":
            requires |= message_losses(item)
            speaker = item.get("role", "")
            if speaker == "assistant":
                pairs.assistant()
                if isinstance(content := item.get("content"), list):
                    _said(found, content)
            elif speaker == "user":
                pairs.other()
                if isinstance(content := item.get("content"), list):
                    _parts(found, content)
                before = ""  # two user messages in a row are two messages
            else:
                pairs.other()
                speaker, before = _system(found, item, index, before), ""
        elif kind in ("function_call_output", "custom_tool_call_output"):
            speaker = "tool"
            pairs.result(item.get("call_id"))
            found.tool_results += 1
            if len(found.results) < MAX_OUTCOMES:
                call_id = item.get("call_id")
                found.results.append(ToolOutcome(called.get(call_id, "") if isinstance(call_id, str) else "", None))
            if isinstance(output := item.get("output"), list):
                _parts(found, output, result=True)
        elif kind in ("function_call", "custom_tool_call"):
            speaker = "assistant"
            pairs.call(item.get("call_id"))
            found.tool_calls += 1
            if isinstance(call_id := item.get("call_id"), str) and isinstance(name := item.get("name"), str):
                called[call_id] = name
            if kind == "custom_tool_call":
                requires.add("custom_tool")
        elif kind == "reasoning":
            speaker = "assistant"
            pairs.assistant()
            _sealed(found, item)
        else:
            speaker = _special(found, item, str(kind), names) or speaker
        if speaker != before:
            found.messages += 1
            if speaker == "assistant":
                found.turns += 1
                found.tool_results = 0
                found.results.clear()
    requires |= pairs.end()
    _ending(found, items, speaker)


def _sealed(found: Survey, item: JsonObject) -> None:
    """State by which it is known whose reasoning this is: the sealed content, else the id under which a provider keeps it."""
    state = item.get("encrypted_content") or item.get("id")
    if isinstance(state, str) and not state.startswith(OWN_ID):
        found.sealed.append(state)
        if is_ours(state):
            return  # whether it can go back is known by its maker
    found.requires.add("thinking.signature")


def _ending(found: Survey, items: list[JsonObject], speaker: str) -> None:
    found.last_role = "tool" if found.tool_results else speaker
    if speaker == "assistant":
        found.requires.add("prefill")
    if items[-1].get("type") == "compaction_trigger":
        found.compaction = True
    for item in reversed(items):
        if item.get("role") == "user" and _telling(content := item.get("content")):
            found.newest_user_text = _text_of(content)
            break


def _system(found: Survey, item: JsonObject, index: int, before: str) -> str:
    role = item.get("role")
    if role not in ("system", "developer"):
        raise ClientError(
            "an input message needs a role: user, assistant, system or developer", field=f"input[{index}].role"
        )
    content = item.get("content")
    if isinstance(content, str):
        found.system_bytes += len(content)
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict):
                found.system_bytes += _length(part.get("text"))
    if before not in ("", "system"):
        found.requires.add("system.mid")
    return "system"


def _special(found: Survey, item: JsonObject, kind: str, names: list[str]) -> str:
    """Items that only this protocol has; the speaker, empty when nobody speaks."""
    if kind == "additional_tools":
        _tools(found, item.get("tools"), names)
        return ""
    if kind == "configuration_update":
        found.requires |= {"effort", "effort.word"}
        return ""
    if kind == ITEM:
        _compacted(found, item.get("encrypted_content"))
        return "user"
    found.requires.add(SUMMARY if kind == TRIGGER else block_loss(kind))
    if made_by_model(kind):
        return "assistant"
    return "tool" if kind.endswith("_output") else "user"


def _compacted(found: Survey, state: Any) -> None:
    if isinstance(state, str):
        found.compacted.append(state)
        if is_ours(state):
            return  # whether it can be read is known by its maker
    found.requires.add(COMPACTION)


_PART_CODES: Mapping[Any, str] = {"input_image": "image", "input_file": "document", "input_audio": "audio"}
_PLAIN_PARTS = frozenset({"input_text", "output_text", "refusal", "text", "summary_text", "reasoning_text"})


def _parts(found: Survey, parts: list[Any], *, result: bool = False) -> None:
    for part in parts:
        if not isinstance(part, dict):
            continue
        kind = text(part.get("type"))
        if "prompt_cache_breakpoint" in part:
            found.cache_marks += 1
            found.requires.add("cache_control")
        if kind in _PLAIN_PARTS:
            continue
        found.requires.add(_PART_CODES.get(kind, "unknown_block"))
        if kind == "input_image":
            found.images += 1
            if part.get("detail") not in (None, "auto"):
                found.requires.add("image.detail")
            found.media_bytes += _length(part.get("image_url"))
            if result:
                found.requires.add("image.tool_result")
        elif kind == "input_file":
            found.documents += 1
            found.media_bytes += _length(part.get("file_data"))
        if part.get("file_id"):
            found.requires.add("container")


def _said(found: Survey, parts: list[Any]) -> None:
    for part in parts:
        if isinstance(part, dict) and part.get("annotations"):
            found.requires.add("annotations")


def _telling(content: Any) -> bool:
    """Whether the user wrote this, not the agent for it."""
    if isinstance(content, list):
        content = next((p.get("text") for p in content if isinstance(p, dict) and p.get("text")), "")
    return isinstance(content, str) and bool(content) and not content.startswith(_INJECTED)


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content[:_MAX_TEXT]
    texts = [p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str)]
    return (texts[0] if len(texts) == 1 else "\n".join(texts))[:_MAX_TEXT]


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else 0
