"""Reasoning that led to several calls of one answer, through a Chat client and back: each seal before its own call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Quirks
from engine.llm.envelope import Envelopes, Maker
from engine.llm.messages import Block, LLMResponse, Text, Thinking, ToolCall
from engine.llm.replay import replay
from engine.llm.returning import Makers, Returning, returned
from engine.protocols.openai_chat.reasoning import seal
from tests.fidelity.clients import Sdks
from tests.protocols.chat_kit import ABLE, PROVIDER, WIRE, encoded, target

KEY = Envelopes(b"k" * 32)
MAKER = Maker("p", "m")
SPOKEN: list[dict[str, Any]] = [{"role": "user", "content": "go"}]


def sealed(number: int, state: str = "", origin: str = "anthropic-messages") -> Thinking:
    """Enveloped thinking of a provider."""
    return KEY.seal(Thinking(f"thought {number}", state or f"state {number}", origin=origin), MAKER)


def whole(content: tuple[Block, ...]) -> dict[str, Any]:
    """The assistant's message of a whole answer."""
    return WIRE.encode_response(LLMResponse("c", "m", content, "tool_use"), model="m")["choices"][0]["message"]


def streamed(content: tuple[Block, ...]) -> dict[str, Any]:
    """The message that a client puts together of a streamed answer."""
    raw = encoded(replay(LLMResponse("c", "m", content, "tool_use"))).decode()
    message: dict[str, Any] = {"role": "assistant", "content": "", "reasoning_details": [], "tool_calls": []}
    for line in raw.split("\n\n"):
        value = line.removeprefix("data: ")
        for choice in orjson.loads(value)["choices"] if value.startswith("{") else ():
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            message["reasoning_details"] += delta.get("reasoning_details", ())
            for call in delta.get("tool_calls", ()):
                if call["index"] == len(message["tool_calls"]):
                    message["tool_calls"].append(call)
                else:
                    message["tool_calls"][-1]["function"]["arguments"] += call["function"]["arguments"]
    return message


def back(message: dict[str, Any]) -> list[Block]:
    """The blocks of the history's answer, as a provider's encoder gets them."""
    body = {"model": "m", "messages": [*SPOKEN, {k: v for k, v in message.items() if v}]}
    take_back = Returning(KEY, Makers(), MAKER)
    return list(returned(WIRE.decode_request(body), take_back).messages[1].content)


PIECES = st.lists(st.sampled_from("tcx"), min_size=1, max_size=9)


@given(PIECES)
@settings(deadline=None, max_examples=150)
def test_each_seal_stands_before_its_call(pieces: list[str]) -> None:
    """Whole and streamed; thoughts that led to something else open the message, as Chat has it."""
    content: list[Block] = []
    for number, kind in enumerate(pieces):
        made = {"t": sealed(number), "c": ToolCall(f"c{number}", "f", '{"a":1}'), "x": Text(f"said {number}")}
        content.append(made[kind])
    first: list[str] = []
    led: list[str] = []
    for block, following in zip(content, [*content[1:], None], strict=True):
        if isinstance(block, Thinking):
            (led if isinstance(following, ToolCall) else first).append(block.text)
        elif isinstance(block, ToolCall):
            led.append(block.id)
    for message in (whole(tuple(content)), streamed(tuple(content))):
        found = [
            b.text if isinstance(b, Thinking) else b.id for b in back(message) if isinstance(b, Thinking | ToolCall)
        ]
        assert found == first + led


def test_a_calls_own_seal_goes_back_on_that_call() -> None:
    """A Chat vendor's signatures of parallel calls, carried through another vendor's session, each on the call it signed."""
    marks = [{"extra_content": {"google": {"thought_signature": f"s{n}"}}} for n in (1, 2)]
    thoughts = [KEY.seal(Thinking("", seal(tool_call=mark), origin="openai-chat"), MAKER) for mark in marks]
    content = (thoughts[0], ToolCall("c1", "f"), thoughts[1], ToolCall("c2", "f"))
    for message in (whole(content), streamed(content)):
        body = {"model": "m", "messages": [*SPOKEN, {k: v for k, v in message.items() if v}]}
        aim = replace(target(), take_back=Returning(KEY, Makers(), MAKER))
        preserved = WIRE.rewrite(body, aim)["messages"][1]["tool_calls"]
        request = returned(WIRE.decode_request(body), Returning(KEY, Makers(), MAKER))
        translated = WIRE.encode_request(request, aim)[0]["messages"][1]["tool_calls"]
        for calls in (preserved, translated):
            assert [call["extra_content"] for call in calls] == [mark["extra_content"] for mark in marks]
    assert (PROVIDER.name, ABLE.name) == (MAKER.provider, MAKER.model)


def test_a_client_of_the_sdk_reads_it() -> None:
    """The official accumulator takes the details that are told late."""
    content = (sealed(1), ToolCall("c1", "f"), sealed(2), Text("hm"), sealed(3), ToolCall("c2", "f"))
    read = Sdks().stream("openai-chat", encoded(replay(LLMResponse("c", "m", content, "tool_use"))))
    assert [call.id for call in read.calls] == ["c1", "c2"]
    assert len(read.state) == 3
    decoded = WIRE.decode_response({"id": "c", "choices": [{"message": whole(content)}]}, quirks=Quirks())
    assert sum(isinstance(block, Thinking) for block in decoded.content) == 3
