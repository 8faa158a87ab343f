"""Answers as the official SDKs read them: parsed by their models, streams put together by their own accumulators.

What an SDK returned is read by the plain readers of its protocol, so a comparison sees what a program would see. Whole bodies
are also validated, which the SDKs do not do by themselves: a required member that is missing is found here.
"""

from __future__ import annotations

from typing import Any
from warnings import catch_warnings, simplefilter

import anthropic
import httpx2
import openai
import orjson
from anthropic.types import Message
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response

from tests.fidelity.meaning import Answer
from tests.fidelity.read import chat, messages, responses

MODELS: dict[str, Any] = {"anthropic-messages": Message, "openai-chat": ChatCompletion, "openai-responses": Response}
_ASKED: list[Any] = [{"role": "user", "content": "hi"}]


class Sdks:
    """The SDKs' clients with a wire that gives whatever `body` holds."""

    def __init__(self) -> None:
        self._status, self._type, self._body = 200, "", b""
        self._headers: dict[str, str] = {}
        wire = httpx2.Client(transport=httpx2.MockTransport(self._answer))
        self._claude = anthropic.Anthropic(api_key="k", base_url="http://gateway", http_client=wire, max_retries=0)
        self._gpt = openai.OpenAI(api_key="k", base_url="http://gateway/v1", http_client=wire, max_retries=0)

    def whole(self, protocol: str, body: dict[str, Any], *, strict: bool = True) -> Answer:
        """A whole answer in `protocol`. `strict` raises for one that the SDK's model does not fit in every member."""
        self._set(200, "application/json", orjson.dumps(body))
        if strict:
            MODELS[protocol].model_validate(body)
        match protocol:
            case "anthropic-messages":
                said = self._claude.messages.create(model="m", max_tokens=9, messages=_ASKED)
                return messages.whole(said.to_dict(warnings=False))
            case "openai-chat":
                return chat.whole(self._gpt.chat.completions.create(model="m", messages=_ASKED).to_dict(warnings=False))
        return responses.whole(self._gpt.responses.create(model="m", input="hi").to_dict(warnings=False))

    def stream(self, protocol: str, raw: bytes) -> Answer:
        """A streamed answer in `protocol`. Raises for a stream whose end is missing."""
        self._set(200, "text/event-stream", raw)
        match protocol:
            case "anthropic-messages":
                with self._claude.messages.stream(model="m", max_tokens=9, messages=_ASKED) as events:
                    kinds = [event.type for event in events]
                    assert kinds[-1] == "message_stop", kinds[-3:]
                    return messages.whole(events.get_final_message().to_dict(warnings=False))
            case "openai-chat":
                return self._chat_stream()
        return self._responses_stream()

    def error(self, protocol: str, status: int, body: dict[str, Any], headers: dict[str, str]) -> Exception:
        """The exception that the SDK raises for an error answer."""
        self._set(status, "application/json", orjson.dumps(body), headers)
        try:
            if protocol == "anthropic-messages":
                self._claude.messages.create(model="m", max_tokens=9, messages=_ASKED)
            elif protocol == "openai-chat":
                self._gpt.chat.completions.create(model="m", messages=_ASKED)
            else:
                self._gpt.responses.create(model="m", input="hi")
        except (anthropic.APIStatusError, openai.APIStatusError) as error:
            return error
        raise AssertionError("the SDK took an error for an answer")

    def _chat_stream(self) -> Answer:
        state = ChatCompletionStreamState()
        chunks = self._gpt.chat.completions.create(model="m", messages=_ASKED, stream=True)
        for chunk in chunks:
            assert isinstance(chunk, ChatCompletionChunk)
            state.handle_chunk(chunk)
        held = state.current_completion_snapshot.to_dict(warnings=False)
        assert held["choices"][0]["finish_reason"], "a stream without its end"
        return chat.whole(held)

    def _responses_stream(self) -> Answer:
        last: Any = None
        # The accumulator serializes each item and warns about kinds that the SDK's own models do not know yet.
        with catch_warnings(), self._gpt.responses.stream(model="m", input="hi") as events:
            simplefilter("ignore", UserWarning)
            for event in events:
                last = event
        assert last.type in ("response.completed", "response.incomplete"), last.type
        return responses.whole(last.response.to_dict(warnings=False))

    def _set(self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._status, self._type, self._body, self._headers = status, kind, body, headers or {}

    def _answer(self, _: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(self._status, content=self._body, headers={**self._headers, "content-type": self._type})
