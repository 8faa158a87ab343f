"""What a simulated model answers: decided by the request's shape alone, before any wire format.

A request with tools gets a scripted loop, told from the number of tool results in the conversation: one call at first, then
two at once, then the final text. Everything in an answer derives from the request's hash, so the same request always gets
the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import orjson

from engine.providers.simulated.asked import Asked, OfferedTool
from engine.providers.simulated.examples import example_of

Stop = Literal["end", "calls", "length"]

CREATED = 1_767_225_600
"""The simulation has no clock: all its answers are of 2026-01-01."""

LOOP = 3
"""Tool results after which the scripted loop is over."""

_LOOKS = ("read", "list", "glob", "grep", "search", "find", "view", "get", "look", "weather", "ls")
_TOUCHES = (
    "write",
    "edit",
    "patch",
    "bash",
    "shell",
    "exec",
    "run",
    "kill",
    "delete",
    "remove",
    "create",
    "send",
    "agent",
    "task",
)
"""Parts of tool names that tell looking from touching: a real agent would really run what is called here."""


@dataclass(slots=True, frozen=True)
class Call:
    tool: OfferedTool
    arguments: str
    """JSON text, or free text for a tool without a schema."""
    mark: str
    """Hex digits of which the wires make ids."""


@dataclass(slots=True, frozen=True)
class Answer:
    asked: Asked
    model: str
    mark: str
    """Hex digits that stand for the request; ids are made of them."""
    thinking: str
    text: str
    calls: tuple[Call, ...]
    stop: Stop
    prompt_tokens: int
    cached_tokens: int
    written_tokens: int
    answer_tokens: int
    thinking_tokens: int


def answer(asked: Asked, *, model: str, mark: str, characters: int) -> Answer:
    """The answer of `model` to a request of `characters` in JSON whose hash is `mark`."""
    calls = _calls(asked, mark)
    prompt = max(characters // 4, 1)
    thinking = _thinking(asked) if asked.thinking else ""
    text = _text(asked, model, prompt, calls=bool(calls))
    stop: Stop = "calls" if calls else "end"
    limit = 4 * asked.max_tokens
    if limit and not calls and len(text) > limit:
        text, stop = text[:limit], "length"
    cached, written = _cached(asked, prompt)
    return Answer(
        asked=asked,
        model=model,
        mark=mark,
        thinking=thinking,
        text=text,
        calls=calls,
        stop=stop,
        prompt_tokens=prompt,
        cached_tokens=cached,
        written_tokens=written,
        answer_tokens=_tokens(text, thinking, *(call.arguments for call in calls)),
        thinking_tokens=_tokens(thinking) if thinking else 0,
    )


def pieces(text: str, size: int = 18) -> list[str]:
    """`text` in parts of `size` characters, as a stream would bring it."""
    return [text[at : at + size] for at in range(0, len(text), size)]


def _tokens(*texts: str) -> int:
    return max(sum(map(len, texts)) // 4, 1)


def _cached(asked: Asked, prompt: int) -> tuple[int, int]:
    """(tokens read from the prompt cache, tokens written to it): a conversation that goes on finds most of itself there."""
    if asked.marked is False or prompt < 1024:
        return 0, 0
    known = prompt * 3 // 4 // 128 * 128
    if asked.turns:
        return known, (prompt - known) // 2 if asked.marked else 0
    return 0, known if asked.marked else 0


def _calls(asked: Asked, mark: str) -> tuple[Call, ...]:
    """The calls of this turn of the scripted loop; none when it is over or there is nothing to call."""
    tools = asked.tools
    if asked.choice.startswith("="):
        tools = tuple(tool for tool in tools if tool.name == asked.choice[1:])
    must = asked.choice not in ("auto", "none")
    if not tools or asked.choice == "none" or (asked.tool_results >= LOOP and not must):
        return ()
    best = sorted(tools, key=_reluctance)
    if asked.tool_results == 0 or not asked.parallel or must:
        chosen = best[:1]
    elif asked.tool_results == 1:
        chosen = [best[0], best[1] if len(best) > 1 and _reluctance(best[1]) == _reluctance(best[0]) else best[0]]
    else:
        return ()
    return tuple(
        _call(tool, asked.tool_results + at, f"{mark[:20]}{at:02x}{mark[20:22]}") for at, tool in enumerate(chosen)
    )


def _reluctance(tool: OfferedTool) -> int:
    """How little the tool suits a script: tools that look come before tools that touch."""
    name = tool.name.lower()
    if tool.schema is None:
        return 3
    if any(word in name for word in _TOUCHES):
        return 2
    return 0 if any(word in name for word in _LOOKS) else 1


def _call(tool: OfferedTool, variant: int, mark: str) -> Call:
    if tool.schema is None:
        return Call(tool, "example", mark)
    made = example_of(tool.schema, variant=variant)
    return Call(tool, orjson.dumps(made if isinstance(made, dict) else {}).decode(), mark)


def _thinking(asked: Asked) -> str:
    return (
        f"The conversation has {asked.messages} messages and {asked.tool_results} tool results. "
        "What is asked for can be answered from that."
    )


def _text(asked: Asked, model: str, prompt: int, *, calls: bool) -> str:
    if calls:
        return "" if asked.tool_results else "I'll look at it first."
    if asked.schema is not None:
        return orjson.dumps(example_of(asked.schema, every=True)).decode()
    if asked.json_object:
        return orjson.dumps({"model": model, "messages": asked.messages}).decode()
    if asked.tool_results:
        return (
            f"Done: all {asked.tool_results} tool results were read. (Simulated by {model}; nothing left this machine.)"
        )
    told = f"This is a simulated answer of {model}; nothing left this machine."
    size = f"Your request had {asked.messages} messages, {len(asked.tools)} tools and about {prompt:,} tokens."
    if "small" in model:
        return f"{told} {size}"
    return (
        f"{told} {size} A real model would now read the question, weigh what it knows against what it was shown, and say "
        "what it thinks. This one only counts, which makes it quick, cheap and always of the same opinion. Set a provider's "
        "key and choose a policy that names it to get an answer worth reading."
    )
