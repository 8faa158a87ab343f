"""What no policy can take away: a request never reaches a model that would break it.

The rules are CEL like a policy's own, so that an explanation shows them the same way. They are put before the policy's
`require` rules, and nothing in a policy can name, replace or switch them off. What a policy may do is stated in its own
words: `settings.experimental` lets models marked experimental serve agents, `gate.allow_losses` accepts named hard losses.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from engine.policy.decision import Reason
from engine.policy.expression import Scope
from engine.policy.model import Floor, FloorRule

DISABLED = "floor.disabled"
"""The provider's row says `enabled: false`. No expression: it is no fact."""

TOOLS = "request.tools + request.tool_calls == 0 || model.tools"

CLIENT_SAFE = " && ".join(
    f'(request.tools == 0 || client.name != "{client}" || {field} == "yes"'
    f' || ({field} == "experimental" && settings.experimental))'
    for client, field in (("claude-code", "model.claude_code_safe"), ("codex", "model.codex_safe"))
)

KEY = "provider.key"


def floor(scope: Scope, allowed: Iterable[str]) -> Floor:
    """The floor of a policy that accepts the hard losses `allowed`."""
    accepted = orjson.dumps(sorted(allowed)).decode()
    losses = f"hard_losses.all(code, code in {accepted})" if accepted != "[]" else "size(hard_losses) == 0"
    conditions: tuple[tuple[str, str, Reason], ...] = (
        ("floor.tools", TOOLS, "INCOMPATIBLE"),
        ("floor.client-safe", CLIENT_SAFE, "INCOMPATIBLE"),
        ("floor.losses", losses, "INCOMPATIBLE"),
        ("floor.key", KEY, "NO_KEY"),
    )
    rules = tuple(FloorRule(name, scope.own(text), reason) for name, text, reason in conditions)
    return Floor(rules, scope.own(" && ".join(f"({text})" for _, text, _ in conditions)))
