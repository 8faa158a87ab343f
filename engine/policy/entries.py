"""Reads the lines of a route: who may serve, and whether such a provider and model exist."""

from __future__ import annotations

from engine.policy.expression import Scope
from engine.policy.model import Entry, Route
from engine.policy.nodes import Node
from engine.policy.resolve import Catalogue
from engine.policy.suggest import closest, did_you_mean

ASKED_FOR = ("requested", "pinned")
"""Entries that stand for the model a client named: in its request, or in the x-sbgw-model header."""


class EntryReader:
    def __init__(self, scope: Scope, catalogue: Catalogue) -> None:
        self._scope = scope
        self._catalogue = catalogue

    def route(self, name: str, node: Node, *, by: str = "") -> Route:
        """A route from its list, or from a mapping with `use` and `order`. `by`: the rule that brings all of it in."""
        order = node.get("order")
        listed = node.get("use") if node.map else node
        entries = tuple(self._entry(item, by) for item in (listed.items if listed is not None else ()))
        kept = tuple(entry for entry in entries if entry.use)
        return Route(
            name=name,
            entries=kept,
            order=self._scope.expression(order, expect="double") if order is not None else None,
            conditional=tuple(n for n, entry in enumerate(kept) if entry.when is not None),
        )

    def _entry(self, node: Node, by: str) -> Entry:
        use = node.get("use") if node.map else node
        if use is None or not isinstance(use.value, str):
            return Entry("")
        self._check(use)
        when = node.get("when")
        named = node.get("id")
        return Entry(
            use=use.value,
            id=str(named.value) if named is not None else by,
            when=self._scope.expression(when, phase="request") if when is not None else None,
            span=use.span,
        )

    def _check(self, node: Node) -> None:
        use = str(node.value)
        providers = self._catalogue.providers
        name, slash, model = use.partition("/")
        if use in ASKED_FOR:
            return
        if name not in providers:
            hint = "" if slash else self._as_model(use)
            guess = "" if hint else did_you_mean(name, [*providers, *ASKED_FOR])
            self._scope.problems.append(
                node.problem("unknown-provider", f"there is no provider '{name}'{guess}", hint=hint)
            )
        elif slash:
            self._check_model(node, name, model)

    def _check_model(self, node: Node, provider: str, model: str) -> None:
        ref = f"{provider}/{model}"
        if ref in self._catalogue.models:
            return
        rows = [m.name for m in self._catalogue.models.values() if m.provider == provider]
        guess = did_you_mean(model, rows)
        if not self._catalogue.has(ref):
            hint = f'describe it: models: {{"{ref}": {{…}}}}'
            message = f"'{provider}' has no model '{model}'{guess}"
            self._scope.problems.append(node.problem("unknown-model", message, hint="" if guess else hint))
        elif not self._catalogue.model(ref).known:
            message = f"no row describes '{ref}'{guess}"
            hint = "it counts as a model without tools and with a window of 8,192 tokens"
            self._scope.problems.append(node.problem("unknown-model", message, hint=hint, level="warning"))

    def _as_model(self, name: str) -> str:
        """A hint for a model's name written without its provider."""
        owners = [m.ref for m in self._catalogue.models.values() if m.name == name]
        near = closest(name, [m.name for m in self._catalogue.models.values()], 0.9) if not owners else ""
        owners = owners or [m.ref for m in self._catalogue.models.values() if near and m.name == near]
        return f"write {owners[0]}" if owners else ""
