"""Vendors without a network: they count tokens and keep prompts by their own published rules, on a clock that a test moves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from engine.llm.catalogue import Timeouts
from tests.emulator import anthropic_answers, chat_answers, responses_answers
from tests.emulator.models import CLAUDE
from tests.emulator.script import Answer
from tests.emulator.tokens import DEEPSEEK, GEMINI, GROQ, MISTRAL, NOTHING, OPENAI, Keeping, PromptCache

KEEPING: Mapping[str, Keeping] = {
    "api.openai.com": OPENAI,
    "api.groq.com": GROQ,
    "api.cerebras.ai": OPENAI,
    "api.deepseek.com": DEEPSEEK,
    "api.mistral.ai": MISTRAL,
    "generativelanguage.googleapis.com": GEMINI,
}
"""Host → how its Chat Completions keep prompts; of others nothing is known, so they keep none."""


@dataclass
class Clock:
    """Seconds since the epoch, moved by hand."""

    now: float = 1_796_000_000.0

    def __call__(self) -> float:
        return self.now


class Sent:
    """A whole answer."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {"content-type": "application/json"}
        self._body = orjson.dumps(body)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield self._body

    async def read(self) -> bytes:
        return self._body

    def close(self) -> None:
        pass


@dataclass
class Vendors:
    """Takes the place of the gateway's transport."""

    clock: Clock
    output_tokens: int = 100
    """Of the next answer."""
    down: frozenset[str] = frozenset()
    """Hosts that are overloaded now."""
    caches: dict[tuple[str, str], PromptCache] = field(default_factory=dict)
    calls: int = 0

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def send(
        self, url: str, *, headers: Mapping[str, str], body: bytes, timeouts: Timeouts, method: str = "POST"
    ) -> Sent:
        self.calls += 1
        host = url.split("/")[2]
        if host in self.down:
            return Sent(529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
        asked = orjson.loads(body)
        cache = self.caches.setdefault((host, asked["model"]), PromptCache(self.clock))
        answer = Answer(text="x" * (4 * self.output_tokens))
        if url.endswith("/v1/messages"):
            row = CLAUDE.get(asked["model"].partition("/")[2].replace(".", "-") or asked["model"])
            used = anthropic_answers.usage(asked, answer, cache, smallest=row.cache_smallest if row else 1024)
            content = [{"type": "text", "text": "ok"}]
            return Sent(200, {"id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"], "content": content,
                              "stop_reason": "end_turn", "stop_sequence": None, "usage": used})  # fmt: skip
        if url.endswith("/responses"):
            used = responses_answers.usage(asked, asked["input"], answer, cache)
            # From gpt-5.6 on writes are charged, and told.
            details = used["input_tokens_details"]
            details["cache_write_tokens"] = (used["input_tokens"] - details["cached_tokens"]) // 128 * 128
            part = {"type": "output_text", "text": "ok", "annotations": []}
            item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
            return Sent(200, {"id": "resp_1", "object": "response", "status": "completed", "model": asked["model"],
                              "output": [item], "usage": used})  # fmt: skip
        used = chat_answers.usage(asked, answer, cache, KEEPING.get(host, NOTHING))
        choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
        return Sent(
            200, {"id": "c1", "object": "chat.completion", "model": asked["model"], "choices": [choice], "usage": used}
        )

    send_untimed = send
