"""The provider's half of a streamed answer: read up to its first content, then handed on as it comes, up to its end.

A preserved stream passes by whole frames: nothing is ever written into the middle of one, and what breaks off inside a frame
is never begun. An error that a provider tells in its stream is held back until it is known whether the vendor ends the
stream itself; then its own last words pass, else the encoder says them. Either way the client reads one end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from engine.exchange import Relayed
from engine.llm.errors import ProviderError
from engine.llm.protocol import StreamDecoder, StreamTap, Tapped
from engine.llm.stream import Failure, Finish, Progress, Start, StreamEvent
from engine.protocols.sse import SSEParser
from engine.providers.heard import Heard

if TYPE_CHECKING:
    from engine.providers.transport import Upstream

LINGER = 2.0
"""Seconds for what follows an answer's end: usage, `[DONE]`, the end of the connection. Some vendors leave it open."""

_END = (Finish, Failure)
_T = TypeVar("_T")


class Silence:
    """How long a stream has shown nothing but signs of life; at most `limit` seconds. Costs nothing while it says something."""

    __slots__ = ("_limit", "_since")

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._since: float | None = None

    def broken(self) -> None:
        """Something of the answer has come."""
        self._since = None

    def goes_on(self) -> None:
        """A read gave signs of life alone. Raises ProviderError once that has lasted too long."""
        now = asyncio.get_running_loop().time()
        if self._since is None:
            self._since = now
        elif now - self._since > self._limit:
            said = f"the provider kept its stream open for {self._limit:g} seconds without a word of its answer"
            raise ProviderError(said, meaning="timeout", in_stream=True)


class RelayedFrames:
    """Bytes in, whole frames out, while `tapped` tells what has been heard."""

    __slots__ = ("_heard", "_held", "_length", "_parser", "_tap", "_withheld", "quiet", "tapped")

    def __init__(self, tap: StreamTap, heard: Heard) -> None:
        self._tap = tap
        self._heard = heard
        self._parser = SSEParser()
        self._length = 0
        self._held = bytearray()
        """The beginning of a frame whose end has not come."""
        self._withheld = b""
        """Frames from the one on that told an error."""
        self.tapped = Tapped()
        self.quiet = False
        """What was fed last said nothing of the answer."""

    def feed(self, chunk: bytes) -> bytes:
        """The frames that may pass. Raises ProviderError for a frame that is too large."""
        self._length += len(chunk)
        over, seen, ours, fine = self.tapped.over, 0, 0, 0
        self.quiet = True
        parser, tap, heard = self._parser, self._tap, self._heard
        goes_on = tap.goes_on
        for frame in parser.frames(chunk):
            tapped = self.tapped
            if tapped.started and not tapped.over and tapped.error is None and goes_on(frame):
                heard.delta(frame)
                self.quiet = False
            elif (event := parser.read(frame)) is None:
                continue
            elif not tapped.over:
                heard.frame(event.data)
                self.tapped = tap.feed(event)
                self.quiet = self.quiet and tap.quiet
            seen += 1
            if not tapped.over:
                ours += 1
                fine += self.tapped.error is None
        data = self._passing(chunk)
        if fine == seen and not over and self.tapped.error is None:
            return data
        ends = [0, *(end for _, end in SSEParser().feed_spans(data))] if ours else [0]
        self._withheld += data[ends[fine] : ends[ours] if self.tapped.over else len(data)]
        return data[: ends[fine]]

    def _passing(self, chunk: bytes) -> bytes:
        """The bytes of whole frames, `chunk` being the newest of the stream's; the rest is held. A large frame is copied once."""
        behind = self._length - self._parser.consumed
        if not self._held:
            if behind:
                self._held += chunk[-behind:]
            return chunk[:-behind] if behind else chunk
        self._held += chunk
        whole = len(self._held) - behind
        if not whole:
            return b""
        data = bytes(self._held[:whole])
        del self._held[:whole]
        return data

    def close(self) -> bytes:
        """The stream has ended: what was kept, if it ends the answer, and the last word where it was left out."""
        if self.tapped.over:
            return self._withheld
        for event in self._parser.close():
            self.tapped = self._tap.feed(event)
        owed, self.tapped = self.tapped.owed, self._tap.close()
        if owed:
            return self._withheld + owed
        return self._withheld + self._held if self.tapped.finished else b""

    def broken(self, error: ProviderError) -> bytes:
        """The stream has broken off. After a whole answer that is no matter; what is left to say then."""
        if self.tapped.owed:
            return self.close()
        if not self.tapped.finished and self.tapped.error is None:
            self.tapped = replace(self.tapped, error=error)
        return b""


async def committed_relay(
    upstream: Upstream, tap: StreamTap, heard: Heard, silence: Silence
) -> AsyncGenerator[Relayed, None]:
    """A preserved stream, read up to its first content. Raises ProviderError for one that fails before."""
    source = _relay(upstream, tap, heard, silence)
    held: list[Relayed] = []
    async for piece in source:
        held.append(piece)
        heard.told = piece.tapped.usage
        if piece.tapped.error is not None:
            await source.aclose()
            raise piece.tapped.error
        if piece.tapped.started or piece.tapped.finished:
            break
    else:
        raise ProviderError("the provider's stream ended before its answer began", meaning="broken", in_stream=True)
    return resumed(Relayed(b"".join(piece.data for piece in held), held[-1].tapped), source)


async def committed_events(
    upstream: Upstream, decoder: StreamDecoder, heard: Heard, silence: Silence
) -> AsyncGenerator[list[StreamEvent], None]:
    """A translated stream, read up to its first content. Raises ProviderError for one that fails before."""
    source = _events(upstream, decoder, heard, silence)
    held: list[StreamEvent] = []
    async for events in source:
        held += events
        for event in events:
            if isinstance(event, Failure):
                await source.aclose()
                raise event.error
            if isinstance(event, Start):
                heard.told = event.usage
        if any(not isinstance(event, Start | Progress) for event in events):
            break
    else:
        raise ProviderError("the provider's stream ended before its answer began", meaning="broken", in_stream=True)
    return resumed([event for event in held if not isinstance(event, Progress)], source)


async def _relay(upstream: Upstream, tap: StreamTap, heard: Heard, silence: Silence) -> AsyncGenerator[Relayed, None]:
    """The frames as they come. What is known to end the answer, or to have broken it, comes in the last piece."""
    frames, last = RelayedFrames(tap, heard), b""
    async with aclosing(upstream.chunks()) as chunks:
        try:
            async for chunk in chunks:
                data = frames.feed(chunk)
                if frames.tapped.error is not None:
                    last = data
                    break
                if data:
                    yield Relayed(data, frames.tapped)
                if frames.tapped.finished or frames.tapped.owed:
                    break
                silence.goes_on() if frames.quiet else silence.broken()
            async for chunk in _lingering(chunks):
                last += frames.feed(chunk)
            last += frames.close()
        except ProviderError as error:
            last += frames.broken(error)
    if last or frames.tapped.error is not None:
        yield Relayed(last, frames.tapped)


async def _events(
    upstream: Upstream, decoder: StreamDecoder, heard: Heard, silence: Silence
) -> AsyncGenerator[list[StreamEvent], None]:
    """The events as they come, up to the answer's end."""
    parser, until = SSEParser(), 0.0
    async with aclosing(upstream.chunks()) as chunks:
        try:
            while (chunk := await (_before(until, chunks) if until else anext(chunks, None))) is not None:
                events: list[StreamEvent] = []
                found = parser.feed(chunk)
                quiet = True
                for event in found:
                    heard.frame(event.data)
                    events += decoder.feed(event)
                    quiet = quiet and decoder.quiet
                if found and decoder.complete:
                    until = asyncio.get_running_loop().time() + LINGER  # signs of life alone keep nobody waiting
                if events:
                    yield events
                    if isinstance(events[-1], _END):
                        break
                silence.goes_on() if quiet else silence.broken()
            else:
                events = [out for event in parser.close() for out in decoder.feed(event)] + decoder.close()
                if events:
                    yield events
                return
        except ProviderError as error:
            yield [Failure(error)]
            return
        with suppress(ProviderError):
            async for _ in _lingering(chunks):  # read to its end, the connection can serve again
                continue


async def _lingering(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """What still comes after an answer's end, for a while."""
    until = asyncio.get_running_loop().time() + LINGER
    while (chunk := await _before(until, chunks)) is not None:
        yield chunk


async def _before(until: float, chunks: AsyncGenerator[bytes, None]) -> bytes | None:
    """The next piece, None if there is none before then."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            return await anext(chunks, None)
    return None


async def once(piece: _T) -> AsyncGenerator[_T, None]:
    """A stream of one piece."""
    yield piece


async def resumed(first: _T, rest: AsyncGenerator[_T, None]) -> AsyncGenerator[_T, None]:
    """A stream whose beginning has been read already."""
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece
