"""Whether a request that is read with a memory comes out as one that is read anew: in every field, code and byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import orjson

from engine.llm.catalogue import Model, Provider, Quirks
from engine.llm.envelope import Maker
from engine.llm.errors import ClientError
from engine.llm.messages import LLMRequest
from engine.llm.prefix import Segments
from engine.llm.protocol import Survey, Target, WireProtocol
from engine.llm.returning import Returning, Seals, returned
from engine.memory.conversations import MIB, Memory
from engine.memory.known import Known
from engine.memory.rewriting import rewritten
from engine.memory.translation import translated
from engine.protocols import compaction
from engine.protocols.registry import PROTOCOLS
from engine.stages.decode import parse

QUIRKS = (
    Quirks(),
    Quirks(strict=True, mid_system=False, tool_id="alnum9", prefill=False, echo_reasoning=True, json_schema=False),
    Quirks(system_role="developer", tool_id="word", forced_tools=False, sampling=False, thinking="budget"),
)


def targets(protocol: str, quirks: tuple[Quirks, ...] = QUIRKS) -> Iterator[Target]:
    """Models behind providers of `protocol`: able ones, and one that can't do much."""
    provider = Provider("other", {protocol: "http://127.0.0.1:1"})
    for number, quirk in enumerate(quirks):
        able = number < 2
        model = Model("other", f"m{number}", tools=True, vision=able, documents=able, reasoning=able, structured=able)
        yield Target(provider, replace(model, quirks=quirk, known=True, max_output=64_000), protocol, quirk, "s")


def check(
    memory: Memory, wire: WireProtocol, raw: bytes, seals: Seals, *, quirks: tuple[Quirks, ...] = QUIRKS
) -> Known:
    """Assert that the request is read alike with and without `memory`, and translated alike."""
    known = memory.read(wire, raw, parse, session="s", most=64 * MIB)
    body = parse(raw)
    assert orjson.dumps(known.body) == orjson.dumps(body)
    assert _tried(known.survey) == _tried(lambda: wire.survey(body))
    if isinstance(_tried(lambda: wire.survey(body)), Survey):
        assert _measured(known.segments()) == _measured(wire.segments(body))
    request = _tried(lambda: wire.decode_request(body))
    assert _tried(known.request) == request
    for target in targets(wire.name, quirks):
        assert _rewritten(known, wire, target, seals) == _rewritten(Known(wire, body), wire, target, seals), target
    if isinstance(request, LLMRequest):
        assert known.offered() == replace(request, messages=())
        for other in PROTOCOLS.values():
            for target in targets(other.name, quirks):
                assert _with(known, other, target, seals) == _without(request, other, target, seals), (
                    other.name,
                    target,
                )
    assert orjson.dumps(known.body) == orjson.dumps(body), "somebody changed the request"
    return known


def _rewritten(known: Known, wire: WireProtocol, target: Target, seals: Seals) -> Any:
    target, back = _taking_back(target, seals)
    try:
        body = rewritten(known, wire, target)
    except (ClientError, AttributeError, TypeError) as error:  # a request that its survey has refused comes no further
        return type(error)
    marked = (
        wire.with_long_marks(wire.with_marks(body, most=3)) if isinstance(body.get(wire.conversation), list) else {}
    )
    return (
        orjson.dumps(body),
        orjson.dumps(marked),
        back.left_out > 0,
        back.compactions_left_out > 0,
        set(back.believed),
    )


def _with(known: Known, wire: WireProtocol, target: Target, seals: Seals) -> Any:
    target, back = _taking_back(target, seals)
    body, losses, slim = translated(known, wire, target, lambda request: _allowed(request, target, back))
    marked = wire.with_long_marks(wire.with_marks(body, most=3))
    told = orjson.dumps(body), orjson.dumps(marked), losses, slim
    return *told, back.left_out > 0, back.compactions_left_out > 0, set(back.believed)


def _without(request: LLMRequest, wire: WireProtocol, target: Target, seals: Seals) -> Any:
    target, back = _taking_back(target, seals)
    request = _allowed(request, target, back)
    body, losses = wire.encode_request(request, target)
    marked = wire.with_long_marks(wire.with_marks(body, most=3))
    told = orjson.dumps(body), orjson.dumps(marked), losses, replace(request, messages=())
    return *told, back.left_out > 0, back.compactions_left_out > 0, set(back.believed)


def _taking_back(target: Target, seals: Seals) -> tuple[Target, Returning]:
    back = seals.returning(Maker("other", target.model.name, "s"))
    return replace(target, take_back=back, unpacked=back.unpacked), back


def _allowed(request: LLMRequest, target: Target, back: Returning) -> LLMRequest:
    return compaction.in_words(returned(request, back), target, set())


def _tried(work: Any) -> Any:
    try:
        return work()
    except ClientError as error:
        return str(error), error.field


def _measured(segments: Segments) -> Any:
    segments.measure()
    return {name: getattr(segments, name) for name in segments.__slots__ if name != "values"}, len(segments.values)


def grown(rng: Random, wire: WireProtocol, pieces: list[dict[str, Any]], *, apart: bool) -> Iterator[bytes]:
    """The requests of a session that is made of the conversations of `pieces`, one behind the other: each is the one before and
    up to four elements more; now and then one goes back, changes what was said, or marks where it ends.

    `apart`: the calls of each conversation have ids of their own.
    """
    field = wire.conversation
    said: list[Any] = []
    for number, piece in enumerate(pieces):
        text = orjson.dumps(piece[field])
        if apart:
            for name in (b'"id":"', b'"call_id":"', b'"tool_use_id":"', b'"tool_call_id":"'):
                text = text.replace(name, name + b"c%d" % number)
        elements = orjson.loads(text)
        said += elements if isinstance(elements, list) else [{"role": "user", "content": elements}]
    settings = {name: value for name, value in pieces[0].items() if name != field}
    end = 0
    while end < len(said):
        end += rng.randint(1, 4)
        shown = said[:end]
        body = {**settings, field: shown}
        match rng.randrange(12):
            case 0:
                at = rng.randrange(len(shown))
                body[field] = [*shown[:at], {"role": "user", "content": f"changed {end}"}, *shown[at + 1 :]]
            case 1:
                body[field] = shown[: rng.randrange(1, len(shown) + 1)]
            case 2:
                body = {field: shown, **settings, "metadata": {"turn": str(end)}}
            case 3 if wire.name == "anthropic-messages":
                mark = {"type": "text", "text": "marked", "cache_control": {"type": "ephemeral"}}
                body[field] = [*shown, {"role": "user", "content": [mark]}]
        yield orjson.dumps(body)
