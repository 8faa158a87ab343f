"""Three small clients, one per protocol, as the demo's agents: how each asks, reads tool calls and sends results back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.llm.messages import JsonObject

_PARAMETERS: JsonObject = {
    "type": "object",
    "properties": {"path": {"type": "string", "description": "File to read."}},
    "required": ["path"],
    "additionalProperties": False,
}
_NAME, _DESCRIPTION = "read_file", "Read a text file of the project."


@dataclass(slots=True)
class Dialogue:
    """A conversation in one protocol. `ask` gives a request body; `take` reads a whole answer."""

    model: str
    tools: bool = False
    history: list[JsonObject] = field(default_factory=list)

    path = ""

    def ask(self, *, stream: bool) -> JsonObject:
        """The next request's body."""
        raise NotImplementedError

    def take(self, answer: JsonObject) -> bool:
        """Add the answer and the results of its tool calls to the history; True when the model wants to go on."""
        raise NotImplementedError


class Anthropic(Dialogue):
    path = "/v1/messages"

    def ask(self, *, stream: bool) -> JsonObject:
        tools = [{"name": _NAME, "description": _DESCRIPTION, "input_schema": _PARAMETERS}] if self.tools else []
        return {"model": self.model, "max_tokens": 1024, "messages": self.history, "tools": tools, "stream": stream}

    def take(self, answer: JsonObject) -> bool:
        self.history.append({"role": "assistant", "content": answer["content"]})
        calls = [block for block in answer["content"] if block["type"] == "tool_use"]
        if calls:
            results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "ok"} for call in calls]
            self.history.append({"role": "user", "content": results})
        return bool(calls)


class Responses(Dialogue):
    path = "/v1/responses"

    def ask(self, *, stream: bool) -> JsonObject:
        tool = {
            "type": "function",
            "name": _NAME,
            "description": _DESCRIPTION,
            "parameters": _PARAMETERS,
            "strict": True,
        }
        return {
            "model": self.model,
            "input": self.history,
            "tools": [tool] if self.tools else [],
            "stream": stream,
            "store": False,
        }

    def take(self, answer: JsonObject) -> bool:
        calls = [item for item in answer["output"] if item["type"] == "function_call"]
        self.history += answer["output"]
        self.history += [{"type": "function_call_output", "call_id": call["call_id"], "output": "ok"} for call in calls]
        return bool(calls)


class Chat(Dialogue):
    path = "/v1/chat/completions"

    def ask(self, *, stream: bool) -> JsonObject:
        body: JsonObject = {"model": self.model, "messages": self.history, "stream": stream}
        if self.tools:
            function = {"name": _NAME, "description": _DESCRIPTION, "parameters": _PARAMETERS}
            body["tools"] = [{"type": "function", "function": function}]
        return body

    def take(self, answer: JsonObject) -> bool:
        message = answer["choices"][0]["message"]
        self.history.append(message)
        calls = message.get("tool_calls") or []
        self.history += [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in calls]
        return bool(calls)


PROTOCOLS: Mapping[str, tuple[type[Dialogue], str]] = {
    "Anthropic Messages": (Anthropic, "claude-sonnet-5-5"),
    "OpenAI Responses": (Responses, "gpt-5.5"),
    "OpenAI Chat": (Chat, "gpt-5.5"),
}
"""Title → (its dialogue, the model an agent would ask for)."""


def begin(kind: type[Dialogue], model: str, text: str, *, tools: bool = False) -> Dialogue:
    """A conversation that starts with `text`. All three protocols take a message of this shape."""
    message: dict[str, Any] = {"role": "user", "content": text}
    return kind(model=model, tools=tools, history=[message])
