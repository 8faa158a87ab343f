"""One agent's session as the requests of its turns, in the words of each client protocol: every request is the one before and
what is new. Sizes are those of `bodies.agent`: at turn 200 a request is about 400 kB, of which 40 kB are tools and system.
"""

from __future__ import annotations

from typing import Any

import orjson

from tests.bench.bodies import Prose, agent_tools

SESSION = "5d1a3c52-7f10-4c7e-9c58-0c2f9a1f2b11"
_SAID = 120
_SHOWN = 1_500


class Session:
    """The turns of a session, drawn once; `request` gives the bytes of any of them."""

    def __init__(self, protocol: str, model: str, turns: int, *, seed: int = 11) -> None:
        prose = Prose(seed)
        self._protocol = protocol
        self._model = model
        self._tools = agent_tools(prose)
        self._system = [prose.text(9_000), prose.text(2_500)]
        self._first = prose.text(1_500)
        self._turns = [(prose.text(_SAID), prose.text(_SHOWN), prose.text(40)) for _ in range(turns)]

    def request(self, turn: int, *, stream: bool = False) -> bytes:
        """What the client sends after `turn` answers."""
        match self._protocol:
            case "anthropic-messages":
                body = self._messages(turn)
            case "openai-chat":
                body = self._chat(turn)
            case _:
                body = self._responses(turn)
        return orjson.dumps({**body, "stream": stream})

    def _messages(self, turn: int) -> dict[str, Any]:
        mark = {"cache_control": {"type": "ephemeral"}}
        messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": self._first}]}]
        for number, (said, shown, path) in enumerate(self._turns[:turn]):
            call = {"type": "tool_use", "id": f"toolu_{number:024d}", "name": "Read", "input": {"file_path": path}}
            result = {"type": "tool_result", "tool_use_id": call["id"], "content": shown, "is_error": False}
            messages += [
                {"role": "assistant", "content": [{"type": "text", "text": said}, call]},
                {"role": "user", "content": [result]},
            ]
        messages[-1]["content"][-1] |= mark
        return {
            "model": self._model,
            "messages": messages,
            "system": [{"type": "text", "text": text, **mark} for text in self._system],
            "tools": [
                {"name": t["name"], "description": t["description"], "input_schema": t["input_schema"]}
                for t in self._tools
            ],
            "metadata": {"user_id": f'{{"session_id":"{SESSION}","account_uuid":"","device_id":"d0"}}'},
            "max_tokens": 32_000,
        }

    def _chat(self, turn: int) -> dict[str, Any]:
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": "\n".join(self._system)},
            {"role": "user", "content": self._first},
        ]
        for number, (said, shown, path) in enumerate(self._turns[:turn]):
            arguments = orjson.dumps({"file_path": path}).decode()
            call = {
                "id": f"call_{number:024d}",
                "type": "function",
                "function": {"name": "Read", "arguments": arguments},
            }
            messages += [
                {"role": "assistant", "content": said, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": call["id"], "content": shown},
            ]
        return {
            "model": self._model,
            "messages": messages,
            "tools": [{"type": "function", "function": _function(tool)} for tool in self._tools],
            "max_completion_tokens": 32_000,
        }

    def _responses(self, turn: int) -> dict[str, Any]:
        items: list[dict[str, Any]] = [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": self._first}]}
        ]
        for number, (said, shown, path) in enumerate(self._turns[:turn]):
            call_id, arguments = f"call_{number:024d}", orjson.dumps({"file_path": path}).decode()
            items += [
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": said}]},
                {"type": "function_call", "name": "Read", "arguments": arguments, "call_id": call_id},
                {"type": "function_call_output", "call_id": call_id, "output": shown},
            ]
        return {
            "model": self._model,
            "instructions": "\n".join(self._system),
            "input": items,
            "tools": [{"type": "function", "strict": False, **_function(tool)} for tool in self._tools],
            "tool_choice": "auto",
            "store": False,
            "prompt_cache_key": SESSION,
        }


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    return {"name": tool["name"], "description": tool["description"], "parameters": tool["input_schema"]}
