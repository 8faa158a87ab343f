"""The validator of stream events finds what it is there to find."""

from __future__ import annotations

import pytest

from engine.llm.errors import ProviderError
from engine.llm.messages import Text, ToolCall, Usage
from engine.llm.stream import (
    ArgumentsDelta,
    BlockStart,
    BlockStop,
    Failure,
    Finish,
    Progress,
    Start,
    StreamEvent,
    TextDelta,
)
from tests.protocols.order import check, whole

START = Start("a", "m")
END = Finish("end_turn", Usage())
OPEN = BlockStart(0, Text(""))
GOOD = [START, Progress(), OPEN, TextDelta(0, "x"), BlockStop(0, Text("x")), END]


def test_good_streams_pass() -> None:
    """A whole answer, one that fails inside a block, and one that is still going on."""
    check(GOOD)
    check([START, OPEN, Failure(ProviderError("x", meaning="broken"))])
    check([START, OPEN], ended=False)
    assert (Text("x"),) == whole(GOOD).content


@pytest.mark.parametrize(
    "events",
    [
        [],
        [START],
        [END],
        [START, START, END],
        [START, END, END],
        [START, END, Progress()],
        [START, OPEN, END],
        [START, OPEN, OPEN, END],
        [START, BlockStart(1, Text("")), BlockStop(1, Text("")), END],
        [START, TextDelta(0, "x"), END],
        [START, OPEN, ArgumentsDelta(0, "x"), BlockStop(0, Text("")), END],
        [START, OPEN, TextDelta(1, "x"), BlockStop(0, Text("x")), END],
        [START, OPEN, TextDelta(0, ""), BlockStop(0, Text("")), END],
        [START, OPEN, TextDelta(0, "x"), BlockStop(0, Text("y")), END],
        [START, OPEN, BlockStop(0, ToolCall("a", "b")), END],
        [START, BlockStart(0, ToolCall("a", "b", "")), BlockStop(0, ToolCall("a", "c")), END],
    ],
)
def test_bad_streams_are_found(events: list[StreamEvent]) -> None:
    """Each breach of the order raises."""
    with pytest.raises(AssertionError):
        check(events)
