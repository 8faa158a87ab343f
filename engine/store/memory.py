"""After a restart: what sessions were and what is still warm for them, from the ledger's newest events.

Prompts themselves are not in the ledger, so a session's first request after a restart is believed to go on where its last one
ended; what the provider then reports corrects it. How often a prompt was repeated is not known any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from engine.llm.catalogue import PromptCache
from engine.store.event import Event
from engine.store.prefixes import Prefixes, Rules
from engine.store.sessions import Sessions

REACH = timedelta(hours=2)
"""How far back is read: no prompt of those that cost more to keep is kept longer than an hour."""


def remember(events: Iterable[Event], sessions: Sessions, prefixes: Prefixes, rules: Rules) -> None:
    """Take `events`, oldest first, for what sessions did before."""
    for event in events:
        request = event.facts.get("request", {})
        answered = event.status in ("success", "fallback_success")
        served = event.answered_by if answered else None
        key = served.key if served is not None else ""
        ref = f"{event.selected_provider}/{event.selected_model}" if answered and event.selected_model else ""
        sessions.note(
            event.session_id,
            model=ref,
            tool_results=request.get("tool_results", 0),
            tool_errors=request.get("tool_errors", 0),
            cost_usd=event.cost_usd,
            output_tokens=event.output_tokens if answered else None,
            key=key,
        )
        # Sub-agents and side calls have prompts of their own.
        if ref and event.session_id and not event.agent and request.get("tools", 0):
            cache = rules(ref)
            if tokens := _kept(event, cache):
                until = datetime.fromisoformat(event.timestamp).timestamp() + cache.seconds
                prefixes.restore(event.session_id, ref, tokens, until, key=key)


def _kept(event: Event, cache: PromptCache) -> int:
    """Tokens that the answer left in the provider's cache."""
    if cache.kind == "marks":
        return (event.cached_input_tokens or 0) + (event.cache_write_tokens or 0)
    if cache.kind == "none" and not event.cached_input_tokens:
        return 0
    return (event.input_tokens or 0) // cache.step * cache.step
