"""Events that are an earlier one with another text in it: what was read of that one holds of them all.

Nearly all of a stream is text, piece after piece in the same wrapping: same ids, same nulls, same order. Compared with it, a
piece need not be read as JSON. What a vendor changes from event to event (numbers, padding) is never alike, and read as ever.
"""

from __future__ import annotations

import orjson


class Likeness:
    """The wrapping of one event's text."""

    __slots__ = ("_before", "_behind", "_key")

    def __init__(self, key: str) -> None:
        """`key`: the field that holds the text."""
        self._key = f'"{key}":'
        self._before = self._behind = ""

    def learn(self, data: str, text: str) -> None:
        """`data` has been read and says `text` and nothing else. Learns nothing where another field might hold that, too."""
        before, key, rest = data.partition(self._key)
        literal = orjson.dumps(text).decode()
        space = " " if rest.startswith(" ") else ""
        if key and self._key not in rest and rest.startswith(space + literal):
            self._before = f'{before}{key}{space}"'
            self._behind = rest[len(space) + len(literal) - 1 :]

    def text(self, data: str) -> str:
        """The text of an event that is like the one learned; "" for any other."""
        before, behind = self._before, self._behind
        if not before or not data.startswith(before) or not data.endswith(behind):
            return ""
        text = data[len(before) : -len(behind)]
        if text.isprintable() and '"' not in text and "\\" not in text:
            return text
        try:
            read: str = orjson.loads(f'"{text}"')
        except orjson.JSONDecodeError:  # the string ends earlier: something else is said, too
            return ""
        return read
