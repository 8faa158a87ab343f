"""One cheap pass over a Chat Completions request: what the facts of a policy are made of.

Nothing is decoded or copied except the newest user text. Only what cannot be a request at all is refused; a field of an
odd type is a provider's business.
"""

from __future__ import annotations

from typing import Any

from engine.llm.envelope import is_ours
from engine.llm.errors import ClientError
from engine.llm.messages import JsonObject
from engine.llm.protocol import MAX_OUTCOMES, Survey, ToolOutcome
from engine.protocols.bounds import LONGEST_USER, PLAIN_EFFORTS, PLAIN_TIERS, odd_stops, out_of_range
from engine.protocols.openai_chat.fields import field_losses
from engine.protocols.openai_chat.parts import entries
from engine.protocols.openai_chat.reasoning import states
from engine.protocols.openai_chat.shapes import SETTINGS, strange
from engine.protocols.pairing import Pairing
from engine.protocols.unshared import message_losses, tool_loss

_MAX_NAMES = 64
_REASONING = ("reasoning_content", "reasoning", "reasoning_details")


def survey(body: JsonObject) -> Survey:
    """The request's measures and needs. Raises ClientError when model or messages are missing or of the wrong kind."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise ClientError("model must be a non-empty string", field="model")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ClientError("messages must be a non-empty list", field="messages")
    found = Survey(model=model, stream=body.get("stream") is True, messages=len(messages))
    _parameters(body, found)
    _tools(body, found)
    _messages(messages, found)
    return found


def _parameters(body: JsonObject, found: Survey) -> None:
    requires = found.requires
    for name, value in body.items():
        requires.update(field_losses(name, value))
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if isinstance(limit, int):
        found.max_output_tokens = limit
    temperature = body.get("temperature")
    if isinstance(temperature, int | float):
        found.temperature = float(temperature)
    wanted = body.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema"):
        found.output_format = wanted["type"]
        requires.add("output_format" if wanted["type"] == "json_schema" else "output_format.json")
    if (stops := body.get("stop")) and odd_stops(stops):
        requires.add("stop.form")
    if (tier := body.get("service_tier")) is not None and tier not in PLAIN_TIERS:
        requires.add("service_tier")
    found.stored = body.get("store") is True
    if isinstance(key := body.get("prompt_cache_key"), str):
        found.session = key
    user = body.get("user") or body.get("safety_identifier")
    if isinstance(user, str):
        found.user = user
        requires.update(("user.long",) if len(user) > LONGEST_USER else ())
    _reasoning(body, found)
    if SETTINGS.strange(body):
        requires.add("unknown_field")
    if out_of_range(body, thinking=found.thinking):
        requires.add("sampling.range")


def _reasoning(body: JsonObject, found: Survey) -> None:
    effort = body.get("reasoning_effort")
    asked = body.get("reasoning")
    switch = body.get("thinking")
    if isinstance(asked, dict):
        effort = effort or asked.get("effort")
        if isinstance(budget := asked.get("max_tokens"), int):
            found.thinking_budget = budget
            found.requires.add("thinking.budget")
        found.thinking = bool(asked.get("enabled")) or found.thinking_budget > 0
    if isinstance(effort, str):
        found.effort = effort
        found.thinking = effort not in {"", "none"}
        found.requires.update(("effort.word",) if effort not in PLAIN_EFFORTS else ())
    if isinstance(switch, dict) and "type" in switch:
        found.thinking = switch["type"] != "disabled"
    if (
        effort == "none"
        or (isinstance(switch, dict) and switch.get("type") == "disabled")
        or (isinstance(asked, dict) and asked.get("enabled") is False)
    ):
        found.requires.add("thinking.off")


def _tools(body: JsonObject, found: Survey) -> None:
    names: list[str] = []
    for tool in entries(body.get("tools")):
        kind = tool.get("type", "function")
        described = tool.get(kind) if kind in ("function", "custom") else None
        if described is None and kind != "function":
            found.server_tools += 1
            found.requires.add(tool_loss(str(kind)))
            continue
        if kind == "custom":
            found.requires.add("custom_tool")
        if "cache_control" in tool:
            _mark(found)
        names.append(str((described if isinstance(described, dict) else tool).get("name", "")))
    names += [str(f.get("name", "")) for f in entries(body.get("functions"))]
    found.tools = len(names)
    found.tool_names = tuple(names[:_MAX_NAMES])
    if len(set(names)) < len(names):
        found.requires.add("tool.repeated")
    choice = body.get("tool_choice") or body.get("function_call") or "auto"
    if isinstance(choice, dict):
        allowed = choice.get("allowed_tools")
        found.tool_choice = str(allowed.get("mode", "auto")) if isinstance(allowed, dict) else "tool"
    else:
        found.tool_choice = "required" if choice == "any" else str(choice)
    if found.tool_choice in {"required", "tool"}:
        found.requires.add("forced_tool")


def _messages(messages: list[Any], found: Survey) -> None:
    requires = found.requires
    newest: Any = None
    talking = False
    role: Any = ""
    message: Any = {}
    asked: JsonObject = {}
    pairs = Pairing()
    for position, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str):
            raise ClientError("a message must be an object with a role", field=f"messages[{position}]")
        content = message.get("content")
        _beside(message, role, requires)
        if role in {"tool", "function"}:
            found.tool_results += 1
            if call_id := message.get("tool_call_id"):
                pairs.result(call_id)
            else:
                pairs.next_result()
            if len(found.results) < MAX_OUTCOMES:
                found.results.append(ToolOutcome(_tool(message, asked), None))
            if isinstance(content, list):
                _parts(content, found, "image.tool_result")
        elif role == "assistant":
            found.turns += 1
            found.tool_results = 0
            found.results.clear()
            asked = message
            pairs.assistant()
            for call in entries(message.get("tool_calls")):
                pairs.call(call.get("id"))
            if calls := message.get("tool_calls"):
                found.tool_calls += len(calls) if isinstance(calls, list) else 0
            elif message.get("function_call"):
                found.tool_calls += 1
                pairs.call(None)
            _thinking(message, found)
            if isinstance(content, list):
                _parts(content, found, "image")
        elif role == "user":
            newest = content
            pairs.other()
            if isinstance(content, list):
                _parts(content, found, "image")
        else:
            pairs.other()
            if talking:
                requires.add("system.mid")
            found.system_bytes += _size(content)
            if isinstance(content, list):
                _parts(content, found, "image")
            continue
        talking = True
    requires |= pairs.end()
    found.last_role = {"function": "tool", "developer": "system"}.get(role, role)
    if role == "assistant" and not message.get("tool_calls"):
        requires.add("prefill")
    found.newest_user_text = _text(newest)


def _beside(message: JsonObject, role: str, requires: set[str]) -> None:
    """What stands beside a message's content, and what nobody here knows in it."""
    if strange(message):
        requires.add("unknown_field")
    if len(message) > 2 and role not in {"tool", "function"}:
        requires |= message_losses(message)


def _tool(result: JsonObject, asked: JsonObject) -> str:
    """The name of the tool that a result is of, empty if none of the calls in `asked` has its id."""
    if isinstance(name := result.get("name"), str):
        return name
    calls = asked.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict) and call.get("id") == result.get("tool_call_id"):
            below = call.get("function") or call.get("custom")
            name = below.get("name") if isinstance(below, dict) else None
            return name if isinstance(name, str) else ""
    return ""


def _thinking(message: JsonObject, found: Survey) -> None:
    sealed = states(message)
    found.sealed += sealed
    if sealed and all(map(is_ours, sealed)):
        return  # whether it can go back is known by its maker
    if sealed or any(message.get(name) for name in _REASONING):
        found.requires.add("thinking.signature")


def _parts(content: list[Any], found: Survey, image: str) -> None:
    for part in content:
        if not isinstance(part, dict):
            continue
        if "cache_control" in part or "prompt_cache_breakpoint" in part:
            _mark(found)
        match part.get("type"):
            case "text" | "refusal":
                pass
            case "image_url":
                found.images += 1
                found.requires.add(image)
                held = part.get("image_url")
                if isinstance(held, dict) and held.get("detail") not in (None, "auto"):
                    found.requires.add("image.detail")
                url = held.get("url") if isinstance(held, dict) else held
                if isinstance(url, str) and url.startswith("data:"):
                    found.media_bytes += len(url)
            case "file":
                found.documents += 1
                found.requires.add("document")
                held = part.get("file")
                if isinstance(held, dict) and held.get("file_id"):
                    found.requires.add("container")
                data = held.get("file_data") if isinstance(held, dict) else None
                found.media_bytes += len(data) if isinstance(data, str) else 0
            case "input_audio":
                found.requires.add("audio")
            case "thinking":
                found.requires.add("thinking.signature")
            case _:
                found.requires.add("unknown_block")


def _mark(found: Survey) -> None:
    found.cache_marks += 1
    found.requires.add("cache_control")


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return "\n".join(text for text in texts if isinstance(text, str))


def _size(content: Any) -> int:
    if not isinstance(content, str):
        content = _text(content)
    return len(content) if content.isascii() else len(content.encode("utf-8", "replace"))
