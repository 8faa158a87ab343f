"""What a client reads when no candidate is left: what to set, or why each one can't serve the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from engine.policy.decision import Candidate, Denial, Reason
from engine.policy.model import Policy

if TYPE_CHECKING:
    from engine.policy.case import ProviderState

STATUS = 403
"""Known to be final: clients do not try again and again, as they do after a 5xx or a 401."""

_NAMED = 6

_WHY: Mapping[str, str] = {
    "floor.disabled": "is switched off",
    "floor.tools": "does not call tools",
    "floor.client-safe": "is not marked safe for this client",
    "floor.losses": "can't take what the request holds",
    "floor.key": "has no key",
}


def refuse_all(
    route_class: str, candidates: Sequence[Candidate], policy: Policy, availability: Mapping[str, ProviderState]
) -> Denial:
    """The refusal of a request without a candidate left. Holds names of models, rules and variables, nothing of the request."""
    if not candidates:
        message = f"No model can serve this request: the route for {route_class} names none that is there for it."
        return Denial("", STATUS, message, "INCOMPATIBLE")
    keyless = {c.provider: _variables(c.provider, policy, availability) for c in candidates if c.dropped == "NO_KEY"}
    others = [c for c in candidates if c.dropped != "NO_KEY"]
    said: list[str] = []
    if keyless:
        each = [f"{' and '.join(names)} ({provider})" if names else provider for provider, names in keyless.items()]
        said.append(f"No key for a provider that could serve this request. Set one of: {_listed(each)}.")
    if others:
        each = [f"{c.ref} {_why(c)}" for c in others]
        said.append(f"{'The others' if keyless else 'No model can serve this request'}: {_listed(each, '; ')}.")
    reason: Reason = "NO_KEY" if keyless else candidates[0].dropped or "INCOMPATIBLE"
    return Denial("", STATUS, " ".join(said), reason)


def _variables(provider: str, policy: Policy, availability: Mapping[str, ProviderState]) -> tuple[str, ...]:
    state = availability.get(provider)
    return (state.missing if state is not None else ()) or policy.providers[provider].api_key_env[:1]


def _why(candidate: Candidate) -> str:
    why = _WHY.get(candidate.rule) or f"fails the rule '{candidate.rule}'"
    return f"{why} ({candidate.detail})" if candidate.rule == "floor.losses" and candidate.detail else why


def _listed(parts: Sequence[str], between: str = ", ") -> str:
    more = f"{between}and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
    return between.join(parts[:_NAMED]) + more
