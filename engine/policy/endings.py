"""Models that a policy sends requests to of itself and that their vendors retire soon."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from engine.llm.catalogue import Model
from engine.policy.model import Policy

SOON = timedelta(days=60)
"""How long before a model's end it is pointed out: vendors announce it two months to a year ahead."""


def ending(model: Model, today: date) -> str:
    """In words what is near: `ended on 2026-05-27`, `ends on 2026-11-30`; empty for a model with a future."""
    if not model.ends:
        return ""
    try:
        last = date.fromisoformat(model.ends)
    except ValueError:
        return ""
    if last < today:
        return f"ended on {model.ends}"
    return f"ends on {model.ends}" if last - today <= SOON else ""


def endings(policy: Policy, today: date) -> Iterator[tuple[Model, str]]:
    """Models near their end that the policy chooses of itself: named in a route, or a provider's own choice for a class.

    A model that a client asks for by name is the client's choice, and is listed by `sbgw models`.
    """
    seen: set[str] = set()
    for name, route in policy.routes.items():
        for entry in route.entries:
            model: Model | None
            if "/" in entry.use:
                model = policy.model(entry.use)
            elif entry.use in policy.providers:
                model = policy.catalogue.for_class(policy.providers[entry.use], name)
            else:
                continue
            if model is not None and model.ref not in seen and (words := ending(model, today)):
                seen.add(model.ref)
                yield model, words
