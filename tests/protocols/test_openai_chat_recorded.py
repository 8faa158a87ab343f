"""Recorded Chat traffic: every answer is read, every request of real clients is understood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.llm.catalogue import Quirks
from engine.llm.errors import ProviderError
from engine.llm.losses import CARRIES, LOSSES
from engine.llm.messages import LLMResponse, Text, ToolCall
from engine.llm.messages import Refusal as Declined
from engine.llm.replay import replay
from engine.llm.stream import Failure, Finish
from engine.protocols import compaction
from engine.protocols.registry import PROTOCOLS
from engine.protocols.sse import SSEParser
from tests.emulator.chat_profiles import PROFILES
from tests.emulator.chat_rules import Context
from tests.emulator.chat_rules import check as check_rules
from tests.emulator.refusal import Refusal
from tests.protocols.chat_kit import ABLE, WIRE, decode_bytes, encode, encoded, target
from tests.protocols.order import check, whole

STRICT = Quirks(strict=True, tool_id="alnum9", mid_system=False)


@pytest.fixture(scope="module")
def exchanges(shared: Path) -> list[tuple[str, dict[str, Any]]]:
    found = [(p.name, orjson.loads(p.read_bytes())) for p in sorted(shared.glob("corpus/*/openai-chat.*.json"))]
    assert len(found) > 600
    return found


def streams(exchanges: list[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, bytes]]:
    for name, exchange in exchanges:
        if exchange["response"]["status"] == 200 and "raw" in exchange["response"]:
            yield name, exchange["response"]["raw"].encode()


FAILING = {
    "e6a8c23e": "broken",
    "6316b736": "context_length",
    "574a945d": "server_error",
    "b6a04021": "context_length",
}
"""Streams that hold an error; every other recorded one is a whole answer."""


def test_every_recorded_stream_is_read(exchanges: list[tuple[str, dict[str, Any]]]) -> None:
    """In order, the same however it is cut, with usage; the tap agrees; and it can be told to a client."""
    stops: Counter[str] = Counter()
    for name, raw in streams(exchanges):
        events = decode_bytes(raw)
        check(events)
        end = events[-1]
        expected = next((meaning for part, meaning in FAILING.items() if part in name), "")
        assert (end.error.meaning if isinstance(end, Failure) else "") == expected, name
        tap = WIRE.stream_tap(quirks=Quirks())
        parser = SSEParser()
        for event in parser.feed(raw) + parser.close():
            tap.feed(event)
        tapped = tap.close()
        if not isinstance(end, Finish):
            assert tapped.error is not None, name
            continue
        stops[end.stop] += 1
        assert (tapped.stop, tapped.usage or end.usage, tapped.error) == (end.stop, end.usage, None), name
        answer = whole(events, protocol="openai-chat")
        back = whole(decode_bytes(encoded(events)), protocol="openai-chat")
        assert [b for b in back.content if isinstance(b, Text | ToolCall)] == [
            replace(b, extra=b.extra) for b in answer.content if isinstance(b, Text | ToolCall)
        ], name
        assert back.stop == answer.stop, name
    assert stops["tool_use"] > 90


def test_cuts_change_nothing(exchanges: list[tuple[str, dict[str, Any]]]) -> None:
    """A few recorded streams, cut at odd places."""
    for name, raw in list(streams(exchanges))[::12]:
        short = raw[:20_000]
        assert repr(decode_bytes(short, size=13)) == repr(decode_bytes(short)), name


def test_every_recorded_answer_is_read(exchanges: list[tuple[str, dict[str, Any]]]) -> None:
    """Whole answers: content survives being told to a client, whole and streamed; what is no answer is an error."""
    failures: Counter[str] = Counter()
    for name, exchange in exchanges:
        response = exchange["response"]
        if response["status"] != 200 or "raw" in response:
            continue
        try:
            answer = WIRE.decode_response(response["body"], quirks=Quirks())
        except ProviderError as error:
            failures[error.meaning] += 1
            continue
        assert answer.usage.input_tokens is not None, name
        back = WIRE.decode_response(WIRE.encode_response(answer, model=answer.model), quirks=Quirks())
        kept = [b for b in answer.content if isinstance(b, Text | ToolCall)]
        assert [b for b in back.content if isinstance(b, Text | ToolCall)] == kept, name
        assert (back.stop, back.usage.input_tokens, back.usage.output_tokens) == (
            answer.stop, answer.usage.input_tokens, answer.usage.output_tokens,
        ), name  # fmt: skip
        events = decode_bytes(encoded(replay(answer)))
        check(events)
        assert [b for b in whole(events).content if isinstance(b, Text | ToolCall)] == kept, name
        assert any(isinstance(b, ToolCall) for b in kept) <= (answer.stop in ("tool_use", "max_tokens")), name
    assert failures == {"server_error": 3, "content_policy": 1}


def test_every_recorded_error_has_a_meaning(exchanges: list[tuple[str, dict[str, Any]]]) -> None:
    """And can be passed on."""
    for name, exchange in exchanges:
        response = exchange["response"]
        if response["status"] == 200:
            continue
        raw = response["raw"].encode() if "raw" in response else orjson.dumps(response["body"])
        error = WIRE.decode_error(response["status"], raw, response["headers"])
        assert error.status == response["status"], name
        assert error.message, name
        assert WIRE.encode_error(error)[0] == response["status"], name


def _understood(body: dict[str, Any], name: str) -> None:
    found = WIRE.survey(body)
    assert found.requires <= set(LOSSES), name
    decoded = WIRE.decode_request(body)
    sent, losses = encode(decoded)
    assert set(losses) <= found.requires | {"max_output_tokens"}, name
    again = WIRE.survey(sent)
    assert (again.tool_calls, again.tools) == (found.tool_calls, found.tools), name
    assert again.last_role == found.last_role or "image.tool_result" in losses, name
    encode(decoded, STRICT, replace(ABLE, vision=False, reasoning=False))
    same = replace(ABLE, name=body["model"])
    assert WIRE.rewrite(body, target(model=same)) == body, name
    WIRE.rewrite(body, target(STRICT))


def test_every_recorded_request_is_understood(exchanges: list[tuple[str, dict[str, Any]]]) -> None:
    """Surveyed, decoded, encoded again and preserved."""
    for name, exchange in exchanges:
        body = exchange["request"].get("body")
        if isinstance(body, dict) and body.get("messages") and exchange["response"]["status"] == 200:
            _understood(body, name)


def test_every_captured_client_request_is_understood(shared: Path) -> None:
    """What opencode, Qwen Code, Continue, aider and the SDK really send."""
    seen: Counter[str] = Counter()
    for path in sorted(shared.glob("captures/*/*/*.json")):
        captured = orjson.loads(path.read_bytes())
        body = captured.get("body")
        if not str(captured.get("path", "")).endswith("chat/completions") or not isinstance(body, dict):
            continue
        _understood(body, str(path))
        seen[path.parts[-3]] += 1
        found = WIRE.survey(body)
        assert found.requires & {c for c in LOSSES if LOSSES[c][0] == "hard"} <= CARRIES["openai-chat"], path
    assert set(seen) >= {"opencode", "qwen", "cn", "aider", "sdk"}


def test_other_clients_requests_are_accepted_by_a_strict_server(shared: Path) -> None:
    """What Claude Code, Codex and others send in other protocols: nothing is refused, no loss is undeclared."""
    profile = PROFILES["strict"]
    model = replace(ABLE, name="llama-4-coder", documents=False, reasoning=False, max_output=32_768)
    strict = target(replace(STRICT, drop=("prompt_cache_key", "user", "service_tier")), model)
    seen: Counter[str] = Counter()
    refused: list[str] = []
    for path in sorted(shared.glob("captures/*/*/*.json")):
        captured = orjson.loads(path.read_bytes())
        body, sent_to = captured.get("body"), str(captured.get("path", ""))
        client = {"messages": "anthropic-messages", "responses": "openai-responses"}.get(sent_to.rpartition("/")[2])
        if client is None or not isinstance(body, dict):
            continue
        wire = PROTOCOLS[client]
        declared = wire.survey(body).requires | {"max_output_tokens"}
        request = wire.decode_request(body)
        if compaction.asked(request):  # in words, as an attempt does it
            request = compaction.in_words(request, strict, set())
        assert set(encode(request)[1]) <= declared, path
        sent, losses = WIRE.encode_request(request, strict)
        assert set(losses) <= declared, path
        try:
            check_rules(sent, Context(profile, profile.models))
        except Refusal as refusal:
            refused.append(str(refusal))
        seen[client] += 1
    assert [text for text in refused if "image_url" not in text] == []  # the captures hold filler instead of images
    assert min(seen["anthropic-messages"], seen["openai-responses"]) > 100


def test_every_recorded_stream_can_be_told_in_every_protocol(exchanges: list[tuple[str, dict[str, Any]]]) -> None:
    """The events satisfy all three encoders, and come back with the same text and calls."""
    for name, raw in list(streams(exchanges))[::6]:
        events = decode_bytes(raw)
        if not isinstance(events[-1], Finish):
            continue
        said = whole(events)
        for wire in PROTOCOLS.values():
            encoder = wire.stream_encoder(model="m", answer_id="a")
            parser, decoder = SSEParser(), wire.stream_decoder(quirks=Quirks())
            out = b"".join(encoder.feed(event) for event in events)
            back = [e for event in parser.feed(out) + parser.close() for e in decoder.feed(event)] + decoder.close()
            check(back)
            told = whole(back)
            assert [b.name for b in told.content if isinstance(b, ToolCall)] == [
                b.name for b in said.content if isinstance(b, ToolCall)
            ], (name, wire.name)
            assert _text(told) == _text(said), (name, wire.name)


def _text(answer: LLMResponse) -> str:
    return "".join(block.text for block in answer.content if isinstance(block, Text | Declined))
