"""From a route to models: which rows a route's entries stand for, in which protocol each would be reached, what gets lost.

Everything here depends on few things about a request (the model it names, its protocol, whether it wants tools and an
effort), so the outcome is remembered per policy. Losses depend on more and are worked out for each request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.llm.catalogue import Model, Provider
from engine.llm.losses import CARRIES
from engine.policy.decision import Facts
from engine.policy.resolve import Catalogue

if TYPE_CHECKING:
    from engine.policy.model import Route

Rates = Mapping[str, tuple[float, float]]
"""`provider/name` → USD per million input and output tokens; a model whose price is unknown is absent."""

_REMEMBERED = 1024

_LACKING = (
    ("vision", "image"), ("documents", "document"), ("structured", "output_format"), ("reasoning", "effort"),
    ("reasoning", "thinking.budget"),
)  # fmt: skip
"""Capability of a row → the loss when it is missing."""

_QUIRKS = (
    ("sampling", "sampling"), ("sampling", "top_k"), ("prefill", "prefill"), ("forced_tools", "forced_tool"),
    ("parallel_tools", "parallel_tools"), ("json_schema", "output_format"), ("mid_system", "system.mid"),
)  # fmt: skip
"""Quirk that is false → the loss of a translation that minds it."""

_MEDIA = frozenset({"image", "document"})
_IMAGES = frozenset({"image", "image.tool_result"})


@dataclass(slots=True, frozen=True, eq=False)
class Option:
    """A model as one kind of request would reach it."""

    model: Model
    provider: Provider
    protocol: str
    preserve: bool
    entry: str
    """Id of the entry that brought it in."""
    position: int
    lacks: frozenset[str]
    """Losses of whatever the row or its quirks can't do, as far as a request has it."""
    facts: Mapping[str, Any]
    """`model.*`."""


def losses_of(option: Option, requires: frozenset[str]) -> frozenset[str]:
    """Loss codes of a request that needs `requires`, sent to `option`."""
    lost = requires & option.lacks
    if not option.preserve:
        lost |= requires - CARRIES[option.protocol]
    if "image" in option.lacks and requires & _IMAGES:
        lost |= {"image"}
    return lost


class Resolver:
    """Options by what they depend on, remembered for one policy."""

    def __init__(self, catalogue: Catalogue, rates: Rates) -> None:
        self._catalogue = catalogue
        self._rates = rates
        self._found: dict[tuple[Any, ...], tuple[Option, ...]] = {}
        self._facts: dict[tuple[str, bool], dict[str, Any]] = {}

    def options(self, route: Route, route_class: str, request: Facts, skipped: frozenset[int]) -> tuple[Option, ...]:
        """What the route's entries, but for those `skipped`, stand for, each model once, in order."""
        reasoning = bool(request["tools"]) and (request["thinking"] or request["effort"] != "")
        asked = request["model"]
        key = (id(route), route_class, asked, request["pinned_model"], request["protocol"], reasoning, skipped)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
                self._facts.clear()
            found = self._found[key] = self._options(route, route_class, request, skipped, reasoning=reasoning)
        return found

    def _options(
        self, route: Route, route_class: str, request: Facts, skipped: frozenset[int], *, reasoning: bool
    ) -> tuple[Option, ...]:
        asked = {model.ref for model in self._catalogue.serving(request["model"])}
        made: dict[str, Option] = {}
        for number, entry in enumerate(route.entries):
            if number in skipped:
                continue
            for model in self._models(entry.use, route_class, request):
                if model.ref not in made:
                    own = self._catalogue.providers[model.provider]
                    protocol = _protocol(model, own, request["protocol"], reasoning=reasoning)
                    preserve = protocol == request["protocol"]
                    made[model.ref] = Option(
                        model, own, protocol, preserve, entry.id, len(made), _lacks(model, preserve=preserve),
                        self._model_facts(model, requested=model.ref in asked or model.name == request["model"]),
                    )  # fmt: skip
        return tuple(made.values())

    def _models(self, use: str, route_class: str, request: Facts) -> Iterator[Model]:
        catalogue = self._catalogue
        if use == "requested":
            yield from catalogue.serving(request["model"])
        elif use == "pinned":
            yield from catalogue.serving(request["pinned_model"])
        elif "/" in use:
            yield catalogue.model(use)
        else:
            provider = catalogue.providers[use]
            model = catalogue.served_by(provider, request["model"]) or catalogue.for_class(provider, route_class)
            if model is not None:
                yield model

    def _model_facts(self, model: Model, *, requested: bool) -> dict[str, Any]:
        key = (model.ref, requested)
        if key not in self._facts:
            self._facts[key] = model_facts(model, self.rate(model.ref), requested=requested)
        return self._facts[key]

    def rate(self, ref: str) -> tuple[float, float] | None:
        """USD per million tokens, input and output; None when unknown."""
        return self._rates.get(ref)


def model_facts(model: Model, rate: tuple[float, float] | None, *, requested: bool) -> dict[str, Any]:
    """`model.*` of the facts."""
    return {
        "ref": model.ref,
        "name": model.name,
        "known": model.known,
        "requested": requested,
        "tools": model.tools,
        "streaming": model.streaming,
        "vision": model.vision,
        "documents": model.documents,
        "reasoning": model.reasoning,
        "structured": model.structured,
        "context": model.context,
        "max_output": model.max_output,
        "claude_code_safe": model.claude_code_safe,
        "codex_safe": model.codex_safe,
        "local": model.local,
        "classes": list(model.classes),
        "price_known": rate is not None,
        "input_usd": rate[0] if rate else -1.0,
        "output_usd": rate[1] if rate else -1.0,
    }


def own_rates(models: Mapping[str, Model]) -> Rates:
    """Prices that the rows themselves state."""
    return {
        ref: (float(model.price["input"]), float(model.price.get("output", 0.0)))
        for ref, model in models.items()
        if "input" in model.price
    }


def _protocol(model: Model, provider: Provider, client: str, *, reasoning: bool) -> str:
    """The client's own protocol where that is offered, else the provider's first; another one if a quirk asks for it."""
    offered = [p for p in provider.endpoints if p in model.protocols] if model.protocols else []
    offered = offered or list(provider.endpoints)
    chosen = client if client in offered else offered[0]
    if (
        reasoning
        and chosen == "openai-chat"
        and not model.quirks.tools_with_reasoning
        and "openai-responses" in offered
    ):
        return "openai-responses"
    return chosen


def _lacks(model: Model, *, preserve: bool) -> frozenset[str]:
    """What is lost because of the row. Sent in the client's own words, only what a described model can't see counts."""
    missing = {code for field, code in _LACKING if not getattr(model, field)}
    if preserve:
        return frozenset(missing & _MEDIA) if model.known else frozenset()
    missing |= {code for field, code in _QUIRKS if not getattr(model.quirks, field)}
    return frozenset(missing)
