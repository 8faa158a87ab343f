"""What of an event no query asks for, packed: one JSON object, compressed against what earlier events said.

Events of one user say nearly the same: the facts' names, the policy's candidates, the client's tools. So the file keeps
dictionaries made of such objects, and 2.8 kB of JSON become about 150 bytes. Rules kept here:

- A packed object begins with the number of its dictionary (three bytes, 0 for none), then a zstd frame.
- A dictionary is never changed. When objects no longer fit it (another policy, another client) a new one is learnt, at most
  once in `PATIENCE` objects, so that dictionaries stay a small part of the file.
- A dictionary holds what events said, so it goes when they go: `until` is the newest timestamp that was packed with it. When the
  first of them is deleted, nothing more is packed with it.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from typing import Any

import orjson
import zstandard

from engine.llm.messages import JsonObject

SAMPLES = 12
"""Objects that a dictionary is made of."""

PATIENCE = 4_000
"""Objects packed with a dictionary before another one is learnt; the first is learnt after `SAMPLES`."""

LARGE = 320
"""Bytes on average over `SAMPLES` objects above which they no longer fit the dictionary."""

_LONGEST = 64 * 1024
NUMBER = 3
"""Bytes of a dictionary's number, in front of what was packed with it."""

_LEVEL = 3
_INFLATED = 64 * 1024 * 1024
"""No event is larger; a damaged file may claim so."""


class Details:
    """Packs and unpacks with the dictionaries of one file, read through `connection`. For one thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._plain = zstandard.ZstdDecompressor()
        self._decompressors: dict[int, zstandard.ZstdDecompressor] = {0: self._plain}
        self._number = -1
        """Of the dictionary in use; -1 until it is known."""
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self._samples: deque[bytes] = deque(maxlen=SAMPLES)
        self._sizes: deque[int] = deque(maxlen=SAMPLES)
        self._packed = 0
        self._until = ""

    def pack(self, value: JsonObject, timestamp: str) -> bytes:
        """`value` packed; `timestamp` is its event's. Raises sqlite3.Error when the dictionary can't be read."""
        if self._number < 0:
            self._resume()
        text = dump(value)
        packed = self._number.to_bytes(NUMBER, "little") + self._compressor.compress(text)
        self._packed += 1
        self._until = max(self._until, timestamp)
        self._samples.append(text)
        self._sizes.append(len(packed))
        return packed

    def unpack(self, data: bytes) -> JsonObject:
        """The object in `data`. Raises sqlite3.Error, the one for damage included."""
        number = number_of(data)
        decompressor = self._decompressors.get(number) or self._read(number)
        try:
            value = orjson.loads(decompressor.decompress(data[NUMBER:], max_output_size=_INFLATED))
        except (zstandard.ZstdError, orjson.JSONDecodeError) as error:
            raise sqlite3.DatabaseError(f"an event is damaged ({type(error).__name__})") from None
        if not isinstance(value, dict):
            raise sqlite3.DatabaseError("an event is damaged")
        return value

    def learn(self) -> bool:
        """Make a dictionary of the newest objects if they don't fit the one in use. Raises sqlite3.Error.

        To be called between transactions. What was packed stays readable whatever happens here.
        """
        full = len(self._samples) == SAMPLES
        due = self._number == 0 or self._packed >= PATIENCE
        if not full or not due or sum(self._sizes) < LARGE * SAMPLES:
            return False
        content = b"".join(dict.fromkeys(self._samples))[-_LONGEST:]
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.execute("UPDATE dictionaries SET until = ? WHERE until IS NULL", (self._until,))
            row = self._connection.execute("INSERT INTO dictionaries (content) VALUES (?) RETURNING number", (content,))
            number = int(row.fetchone()[0])
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._use(number, content)
        return True

    def review(self) -> None:
        """Use a dictionary no more that was retired (see `engine.store.retention`). Raises sqlite3.Error."""
        if self._number <= 0:
            return
        used = self._connection.execute("SELECT 1 FROM dictionaries WHERE until IS NULL").fetchone()
        if used is None:
            self._number, self._compressor = 0, zstandard.ZstdCompressor(level=_LEVEL)
            self._samples.clear()
            self._sizes.clear()

    def _resume(self) -> None:
        """Go on with the dictionary that the file used last."""
        row = self._connection.execute("SELECT number, content FROM dictionaries WHERE until IS NULL").fetchone()
        if row is None:
            self._number = 0
        else:
            self._use(int(row[0]), row[1])

    def _use(self, number: int, content: bytes) -> None:
        learnt = _dictionary(content)
        # Content size, checksum and dictionary id would be a tenth of the frame; the file has checks of its own.
        self._compressor = zstandard.ZstdCompressor(
            level=_LEVEL, dict_data=learnt, write_content_size=False, write_checksum=False, write_dict_id=False
        )
        self._decompressors[number] = zstandard.ZstdDecompressor(dict_data=learnt)
        self._number, self._packed, self._until = number, 0, ""
        self._samples.clear()
        self._sizes.clear()

    def _read(self, number: int) -> zstandard.ZstdDecompressor:
        row = self._connection.execute("SELECT content FROM dictionaries WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise sqlite3.DatabaseError("an event is damaged (its dictionary is missing)")
        made = self._decompressors[number] = zstandard.ZstdDecompressor(dict_data=_dictionary(row[0]))
        return made


def number_of(packed: bytes) -> int:
    """Of the dictionary that it was packed with; 0 for none."""
    return int.from_bytes(packed[:NUMBER], "little")


def plain(value: JsonObject) -> bytes:
    """`value` packed without a dictionary."""
    return bytes(NUMBER) + zstandard.ZstdCompressor(level=_LEVEL).compress(dump(value))


def dump(value: Any) -> bytes:
    """JSON of anything that an event may hold.

    A policy's variable may hold what JSON has no word for (a duration); its text is enough for a record.
    """
    try:
        return orjson.dumps(value, default=str)
    except TypeError:  # unsound text or an integer beyond 64 bits: the slow codec is less strict
        return json.dumps(value, default=str, ensure_ascii=False).encode("utf-8", "replace")


def _dictionary(content: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
