"""OpenAI's Responses API, as client adapter and as the wire of every compatible provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.llm.catalogue import Provider, Quirks
from engine.llm.errors import GatewayError, ProviderError
from engine.llm.messages import JsonObject, LLMRequest, LLMResponse
from engine.llm.prefix import Segments
from engine.llm.protocol import Part, StreamDecoder, StreamEncoder, StreamTap, Survey, Tapped, Target
from engine.protocols.model_list import openai_models
from engine.protocols.openai_responses import answer_in, answer_out, errors, request_in, request_out, tap
from engine.protocols.openai_responses.segments import segments
from engine.protocols.openai_responses.stream_in import Decoder
from engine.protocols.openai_responses.stream_out import Encoder, encode_stream_error
from engine.protocols.openai_responses.survey import survey
from engine.protocols.openai_responses.turns import part
from engine.protocols.openai_responses.words import NAME, PATH

_COMMENT = b": keep-alive\n\n"


class OpenAIResponses:
    """See `WireProtocol`. Holds no state: one object serves all requests."""

    name = NAME
    path = PATH
    conversation = "input"

    def survey(self, body: JsonObject) -> Survey:
        """See `WireProtocol.survey`."""
        return survey(body)

    def segments(self, body: JsonObject) -> Segments:
        """See `WireProtocol.segments`."""
        return segments(body)

    def part(self, element: JsonObject) -> Part | None:
        """See `WireProtocol.part`."""
        return part(element)

    def decode_request(self, body: JsonObject) -> LLMRequest:
        """See `WireProtocol.decode_request`."""
        return request_in.decode_request(body)

    def encode_response(self, response: LLMResponse, *, model: str) -> JsonObject:
        """See `WireProtocol.encode_response`."""
        return answer_out.encode_response(response, model=model)

    def stream_encoder(self, *, model: str, answer_id: str, request: LLMRequest | None = None) -> StreamEncoder:
        """See `WireProtocol.stream_encoder`. With `request`, calls come back under the names that it offered."""
        return Encoder(model=model, answer_id=answer_id, request=request)

    def encode_error(self, error: GatewayError, *, event_id: str = "") -> tuple[int, JsonObject, dict[str, str]]:
        """See `WireProtocol.encode_error`."""
        return errors.encode_error(error, event_id=event_id)

    def encode_stream_error(self, error: GatewayError) -> bytes:
        """See `WireProtocol.encode_stream_error`."""
        return encode_stream_error(error)

    def keepalive(self) -> bytes:
        """A comment. It keeps connections open but agents' idle timers running: feed the encoder `Progress` where there is one.

        An event would need the answer's id, which bytes that stand alone do not know.
        """
        return _COMMENT

    def encode_request(self, request: LLMRequest, target: Target) -> tuple[JsonObject, list[str]]:
        """See `WireProtocol.encode_request`."""
        return request_out.encode_request(request, target)

    def rewrite(self, body: JsonObject, target: Target) -> JsonObject:
        """See `WireProtocol.rewrite`."""
        return request_out.rewrite(body, target)

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
        """See `WireProtocol.auth_headers`."""
        if not key or provider.auth == "none":
            return {}
        return {"x-api-key": key} if provider.auth == "x-api-key" else {"authorization": f"Bearer {key}"}

    def decode_response(self, body: JsonObject, *, quirks: Quirks, request: LLMRequest | None = None) -> LLMResponse:
        """See `WireProtocol.decode_response`."""
        return answer_in.decode_response(body, quirks=quirks, request=request)

    def stream_decoder(self, *, quirks: Quirks, request: LLMRequest | None = None) -> StreamDecoder:
        """See `WireProtocol.stream_decoder`."""
        return Decoder(quirks=quirks, request=request)

    def stream_tap(self, *, quirks: Quirks) -> StreamTap:
        """See `WireProtocol.stream_tap`."""
        return tap.Tap(quirks)

    def tap_response(self, body: JsonObject, *, quirks: Quirks) -> Tapped:
        """See `WireProtocol.tap_response`."""
        return tap.tapped_whole(body, quirks)

    def decode_error(self, status: int, body: bytes, headers: Mapping[str, str]) -> ProviderError:
        """See `WireProtocol.decode_error`."""
        return errors.decode_error(status, body, headers)

    def encode_models(self, models: list[Mapping[str, Any]]) -> JsonObject:
        """See `WireProtocol.encode_models`."""
        return openai_models(models)
