"""The gateway's own log: structured lines on standard error, without text, keys or headers."""

from __future__ import annotations

import sys
import traceback
from datetime import datetime
from typing import Any

from engine.cli.screen import json_text


def log(event: str, *, error: BaseException | None = None, **fields: Any) -> None:
    """One JSON line. Of an error only the place is told, never its message: that may quote a request."""
    line: dict[str, Any] = {
        "time": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "event": event,
        **fields,
    }
    if error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        line["at"] = [
            f"{frame.filename.rsplit('engine', 1)[-1].lstrip('/')}:{frame.lineno} {frame.name}" for frame in frames[-4:]
        ]
    sys.stderr.write(json_text(line) + "\n")
