"""Agent sessions for a simulation: the captured first request of each client, grown turn by turn as that client grows it.

Where the captures are not there, a request of the same shape and size takes their place. How long answers, tool results and
pauses are is drawn; the figures are assumptions, stated here: a tool loop has about eight calls, a result about 2 kB (at most
20 kB), a call comes 4 to 25 seconds after the one before (one in ten waits minutes for a command), and a user thinks for
45 seconds in the middle, in one case of five for more than five minutes. On request, one turn of thirty calls twelve tools at
once, and one user's word of three sets a sub-agent of Claude Code to work for eight turns.
"""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

CAPTURES = Path(__file__).parents[3] / "shared" / "captures"
WORDS = [
    "fix",
    "read",
    "the",
    "test",
    "in",
    "parser",
    "and",
    "run",
    "it",
    "again",
    "with",
    "less",
    "memory",
    "before",
    "line",
    "returns",
    "none",
    "value",
    "error",
    "path",
]


@dataclass(frozen=True)
class Kind:
    """A client, the model it asks for, and how many of fifty sessions are its."""

    name: str
    protocol: str
    capture: str
    model: str
    share: int
    agent: Mapping[str, str]
    """Headers by which the gateway knows the client."""
    session_header: str = ""
    marks: str = ""
    """How the client sets breakpoints: `three` (system blocks, newest message), `four` (system, two newest messages), `head`
    (system, tools, first message); empty: none."""
    tools: int = 12
    system: int = 9_600
    """Characters of the synthetic request, if there is no capture."""
    side: str = ""
    """Model of the title call that goes with a session; empty when there is none."""


_CLAUDE = {"user-agent": "claude-cli/2.1.330 (external, cli)", "anthropic-version": "2023-06-01", "x-app": "cli"}
_OPENCODE = {"user-agent": "opencode/1.18.33 ai-sdk/provider-utils/4.0.46 runtime/bun/1.3.14"}
_QWEN = {"user-agent": "QwenCode/0.15.10 (linux; x64)", "x-stainless-lang": "js"}
_CODEX = {"user-agent": "codex_exec/0.169.0 (Debian 12.0.0; x86_64)", "originator": "codex_exec"}
_AIDER = {"user-agent": "OpenAI/Python 2.20.0", "x-stainless-lang": "python"}
_SONNET, _OPUS, _HAIKU, _SOL = "claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-5-5", "gpt-6.1-sol"

KINDS = (
    Kind("Claude Code, opus", "anthropic-messages", "claude/long", _OPUS, 14, _CLAUDE, "x-claude-code-session-id", "three", 12, 16_000, _HAIKU),
    Kind("Claude Code, sonnet", "anthropic-messages", "claude/long", _SONNET, 6, _CLAUDE, "x-claude-code-session-id", "three", 12, 16_000, _HAIKU),
    Kind("Codex, gpt", "openai-responses", "codex/long", _SOL, 6, _CODEX, "session-id", "", 9, 19_000, _SOL),
    Kind("Codex, opus", "openai-responses", "codex/long", _OPUS, 6, _CODEX, "session-id", "", 9, 19_000, _OPUS),
    Kind("opencode, sonnet (messages)", "anthropic-messages", "opencode/anthropic", _SONNET, 4, _OPENCODE, "x-session-id", "four", 10, 9_600, _SONNET),
    Kind("opencode, sonnet (chat)", "openai-chat", "opencode/compat", _SONNET, 4, _OPENCODE, "x-session-id", "", 10, 9_600, _SONNET),
    Kind("Qwen Code, sonnet", "openai-chat", "qwen/t1", _SONNET, 4, _QWEN, "", "", 15, 37_000),
    Kind("Continue, sonnet (messages)", "anthropic-messages", "cn/k-acomment", _SONNET, 2, {"user-agent": "node-fetch"}, "", "head", 11, 1_300),
    Kind("aider, opus (chat)", "openai-chat", "aider/openai", _OPUS, 4, _AIDER, "", "", 0, 1_200),
)  # fmt: skip
"""Fifty sessions. The models are what each client's users would ask this gateway for; Claude's from clients of OpenAI's
protocols are the translated ones, which no client marks."""


@dataclass
class Turn:
    """One request of a session."""

    at: float
    """Seconds since the session began."""
    body: bytes
    headers: Mapping[str, str]
    protocol: str
    output_tokens: int
    kind: str
    side: bool = False
    agent: bool = False
    """Of a sub-agent."""


WIDE = 12
"""Calls of a turn that makes many at once."""


@dataclass
class Session:
    kind: Kind
    seed: int
    turns: int
    wide: bool = False
    """Some turns call many tools at once."""
    agents: bool = False
    """Some turns are a sub-agent's."""
    dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    @property
    def headers(self) -> dict[str, str]:
        own = (
            {self.kind.session_header: f"00000000-0000-4000-8000-{self.seed:012d}"} if self.kind.session_header else {}
        )
        return {**self.kind.agent, **own}

    def requests(self) -> Iterator[Turn]:
        """Its requests in order, the same each time."""
        dice, kind = random.Random(self.seed), self.kind
        self.dice = dice
        base = first_request(kind)
        grow = GROW[kind.protocol]
        if base.get("prompt_cache_key"):
            base["prompt_cache_key"] = self.headers[kind.session_header]
        base |= {"model": kind.model, "stream": False}
        history: list[Any] = base["input" if kind.protocol == "openai-responses" else "messages"]
        names = [n for n in map(_tool_name, base.get("tools") or []) if n]
        grow(history, None, "", self.text(300), 0)
        if kind.side:
            yield self._title(kind)
        at = 1.0
        left = 1 + int(dice.expovariate(1 / 8))
        for number in range(self.turns):
            said = 60 + int(dice.lognormvariate(math.log(250), 0.8))
            yield Turn(
                at, orjson.dumps(marked(base, kind.marks)), self.headers, kind.protocol, said // 3 + 120, kind.name
            )
            answer = self.text(said)
            if names and left > 0:
                left -= 1
                at += dice.uniform(60, 200) if dice.random() < 0.1 else dice.uniform(4, 25)
                size = min(int(dice.lognormvariate(math.log(2000), 1.0)), 20_000)
                calls = WIDE if self.wide and dice.random() < 1 / 30 else 1
                grow(history, dice.choice(names), answer, self.text(size), number, count=calls)
            else:
                left = 1 + int(dice.expovariate(1 / 8))
                at += 5 + dice.lognormvariate(math.log(45), 2.26)
                grow(history, None, answer, self.text(int(dice.lognormvariate(math.log(200), 0.7))), number)
                if self.agents and kind.agent is _CLAUDE and dice.random() < 1 / 3:
                    yield from self._agent(at, number)
                    at += 8 * 12.0

    def _agent(self, at: float, number: int) -> Iterator[Turn]:
        """Eight turns of a sub-agent, as captured: the same session, a system text and tools of its own, its id in a header."""
        base = agent_request() | {"model": self.kind.model, "stream": False}
        headers = {**self.headers, "x-claude-code-agent-id": f"{number:017x}"}
        _grow_messages(base["messages"], None, "", self.text(600), 0)
        for turn in range(8):
            yield Turn(
                at + 12 * turn,
                orjson.dumps(marked(base, "three")),
                headers,
                self.kind.protocol,
                180,
                self.kind.name,
                agent=True,
            )
            _grow_messages(base["messages"], "Read", self.text(200), self.text(4000), 1000 * number + turn)

    def text(self, size: int) -> str:
        """Words that no other session has, about `size` characters."""
        return " ".join([f"{self.seed}-{self.dice.getrandbits(24):x}", *self.dice.choices(WORDS, k=max(size // 5, 1))])

    def _title(self, kind: Kind) -> Turn:
        text = "Write a title of at most six words for this: " + self.text(2500)
        body: dict[str, Any] = {"model": kind.side, "stream": False}
        match kind.protocol:
            case "anthropic-messages":
                body |= {"max_tokens": 400, "messages": [{"role": "user", "content": text}]}
            case "openai-responses":
                body |= {
                    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}]
                }
            case _:
                body |= {"messages": [{"role": "user", "content": text}]}
        return Turn(0.0, orjson.dumps(body), self.headers, kind.protocol, 20, kind.name, side=True)


def sessions(
    count: int, *, most: int = 200, least: int = 30, seed: int = 1, wide: bool = False, agents: bool = False
) -> list[Session]:
    """`count` sessions in the shares of the kinds, of `least` to `most` turns."""
    dice = random.Random(seed)
    order = [kind for kind in KINDS for _ in range(kind.share)]
    step = len(order) / count
    return [
        Session(order[int(n * step)], seed * 1000 + n, dice.randint(least, most), wide, agents) for n in range(count)
    ]


def agent_request() -> dict[str, Any]:
    """A sub-agent's first request, as captured, or one of the same shape."""
    for path in sorted((CAPTURES / "claude/long").glob("*.json")):
        told = json.loads(path.read_bytes())
        if any(name.lower() == "x-claude-code-agent-id" for name, _ in told["headers"]):
            return _begun(copy.deepcopy(told["body"]))
    return synthetic(KINDS[0])


def first_request(kind: Kind) -> dict[str, Any]:
    """The client's first request of its main work, as captured, or one of the same shape."""
    for path in sorted((CAPTURES / kind.capture).glob("*.json")):
        body = json.loads(path.read_bytes()).get("body")
        if (
            isinstance(body, dict)
            and (body.get("messages") or body.get("input"))
            and (body.get("tools") or not kind.tools)
        ):
            return _begun(copy.deepcopy(body))
    return synthetic(kind)


def _begun(body: dict[str, Any]) -> dict[str, Any]:
    """The request up to its first user message, without breakpoints."""
    history = body.get("messages") or body["input"]
    end = next((n for n, m in enumerate(history) if m.get("role") == "assistant"), len(history))
    del history[end:]
    for field_ in ("system", "tools"):
        for block in body.get(field_) or ():
            if isinstance(block, dict):
                block.pop("cache_control", None)
    for message in history:
        for block in message["content"] if isinstance(message.get("content"), list) else ():
            block.pop("cache_control", None)
    body.pop("thinking", None)  # opaque replays would have to be signed; the answers here think without showing it
    body.pop("stream_options", None)
    body.pop("context_management", None)
    return body


def synthetic(kind: Kind) -> dict[str, Any]:
    """A first request of the client's shape and size, with filler in it."""
    filler = ("Follow the conventions of this repository. " * 1000)[: kind.system]
    schema = {"type": "object", "properties": {"command": {"type": "string", "description": "What to run. " * 20}}}
    names = [f"tool_{n}" for n in range(kind.tools)]
    described = "What this tool is for and when to use it. " * 30
    match kind.protocol:
        case "anthropic-messages":
            return {
                "max_tokens": 32000,
                "system": [{"type": "text", "text": filler[: kind.system // 2]}, {"type": "text", "text": filler[kind.system // 2 :]}],
                "tools": [{"name": n, "description": described, "input_schema": schema} for n in names],
                "messages": [{"role": "user", "content": "Environment: Linux."}],
            }  # fmt: skip
        case "openai-responses":
            return {
                "store": False,
                "prompt_cache_key": "s",
                "tools": [
                    {"type": "function", "name": n, "description": described, "parameters": schema} for n in names
                ],
                "input": [
                    {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": filler}]}
                ],
            }
        case _:
            tools = [
                {"type": "function", "function": {"name": n, "description": described, "parameters": schema}}
                for n in names
            ]
            return {"messages": [{"role": "system", "content": filler}], **({"tools": tools} if tools else {})}


def _tool_name(tool: Mapping[str, Any]) -> str:
    """The name of a tool that the client runs, empty for others."""
    if "function" in tool:
        return str(tool["function"]["name"])
    plain = tool.get("type") in (None, "custom", "function") and not tool.get("defer_loading")
    return str(tool.get("name", "")) if plain and tool.get("type") != "custom" else ""


def marked(body: dict[str, Any], how: str) -> dict[str, Any]:
    """The request with the breakpoints that its client sets."""
    if not how:
        return body
    body = {**body, "messages": list(body["messages"])}
    mark = {"cache_control": {"type": "ephemeral"}}
    system = body.get("system")
    if isinstance(system, str):
        system = [{"type": "text", "text": system}]
    if system:
        chosen = {len(system) - 1, len(system) - 2} if how == "three" else {len(system) - 1}
        body["system"] = [{**block, **mark} if n in chosen else block for n, block in enumerate(system)]
    if how == "head" and body.get("tools"):
        body["tools"] = [*body["tools"][:-1], {**body["tools"][-1], **mark}]
    messages = body["messages"]
    for at in {"three": [-1], "four": [-1, -2], "head": [0]}[how]:
        if len(messages) >= abs(at):
            message = messages[at]
            content = message["content"]
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            messages[at] = {**message, "content": [*blocks[:-1], {**blocks[-1], **mark}]}
    return body


def _grow_messages(
    history: list[Any], tool: str | None, answer: str, came: str, number: int, *, count: int = 1
) -> None:
    ids = [f"toolu_{number:06d}_{n}" for n in range(count if tool else 0)]
    calls = [{"type": "tool_use", "id": i, "name": tool, "input": {"command": answer[:200]}} for i in ids]
    if answer:
        history.append({"role": "assistant", "content": [{"type": "text", "text": answer}, *calls]})
    results = [
        {"type": "tool_result", "tool_use_id": i, "content": part}
        for i, part in zip(ids, _parts(came, count), strict=False)
    ]
    result: Any = results or came
    if not answer and history and history[-1]["role"] == "user":
        blocks = history[-1]["content"]
        blocks = [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks
        history[-1] = {"role": "user", "content": [*blocks, {"type": "text", "text": came}]}
        return
    history.append({"role": "user", "content": result})


def _parts(came: str, count: int) -> list[str]:
    """`came` in so many parts."""
    size = -(-len(came) // count)
    return [came[n * size : (n + 1) * size] or "-" for n in range(count)]


def _grow_chat(history: list[Any], tool: str | None, answer: str, came: str, number: int, *, count: int = 1) -> None:
    ids = [f"call_{number:06d}_{n}" for n in range(count)]
    if answer:
        arguments = orjson.dumps({"command": answer[:200]}).decode()
        calls = [{"id": i, "type": "function", "function": {"name": tool, "arguments": arguments}} for i in ids]
        history.append({"role": "assistant", "content": answer, **({"tool_calls": calls} if tool else {})})
    if tool:
        history += [
            {"role": "tool", "tool_call_id": i, "content": p} for i, p in zip(ids, _parts(came, count), strict=True)
        ]
    else:
        history.append({"role": "user", "content": came})


def _grow_responses(
    history: list[Any], tool: str | None, answer: str, came: str, number: int, *, count: int = 1
) -> None:
    if answer:
        part = {"type": "output_text", "text": answer, "annotations": []}
        history.append({"type": "message", "role": "assistant", "id": f"msg_{number:06d}", "content": [part]})
    if tool:
        arguments = orjson.dumps({"command": answer[:200]}).decode()
        ids = [f"{number:06d}_{n}" for n in range(count)]
        history += [{"type": "function_call", "id": f"fc_{i}", "call_id": f"call_{i}", "name": tool, "arguments": arguments} for i in ids]  # fmt: skip
        parts = zip(ids, _parts(came, count), strict=True)
        history += [{"type": "function_call_output", "call_id": f"call_{i}", "output": p} for i, p in parts]
    else:
        history.append({"type": "message", "role": "user", "content": [{"type": "input_text", "text": came}]})


GROW: Mapping[str, Callable[..., None]] = {
    "anthropic-messages": _grow_messages,
    "openai-chat": _grow_chat,
    "openai-responses": _grow_responses,
}
