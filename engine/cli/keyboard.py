"""Keys pressed while something is shown live: one at a time, without Enter, and without a trace on the screen."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Wait = Callable[[float], str]
"""Waits so many seconds for a key. Gives it at once; empty when none was pressed."""


@contextmanager
def keys() -> Iterator[Wait]:
    """Listen to the keyboard; without one, the function given only waits. The terminal is afterwards as it was."""
    if not sys.stdin.isatty():
        yield _nobody
    elif sys.platform == "win32":
        yield _console_key
    else:
        import termios
        import tty

        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
        tty.setcbreak(terminal)  # Ctrl-C still interrupts
        try:
            yield _terminal_key
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _nobody(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def _terminal_key(seconds: float) -> str:
    import os
    import select

    terminal = sys.stdin.fileno()
    ready, _, _ = select.select([terminal], [], [], seconds)
    # A terminal that is gone reads as an end: nobody looks any more.
    return (os.read(terminal, 32).decode(errors="replace") or "\x04") if ready else ""


def _console_key(seconds: float) -> str:
    if sys.platform == "win32":
        import msvcrt

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if msvcrt.kbhit():
                return msvcrt.getwch()
            time.sleep(0.05)
    return ""
