"""How much a model shall think, in the form that the target takes: a token budget, an adaptive switch with an effort word,
or nothing at all. `Quirks.thinking` and `Quirks.efforts` say which; without them the request passes as it was asked.
"""

from __future__ import annotations

from typing import Any

from engine.llm.catalogue import Quirks
from engine.llm.messages import JsonObject, Reasoning
from engine.protocols.anthropic_messages.words import EFFORTS

_BUDGETS = {"low": 4096, "medium": 12288, "high": 24576, "xhigh": 32768, "max": 49152}
"""Effort as a token budget: a choice, in the range that the vendor's guide recommends for each degree of difficulty."""
_SMALLEST_BUDGET = 1024
_OWN_EFFORTS = EFFORTS[2:]
_DISPLAYS = ("omitted", "summarized", "updates")


def encode_thinking(
    reasoning: Reasoning, *, quirks: Quirks, max_tokens: int, losses: set[str]
) -> tuple[JsonObject | None, str]:
    """(the `thinking` field or None, the effort word or "")."""
    asked = _asked(reasoning)
    if quirks.thinking == "none":
        losses |= asked
        return None, ""
    if reasoning.enabled is False or reasoning.effort == "none":
        return _off(reasoning, quirks, losses)
    match quirks.thinking:
        case "adaptive":
            return _adaptive(reasoning, quirks, losses)
        case "budget":
            thinking = _budget(reasoning, max_tokens, losses)
            if thinking is None:
                losses |= asked
            return thinking, _effort(reasoning.effort, quirks, losses) if quirks.efforts else ""
    effort = _effort(reasoning.effort, quirks, losses)
    if reasoning.adaptive:
        return _shown({"type": "adaptive"}, reasoning), effort
    if reasoning.budget_tokens or (reasoning.enabled and not effort):
        thinking = _budget(reasoning, max_tokens, losses)
        if thinking is None:
            losses |= asked
        return thinking, effort
    return None, effort


def may_think(body: JsonObject, thinking: JsonObject) -> bool:
    """Whether the API takes `thinking` beside the rest of `body`, which may be a client's own.

    No thinking with a forced tool (adaptive thinking with one works on some models only), and with a budget a running tool
    loop has to begin with thoughts.
    """
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
        return False
    messages = body.get("messages")
    if thinking.get("type") != "enabled" or not isinstance(messages, list):
        return True
    in_loop = False
    for message in reversed(messages):
        if not isinstance(message, dict):
            continue
        if message.get("role") == "assistant":
            return not in_loop or _first_type(message) in ("thinking", "redacted_thinking")
        in_loop |= _first_type(message) == "tool_result"
    return True


def without_thinking_edits(body: JsonObject) -> None:
    """Takes the edits of thinking blocks out of `context_management`: they are refused where nothing thinks."""
    management = body.get("context_management")
    edits = management.get("edits") if isinstance(management, dict) else None
    if not isinstance(management, dict) or not isinstance(edits, list):
        return
    kept = [e for e in edits if not (isinstance(e, dict) and str(e.get("type", "")).startswith("clear_thinking"))]
    if len(kept) == len(edits):
        return
    if kept:
        body["context_management"] = {**management, "edits": kept}
    else:
        del body["context_management"]


def _first_type(message: JsonObject) -> Any:
    content = message.get("content")
    first = content[0] if isinstance(content, list) and content else None
    return first.get("type") if isinstance(first, dict) else None


def _off(reasoning: Reasoning, quirks: Quirks, losses: set[str]) -> tuple[JsonObject | None, str]:
    """Adaptive models do not all let thinking be turned off; the weakest effort is the nearest thing that all take."""
    effort = reasoning.effort
    if quirks.thinking == "adaptive":
        losses.add("thinking.off")
        return None, _effort("low" if effort in ("", "none") else effort, quirks, losses)
    usable = effort not in ("", "none") and (quirks.efforts or not quirks.thinking)
    return {"type": "disabled"}, _effort(effort, quirks, losses) if usable else ""


def _asked(reasoning: Reasoning) -> set[str]:
    asked = {"thinking.budget"} if reasoning.budget_tokens else set()
    return asked | {"effort"} if reasoning.effort else asked


def _adaptive(reasoning: Reasoning, quirks: Quirks, losses: set[str]) -> tuple[JsonObject, str]:
    effort = reasoning.effort
    if reasoning.budget_tokens and not reasoning.adaptive:
        losses.add("thinking.budget")
        effort = effort or next((word for word in _BUDGETS if reasoning.budget_tokens <= _BUDGETS[word]), "max")
    return _shown({"type": "adaptive"}, reasoning), _effort(effort, quirks, losses)


def _budget(reasoning: Reasoning, max_tokens: int, losses: set[str]) -> JsonObject | None:
    """A budget has to leave room for the answer below `max_tokens`; where there is none, no thinking."""
    if max_tokens <= _SMALLEST_BUDGET:
        return None
    if reasoning.budget_tokens:
        budget = min(max(reasoning.budget_tokens, _SMALLEST_BUDGET), max_tokens - 1)
        if budget != reasoning.budget_tokens:
            losses.add("thinking.budget")
    else:
        word = nearest(reasoning.effort or "high", _OWN_EFFORTS)
        budget = min(_BUDGETS.get(word, _BUDGETS["high"]), max(max_tokens * 3 // 4, _SMALLEST_BUDGET))
    return _shown({"type": "enabled", "budget_tokens": budget}, reasoning)


def _shown(thinking: JsonObject, reasoning: Reasoning) -> JsonObject:
    """Adds what the client wants to see of it: this protocol's own word, or summaries where another one asked for them."""
    if reasoning.summary in _DISPLAYS:
        return {**thinking, "display": reasoning.summary}
    return {**thinking, "display": "summarized"} if reasoning.summary and thinking["type"] == "adaptive" else thinking


def _effort(word: str, quirks: Quirks, losses: set[str]) -> str:
    if not word:
        return ""
    known = quirks.efforts or _OWN_EFFORTS
    fitting = nearest(word, known)
    if fitting != word or word not in known:
        losses.add("effort.word")
    return fitting if fitting in known else ""


def nearest(word: str, allowed: tuple[str, ...]) -> str:
    """The allowed effort next to `word`, the weaker one of two; a word nobody knows passes unchanged."""
    if word in allowed or word not in EFFORTS:
        return word
    place = EFFORTS.index(word)
    known = [candidate for candidate in allowed if candidate in EFFORTS]
    return min(
        known, key=lambda candidate: (abs(EFFORTS.index(candidate) - place), EFFORTS.index(candidate)), default=word
    )
