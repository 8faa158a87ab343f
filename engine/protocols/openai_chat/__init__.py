"""OpenAI's Chat Completions, as client adapter and as the wire of every compatible provider.

Rules kept: nothing a client sends is lost without a loss code; nothing a target's quirks refuse is sent; a provider's
answer is believed by its content, not by its labels (tool calls decide over `finish_reason`, the last usage counts); a
stream that just ends is a failure, never a complete answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.llm.catalogue import Provider, Quirks
from engine.llm.errors import GatewayError, ProviderError
from engine.llm.messages import JsonObject, LLMRequest, LLMResponse
from engine.llm.prefix import Segments
from engine.llm.protocol import Part, StreamDecoder, StreamEncoder, StreamTap, Survey, Tapped, Target
from engine.protocols.model_list import openai_models
from engine.protocols.openai_chat import answer_in, answer_out, errors, request_in, request_out, survey, tap
from engine.protocols.openai_chat.fields import NAME
from engine.protocols.openai_chat.rewrite import rewrite
from engine.protocols.openai_chat.segments import segments
from engine.protocols.openai_chat.stream_in import ChatStreamDecoder
from engine.protocols.openai_chat.turns import part

__all__ = ["OpenAIChat"]

_KEEPALIVE = b": keepalive\n\n"


class OpenAIChat:
    """`engine.llm.protocol.WireProtocol` for Chat Completions; stateless."""

    name = NAME
    path = "/chat/completions"
    conversation = "messages"

    def survey(self, body: JsonObject) -> Survey:
        return survey.survey(body)

    def segments(self, body: JsonObject) -> Segments:
        return segments(body)

    def part(self, element: JsonObject) -> Part | None:
        return part(element)

    def decode_request(self, body: JsonObject) -> LLMRequest:
        return request_in.decode_request(body)

    def encode_response(self, response: LLMResponse, *, model: str) -> JsonObject:
        return answer_out.encode_response(response, model=model)

    def stream_encoder(self, *, model: str, answer_id: str, request: LLMRequest | None = None) -> StreamEncoder:
        """The usage chunk is sent if `request` asks for it, and when there is no request to ask."""
        return answer_out.ChatStreamEncoder(model=model, answer_id=answer_id, request=request)

    def encode_error(self, error: GatewayError, *, event_id: str = "") -> tuple[int, JsonObject, dict[str, str]]:
        return errors.encode_error(error, event_id=event_id)

    def encode_stream_error(self, error: GatewayError) -> bytes:
        return errors.encode_stream_error(error)

    def keepalive(self) -> bytes:
        """A comment: every client of this protocol skips it, and an event would be a chunk to them."""
        return _KEEPALIVE

    def encode_request(self, request: LLMRequest, target: Target) -> tuple[JsonObject, list[str]]:
        return request_out.encode_request(request, target)

    def rewrite(self, body: JsonObject, target: Target) -> JsonObject:
        return rewrite(body, target)

    def with_marks(self, body: JsonObject, *, most: int, newest: bool = False) -> JsonObject:
        """As it is: this protocol has no breakpoints."""
        del most, newest
        return body

    def with_mark_at(self, body: JsonObject, message: int) -> JsonObject:
        """As it is, see `with_marks`."""
        del message
        return body

    def with_long_marks(self, body: JsonObject) -> JsonObject:
        """As it is, see `with_marks`."""
        return body

    def auth_headers(self, provider: Provider, key: str) -> dict[str, str]:
        """By the provider's way to authenticate; nothing without a key."""
        if not key or provider.auth == "none":
            return {}
        return {"x-api-key": key} if provider.auth == "x-api-key" else {"authorization": f"Bearer {key}"}

    def decode_response(self, body: JsonObject, *, quirks: Quirks, request: LLMRequest | None = None) -> LLMResponse:
        return answer_in.decode_response(body, quirks=quirks, request=request)

    def stream_decoder(self, *, quirks: Quirks, request: LLMRequest | None = None) -> StreamDecoder:
        return ChatStreamDecoder(quirks, request)

    def stream_tap(self, *, quirks: Quirks) -> StreamTap:
        return tap.ChatTap(quirks)

    def tap_response(self, body: JsonObject, *, quirks: Quirks) -> Tapped:
        return tap.tap_response(body, quirks)

    def decode_error(self, status: int, body: bytes, headers: Mapping[str, str]) -> ProviderError:
        return errors.decode_error(status, body, headers)

    def encode_models(self, models: list[Mapping[str, Any]]) -> JsonObject:
        return openai_models(models)
