"""The preserve path: a client's own JSON for a provider of the same protocol, changed only where the target's row says so.

`model` always changes. Everything else stays as it is and where it is, unless it is what a quirk names (a thinking form the
model refuses, sampling, a forced tool, a field to drop), asks for more output than a known model gives, or is thinking of
another provider, bare or in an envelope of ours. The client's object is never changed in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.llm.catalogue import Quirks
from engine.llm.messages import JsonObject, Thinking
from engine.llm.protocol import Target
from engine.protocols.anthropic_messages.blocks_in import decode_block
from engine.protocols.anthropic_messages.blocks_out import sealed
from engine.protocols.anthropic_messages.request_in import decode_reasoning
from engine.protocols.anthropic_messages.thinking import encode_thinking, may_think, nearest, without_thinking_edits
from engine.protocols.anthropic_messages.words import UNSEALED

_THINKING = ("thinking", "redacted_thinking")
_FORMS = {"enabled": "budget", "adaptive": "adaptive"}


def rewrite(body: JsonObject, target: Target) -> JsonObject:
    """See `WireProtocol.rewrite`."""
    changed: JsonObject = {**body, "model": target.model.name}
    quirks = target.quirks
    if target.model.known and _above(body.get("max_tokens"), target.model.max_output):
        changed["max_tokens"] = target.model.max_output
    messages = body.get("messages")
    if isinstance(messages, list):
        if (kept := _taken_back(messages, target.take_back)) is not messages:
            messages = changed["messages"] = kept
            _still_thinking(changed)
        if not quirks.mid_system and any(m.get("role") == "system" for m in messages if isinstance(m, dict)):
            changed["messages"] = _folded(messages)
    if not quirks.sampling:
        for name in ("temperature", "top_p", "top_k"):
            changed.pop(name, None)
    choice = body.get("tool_choice")
    if not quirks.forced_tools and isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
        changed["tool_choice"] = {**{k: v for k, v in choice.items() if k != "name"}, "type": "auto"}
    _thinking(changed, quirks)
    for name in quirks.drop:
        changed.pop(name, None)
    return changed


def _still_thinking(body: JsonObject) -> None:
    """A budget is refused where the running tool loop has lost the thoughts that began it."""
    thinking = body.get("thinking")
    if isinstance(thinking, dict) and not may_think(body, thinking):
        del body["thinking"]
        without_thinking_edits(body)


def _thinking(body: JsonObject, quirks: Quirks) -> None:
    thinking = body.get("thinking")
    config = body.get("output_config")
    config = config if isinstance(config, dict) else {}
    effort = config.get("effort")
    limit = body.get("max_tokens")
    if isinstance(thinking, dict) and _unfit(thinking, quirks):
        asked = decode_reasoning(thinking, config)
        most = limit if isinstance(limit, int) else 0
        encoded = encode_thinking(asked, quirks=quirks, max_tokens=most, losses=set()) if asked else (None, "")
        fitting = encoded[1]
        if encoded[0] is not None and may_think(body, encoded[0]):
            body["thinking"] = encoded[0]
        else:
            del body["thinking"]
            without_thinking_edits(body)
    elif isinstance(effort, str) and quirks.efforts:
        fitting = nearest(effort, quirks.efforts)
    elif quirks.thinking in ("none", "budget") and not quirks.efforts:
        fitting = ""
    else:
        return
    if fitting != (effort or ""):
        rest = {key: value for key, value in config.items() if key != "effort"}
        body["output_config"] = {**rest, "effort": fitting} if fitting else rest
        if not body["output_config"]:
            del body["output_config"]


def _unfit(thinking: JsonObject, quirks: Quirks) -> bool:
    form = _FORMS.get(str(thinking.get("type")))
    if quirks.thinking == "none":
        return True
    return bool(quirks.thinking) and form is not None and form != quirks.thinking


def _taken_back(messages: list[Any], take_back: Callable[[Thinking], Thinking | None]) -> list[Any]:
    """The messages without thinking that may not go to the target; the same list when all of it may."""
    kept: list[Any] = []
    changed = False
    for message in messages:
        content = message.get("content") if isinstance(message, dict) and message.get("role") == "assistant" else None
        if isinstance(content, list) and any(_type(block) in _THINKING for block in content):
            blocks = [part for block in content if (part := _block(block, take_back)) is not None]
            if len(blocks) != len(content) or any(new is not old for new, old in zip(blocks, content, strict=True)):
                changed = True
                if not blocks:
                    continue
                message = {**message, "content": blocks}
        kept.append(message)
    return kept if changed else messages


def _block(block: Any, take_back: Callable[[Thinking], Thinking | None]) -> Any:
    if _type(block) not in _THINKING or not isinstance(thinking := decode_block(block), Thinking):
        return block
    if not thinking.opaque:
        return None if block.get("signature") == UNSEALED else block
    kept = take_back(thinking)
    return block if kept is thinking else sealed(kept) if kept is not None else None


def _type(block: Any) -> Any:
    return block.get("type") if isinstance(block, dict) else None


def _folded(messages: list[Any]) -> list[Any]:
    """System messages inside the conversation as text of the user, joined to the user message before or after them."""
    folded: list[Any] = []
    for message in messages:
        if not isinstance(message, dict):
            folded.append(message)
            continue
        role = "user" if message.get("role") == "system" else message.get("role")
        last = folded[-1] if folded else None
        if role == "user" and isinstance(last, dict) and last.get("role") == "user":
            blocks = _blocks(last.get("content")) + _blocks(message.get("content"))
            folded[-1] = {**last, "content": sorted(blocks, key=_after_results)}
        elif role != message.get("role"):
            folded.append({"role": role, "content": message.get("content")})
        else:
            folded.append(message)
    return folded


def _blocks(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if isinstance(content, str) and content else []


def _after_results(block: Any) -> bool:
    return not (isinstance(block, dict) and block.get("type") == "tool_result")


def _above(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < most < value
