"""How much of a streamed answer came, for the bill of one whose provider does not tell.

What breaks off tells no token counts, and has been paid for all the same. So frames with a delta are counted and their lengths
added up as they pass, and a few of them are kept, spread evenly over the stream. Only when somebody asks is their text told
from what is wrapped around it; that much is taken off every frame. Nearly every answer tells its usage, and nobody asks.
"""

from __future__ import annotations

from typing import Any

import orjson

from engine.llm.messages import Usage

_KEPT = 64
"""Frames kept at most, and half as many at least once so many have come. Some vendors pad each frame by chance: with 16 an answer of
80 frames was off by a tenth on the mean, with 64 by about a twentieth (measured)."""

_LONG = 4096
"""Characters from which a frame is measured at once: there are few of those, and they are no wrapping."""

_HEAD = 1024
"""Characters of a frame in which its delta begins: the last frame may repeat the whole answer, and is none."""

_BYTES_PER_TOKEN = 4

_TEXT = frozenset(
    {
        "arguments", "content", "delta", "input", "partial_json", "reasoning", "reasoning_content", "refusal", "text",
        "thinking",
    }
)  # fmt: skip
"""Keys under which the protocols' deltas carry what the model wrote."""


class Heard:
    """Counts the deltas of one answer."""

    __slots__ = ("_bytes", "_deltas", "_kept", "_length", "_stride", "told")

    def __init__(self) -> None:
        self.told: Usage | None = None
        """Counts that its provider told before any content: some tell the prompt's at once. Those of a stream that went on
        are told at its end."""
        self._deltas = self._length = 0
        self._bytes = 0
        """Text of long frames, which are not among the others."""
        self._kept: list[str | bytes] = []
        self._stride = 1
        """Every so manieth delta is kept."""

    def frame(self, data: str) -> None:
        """One more frame of the stream has come; `data` is its JSON."""
        if data.find('"delta', 0, _HEAD) >= 0:
            self.delta(data)

    def delta(self, data: str | bytes) -> None:
        """One more frame with a delta has come: its JSON, or all of it as it came. A fifth of a microsecond."""
        length = len(data)
        if length > _LONG:
            self._bytes += _written(data)
            return
        self._length += length
        self._deltas += 1
        if self._deltas % self._stride:
            return
        if len(self._kept) < _KEPT:
            self._kept.append(data)
        else:  # the first one goes, too: it often says more than the others
            del self._kept[::2]
            self._stride *= 2

    @property
    def tokens(self) -> int:
        """Tokens of what came, estimated at four bytes each."""
        wrapped = sum(len(data) - _written(data) for data in self._kept) / (len(self._kept) or 1)
        return round((self._bytes + max(self._length - self._deltas * wrapped, 0)) / _BYTES_PER_TOKEN)


def _written(data: str | bytes) -> int:
    """Bytes of text in a frame."""
    if isinstance(data, bytes):
        data = data[max(data.find(b"{"), 0) :]
    try:
        return _bytes(orjson.loads(data))
    except orjson.JSONDecodeError:
        return 0


def _bytes(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_bytes, value))
    if not isinstance(value, dict):
        return 0
    return sum(
        len(below.encode("utf-8", "replace")) if isinstance(below, str) and key in _TEXT else _bytes(below)
        for key, below in value.items()
    )
