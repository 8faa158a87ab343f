"""Whatever form a provider gives its tool calls, the agent gets each once, under its name, with its arguments and an own id."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from tests.fidelity.clients import Sdks
from tests.fidelity.meaning import Answer as Meant
from tests.fidelity.tool_answers import CASES, Case, played
from tests.judge import judged
from tests.spine import PROTOCOLS, Answer, Behind, Call, Spine, Wire, body, policy, spine

PAIRS = [(client, wire) for client, wire in product(PROTOCOLS, PROTOCOLS) if client != wire]


def asked(client: str, *, stream: bool) -> dict[str, Any]:
    """A request that offers the tools `f` and `g`."""
    schema = {"type": "object", "properties": {}}
    match client:
        case "anthropic-messages":
            tools: list[Any] = [{"name": name, "input_schema": schema} for name in "fg"]
        case "openai-chat":
            tools = [{"type": "function", "function": {"name": name, "parameters": schema}} for name in "fg"]
        case _:
            tools = [{"type": "function", "name": name, "parameters": schema} for name in "fg"]
    return body(client, stream=stream, tools=tools)


def read(answer: Answer) -> Meant:
    """What the SDK of the client's protocol reads."""
    if answer.stream:
        return Sdks().stream(answer.protocol, answer.body)
    return Sdks().whole(answer.protocol, answer.json)


async def wrong(gate: Spine, client: str, case: Case) -> str:
    """What the agent gets otherwise than `case` means; empty for nothing."""
    gate.heal()
    answer = await gate.ask(client, asked(client, stream=case.streamed))
    if case.calls is None:
        return "" if judged(answer).error else "an answer came"
    if answer.status != 200:
        return f"{answer.status}: {answer.body[:200]!r}"
    got = read(answer)
    if [(call.name, call.arguments) for call in got.calls] != case.calls:
        return f"{got.calls}"
    ids = [call.id for call in got.calls]
    if len(set(ids)) != len(ids) or not all(ids):
        return f"ids {ids}"
    return "" if (got.stop == "tool_use") == bool(case.calls) or case.calls == [] else f"stop {got.stop}"


@pytest.mark.parametrize(("client", "wire"), PAIRS, ids=[f"{c}-from-{w}" for c, w in PAIRS])
async def test_each_call_arrives_once(client: str, wire: str) -> None:
    """Indexes missing, odd or repeated; ids missing, repeated, foreign; arguments whole, in pieces, in turns, missing."""
    playing: list[tuple[bytes, str]] = []

    async def play(call: Call) -> None:
        data, kind = playing[-1]
        await call.open(kind)
        await call.write(data)

    failed = {}
    async with Wire(play) as provider:
        row = policy(Behind("first", provider.url, (wire,)), fallback={"attempts": 1})
        async with spine(row, env={"FIRST_KEY": "k"}) as gate:
            for case in CASES[wire]:
                playing.append(played(wire, case))
                if told := await wrong(gate, client, case):
                    failed[case.name] = told
    assert failed == {}
