"""The trace that a request belongs to, as its client says in `traceparent` (W3C Trace Context, level 2).

Ids alone are taken, so that our spans hang below the client's. `tracestate` is not: it is other vendors' opaque data, and what
nobody reads need not be kept. Neither goes on to a provider: who traces what on this machine is none of its business.
"""

from __future__ import annotations

import re

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL)

_LONGEST = 512


def parent_of(header: str) -> str:
    """The span that the header names, as `00-TRACE-SPAN-FLAGS`. Empty when it names none by the rules: it is ignored then.

    Later versions may add parts, which are passed over; version `ff` and ids of zeros alone name nothing.
    """
    found = _FORM.fullmatch(header) if 0 < len(header) <= _LONGEST else None
    if found is None:
        return ""
    version, trace, span, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None) or not (trace.strip("0") and span.strip("0")):
        return ""
    return f"00-{trace}-{span}-{flags}"
