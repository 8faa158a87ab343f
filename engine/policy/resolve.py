"""Which models a name stands for: rows, families of names (`gpt-*`), provider's name prefixes and wildcards.

Rules kept here:

- A disabled or simulated provider is never found for a name that a client chose; a route has to name it.
- A name without a row gets the longest family row of its provider, else a row that claims no capability.
- Names come from clients, so what is remembered about them is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from engine.llm.catalogue import Model, Provider
from engine.policy.rows import wildcard_model

_REMEMBERED = 2048
"""Names kept before all are forgotten."""

_LONGEST_NAME = 256

T = TypeVar("T")


class Catalogue:
    """The rows of one policy. Immutable but for what it remembers."""

    def __init__(self, providers: Mapping[str, Provider], rows: Mapping[str, Model]) -> None:
        """`rows` are keyed `provider/name`; a name that ends in `*` is a family."""
        self.providers = providers
        self.models = {ref: model for ref, model in rows.items() if not model.name.endswith("*")}
        families = [model for model in rows.values() if model.name.endswith("*")]
        self._families = sorted(families, key=lambda m: -len(m.name))
        self._open = [p for p in providers.values() if p.enabled and not p.simulated]
        self._found: dict[str, tuple[Model, ...]] = {}
        self._made: dict[str, Model] = {}

    def model(self, ref: str) -> Model:
        """The row of `provider/name`, or one made up for it. Raises KeyError for an unknown provider."""
        row = self.models.get(ref)
        return row if row is not None else self._remember(self._made, ref, self._make)

    def has(self, ref: str) -> bool:
        """Whether `provider/name` can be sent a request: a row, a family, a prefix or a wildcard covers it."""
        if ref in self.models:
            return True
        name, _, model = ref.partition("/")
        provider = self.providers.get(name)
        if provider is None or not model:
            return False
        return provider.wildcard or self._family(name, model) is not None or _prefixed(provider, model)

    def serving(self, name: str) -> tuple[Model, ...]:
        """The models that a client's `name` stands for, best first; empty for a name that nobody serves.

        An exact `provider/name`; else every provider with a row of that name, in their order, then those whose prefixes
        fit it; else a `provider/name` that the provider's wildcard lets through.
        """
        if not name or len(name) > _LONGEST_NAME:
            return ()
        return self._remember(self._found, name, self._serving)

    def served_by(self, provider: Provider, name: str) -> Model | None:
        """The model that `provider` serves under a client's `name`, or its own `provider/name`; None if it does not."""
        if not name or len(name) > _LONGEST_NAME:
            return None
        own = name.removeprefix(provider.name + "/")
        row = self.models.get(f"{provider.name}/{name}") or self.models.get(f"{provider.name}/{own}")
        if row is not None:
            return row
        if _prefixed(provider, own) or (own != name and self.has(name)):
            return self.model(f"{provider.name}/{own}")
        return None

    def for_class(self, provider: Provider, route_class: str) -> Model | None:
        """The provider's model for a class: the first of its rows that names the class."""
        return next((m for m in self.models.values() if m.provider == provider.name and route_class in m.classes), None)

    def _serving(self, name: str) -> tuple[Model, ...]:
        usable = {p.name for p in self._open}
        exact = self.models.get(name)
        if exact is not None:
            return (exact,) if exact.provider in usable else ()
        rows = [row for p in self._open if (row := self.models.get(f"{p.name}/{name}")) is not None]
        held = {row.provider for row in rows}
        rows += [self.model(f"{p.name}/{name}") for p in self._open if p.name not in held and _prefixed(p, name)]
        if not rows and name.partition("/")[0] in usable and self.has(name):
            rows = [self.model(name)]
        return tuple(rows)

    def _make(self, ref: str) -> Model:
        name, _, model = ref.partition("/")
        provider = self.providers[name]
        family = self._family(name, model)
        return replace(family, name=model) if family is not None else wildcard_model(provider, model)

    def _family(self, provider: str, name: str) -> Model | None:
        return next((f for f in self._families if f.provider == provider and name.startswith(f.name[:-1])), None)

    @staticmethod
    def _remember(kept: dict[str, T], key: str, make: Callable[[str], T]) -> T:
        found = kept.get(key)
        if found is None:
            found = make(key)
            if len(kept) >= _REMEMBERED:
                kept.clear()
            kept[key] = found
        return found


def _prefixed(provider: Provider, name: str) -> bool:
    return bool(provider.match) and name.startswith(provider.match)
