"""Events that never come: an answer that lacks something is a failure, as far as the wire lets anybody know; never another answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.llm.catalogue import Quirks
from engine.llm.messages import LLMResponse, Refusal, Text, ToolCall
from engine.llm.protocol import SSEEvent
from engine.llm.replay import replay
from engine.llm.stream import Failure, Finish, StreamEvent
from engine.protocols.registry import PROTOCOLS
from engine.protocols.sse import SSEParser
from tests.protocols import order
from tests.protocols.generate import answers
from tests.protocols.responses_kit import (
    added,
    completed,
    created,
    decode,
    delta,
    done,
    frames,
    function_call,
    message,
    output_text,
    parsed,
)
from tests.protocols.responses_kit import encode as told_to_client

_TEXT = "Hello brave new world"


def numbered(*events: dict[str, Any], leaving_out: tuple[int, ...] = (), numbers: bool = True) -> list[SSEEvent]:
    """A stream whose events are numbered before some of them are lost."""
    sent = [{**event, "sequence_number": at} if numbers else event for at, event in enumerate(events)]
    return frames(*(event for at, event in enumerate(sent) if at not in leaving_out))


def said(events: list[StreamEvent]) -> list[Any] | None:
    """What an answer says and calls; None for a failure."""
    order.check(events)
    if isinstance(events[-1], Failure):
        assert events[-1].error.meaning == "broken"
        return None
    told: list[Any] = []
    for block in order.whole(events).content:
        match block:
            case Text(text) | Refusal(text) if text.strip():
                told.append((type(block), text.strip()))
            case ToolCall():
                told.append((block.name, block.arguments))
    return told


def spoken(*pieces: str, whole: str = _TEXT, item: bool = True) -> tuple[dict[str, Any], ...]:
    """A message told in `pieces`, whose last words are `whole`."""
    last = {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": whole}
    full = message(output_text(whole))
    ends = (last, done(full)) if item else ()
    return created(), added(message()), *(delta("output_text", piece) for piece in pieces), *ends, completed()


PIECES = ("Hello", " brave", " new", " world")


@pytest.mark.parametrize("numbers", [True, False], ids=["numbered", "bare"])
@pytest.mark.parametrize("lost", range(len(PIECES)))
def test_a_lost_delta(lost: int, *, numbers: bool) -> None:
    """The last one is made good by the text's last word; without any other the answer is no answer."""
    told = said(decode(numbered(*spoken(*PIECES), leaving_out=(2 + lost,), numbers=numbers)))
    assert told == ([(Text, _TEXT)] if lost == len(PIECES) - 1 else None)


def test_numbers_that_jump_are_no_fault_by_themselves() -> None:
    """A proxy that drops pings, or joins deltas, leaves gaps: the last word says that nothing is missing."""
    assert said(decode(numbered(*spoken(*PIECES), leaving_out=(1,)))) == [(Text, _TEXT)]
    joined = numbered(*spoken("Hello", " brave new", "", " world"), leaving_out=(4,))
    assert said(decode(joined)) == [(Text, _TEXT)]


@pytest.mark.parametrize("lost", [(), (3,)], ids=["in step", "jumped"])
def test_a_text_without_a_last_word(lost: tuple[int, ...]) -> None:
    """Nothing says what the text should be: the numbers decide."""
    told = said(decode(numbered(*spoken(*PIECES, item=False), leaving_out=lost)))
    assert told == (None if lost else [(Text, _TEXT)])


@pytest.mark.parametrize(
    ("whole", "numbers"),
    [
        ("Hello brave new world[1]", True),
        ("hello, brave NEW world", True),
        ("hello, brave NEW world", False),
        ("\n\nHello brave new world \n", False),
        ("Hello brave", False),
        ("", False),
    ],
)
def test_a_vendor_that_says_two_things_is_believed_its_deltas(whole: str, *, numbers: bool) -> None:
    """A last word that was put in another form is no loss: all that was numbered came, or nothing speaks of a gap."""
    told = said(decode(numbered(*spoken("Hello ", "brave ", "new ", "world", whole=whole), numbers=numbers)))
    assert told in ([(Text, _TEXT)], [(Text, _TEXT + "[1]")])


@pytest.mark.parametrize("number", [0, -1, None, "7", True])
def test_numbers_that_do_not_count_are_none(number: Any) -> None:
    """A proxy that writes the same into every event has lost nothing."""
    events = [{**event, "sequence_number": number} for event in spoken(*PIECES, item=False)]
    assert said(decode(frames(*events))) == [(Text, _TEXT)]


ARGUMENTS = ('{"path": "a.py", ', '"from": 1, ', '"to": 9', "}")


@pytest.mark.parametrize("numbers", [True, False], ids=["numbered", "bare"])
@pytest.mark.parametrize("lost", range(4))
def test_lost_arguments(lost: int, *, numbers: bool) -> None:
    """What still is JSON without a piece of it is the worst of all: an agent would run it."""
    call = function_call("".join(ARGUMENTS))
    deltas = (delta("function_call_arguments", piece) for piece in ARGUMENTS)
    events = (created(), added({**call, "arguments": ""}), *deltas, done(call), completed(call))
    told = said(decode(numbered(*events, leaving_out=(2 + lost,), numbers=numbers)))
    assert told == ([("read", "".join(ARGUMENTS))] if lost == 3 else None)


def test_arguments_written_anew_at_the_end() -> None:
    """The same object in other white space is the same."""
    call = function_call('{"path":"a.py","from":1,"to":9}')
    deltas = [delta("function_call_arguments", piece) for piece in ARGUMENTS]
    events = (created(), added({**call, "arguments": ""}), *deltas, done(call), completed(call))
    for lost in ((), (1,)):
        assert said(decode(numbered(*events, leaving_out=lost))) == [
            ("read", "".join(ARGUMENTS) if not lost else call["arguments"])
        ]


def test_a_message_that_only_the_end_tells_of() -> None:
    """All of its events were lost; the answer holds it."""
    first, second = message(output_text("one")), message(output_text("two"), id="msg_2")
    told = (delta("output_text", "one"), done(first), added(second, 1), delta("output_text", "two", 1), done(second, 1))
    events = (created(), added(message()), *told, completed(first, second))
    for lost in ((4, 5, 6), (1, 2, 3), (1, 2, 3, 4, 5, 6)):
        assert sorted(said(decode(numbered(*events, leaving_out=lost))) or [], key=str) == [
            (Text, "one"),
            (Text, "two"),
        ]


def recorded(shared: Path) -> Iterator[list[SSEEvent]]:
    """Recorded streams that are one answer each, as they were sent."""
    for path in sorted((shared / "corpus").glob("*/openai-responses.*.json")):
        case = orjson.loads(path.read_bytes())
        if case["stream"] and case["capture"] not in ("fixture-edited", "fixture-concatenated"):
            parser = SSEParser()
            events = parser.feed(case["response"]["raw"].encode()) + parser.close()
            if len(events) < 150 and "shell-container" not in path.name:  # its text was shortened by hand
                yield events


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [True, False], ids=["numbered", "bare"])
def test_any_one_event_of_a_recorded_stream(shared: Path, *, numbers: bool) -> None:
    """Whichever is lost, with or without the vendor's numbers: the same answer, or a failure."""
    seen = 0
    for events in recorded(shared):
        sent = events
        if not numbers:
            sent = [
                SSEEvent(e.name, re.sub(r'"sequence_number":\s*\d+,?', "", e.data).replace(",}", "}")) for e in events
            ]
        if isinstance((full := decode(sent))[-1], Failure):
            continue
        for at in range(len(sent)):
            told = decode(sent[:at] + sent[at + 1 :])
            assert isinstance(told[-1], Failure) or said(told) == said(full), sent[at]
            seen += 1
    assert seen > 2000


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_events_of_any_answer(data: st.DataObject) -> None:
    """However many of a numbered stream are lost: all that was said and called, or a failure."""
    answer: LLMResponse = data.draw(answers)
    calls = [block.id for block in answer.content if isinstance(block, ToolCall)]
    assume(len(set(calls)) == len(calls))  # by their ids it is known which of them the end alone tells of
    values = parsed(told_to_client(replay(answer)))
    lost = data.draw(st.sets(st.integers(0, len(values) - 1), max_size=4))
    full, told = decode(frames(*values)), decode(frames(*(v for at, v in enumerate(values) if at not in lost)))
    assert isinstance(told[-1], Failure) or sorted(said(told) or [], key=str) == sorted(said(full) or [], key=str)


CALLED: dict[str, list[dict[str, Any]]] = {
    "anthropic-messages": [
        {"type": "message_start", "message": {"id": "m1", "model": "m", "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Let me look."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "a", "name": "ls", "input": {}}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ],
    "openai-chat": [
        {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"content": "Let me look."}}]},
        {"id": "c1", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "ls", "arguments": "{}"}}]}}]},
        {"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    ],
}  # fmt: skip


def through(wire: str, values: list[dict[str, Any]]) -> list[StreamEvent]:
    decoder = PROTOCOLS[wire].stream_decoder(quirks=Quirks())
    told = [out for value in values for out in decoder.feed(SSEEvent("", orjson.dumps(value).decode()))]
    return told + decoder.close()


@pytest.mark.parametrize(("wire", "call"), [("anthropic-messages", 4), ("openai-chat", 1)])
def test_an_answer_that_ends_with_a_call_holds_one(wire: str, call: int) -> None:
    """An agent that is told of an ordinary end would stop in the middle of its work."""
    assert said(through(wire, CALLED[wire])) == [(Text, "Let me look."), ("ls", "{}")]
    assert said(through(wire, CALLED[wire][:call] + CALLED[wire][call + 1 :])) is None


@pytest.mark.parametrize("later", ["stop", "length", ""])
def test_a_cut_that_was_told_is_not_taken_back(later: str) -> None:
    """Some servers say a finish reason twice; `length` and then `stop` is an answer that was cut off."""
    values = [
        CALLED["openai-chat"][0],
        {"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]},
        {"id": "c1", "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": later}], "usage": {}},
    ]
    last = through("openai-chat", values)[-1]
    assert isinstance(last, Finish)
    assert last.stop == "max_tokens"
