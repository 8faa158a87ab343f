"""From a route to models: which rows a route's entries stand for, in which protocol each would be reached, what gets lost.

Everything here depends on few things about a request (the model it names, its protocol, what it requires), which stay the
same through a session. So the outcome is remembered per policy, within bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from engine.llm.catalogue import Model, Provider, Rate
from engine.llm.losses import CARRIES, severity
from engine.llm.returning import COMPACTION, FOREIGN, SUMMARY, is_foreign
from engine.policy.decision import Candidate, Facts
from engine.policy.resolve import Catalogue

if TYPE_CHECKING:
    from engine.policy.case import ProviderState
    from engine.policy.model import Route

Rates = Mapping[str, Rate]
"""`provider/name` → USD per million tokens; a model whose price is unknown is absent."""

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
    """A model as requests of one kind would reach it."""

    model: Model
    provider: Provider
    candidate: Candidate
    """It, as long as nothing drops it."""
    facts: Mapping[str, Any]
    """`model`, `candidate`, `losses` and `hard_losses` of the facts."""
    rate: Rate | None
    canary: bool = False
    """A canary brought it in, so it goes before all others."""


class Resolver:
    """Options by what they depend on, remembered for one policy."""

    def __init__(self, catalogue: Catalogue, rates: Rates) -> None:
        self._catalogue = catalogue
        self._rates = rates
        self._found: dict[tuple[Any, ...], tuple[Option, ...]] = {}
        self._providers: dict[str, tuple[Any, dict[str, Any]]] = {}

    def options(self, route: Route, route_class: str, request: Facts, skipped: frozenset[int]) -> tuple[Option, ...]:
        """What the route's entries, but for those `skipped`, stand for, each model once, in order."""
        reasoning = bool(request["tools"]) and (request["thinking"] or request["effort"] != "")
        asked, client, requires = request["model"], request["protocol"], tuple(request["requires"])
        makers = (*request["reasoning_by"], "", *request["compacted_by"])
        key = (id(route), route_class, asked, request["pinned_model"], client, requires, makers, reasoning, skipped)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            found = self._found[key] = self._options(route, route_class, request, skipped, reasoning=reasoning)
        return found

    def provider_facts(self, option: Option, state: ProviderState) -> dict[str, Any]:
        """`provider` of the facts, as it serves this model; made anew when the state has changed."""
        provider, ref = option.provider, option.model.ref
        known = self._providers.get(ref)
        if known is not None and known[0] is state:
            return known[1]
        made = {
            "name": provider.name,
            "key": state.key,
            "healthy": state.healthy,
            "local": provider.local,
            "state": state.state,
            "limited": state.limited,
            "latency_p50_ms": state.latency_p50_ms,
            "error_rate": state.error_rate,
        }
        if len(self._providers) >= _REMEMBERED:
            self._providers.clear()
        self._providers[ref] = (state, made)
        return made

    def _options(
        self, route: Route, route_class: str, request: Facts, skipped: frozenset[int], *, reasoning: bool
    ) -> tuple[Option, ...]:
        made: dict[str, Option] = {}
        canary = route.canary
        for number, entry in enumerate(route.entries):
            if number in skipped:
                continue
            for model in self._models(entry.use, route_class, request):
                if model.ref in made:
                    continue
                if canary is not None and number in canary.places:
                    by = entry.id or canary.id
                    option = self._option(model, by, len(made), request, reasoning=reasoning)
                    made[model.ref] = replace(option, canary=True)
                else:
                    made[model.ref] = self._option(model, entry.id, len(made), request, reasoning=reasoning)
        return tuple(made.values())

    def _option(self, model: Model, entry: str, position: int, request: Facts, *, reasoning: bool) -> Option:
        provider = self._catalogue.providers[model.provider]
        protocol = protocol_of(model, provider, request["protocol"], reasoning=reasoning)
        own = protocol == request["protocol"]
        requires = frozenset(request["requires"])
        lost = losses_of(model, protocol, requires, preserve=own)
        preserve = own and not (SUMMARY in requires and not model.quirks.compaction)
        if own and not preserve:
            lost |= {SUMMARY}
        if any(is_foreign(maker, model.provider, model.name) for maker in request["reasoning_by"]):
            lost |= {FOREIGN}
        if any(is_foreign(maker, model.provider, model.name) for maker in request["compacted_by"]):
            lost |= {COMPACTION}
        losses = sorted(lost)
        asked = request["model"]
        requested = model.name == asked or any(model.ref == named.ref for named in self._catalogue.serving(asked))
        rate = self._rates.get(model.ref)
        facts = {
            "model": model_facts(model, rate, requested=requested),
            "candidate": {"protocol": protocol, "preserve": preserve, "position": position},
            "losses": losses,
            "hard_losses": [code for code in losses if severity(code) == "hard"],
        }
        candidate = Candidate(
            model.ref, provider.name, model.name, protocol, preserve=preserve, losses=tuple(losses), rule=entry
        )
        return Option(model, provider, candidate, facts, rate)

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


def losses_of(model: Model, protocol: str, requires: frozenset[str], *, preserve: bool) -> frozenset[str]:
    """Loss codes of a request that needs `requires`, sent to `model` in `protocol`; `preserve`: that is the client's own."""
    lacks = _lacks(model, preserve=preserve)
    lost = requires & lacks
    if not preserve:
        lost |= requires - CARRIES[protocol]
    if "image" in lacks and requires & _IMAGES:
        lost |= {"image"}
    return lost


def model_facts(model: Model, rate: Rate | None, *, requested: bool) -> dict[str, Any]:
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
        "claude_code_score": model.claude_code_score,
        "codex_score": model.codex_score,
        "local": model.local,
        "classes": list(model.classes),
        "price_known": rate is not None,
        "input_usd": rate.input if rate else -1.0,
        "output_usd": rate.output if rate else -1.0,
        "cached_usd": rate.read if rate else -1.0,
    }


def own_rates(models: Mapping[str, Model]) -> Rates:
    """Prices that the rows themselves state."""
    return {
        ref: Rate.of(
            float(model.price["input"]),
            float(model.price.get("output", 0.0)),
            model.price.get("cached_input"),
            model.price.get("cache_write"),
        )
        for ref, model in models.items()
        if "input" in model.price
    }


def protocol_of(model: Model, provider: Provider, client: str, *, reasoning: bool) -> str:
    """The protocol that `model` is asked in: the client's own where that is offered, else the provider's first; another one if a quirk asks for it."""
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
    refused = {"logprobs"} & set(model.quirks.drop)
    if preserve:
        return frozenset(missing & _MEDIA | refused) if model.known else frozenset(refused)
    missing |= refused
    missing |= {code for field, code in _QUIRKS if not getattr(model.quirks, field)}
    if model.quirks.thinking == "adaptive":
        missing.add("thinking.off")
    return frozenset(missing)
