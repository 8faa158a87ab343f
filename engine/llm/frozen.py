"""`dataclass` whose `frozen=True` is kept by the type checker alone.

A dataclass that Python itself freezes sets every field through `object.__setattr__` and takes two to four times as long to
make (measured), and one agent's request is made of hundreds of values. So mypy refuses an assignment as ever, and at run
time nothing does. Values compare and hash as frozen ones do.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool = False, **options: Any) -> Any:
        """As `dataclasses.dataclass`, for values that are made on the way of a request."""
        return dataclasses.dataclass(unsafe_hash=frozen and options.get("eq", True), **options)


__all__ = ["dataclass"]
