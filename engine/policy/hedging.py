"""Which requests may be with two providers at once: those that neither go on from what one of them keeps, nor leave it something.

A provider's state can be an answer that it stores, a conversation or container that lies with it, or reasoning that it has
sealed: the other one could not go on from it, or the client could not know which of the two holds what it refers to later.
"""

from __future__ import annotations

from engine.policy.decision import Facts

_BOUND = frozenset(
    {"previous_response", "background", "container", "thinking.signature", "compaction", "server_tool.result"}
)
"""Loss codes of what one provider keeps, or has sealed."""

STORED = "stored"


def bound(request: Facts) -> str:
    """What ties a request to one provider, as a loss code or `stored`; empty when nothing does. `request` of the facts."""
    if request.get("stored"):
        return STORED
    return next((code for code in request["requires"] if code in _BOUND), "")
