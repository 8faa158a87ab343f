"""An answer's reasoning put into envelopes, whole or as it streams, for a client of another protocol."""

from __future__ import annotations

from dataclasses import replace

from engine.llm.envelope import ENVELOPE, Envelopes, Maker
from engine.llm.messages import LLMResponse, Thinking
from engine.llm.protocol import SSEEvent, StreamDecoder
from engine.llm.stream import BlockStart, BlockStop, StreamEvent

_BLOCK = (BlockStart, BlockStop)
"""A tuple, asked of every event: `A | B` would be made anew each time and takes twice as long (measured)."""


class SealingDecoder:
    """A provider's stream decoder whose thinking blocks end with an envelope. See `StreamDecoder`."""

    __slots__ = ("_decoder", "_envelopes", "_maker")

    def __init__(self, decoder: StreamDecoder, envelopes: Envelopes, maker: Maker) -> None:
        self._decoder = decoder
        self._envelopes = envelopes
        self._maker = maker

    def feed(self, event: SSEEvent) -> list[StreamEvent]:
        """See `StreamDecoder.feed`."""
        return self._sealed(self._decoder.feed(event))

    def close(self) -> list[StreamEvent]:
        """See `StreamDecoder.close`."""
        return self._sealed(self._decoder.close())

    @property
    def complete(self) -> bool:
        """See `StreamDecoder.complete`."""
        return self._decoder.complete

    @property
    def quiet(self) -> bool:
        """See `StreamDecoder.quiet`."""
        return self._decoder.quiet

    def _sealed(self, events: list[StreamEvent]) -> list[StreamEvent]:
        for index, event in enumerate(events):
            if isinstance(event, _BLOCK) and isinstance(thinking := event.block, Thinking):
                if isinstance(event, BlockStop):
                    events[index] = BlockStop(event.index, self._envelopes.seal(thinking, self._maker))
                elif thinking.origin:
                    # Encoders learn here already that what is to come is not their own protocol's.
                    begun = Thinking(thinking.text, summary=thinking.summary, origin=ENVELOPE)
                    events[index] = BlockStart(event.index, begun)
        return events


def seal_response(response: LLMResponse, envelopes: Envelopes, maker: Maker) -> LLMResponse:
    """A whole answer whose thinking bears envelopes."""
    if not any(isinstance(block, Thinking) for block in response.content):
        return response
    sealed = (envelopes.seal(b, maker) if isinstance(b, Thinking) else b for b in response.content)
    return replace(response, content=tuple(sealed))
