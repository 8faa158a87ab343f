"""Reads the lines of a route: who may serve, and whether such a provider and model exist."""

from __future__ import annotations

from engine.policy.expression import Scope
from engine.policy.facts import BUCKETS
from engine.policy.model import Canary, Entry, Route
from engine.policy.nodes import Node
from engine.policy.resolve import Catalogue
from engine.policy.suggest import closest, did_you_mean

ASKED_FOR = ("requested", "pinned")
"""Entries that stand for the model a client named: in its request, or in the x-sbgw-model header."""

_ROUNDING = 1e-6


class EntryReader:
    def __init__(self, scope: Scope, catalogue: Catalogue) -> None:
        self._scope = scope
        self._catalogue = catalogue

    def route(self, name: str, node: Node, *, by: str = "") -> Route:
        """A route from its list, or from a mapping with `use`, `order`, `canary` and `hedge`. `by`: the rule that brings it in."""
        order, trial, after = node.get("order"), node.get("canary"), node.get("hedge", "after_ms")
        first, canary = self._canary(trial) if trial is not None else ((), None)
        entries = first + self._entries(node.get("use") if node.map else node, by)
        return Route(
            name=name,
            entries=entries,
            order=self._scope.expression(order, expect="double") if order is not None else None,
            conditional=tuple(n for n, entry in enumerate(entries) if entry.when is not None),
            canary=canary,
            hedge_ms=int(after.plain()) if after is not None and not after.flawed else 0,
        )

    def _canary(self, node: Node) -> tuple[tuple[Entry, ...], Canary | None]:
        """A canary's entries, and when they count; none for one that lacks something, which has been told."""
        named, percent = node.get("id"), node.get("percent")
        entries = self._entries(node.get("use"), "")
        if percent is None:
            return (), None
        share = float(percent.plain())
        buckets = share * BUCKETS / 100
        if abs(buckets - round(buckets)) > _ROUNDING:
            message = f"{share:g} is drawn no finer than a hundredth of a percent"
            self._scope.problems.append(percent.problem("canary-percent", message, hint=f"write {round(share, 2):g}"))
        if named is None:
            return (), None
        return entries, Canary(str(named.value), share, round(buckets), frozenset(range(len(entries))), named.span)

    def _entries(self, listed: Node | None, by: str) -> tuple[Entry, ...]:
        found = (self._entry(item, by) for item in (listed.items if listed is not None else ()))
        return tuple(entry for entry in found if entry.use)

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
        elif guess:
            message = f"'{ref}' has no row of its own{guess}"
            hint = "a row for a family of names describes it; add one for this name if it is right"
            self._scope.problems.append(node.problem("unknown-model", message, hint=hint, level="warning"))

    def _as_model(self, name: str) -> str:
        """A hint for a model's name written without its provider."""
        owners = [m.ref for m in self._catalogue.models.values() if m.name == name]
        near = closest(name, [m.name for m in self._catalogue.models.values()], 0.9) if not owners else ""
        owners = owners or [m.ref for m in self._catalogue.models.values() if near and m.name == near]
        return f"write {owners[0]}" if owners else ""
