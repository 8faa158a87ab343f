"""A coding agent in small, in each client protocol: it keeps the history as real ones do and answers every tool call.

talk = TALKS["anthropic-messages"]("claude-opus-5-5", stream=True)
answer = await talk.turn(gate)          # a request with the whole history, its answer appended
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tests.judge import frames
from tests.spine import Answer, Spine

Json = dict[str, Any]
SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string"}},
    "required": ["path"],
    "additionalProperties": False,
}
PROMPT = "Read the notes and go on."


class Talk:
    """One conversation. `history` is what the next request repeats."""

    protocol = ""

    def __init__(self, model: str, *, stream: bool = False, session: str = "s-1") -> None:
        self.model = model
        self.stream = stream
        self.session = session
        self.history: list[Json] = []
        self.calls = 0
        """Tool calls made so far."""
        self.begin()

    async def turn(self, gate: Spine, model: str = "", **more: Any) -> Answer:
        """One request and its answer, which must be one; the calls in it are answered in the history."""
        self.model = model or self.model
        asked = {**self.request(), "model": self.model, **({"stream": True} if self.stream else {}), **more}
        answer = await gate.ask(
            self.protocol, asked, stream=self.stream, headers={"x-claude-code-session-id": self.session}
        )
        if answer.status == 200:
            self.take(self.streamed(answer) if self.stream else answer.json)
        return answer

    def begin(self) -> None:
        """The first user message."""
        self.history.append({"role": "user", "content": PROMPT})

    def request(self) -> Json:
        """The body, without model and stream."""
        raise NotImplementedError

    def take(self, whole: Json) -> None:
        """Appends a whole answer and the results of its calls."""
        raise NotImplementedError

    def streamed(self, answer: Answer) -> Json:
        """The whole answer of a stream, put together as this protocol's clients do."""
        raise NotImplementedError


class MessagesTalk(Talk):
    protocol = "anthropic-messages"

    def request(self) -> Json:
        tool = {"name": "look", "description": "Reads a file.", "input_schema": SCHEMA}
        return {"max_tokens": 4096, "messages": self.history, "tools": [tool], "thinking": {"type": "adaptive"}}

    def take(self, whole: Json) -> None:
        self.history.append({"role": "assistant", "content": whole["content"]})
        calls = [block for block in whole["content"] if block["type"] == "tool_use"]
        results = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": f"result {self.calls + n}"}
            for n, call in enumerate(calls)
        ]
        self.calls += len(calls)
        self.history.append({"role": "user", "content": results or [{"type": "text", "text": "go on"}]})

    def streamed(self, answer: Answer) -> Json:
        blocks: list[Json] = []
        for _, data in frames(answer.body):
            match orjson.loads(data):
                case {"type": "content_block_start", "content_block": block}:
                    blocks.append(dict(block))
                    text = ""
                case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": piece}}:
                    blocks[-1]["text"] += piece
                case {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": piece}}:
                    blocks[-1]["thinking"] += piece
                case {"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": piece}}:
                    blocks[-1]["signature"] += piece
                case {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": piece}}:
                    text += piece
                    blocks[-1]["input"] = orjson.loads(text) if text.endswith("}") else {}
                case {"type": "error"} as told:
                    raise AssertionError(told)
        return {"content": blocks}


class ResponsesTalk(Talk):
    protocol = "openai-responses"

    def begin(self) -> None:
        said = [{"type": "input_text", "text": PROMPT}]
        self.history.append({"type": "message", "role": "user", "content": said})

    def request(self) -> Json:
        tool = {
            "type": "function",
            "name": "look",
            "description": "Reads a file.",
            "parameters": SCHEMA,
            "strict": True,
        }
        return {
            "input": self.history,
            "tools": [tool],
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "medium", "summary": "auto"},
            "prompt_cache_key": self.session,
        }

    def take(self, whole: Json) -> None:
        self.history += whole["output"]
        calls = [item for item in whole["output"] if item["type"] == "function_call"]
        for call in calls:
            said = f"result {self.calls}"
            self.calls += 1
            self.history.append({"type": "function_call_output", "call_id": call["call_id"], "output": said})
        if not calls:
            self.begin()

    def streamed(self, answer: Answer) -> Json:
        events = [orjson.loads(data) for _, data in frames(answer.body)]
        done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        assert events[-1]["type"] == "response.completed", events[-1]
        return {"output": done}


class ChatTalk(Talk):
    protocol = "openai-chat"

    def request(self) -> Json:
        tool = {"name": "look", "description": "Reads a file.", "parameters": SCHEMA}
        tools = [{"type": "function", "function": tool}]
        return {"messages": self.history, "tools": tools, "user": self.session, "reasoning_effort": "medium"}

    def take(self, whole: Json) -> None:
        message = {k: v for k, v in whole["choices"][0]["message"].items() if v is not None}
        self.history.append(message)
        for call in message.get("tool_calls", ()):
            self.history.append({"role": "tool", "tool_call_id": call["id"], "content": f"result {self.calls}"})
            self.calls += 1
        if not message.get("tool_calls"):
            self.begin()

    def streamed(self, answer: Answer) -> Json:
        message: Json = {"role": "assistant", "content": ""}
        for _, data in frames(answer.body):
            chunk = {} if data == "[DONE]" else orjson.loads(data)
            for choice in chunk.get("choices", ()):
                _merge(message, choice["delta"])
        for call in message.get("tool_calls", ()):
            del call["index"]
        return {"choices": [{"message": message}]}


def _merge(message: Json, delta: Mapping[str, Any]) -> None:
    for name, value in delta.items():
        match name, value:
            case "role", _:
                continue
            case _, str():
                message[name] = message.get(name, "") + value
            case "tool_calls", list():
                for piece in value:
                    calls = message.setdefault(name, [])
                    if piece["index"] == len(calls):
                        calls.append(orjson.loads(orjson.dumps(piece)))
                    else:
                        calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
            case _, list():
                message.setdefault(name, []).extend(value)
            case _ if value is not None:
                message[name] = value


TALKS: Mapping[str, type[Talk]] = {talk.protocol: talk for talk in (MessagesTalk, ResponsesTalk, ChatTalk)}
