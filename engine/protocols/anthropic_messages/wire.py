"""The protocol object: what `WireProtocol` promises, each part in a module of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from engine.llm.catalogue import Provider, Quirks
from engine.llm.errors import GatewayError, ProviderError
from engine.llm.messages import JsonObject, LLMRequest, LLMResponse
from engine.llm.prefix import Segments
from engine.llm.protocol import Part, StreamDecoder, StreamEncoder, StreamTap, Survey, Tapped, Target
from engine.protocols.anthropic_messages import errors, responses
from engine.protocols.anthropic_messages.marks import with_long_marks, with_mark_at, with_marks
from engine.protocols.anthropic_messages.request_in import decode_request
from engine.protocols.anthropic_messages.request_out import encode_request
from engine.protocols.anthropic_messages.rewrite import rewrite
from engine.protocols.anthropic_messages.segments import segments
from engine.protocols.anthropic_messages.stream_in import Decoder
from engine.protocols.anthropic_messages.stream_out import PING, Encoder
from engine.protocols.anthropic_messages.survey import survey
from engine.protocols.anthropic_messages.tap import Tap
from engine.protocols.anthropic_messages.turns import part
from engine.protocols.anthropic_messages.words import NAME, PATH, VERSION


class AnthropicMessages:
    """Implements `WireProtocol`; holds no state, one instance serves everything."""

    name = NAME
    path = PATH
    conversation = "messages"

    def survey(self, body: JsonObject) -> Survey:
        return survey(body)

    def segments(self, body: JsonObject) -> Segments:
        return segments(body)

    def part(self, element: JsonObject) -> Part | None:
        return part(element)

    def decode_request(self, body: JsonObject) -> LLMRequest:
        return decode_request(body)

    def encode_response(self, response: LLMResponse, *, model: str) -> JsonObject:
        return responses.encode_response(response, model=model)

    def stream_encoder(self, *, model: str, answer_id: str, request: LLMRequest | None = None) -> StreamEncoder:
        del request  # this protocol echoes nothing of it
        return Encoder(model=model, answer_id=answer_id)

    def encode_error(self, error: GatewayError, *, event_id: str = "") -> tuple[int, JsonObject, dict[str, str]]:
        return errors.encode_error(error, event_id=event_id)

    def encode_stream_error(self, error: GatewayError) -> bytes:
        return errors.encode_stream_error(error)

    def keepalive(self) -> bytes:
        return PING

    def encode_request(self, request: LLMRequest, target: Target) -> tuple[JsonObject, list[str]]:
        return encode_request(request, target)

    def rewrite(self, body: JsonObject, target: Target) -> JsonObject:
        return rewrite(body, target)

    def with_marks(self, body: JsonObject, *, most: int, newest: bool = False) -> JsonObject:
        return with_marks(body, most=most, newest=newest)

    def with_mark_at(self, body: JsonObject, message: int) -> JsonObject:
        return with_mark_at(body, message)

    def with_long_marks(self, body: JsonObject) -> JsonObject:
        return with_long_marks(body)

    def auth_headers(self, provider: Provider, key: str) -> dict[str, str]:
        """The version always; the key as the provider's row says, none for `none` and `client` (the caller's own passes)."""
        headers = {"anthropic-version": VERSION}
        match provider.auth:
            case "x-api-key" if key:
                headers["x-api-key"] = key
            case "bearer" if key:
                headers["Authorization"] = f"Bearer {key}"
        return headers

    def decode_response(self, body: JsonObject, *, quirks: Quirks, request: LLMRequest | None = None) -> LLMResponse:
        del quirks
        return responses.decode_response(body, request=request)

    def stream_decoder(self, *, quirks: Quirks, request: LLMRequest | None = None) -> StreamDecoder:
        del quirks
        return Decoder(request)

    def stream_tap(self, *, quirks: Quirks) -> StreamTap:
        del quirks
        return Tap()

    def tap_response(self, body: JsonObject, *, quirks: Quirks) -> Tapped:
        del quirks
        return responses.tap_response(body)

    def decode_error(self, status: int, body: bytes, headers: Mapping[str, str]) -> ProviderError:
        return errors.decode_error(status, body, headers)

    def encode_models(self, models: list[Mapping[str, Any]]) -> JsonObject:
        data = [_model(entry) for entry in models]
        return {
            "data": data,
            "has_more": False,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }


def _model(entry: Mapping[str, Any]) -> JsonObject:
    created = datetime.fromtimestamp(entry.get("created") or 0, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = entry.get("display_name") or entry["id"]
    model: JsonObject = {"type": "model", "id": entry["id"], "display_name": name, "created_at": created}
    if entry.get("context"):
        model["max_input_tokens"] = entry["context"]
    if entry.get("max_output"):
        model["max_tokens"] = entry["max_output"]
    return model
