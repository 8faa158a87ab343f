"""Policies and facts for tests: a small catalogue that no shipped row can change."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from engine.policy import facts
from engine.policy.decide import decide
from engine.policy.decision import Decision
from engine.policy.load import load_text
from engine.policy.model import Policy

ROWS = """
version: 1
providers:
  alpha:
    protocols: {anthropic-messages: "http://127.0.0.1:1", openai-chat: "http://127.0.0.1:1/v1"}
    api_key_env: [ALPHA_KEY, ALPHA_TOKEN]
    match: [al-]
  beta:
    protocols: {openai-responses: "http://127.0.0.1:2/v1", openai-chat: "http://127.0.0.1:2/v1"}
    api_key_env: BETA_KEY
    quirks: {tools_with_reasoning: false}
  gamma: {protocol: openai-chat, base_url: "http://127.0.0.1:3/v1", wildcard: true, auth: none, local: true}
  off: {protocol: openai-chat, base_url: "http://127.0.0.1:4/v1", enabled: false}
  toy: {protocol: openai-chat, base_url: "http://127.0.0.1:5/v1", simulated: true, wildcard: true, auth: none}
models:
  alpha/al-big: {tools: true, vision: true, documents: true, reasoning: true, structured: true, context: 200000,
    claude_code_safe: true, codex_safe: true, classes: [fallback_safe, fast_code], price: {input: 3, output: 15}, cache: {kind: automatic, seconds: 600, minimum: 100}}
  alpha/al-small: {tools: true, vision: true, reasoning: true, structured: true, context: 200000, claude_code_safe: true,
    classes: [cheap_edit], price: {input: 1, output: 5}, cache: {kind: automatic, seconds: 600, minimum: 100}}
  "alpha/al-*": {tools: true, context: 100000}
  beta/be-big: {tools: true, vision: true, reasoning: true, structured: true, context: 400000, claude_code_safe: experimental,
    codex_safe: true, classes: [fallback_safe]}
  beta/be-blind: {tools: true, context: 64000, classes: [cheap_edit]}
  beta/shared: {tools: true, reasoning: true}
  gamma/shared: {tools: true}
  gamma/plain: {context: 4096, classes: [cheap_edit]}
  off/there: {tools: true}
  toy/one: {tools: true, claude_code_safe: true, codex_safe: true, classes: [fallback_safe]}
"""

ROUTE = "routes: {fallback_safe: [requested, alpha, beta]}\n"


@lru_cache(maxsize=64)
def policy(text: str = "") -> Policy:
    """A policy on the small catalogue, with `text` as further top-level keys; `routes:` in it replaces the route."""
    return load_text(ROWS + ("" if "routes:" in text else ROUTE) + text, file="mine.yaml")


def request(**fields: Any) -> dict[str, Any]:
    """Facts of a request: `request` fields by name, others as `client__name="codex"`."""
    given: dict[str, dict[str, Any]] = {"request": {"protocol": "anthropic-messages", "model": "al-big"}}
    for name, value in fields.items():
        section, _, below = name.rpartition("__")
        given.setdefault(section or "request", {})[below] = value
    document = facts.complete(given, facts.schema())
    for section in ("model", "provider", "candidate", "losses", "hard_losses"):
        document.pop(section)
    return document


def refs(decision: Decision) -> list[str]:
    """The models that would be tried, in order."""
    return [candidate.ref for candidate in decision.chain]


def dropped(decision: Decision) -> dict[str, str]:
    """Model → the rule that dropped it."""
    return {candidate.ref: candidate.rule for candidate in decision.candidates if candidate.dropped}


def asked(compiled: Policy, **fields: Any) -> Decision:
    """The decision for a request, with every provider ready."""
    return decide(compiled, request(**fields), {})
