"""What a request is expected to cost on a candidate: with what is in its prompt cache, without, and for the turns to come.

All of it follows from facts and rows, so that a replay prices a candidate as the gateway did.
"""

from __future__ import annotations

from engine.policy.candidates import Option
from engine.policy.decision import Facts

_ANSWER = 500
"""Tokens of an agent's turn until the session has shown its own."""


def estimated(option: Option, facts: Facts, *, marking: bool) -> Facts:
    """`estimate` of the facts for one candidate. `marking`: breakpoints are set for clients that set none."""
    estimate, session = facts["estimate"], facts["session"]
    cached = min(session["warm"].get(option.model.ref, 0), estimate["input_tokens"])
    rate = option.rate
    if rate is None:
        return {**estimate, "cached_tokens": cached} if cached else estimate
    prompt, answer = estimate["input_tokens"], estimate["output_tokens"]
    kept = option.model.cache.kind
    request = facts["request"]
    writes = kept == "automatic" or (
        kept == "marks" and (request["cache_marks"] > 0 or (marking and hinted(request["tools"], request["turns"])))
    )
    new = rate.write if writes else rate.input
    read = rate.read if writes or cached else new
    later = session["output_tokens"] or min(answer, _ANSWER)
    return {
        **estimate,
        "cached_tokens": cached,
        "cost_usd": (cached * rate.read + (prompt - cached) * new + answer * rate.output) / 1e6,
        "cold_cost_usd": (prompt * new + answer * rate.output) / 1e6,
        "turn_cost_usd": (prompt * read + later * rate.output) / 1e6,
        "switch_cost_usd": max(session["warm_tokens"] - cached, 0) * max(new - read, 0.0) / 1e6,
    }


def hinted(tools: int, turns: int) -> bool:
    """Whether breakpoints are worth setting: only what comes again is read again, and an agent's work or a conversation does."""
    return tools > 0 or turns > 0
