"""What no policy can take away: a request never reaches a model that would break it.

The rules are CEL like a policy's own, so that an explanation shows them the same way. They are put before the policy's
`require` rules, and nothing in a policy can name, replace or switch them off. What a policy may do is stated in its own
words: `settings.experimental` lets models marked experimental serve agents, `gate.allow_losses` accepts named hard losses.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from engine.policy.expression import Scope
from engine.policy.model import FloorRule

DISABLED = "floor.disabled"
"""The provider's row says `enabled: false`. No expression: it is no fact."""

TOOLS = "request.tools + request.tool_calls == 0 || model.tools"

CLIENT_SAFE = " && ".join(
    f'(request.tools == 0 || client.name != "{client}" || {field} == "yes"'
    f' || ({field} == "experimental" && settings.experimental))'
    for client, field in (("claude-code", "model.claude_code_safe"), ("codex", "model.codex_safe"))
)

KEY = "provider.key"


def floor_rules(scope: Scope, allowed: Iterable[str]) -> tuple[FloorRule, ...]:
    """The rules in the order in which they are asked. `allowed` are the hard losses that the policy accepts."""
    accepted = orjson.dumps(sorted(allowed)).decode()
    losses = f"hard_losses.all(code, code in {accepted})" if accepted != "[]" else "size(hard_losses) == 0"
    return (
        FloorRule("floor.tools", scope.own(TOOLS), "INCOMPATIBLE"),
        FloorRule("floor.client-safe", scope.own(CLIENT_SAFE), "INCOMPATIBLE"),
        FloorRule("floor.losses", scope.own(losses), "INCOMPATIBLE"),
        FloorRule("floor.key", scope.own(KEY), "NO_KEY"),
    )
