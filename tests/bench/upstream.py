"""A provider for measuring: canned answers as cheaply as Python can give them, so that what is measured is in front of it.

    python upstream.py    prints `listening on http://127.0.0.1:PORT`

`/v1/messages` and `/v1/chat/completions`, whole; streamed (all at once) or, when the request names a model that ends in
`paced`, in CHUNKS pieces every PACE seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import cast

import orjson

CHUNKS = 60
PACE = 0.01

_TEXT = "The importer stops one row early because the range excludes its end. " * 6
_PIECE = "The importer stops "


def _sse(*events: dict[str, object]) -> list[bytes]:
    return [b"event: %b\ndata: %b\n\n" % (str(e["type"]).encode(), orjson.dumps(e)) for e in events]


def _messages() -> tuple[bytes, list[bytes]]:
    usage = {
        "input_tokens": 1200,
        "cache_creation_input_tokens": 300,
        "cache_read_input_tokens": 26000,
        "output_tokens": 110,
    }
    message = {"id": "msg_01bench", "type": "message", "role": "assistant", "model": "bench", "stop_sequence": None}
    whole = {**message, "content": [{"type": "text", "text": _TEXT}], "stop_reason": "end_turn", "usage": usage}
    frames = _sse(
        {
            "type": "message_start",
            "message": {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}},
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": _PIECE}}
            for _ in range(CHUNKS)
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 110},
        },
        {"type": "message_stop"},
    )
    return orjson.dumps(whole), frames


def _chat() -> tuple[bytes, list[bytes]]:
    usage = {
        "prompt_tokens": 27500, "completion_tokens": 110, "total_tokens": 27610, "prompt_tokens_details": {"cached_tokens": 26000},
    }  # fmt: skip
    head = {"id": "chatcmpl-bench", "created": 1_767_225_600, "model": "bench", "system_fingerprint": "fp_1"}
    message = {"role": "assistant", "content": _TEXT, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    whole = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}

    def chunk(delta: dict[str, object], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return b"data: " + orjson.dumps({**head, "object": "chat.completion.chunk", "choices": [choice]}) + b"\n\n"

    last = {**head, "object": "chat.completion.chunk", "choices": [], "usage": usage}
    frames = [
        chunk({"role": "assistant", "content": ""}), *(chunk({"content": _PIECE}) for _ in range(CHUNKS)), chunk({}, "stop"),
        b"data: " + orjson.dumps(last) + b"\n\ndata: [DONE]\n\n",
    ]  # fmt: skip
    return orjson.dumps(whole), frames


ANSWERS = {b"/v1/messages": _messages(), b"/v1/chat/completions": _chat()}

_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection: requests with a content-length, answered in order."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._running: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end])
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            self._answer(head.split(b" ", 2)[1].split(b"?")[0], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        assert self._transport is not None
        found = ANSWERS.get(path)
        if found is None:
            self._transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            return
        whole, frames = found
        request = orjson.loads(body)
        if not request.get("stream"):
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(whole)
            self._transport.write(head + whole)
        elif str(request["model"]).endswith("paced"):
            task = asyncio.ensure_future(self._paced(frames))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        else:
            data = b"".join(frames)
            self._transport.write(_STREAM + b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))

    async def _paced(self, frames: list[bytes]) -> None:
        """One frame per tick, by the clock, so a slow reader is not waited for."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._transport.write(_STREAM)
        start = loop.time()
        for number, frame in enumerate(frames):
            await asyncio.sleep(start + number * PACE - loop.time())
            self._transport.write(b"%x\r\n%b\r\n" % (len(frame), frame))
        self._transport.write(b"0\r\n\r\n")


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    sys.stdout.write(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        try:
            import uvloop
        except ImportError:
            asyncio.run(main())
        else:
            uvloop.run(main())
