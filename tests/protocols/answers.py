"""What of an answer's fields arrives at a client of each protocol, whole and streamed: the material of `golden/answer_fields.txt`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.llm.catalogue import Quirks
from engine.llm.messages import JsonObject, LLMRequest, LLMResponse
from engine.llm.replay import gathered, replay
from engine.protocols.registry import PROTOCOLS
from engine.protocols.sse import SSEParser
from tests.protocols.fields import CHAT, LOCATION, MESSAGES, RESPONSES, URL_NOTE

TOKEN = {"token": "A", "logprob": -0.1, "bytes": [65], "top_logprobs": []}
SEARCHED = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}}


@dataclass(slots=True, frozen=True)
class Answered:
    """A field as a provider's answer has it."""

    name: str
    provider: str
    body: JsonObject


def messages(*content: JsonObject, **more: Any) -> JsonObject:
    base = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
    text = [{"type": "text", "text": "A"}]
    return {**base, "content": list(content) or text, "usage": {"input_tokens": 3, "output_tokens": 1}, **more}


def chat(message: Mapping[str, Any] | None = None, choice: Mapping[str, Any] | None = None, **more: Any) -> JsonObject:
    said = {"role": "assistant", "content": "A", **(message or {})}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    base = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "usage": usage}
    return {**base, "choices": [{"index": 0, "message": said, "finish_reason": "stop", **(choice or {})}], **more}


def responses(*output: JsonObject, part: Mapping[str, Any] | None = None, **more: Any) -> JsonObject:
    text = {"type": "output_text", "text": "A", "annotations": [], **(part or {})}
    message = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [text]}
    base = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m"}
    usage = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}
    return {**base, "output": list(output) or [message], "usage": usage, **more}


NESTED = {"type": "url_citation", "url_citation": {k: v for k, v in URL_NOTE.items() if k != "type"}}
REFUSED = {"type": "refusal", "text": None, "annotations": None, "refusal": "No."}
ANSWERS = (
    Answered("plain", MESSAGES, messages()),
    Answered("plain", CHAT, chat()),
    Answered("plain", RESPONSES, responses()),
    Answered("refusal", MESSAGES, messages(stop_reason="refusal")),
    Answered("refusal", CHAT, chat({"content": None, "refusal": "No."})),
    Answered("refusal", RESPONSES, responses(part={"type": "refusal", "refusal": "No."})),
    Answered("content_filter", CHAT, chat(choice={"finish_reason": "content_filter"})),
    Answered("content_filter", RESPONSES, responses(status="incomplete", incomplete_details={"reason": "content_filter"})),
    Answered("limit", MESSAGES, messages(stop_reason="max_tokens")),
    Answered("limit", CHAT, chat(choice={"finish_reason": "length"})),
    Answered("limit", RESPONSES, responses(status="incomplete", incomplete_details={"reason": "max_output_tokens"})),
    Answered("window", MESSAGES, messages(stop_reason="model_context_window_exceeded")),
    Answered("pause", MESSAGES, messages(stop_reason="pause_turn")),
    Answered("stop_sequence", MESSAGES, messages(stop_reason="stop_sequence", stop_sequence="END")),
    Answered("stop_sequence", CHAT, chat(choice={"stop_reason": "END"})),
    Answered("citations", MESSAGES, messages({"type": "text", "text": "A", "citations": [LOCATION]})),
    Answered("annotations", CHAT, chat({"annotations": [NESTED]})),
    Answered("annotations", RESPONSES, responses(part={"annotations": [URL_NOTE]})),
    Answered("logprobs", CHAT, chat(choice={"logprobs": {"content": [TOKEN], "refusal": None}})),
    Answered("logprobs", RESPONSES, responses(part={"logprobs": [TOKEN]})),
    Answered("tier", MESSAGES, messages(usage={"input_tokens": 3, "output_tokens": 1, "service_tier": "priority"})),
    Answered("tier", CHAT, chat(service_tier="flex")),
    Answered("tier", RESPONSES, responses(service_tier="flex")),
    Answered("cached", MESSAGES, messages(usage={"input_tokens": 3, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 7, "output_tokens": 1})),
    Answered("cached", CHAT, chat(usage={"prompt_tokens": 15, "completion_tokens": 1, "total_tokens": 16, "prompt_tokens_details": {"cached_tokens": 5}})),
    Answered("cached", RESPONSES, responses(usage={"input_tokens": 15, "input_tokens_details": {"cached_tokens": 5}, "output_tokens": 1, "total_tokens": 16})),
    Answered("reasoning_tokens", CHAT, chat(usage={"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12, "completion_tokens_details": {"reasoning_tokens": 8}})),
    Answered("reasoning_tokens", RESPONSES, responses(usage={"input_tokens": 3, "output_tokens": 9, "output_tokens_details": {"reasoning_tokens": 8}, "total_tokens": 12})),
    Answered("thinking", MESSAGES, messages({"type": "thinking", "thinking": "T", "signature": "s"}, {"type": "text", "text": "A"})),
    Answered("thinking", CHAT, chat({"reasoning_content": "T"})),
    Answered("server_tool", MESSAGES, messages(SEARCHED, {"type": "text", "text": "A"})),
    Answered("server_tool", RESPONSES, responses({"type": "web_search_call", "id": "ws_1", "status": "completed"}, *responses()["output"])),
    Answered("compaction", MESSAGES, messages({"type": "compaction", "content": "Short."}, {"type": "text", "text": "A"})),
    Answered("second_choice", CHAT, {**chat(), "choices": [*chat()["choices"], {"index": 1, "message": {"role": "assistant", "content": "B"}, "finish_reason": "stop"}]}),
)  # fmt: skip


def whole(case: Answered, client: str) -> JsonObject:
    """The answer as a client of the protocol reads it."""
    return PROTOCOLS[client].encode_response(decoded(case), model="m")


def decoded(case: Answered) -> LLMResponse:
    """The answer in neutral words; the request asked for one stop sequence."""
    asked = LLMRequest("m", (), stop=("END",))
    return PROTOCOLS[case.provider].decode_response(case.body, quirks=Quirks(), request=asked)


def streamed(case: Answered, client: str) -> LLMResponse | None:
    """The answer told as a stream, as the client's own protocol reads it back."""
    encoder = PROTOCOLS[client].stream_encoder(model="m", answer_id="msg_1")
    data = b"".join(encoder.feed(event) for event in replay(decoded(case)))
    decoder = PROTOCOLS[client].stream_decoder(quirks=Quirks(), request=LLMRequest("m", (), stop=("END",)))
    parser = SSEParser()
    events = [told for event in [*parser.feed(data), *parser.close()] for told in decoder.feed(event)]
    return gathered([*events, *decoder.close()])


def again(case: Answered, client: str) -> LLMResponse:
    """The whole answer, as the client's own protocol reads it back."""
    return PROTOCOLS[client].decode_response(
        whole(case, client), quirks=Quirks(), request=LLMRequest("m", (), stop=("END",))
    )


def clients(case: Answered) -> Iterator[str]:
    """The protocols other than the provider's."""
    return (name for name in PROTOCOLS if name != case.provider)
