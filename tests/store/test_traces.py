"""The store of traces alone: what is queued is bounded, what it can't write it drops."""

from __future__ import annotations

import threading
from pathlib import Path

import orjson
import pytest

from engine.store.redaction import Redactor
from engine.store.traces import LONGEST_ANSWER, MIB, Trace, TraceStore, read, traces
from tests.store.builders import event

REDACTOR = Redactor()


def trace(number: int, answer: bytes = b"{}", request: bytes = b"{}") -> Trace:
    from dataclasses import replace

    return Trace(replace(event(number), id=f"{number:024x}"), "", {}, request, answer, False, REDACTOR)


def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs costs 64 MiB and no more; `put` comes back at once."""
    hang = threading.Event()
    monkeypatch.setattr(TraceStore, "_write", lambda *_: hang.wait(30))
    store = TraceStore(tmp_path, limit=MIB, log=lambda *_, **__: None)
    for number in range(100):
        store.put(trace(number, b"x" * MIB))
    assert store.dropped == 100 - 63  # 64 MiB hold 63 answers of a MiB with their two-byte requests
    hang.set()
    store.close()


def test_text_that_is_no_json_is_kept_as_text(tmp_path: Path) -> None:
    store = TraceStore(tmp_path, limit=MIB, log=lambda *_, **__: None)
    store.put(trace(1, b"data: \xff\x00\n\n", b"{broken"))
    store.close()
    (path,) = traces(tmp_path)
    assert read(path)["trace"]["request"] == "{broken"
    assert read(path)["trace"]["answer"] == "data: \ufffd\x00\n\n"


def test_integers_of_any_size_are_kept(tmp_path: Path) -> None:
    store = TraceStore(tmp_path, limit=MIB, log=lambda *_, **__: None)
    store.put(trace(1, request=b'{"n": 1e400, "m": ' + b"9" * 30 + b"}"))
    store.close()
    assert len(list(traces(tmp_path))) == 1


def test_what_is_no_trace_is_told(tmp_path: Path) -> None:
    (tmp_path / "aaaaaaaa.json").write_bytes(orjson.dumps({"id": 1}))
    with pytest.raises(ValueError, match="no trace"):
        read(next(iter(traces(tmp_path))))
    assert LONGEST_ANSWER < 64 * MIB
