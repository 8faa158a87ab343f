"""What nobody caught: told by kind and place, never by message, since that may quote a request.

Python's own ways print the message, and so do the loop's and the libraries' loggers; a process that serves replaces them all.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

Log = Callable[..., None]


def told(loop: asyncio.AbstractEventLoop, log: Log) -> None:
    """Tell `log` of tasks, callbacks and threads that failed unnoticed, and of what libraries log from warnings up."""

    def unnoticed(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        log("defect", stage="loop", kind=type(error).__name__ if error is not None else "", error=error)

    def ended(args: threading.ExceptHookArgs) -> None:
        log("defect", stage="thread", kind=args.exc_type.__name__, error=args.exc_value)

    loop.set_exception_handler(unnoticed)
    threading.excepthook = ended
    logging.getLogger().handlers = [_Library(log)]


class _Library(logging.Handler):
    """Takes a library's records: its words before anything was filled into them."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        said = record.msg.partition("\n")[0] if isinstance(record.msg, str) and record.args else ""
        self._log("library", logger=record.name, level=record.levelname.lower(), said=said, error=error)
