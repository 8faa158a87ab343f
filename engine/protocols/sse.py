"""Server-sent events, both ways: an incremental parser of what providers send and the framing of what clients get.

The parser follows the WHATWG event stream format with three deviations that real streams ask for: an event that lacks its
closing blank line still counts when the connection ends, a frame has a size limit, and `id:` and `retry:` are ignored
because no model API resumes a stream. How the bytes are cut into chunks never changes what comes out.
"""

from __future__ import annotations

import re

from engine.llm.errors import ProviderError
from engine.llm.protocol import SSEEvent

MAX_FRAME = 8 * 1024 * 1024
"""Bytes of one frame. The largest recorded one (a whole Responses answer in its terminal event) is under 1 MiB."""

_BLANK_LINE = re.compile(rb"\n(?:\n|\r\n?)|\r\r\n?")
"""Two line ends in a row, in any mixture of CRLF, CR and LF. Three literal bytes at most, so it can't backtrack."""

_LONGEST_END = 3
"""A frame's end may straddle two chunks: this many bytes before the new ones are searched again."""


class SSEParser:
    """Bytes in, events out. A frame without `data:` (a comment, a bare `event:`) is no event.

    A relay that passes bytes on unchanged uses `feed_spans` and `consumed` to know which raw bytes belong to which event.
    """

    __slots__ = ("_buffer", "_carriage_returns", "_first", "_max_frame", "_scanned", "consumed")

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()
        self._scanned = 0
        self._carriage_returns = False
        self._first = True
        self.consumed = 0
        """Offset in the whole stream up to which every byte belongs to a finished frame, comments included."""

    def feed(self, chunk: bytes) -> list[SSEEvent]:
        """Events that `chunk` completes. Raises ProviderError(broken) when a frame exceeds the limit."""
        return [event for frame in self.frames(chunk) if (event := self.read(frame)) is not None]

    def feed_spans(self, chunk: bytes) -> list[tuple[SSEEvent, int]]:
        """Like `feed`; with each event the offset in the whole stream just behind its blank line.

        An event's bytes start where the event before it ended, so comments between two events count to the later one.
        """
        return [(event, end) for frame, end in self._cut(chunk) if (event := self.read(frame)) is not None]

    def frames(self, chunk: bytes) -> list[bytes]:
        """The frames that `chunk` completes, unread and without their blank lines, comments among them. Raises like `feed`.

        A listener that knows a frame by its first bytes need not `read` it.
        """
        found: list[bytes] = []
        if self._buffer:  # what is held is ended first, so that the rest begins with a frame
            end = chunk.find(b"\n\n") + 2
            if 1 < end < len(chunk):
                found, chunk = [frame for frame, _ in self._cut(chunk[:end])], chunk[end:]
        if self._buffer or self._carriage_returns or b"\r" in chunk or len(chunk) > self._max_frame:
            return found + [frame for frame, _ in self._cut(chunk)]
        *frames, rest = chunk.split(b"\n\n")
        self.consumed += len(chunk) - len(rest)
        self._buffer += rest
        self._scanned = len(rest)
        return found + frames if found else frames

    def _cut(self, chunk: bytes) -> list[tuple[bytes, int]]:
        """Frames with their ends in the whole stream, whatever its line ends and its cuts."""
        if not self._carriage_returns and b"\r" in chunk:
            self._carriage_returns = True
        buffer = self._buffer
        data: bytes | bytearray = chunk
        if buffer:
            buffer += chunk
            data = buffer
        found: list[tuple[bytes, int]] = []
        start = 0
        search = max(0, self._scanned - _LONGEST_END)
        while (end := self._frame_end(data, search)) is not None:
            stop, behind = end
            self._check(stop - start)
            self.consumed += behind - start
            found.append((bytes(data[start:stop]), self.consumed))
            start = search = behind
        rest = len(data) - start
        self._check(rest - _LONGEST_END)  # it may end with the line ends that close it
        self._scanned = rest
        if data is buffer:
            del buffer[:start]
        elif rest:
            buffer += chunk[start:] if start else chunk
        return found

    def close(self) -> list[SSEEvent]:
        """The connection ended: the last event, if one stands there without its blank line. The parser is then empty."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        self.consumed += len(rest)
        event = self.read(rest) if rest else None
        return [event] if event else []

    def _frame_end(self, data: bytes | bytearray, search: int) -> tuple[int, int] | None:
        """(end of the frame's last line, start of what follows), None while the frame is incomplete."""
        if not self._carriage_returns:
            at = data.find(b"\n\n", search)
            return None if at < 0 else (at, at + 2)
        match = _BLANK_LINE.search(data, search)
        # A CR at the very end may be half of a CRLF; only the next byte tells where the frame ends.
        if match is None or (match.end() == len(data) and data[-1:] == b"\r"):
            return None
        return match.start(), match.end()

    def _check(self, size: int) -> None:
        if size > self._max_frame:
            self._buffer.clear()
            self._scanned = 0
            message = f"the provider sent an event of more than {self._max_frame} bytes"
            raise ProviderError(message, meaning="broken", in_stream=True)

    def read(self, frame: bytes) -> SSEEvent | None:
        """The event of one of `frames`; None for a frame without `data:`. In the order in which they came."""
        text = frame.decode("utf-8", "replace")
        if self._first:
            self._first = False
            text = text.removeprefix("\ufeff")
        if self._carriage_returns and "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        head, line_end, rest = text.partition("\n")
        if not line_end and head.startswith("data: "):
            return SSEEvent("", head[6:])
        if head.startswith("event: ") and rest.startswith("data: ") and "\n" not in rest:
            return SSEEvent(head[7:], rest[6:])
        name = ""
        data: list[str] = []
        for line in text.split("\n"):  # not splitlines: U+2028 and its kin are plain text here
            field, _, value = line.partition(":")
            if field == "data":
                data.append(value.removeprefix(" "))
            elif field == "event":
                name = value.removeprefix(" ")
            elif field == "error" and not data:  # a server that writes the name of the event as a field (measured)
                name, data = "error", [value.removeprefix(" ")]
        if not data:
            return None
        return SSEEvent(name, data[0] if len(data) == 1 else "\n".join(data))


def encode(name: str, data: bytes) -> bytes:
    """One event as bytes; without an `event:` line when `name` is empty. `data` may span lines, as JSON never does."""
    head = b"event: " + name.encode() + b"\ndata: " if name else b"data: "
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    return head + data + b"\n\n"
