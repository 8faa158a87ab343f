"""Calls and results of a history: do they stand as every wire takes them?

One wire wants the results of a turn's calls at once behind it, another wants them only somewhere behind their calls; all want
one result for each call and one call for each result. What a target does not take as it stands is mended for it, and named.
"""

from __future__ import annotations

from typing import Any

MISSING = "tool_result.missing"
ORPHAN = "tool_result.orphan"
ORDER = "tool_result.order"


class Pairing:
    """Fed a history in its order; `losses` are the codes of what some target would not take. Ids may be anything."""

    __slots__ = ("_answered", "_late", "_waiting", "losses")

    def __init__(self) -> None:
        self.losses: set[str] = set()
        self._waiting: list[Any] = []
        """Ids of the newest turn's calls without a result, in order."""
        self._late: list[Any] = []
        """Such ids of earlier turns."""
        self._answered = False

    def call(self, call_id: Any) -> None:
        """The assistant calls."""
        self.assistant()
        self._waiting.append(call_id)

    def result(self, call_id: Any) -> None:
        """A call is answered."""
        self._answered = True
        if self._waiting and self._waiting[0] == call_id:
            del self._waiting[0]
            return
        for ids in (self._waiting, self._late):
            if call_id in ids:
                ids.remove(call_id)
                self.losses.add(ORDER)
                return
        self.losses.add(ORPHAN)
        self.other()  # which is what it becomes

    def next_result(self) -> None:
        """A call is answered without being named."""
        self.result(self._waiting[0] if self._waiting else None)

    def assistant(self) -> None:
        """The assistant goes on; after a result this is another turn."""
        if self._answered:
            self._answered = False
            self.other()

    def other(self) -> None:
        """Somebody else speaks."""
        if self._waiting:
            self._late += self._waiting
            self._waiting = []

    def end(self) -> set[str]:
        """The codes, at the history's end."""
        if self._waiting or self._late:
            self.losses.add(MISSING)
        return self.losses
