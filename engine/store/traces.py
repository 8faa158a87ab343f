"""Traces: full requests and answers, for those that a policy or a run asks to keep. Apart from the ledger, which has no text.

Rules kept here:

- Redacted before anything touches the disk, in the writing thread: it costs a request nothing but a queue's lock.
- A file per request, for its owner alone (0600, folder 0700): the event's exported line with a `trace` beside it, so whatever
  reads an exported event reads a trace.
- Bounded: what waits to be written, an answer's length, and the folder's size, where the oldest go first.
- Nothing here breaks a request: what can't be kept is dropped and counted, and said once.
"""

from __future__ import annotations

import json
import os
import queue
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from engine.llm.messages import JsonObject
from engine.store.event import Event
from engine.store.export import export_json
from engine.store.redaction import Redactor

MIB = 1024 * 1024

LONGEST_ANSWER = 8 * MIB
"""Bytes of an answer that are kept."""

_WAITING = 64 * MIB
"""Bytes that may wait for the disk."""

_HEADERS = (
    "user-agent",
    "anthropic-",
    "openai-",
    "x-stainless-",
    "x-app",
    "x-claude-code-",
    "x-codex-",
    "content-type",
    "x-sbgw-",
)
"""Request headers that are kept, by prefix: what tells of the client. Never a credential, whatever its name."""

_CREDENTIALS = frozenset({"x-sbgw-key"})

_ID = re.compile(r"[0-9a-f]{8,64}")


@dataclass(slots=True, frozen=True)
class Trace:
    """One exchange to keep. `secrets` are values that are taken out beside the redactor's own: the caller's credential."""

    event: Event
    rule: str
    """The rule that wanted it; empty when all are kept."""
    headers: Mapping[str, str]
    request: bytes
    answer: bytes
    truncated: bool
    redactor: Redactor
    secrets: tuple[str, ...] = ()
    said: Callable[[bytes], str] | None = None
    """The words of a streamed answer, joined: a stream tells a secret in pieces."""

    def line(self) -> bytes:
        """The file's content: one line of JSON without secrets."""
        kept = {n: v for n, v in self.headers.items() if n.startswith(_HEADERS) and n not in _CREDENTIALS}
        redactor = self.redactor.knowing(*self.secrets)
        trace: JsonObject = {
            "rule": self.rule,
            "headers": kept,
            "request": _told(self.request),
            "answer": self._answer(redactor),
            "truncated": self.truncated,
        }
        whole = {**export_json(self.event), "trace": trace}
        try:
            data = orjson.dumps(whole, default=str)
        except TypeError:  # an integer beyond 64 bits or unsound text
            data = json.dumps(whole, default=str, ensure_ascii=False).encode("utf-8", "replace")
        return redactor.redact(data) + b"\n"

    def _answer(self, redactor: Redactor) -> Any:
        """The answer as it came; of a stream whose words hold a secret the words alone, for its pieces would tell it."""
        if self.said is not None:
            words = self.said(self.answer)
            clean = redactor.text(words)
            if clean != words:
                return {"said": clean}
        return _told(self.answer)


class TraceStore:
    """Writes traces below a folder."""

    def __init__(self, folder: Path, *, limit: int, log: Callable[..., None], everything: bool = False) -> None:
        """`limit`: bytes of all traces together. Nothing is made or started before the first trace."""
        self._folder = folder
        self.limit = limit
        self.everything = everything
        """Whether all exchanges are kept, whatever the policy says."""
        self._log = log
        self._queue: queue.Queue[Trace | None] = queue.Queue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._said = False
        self.dropped = 0
        """Traces that were not kept since the start."""

    def put(self, trace: Trace) -> None:
        """Keep `trace` when there is time. Never waits, never raises."""
        size = len(trace.request) + len(trace.answer)
        with self._lock:
            if self._waiting + size > _WAITING:
                self.dropped += 1
                return
            self._waiting += size
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="sbgw-traces", daemon=True)
            self._thread.start()
        self._queue.put(trace)

    def close(self) -> None:
        """Write what waits."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout=10)
            self._thread = None

    def _work(self) -> None:
        while (trace := self._queue.get()) is not None:
            try:
                self._write(trace)
            except (OSError, ValueError, TypeError, RecursionError) as error:
                self.dropped += 1
                if not self._said:
                    self._said = True
                    self._log("trace_not_kept", kind=type(error).__name__, error=error)
            with self._lock:
                self._waiting -= len(trace.request) + len(trace.answer)

    def _write(self, trace: Trace) -> None:
        data = trace.line()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._make_room(len(data))
        path = self._folder / f"{trace.event.id}.json"
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
        except OSError:
            path.unlink(missing_ok=True)  # half a trace is none
            raise

    def _make_room(self, size: int) -> None:
        """Delete the oldest until `size` bytes fit. Ids sort by time."""
        files = [(path, path.stat().st_size) for path in _files(self._folder)]
        total = sum(found for _, found in files) + size
        for path, found in files:
            if total <= self.limit:
                return
            path.unlink(missing_ok=True)
            total -= found


def traces(folder: Path) -> Iterator[Path]:
    """The files of kept traces, newest first."""
    return reversed(_files(folder))


def find(folder: Path, event_id: str) -> Path | None:
    """The trace of that id, or of the one id that begins so (at least 8 characters)."""
    if not _ID.fullmatch(event_id):
        return None
    found = sorted(folder.glob(f"{event_id}*.json"))
    return found[0] if len(found) == 1 else None


def read(path: Path) -> JsonObject:
    """A trace's content. Raises OSError, and ValueError for a file that is none."""
    data: Any = orjson.loads(path.read_bytes())
    if isinstance(data, dict) and isinstance(data.get("trace"), dict):
        return data
    raise ValueError(f"{path.name} is no trace")


def delete(paths: Iterable[Path]) -> int:
    """Delete these traces; how many there were."""
    count = 0
    for path in paths:
        with suppress(FileNotFoundError):
            path.unlink()
            count += 1
    return count


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if _ID.fullmatch(path.stem))


def _told(data: bytes) -> Any:
    """JSON as JSON, anything else as text."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return data.decode("utf-8", "replace")
