"""An event loop whose clock jumps: nothing waits, every timer fires at its own time, in order. For work without real I/O."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")

THREADS = 5.0
"""Real seconds to wait for a thread where no timer is left."""


class _NoWait(selectors.DefaultSelector):
    """Does not wait for time: where the loop would sleep, its clock is moved instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout is not None else THREADS)
        if not ready and timeout is None:
            raise RuntimeError("nothing is left to happen, and something still waits")
        if not ready and timeout:
            self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now = 0.0
        selector = _NoWait()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run `main` to its end on a loop of its own, which begins at 0.0 seconds."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
