"""Server-sent events: framing, chunking, limits."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.llm.errors import ProviderError
from engine.llm.protocol import SSEEvent
from engine.protocols.sse import SSEParser, encode


def parse(raw: bytes) -> list[SSEEvent]:
    parser = SSEParser()
    return parser.feed(raw) + parser.close()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"data: a\n\n", [("", "a")]),
        (b"data:a\n\n", [("", "a")]),
        (b"data:  a\n\n", [("", " a")]),
        (b"event: x\ndata: a\n\n", [("x", "a")]),
        (b"event:x\r\ndata:a\r\n\r\n", [("x", "a")]),
        (b"event: x\rdata: a\r\rdata: b\r\r", [("x", "a"), ("", "b")]),
        (b"data: a\n\r\ndata: b\r\n\n", [("", "a"), ("", "b")]),
        (b"data: a\ndata: b\ndata\n\n", [("", "a\nb\n")]),
        (b"data:\n\n", [("", "")]),
        (b": comment\n\ndata: a\n\n", [("", "a")]),
        (b": comment\ndata: a\n\n", [("", "a")]),
        (b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [("", "a"), ("", "b")]),
        (b"event: ping\n\n", []),
        (b"id: 1\nretry: 5\ndata: a\n\n", [("", "a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("", "a")]),
        (b"data: a", [("", "a")]),
        (b"data: a\n", [("", "a")]),
        (b"data: a\r", [("", "a")]),
        ("data: a\u2028b\x0bc\x85\n\n".encode(), [("", "a\u2028b\x0bc\x85")]),
        (b"data: \xff\xc3\n\n", [("", "\ufffd\ufffd")]),
        (b"database: a\n\n", []),
        (b"", []),
    ],
)
def test_parses(raw: bytes, expected: list[tuple[str, str]]) -> None:
    """Every line end, comments, a missing space, a byte order mark and a missing last blank line are understood."""
    assert expected == [(event.name, event.data) for event in parse(raw)]


PIECES = [
    b"\n",
    b"\r",
    b"\r\n",
    b"data: x",
    b"data:",
    b"event: n",
    b":c",
    b"\xef\xbb\xbf",
    "é€😀".encode(),
    b"\xf0",
    b"a",
]
streams = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)


@given(streams, st.lists(st.integers(0, 200), max_size=8))
@settings(deadline=None, max_examples=200)
def test_chunking_changes_nothing(raw: bytes, cuts: list[int]) -> None:
    """All at once, byte by byte and randomly cut give the same events at the same offsets, with and without their spans."""
    whole = SSEParser()
    expected = (whole.feed_spans(raw), whole.consumed, whole.close(), whole.consumed)
    edges = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})
    for bounds in (list(range(len(raw) + 1)), edges):
        parser = SSEParser()
        spans = [span for a, b in pairwise(bounds) for span in parser.feed_spans(raw[a:b])]
        assert expected == (spans, parser.consumed, parser.close(), parser.consumed)
        parser, events = SSEParser(), [event for event, _ in expected[0]]
        found = [event for a, b in pairwise(bounds) for event in parser.feed(raw[a:b])]
        assert (events, *expected[1:]) == (found, parser.consumed, parser.close(), parser.consumed)


def test_spans_cut_the_raw_bytes_into_events() -> None:
    """Offsets point behind each event's blank line, and `consumed` covers comments too."""
    first, comment, second = b"event: a\r\ndata: 1\r\n\r\n", b": ping\r\n\r\n", b"data: 2\r\n\r\n"
    parser = SSEParser()
    assert [(SSEEvent("a", "1"), len(first))] == parser.feed_spans(first + comment + second[:-1])
    assert len(first + comment) == parser.consumed
    assert [(SSEEvent("", "2"), len(first + comment + second))] == parser.feed_spans(second[-1:])


@pytest.mark.parametrize("raw", [b"data: " + b"x" * 100, b"data: " + b"x" * 100 + b"\n\n"])
def test_oversize_frame_is_broken(raw: bytes) -> None:
    """A frame over the limit is the provider's fault, complete or not."""
    with pytest.raises(ProviderError) as caught:
        SSEParser(max_frame=64).feed(raw)
    assert caught.value.meaning == "broken"


def test_many_small_frames_may_exceed_the_limit_together() -> None:
    """The limit is one frame's, not the stream's."""
    assert len(SSEParser(max_frame=16).feed(b"data: x\n\n" * 50)) == 50


@given(st.text("ab:\n\r é", max_size=20), st.sampled_from(["", "x"]))
@settings(deadline=None, max_examples=100)
def test_encoded_events_parse_back(text: str, name: str) -> None:
    """What `encode` frames, the parser reads again, with line ends normalised."""
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    assert [SSEEvent(name, expected)] == parse(encode(name, text.encode()))


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("over", [0, 1])
def test_cuts_do_not_move_the_limit(end: bytes, over: int) -> None:
    """The largest frame passes and one byte more does not, wherever its line ends are cut off from it."""
    raw = b"data: " + b"x" * 10 + end
    largest = raw.index(b"\n")
    for at in range(1, len(raw)):
        parser, found = SSEParser(max_frame=largest - over), []
        try:
            for piece in (b": first" + end, raw[:at], raw[at:]):
                found += parser.feed(piece)
        except ProviderError:
            assert over, at
        else:
            assert (found, over) == ([SSEEvent("", "x" * 10)], 0), at
