"""The preserve path: a client's own Chat request with the model, and what the target's quirks name, changed.

Everything else stays as it was, in its order. What a quirk's default value says (the role of system text, the model's
output limit) changes a request only if it goes to another model than it asked for. Reasoning state of another provider,
bare or in an envelope of ours, is taken out.
"""

from __future__ import annotations

from typing import Any

import orjson

from engine.llm.catalogue import Quirks
from engine.llm.messages import JsonObject, Thinking
from engine.llm.protocol import Target
from engine.protocols import tool_ids
from engine.protocols.efforts import nearest_effort
from engine.protocols.openai_chat.fields import DOCUMENTED, MEANT, NAME
from engine.protocols.openai_chat.reasoning import (
    is_carried,
    read_carried,
    state_of,
    states,
    text_of,
    texts_in,
    unseal,
)

_LIMITS = ("max_tokens", "max_completion_tokens")
_SPOKEN = frozenset({"role", "content", "tool_calls", "function_call", "prefix", "extra_content"})
"""Fields of an assistant's message that strict servers take; others also give answers that hold fields they refuse."""
_COMPATIBLE = frozenset({"top_k", "random_seed", "reasoning", "thinking"})
"""Fields of compatible servers that OpenAI does not document."""


def rewrite(body: JsonObject, target: Target) -> JsonObject:
    """A changed copy; `body` and the objects in it stay as they are."""
    moved = body.get("model") != target.model.name
    out = {**body, "model": target.model.name}
    _limit(out, target, moved=moved)
    _reasoning(out, target.quirks)
    _fields(out, target.quirks, moved=moved)
    messages = body.get("messages")
    if isinstance(messages, list):
        out["messages"] = _Messages(target, moved=moved, tools=bool(body.get("tools"))).rewritten(messages)
        _output_format(out, target.quirks)
    return out


def _limit(out: JsonObject, target: Target, *, moved: bool) -> None:
    quirks = target.quirks
    present = next((name for name in reversed(_LIMITS) if out.get(name) is not None), "")
    if not present:
        if quirks.default_max_tokens:
            out[quirks.max_tokens_field or "max_tokens"] = quirks.default_max_tokens
        return
    value = out[present]
    if moved and isinstance(value, int) and value > target.model.max_output > 0:
        out[present] = value = target.model.max_output
    wanted = quirks.max_tokens_field
    if wanted and (present != wanted or all(name in out for name in _LIMITS)):
        renamed = {
            (wanted if name == present else name): held
            for name, held in out.items()
            if name not in _LIMITS or name == present
        }
        out.clear()
        out.update(renamed)


def _fields(out: JsonObject, quirks: Quirks, *, moved: bool) -> None:
    gone = set(quirks.drop)
    if not quirks.sampling:
        gone |= {"temperature", "top_p", "top_k"}
    if not quirks.parallel_tools:
        gone.add("parallel_tool_calls")
    if not quirks.stream_usage:
        gone.add("stream_options")
    if quirks.strict:
        ours = {quirks.reasoning_param, quirks.seed_field}
        gone |= {n for n in out if (n not in MEANT or n in _COMPATIBLE) and n not in DOCUMENTED and n not in ours}
    if quirks.seed_field != "seed" and out.get("seed") is not None and "seed" not in gone:
        if quirks.seed_field:
            out[quirks.seed_field] = out["seed"]
        gone.add("seed")
    for name in gone:
        out.pop(name, None)
    choice = out.get("tool_choice")
    if choice in ("required", "any"):
        word = quirks.tool_choice_any if moved or quirks.tool_choice_any != "required" else choice
        out["tool_choice"] = word if quirks.forced_tools else "auto"
    elif isinstance(choice, dict) and not quirks.forced_tools:
        out["tool_choice"] = "auto"


def _reasoning(out: JsonObject, quirks: Quirks) -> None:
    word = out.get("reasoning_effort")
    if not isinstance(word, str):
        return
    fitted = nearest_effort(word, quirks.efforts)
    if out.get("tools") and not quirks.tools_with_reasoning:
        fitted = "none" if "none" in quirks.efforts else ""
    if fitted and quirks.reasoning_param == "reasoning_effort":
        out["reasoning_effort"] = fitted  # where it stood
        return
    del out["reasoning_effort"]
    match quirks.reasoning_param:
        case "reasoning" if fitted and "reasoning" not in out:
            out["reasoning"] = {"effort": fitted}
        case "thinking":
            out.setdefault("thinking", {"type": "disabled" if fitted in {"", "none"} else "enabled"})
            if quirks.efforts and fitted not in {"", "none"}:
                out["reasoning_effort"] = fitted


def _output_format(out: JsonObject, quirks: Quirks) -> None:
    wanted = out.get("response_format")
    if quirks.json_schema or not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return
    out["response_format"] = {"type": "json_object"}
    held = wanted.get("json_schema")
    schema = held.get("schema") if isinstance(held, dict) else None
    text = f"Answer with one JSON object that matches this JSON Schema:\n{orjson.dumps(schema).decode()}"
    out["messages"] = [{"role": quirks.system_role, "content": text}, *out["messages"]]


class _Messages:
    """Copies of those messages that a quirk changes; the others as they are."""

    __slots__ = ("_moved", "_quirks", "_take_back", "_talking", "_tools")

    def __init__(self, target: Target, *, moved: bool, tools: bool) -> None:
        self._quirks = target.quirks
        self._take_back = target.take_back
        self._moved = moved
        self._tools = tools
        self._talking = False

    def rewritten(self, messages: list[Any]) -> list[Any]:
        """The same list when nothing changes."""
        changed = [self._message(message) if isinstance(message, dict) else message for message in messages]
        same = all(new is old for new, old in zip(changed, messages, strict=True))
        return messages if same else changed

    def _message(self, message: JsonObject) -> JsonObject:
        role = message.get("role")
        if role in ("system", "developer"):
            return self._system(message, str(role))
        self._talking = True
        quirks = self._quirks
        if role == "assistant":
            message = self._assistant(message)
        elif role == "tool" and quirks.tool_id != "any" and isinstance(call_id := message.get("tool_call_id"), str):
            message = {**message, "tool_call_id": tool_ids.fit(call_id, quirks.tool_id)}
        if quirks.strict:
            content = message.get("content")
            if isinstance(content, list) and any("cache_control" in part for part in content if isinstance(part, dict)):
                message = {**message, "content": [_without(part, "cache_control") for part in content]}
            if "name" in message and role != "function":
                message = _without(message, "name")
        return message

    def _system(self, message: JsonObject, role: str) -> JsonObject:
        quirks = self._quirks
        if self._talking and not quirks.mid_system:
            content = message.get("content")
            if isinstance(content, str):
                content = f"<system-reminder>\n{content}\n</system-reminder>"
            return {**message, "role": "user", "content": content}
        if role != quirks.system_role and (self._moved or quirks.system_role != "system"):
            return {**message, "role": quirks.system_role}
        return message

    def _assistant(self, message: JsonObject) -> JsonObject:
        quirks = self._quirks
        out = dict(message)
        if states(message):
            self._state(out)
        if quirks.strict:
            refused = message.get("refusal")
            out = {name: held for name, held in out.items() if name in _SPOKEN}
            if isinstance(refused, str) and refused and not out.get("content"):
                out["content"] = refused
        if quirks.echo_reasoning:
            text = text_of(message, quirks.reasoning_field)
            if text or self._tools:
                out[quirks.reasoning_field] = text or " "
        calls = out.get("tool_calls")
        if isinstance(calls, list) and (quirks.strict or quirks.tool_id != "any"):
            out["tool_calls"] = [self._call(call) if isinstance(call, dict) else call for call in calls]
        if (
            quirks.call_extra
            and isinstance(calls, list)
            and calls
            and isinstance(calls[0], dict)
            and not _extra(calls[0])
        ):
            first, *others = out["tool_calls"]
            out["tool_calls"] = [{**first, "extra_content": dict(quirks.call_extra)}, *others]
        return message if out == message else out

    def _state(self, out: JsonObject) -> None:
        """Leaves in `out` what of its state may go to the target; what comes out of an envelope is set where it belongs."""
        details = out.pop("reasoning_details", None)
        kept: list[Any] = []
        owed: list[tuple[str, JsonObject]] = []
        """Fields of calls, each with the id of its call, if known."""
        for detail in details if isinstance(details, list) else ():
            if not is_carried(detail):
                if not isinstance(detail, dict) or self._may_go(*filter(None, (state_of(detail),))):
                    kept.append(detail)
                continue
            carried = read_carried(detail)
            if (back := self._take_back(carried)) is not None and (fields := unseal(back)):
                kept += fields.get("reasoning_details", ())
                owed += ((carried.id, fields["tool_call"]),) if "tool_call" in fields else ()
                out |= {"extra_content": held} if (held := fields.get("extra_content")) else {}
        if kept:
            out["reasoning_details"] = kept
        if "extra_content" in out and not self._may_go(*texts_in(out["extra_content"])):
            del out["extra_content"]
        calls = out.get("tool_calls")
        if not isinstance(calls, list):
            return
        calls = [c if self._may_go(*texts_in(_extra(c))) else _without(c, "extra_content") for c in calls]
        named = {c["id"] for c in calls if isinstance(c, dict) and isinstance(c.get("id"), str)}
        for position, call in enumerate(calls):
            if isinstance(call, dict) and not _extra(call):
                own = (n for n, (led_to, _) in enumerate(owed) if led_to not in named or led_to == call.get("id"))
                if (found := next(own, None)) is not None:
                    calls[position] = call | owed.pop(found)[1]
        out["tool_calls"] = calls

    def _may_go(self, *found: str) -> bool:
        """Whether bare state may go to the target."""
        return all(self._take_back(Thinking(opaque=state, origin=NAME)) is not None for state in found)

    def _call(self, call: JsonObject) -> JsonObject:
        out = _without(call, "index") if self._quirks.strict else dict(call)
        if isinstance(call_id := call.get("id"), str):
            out["id"] = tool_ids.fit(call_id, self._quirks.tool_id)
        return out


def _extra(call: Any) -> Any:
    return call.get("extra_content") if isinstance(call, dict) else None


def _without(held: Any, name: str) -> Any:
    return {key: value for key, value in held.items() if key != name} if isinstance(held, dict) else held
