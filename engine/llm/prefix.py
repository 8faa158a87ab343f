"""A prompt as a row of segments, in the order in which providers read it: what comes first can be cached first.

A protocol module takes a request's JSON apart (`WireProtocol.segments`); what is done with the segments knows no protocol.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

Kind = Literal["tools", "settings", "system", "instructions", "message"]
"""`settings` are fields that are part of the prompt (an output schema, forced tools); `instructions` is what a client puts
before the conversation by itself: the repository's rules, the environment."""


@dataclass(slots=True)
class Segments:
    """Segments with everything left out that changes without the prompt changing: breakpoints, a text's two spellings, marks
    of the client's own accounting.
    """

    kinds: list[Kind] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    """Parts of the request's own JSON, not copies: whoever keeps a `Segments` keeps the request."""
    marks: list[int] = field(default_factory=list)
    """Indexes of segments in which a breakpoint of the client stands."""
    digests: list[int] = field(default_factory=list)
    """A keyed 64-bit hash of each; empty until `measure`."""
    sizes: list[int] = field(default_factory=list)
    """Bytes of each; empty until `measure`."""
    blocks: list[int] = field(default_factory=list)
    """Content blocks of each segment, by which vendors count how far they look back."""

    def add(self, kind: Kind, value: Any, blocks: int = 1) -> None:
        """One more segment."""
        self.kinds.append(kind)
        self.values.append(value)
        self.blocks.append(blocks)

    def mark(self) -> None:
        """A breakpoint in the newest segment."""
        if self.kinds:
            self.marks.append(len(self.kinds) - 1)

    def measure(self) -> None:
        """Fill `digests` and `sizes`: once, for whoever comes first."""
        if len(self.digests) == len(self.values):
            return
        dumps = orjson.dumps
        for value in self.values[len(self.digests) :]:
            data = dumps(value)
            self.digests.append(hash(data))
            self.sizes.append(len(data))


def place(kinds: list[Kind], index: int) -> str:
    """The segment's name: its kind and its place among those of its kind, `system[1]`."""
    kind = kinds[index]
    return f"{kind}[{kinds[:index].count(kind)}]"
