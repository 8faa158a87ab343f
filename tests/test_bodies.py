"""Request bodies: caps hold however they are packed."""

from __future__ import annotations

import gzip
import zlib

import pytest
import zstandard

from engine.bodies import inflate
from engine.llm.errors import ClientError

LIMIT = 1 << 20


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "zstd"])
def test_packed_bodies_come_out_whole(encoding: str) -> None:
    """Every supported encoding gives back what went in."""
    raw = b'{"model": "x"}' * 1000
    packed = {"zstd": zstandard.compress, "deflate": zlib.compress}.get(encoding, gzip.compress)(raw)
    assert inflate(packed, encoding, LIMIT) == raw


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_a_bomb_is_refused(encoding: str) -> None:
    """A body that inflates beyond the limit is 413, and is not inflated to its end."""
    raw = b"\0" * (LIMIT * 64)
    packed = {"zstd": zstandard.compress, "deflate": zlib.compress}.get(encoding, gzip.compress)(raw)
    with pytest.raises(ClientError) as caught:
        inflate(packed, encoding, LIMIT)
    assert caught.value.status == 413


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_damaged_bodies_are_the_callers_fault(encoding: str) -> None:
    """Garbage under an encoding is 400."""
    with pytest.raises(ClientError) as caught:
        inflate(b"\x01\x02garbage", encoding, LIMIT)
    assert caught.value.status == 400


def test_a_cut_off_body_is_refused() -> None:
    """Half a gzip stream is not taken for the whole."""
    with pytest.raises(ClientError, match="cut off"):
        inflate(gzip.compress(b"x" * 5000)[:-10], "gzip", LIMIT)


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "compress"])
def test_other_encodings_are_named_unsupported(encoding: str) -> None:
    """415, not a guess."""
    with pytest.raises(ClientError) as caught:
        inflate(b"", encoding, LIMIT)
    assert caught.value.status == 415
