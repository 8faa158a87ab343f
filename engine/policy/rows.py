"""Rows of `providers:` and `models:` as `Provider` and `Model`.

The rows have been merged field by field and have passed their schema; what a schema can't say is checked here: that a
provider has an address, that a model's provider exists and serves its protocols.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from engine.llm.catalogue import UNLIMITED, Model, PromptCache, Provider, Quirks, RateLimits, Retries, Safe, Timeouts
from engine.llm.losses import CARRIES
from engine.policy.nodes import Node
from engine.policy.problems import Problem
from engine.policy.suggest import did_you_mean, listing

_SAFE: Mapping[Any, Safe] = {True: "yes", False: "no", "experimental": "experimental"}
_TUPLES = frozenset(
    {"match", "classes", "protocols", "api_key_env", "spare_key_env", "drop", "efforts", "login_headers"}
)

_PROVIDER_FIELDS = frozenset(f.name for f in fields(Provider)) - {
    "name",
    "endpoints",
    "quirks",
    "cache",
    "timeouts",
    "limits",
    "retries",
}
_MODEL_FIELDS = frozenset(f.name for f in fields(Model)) - {"provider", "name", "quirks", "cache", "known"}
_SCORES: Mapping[str, str] = {"claude-code": "claude_code_score", "codex": "codex_score"}
"""Agent that a probe played → the field that holds its score."""

_CACHE_FIELDS = frozenset(f.name for f in fields(PromptCache))


def read_providers(rows: Node | None, problems: list[Problem]) -> dict[str, Provider]:
    """Provider rows in their order. A row that can't be used is left out and told in `problems`."""
    found: dict[str, Provider] = {}
    for name, row in (rows.map if rows is not None else {}).items():
        endpoints = row.get("protocols")
        if row.flawed and (endpoints is None or not endpoints.map):
            # Its address was refused, which has been told; whoever names the provider is right to.
            found[name] = Provider(name, dict.fromkeys(CARRIES, "http://refused.invalid"))
            continue
        if endpoints is None or not endpoints.map:
            absent = [f"`{key}`" for key in ("protocol", "base_url") if row.get(key) is None]
            words = " and ".join(absent) or "an address"
            hint = f"write {name}: {{protocol: openai-chat, base_url: https://…, api_key_env: …}}"
            problems.append(
                row.problem("provider-address", f"provider '{name}' has no {words}", hint=hint, at_key=True)
            )
            continue
        found[name] = Provider(
            name=name,
            endpoints={str(key): str(node.value).rstrip("/") for key, node in endpoints.map.items()},
            quirks=_quirks(row.get("quirks")),
            cache=_cache(row.get("cache")),
            timeouts=_timeouts(row.get("timeouts")),
            limits=_limits(row.get("limits")),
            retries=_retries(row.get("retries")),
            **_plain_fields(row, _PROVIDER_FIELDS),
        )
    return found


def read_models(rows: Node | None, providers: Mapping[str, Provider], problems: list[Problem]) -> dict[str, Model]:
    """Model rows in their order, keyed `provider/name`. A row that can't be used is left out and told in `problems`."""
    found: dict[str, Model] = {}
    for ref, row in (rows.map if rows is not None else {}).items():
        provider_name, _, name = ref.partition("/")
        provider = providers.get(provider_name)
        if provider is None:
            message = f"there is no provider '{provider_name}'{did_you_mean(provider_name, providers)}"
            problems.append(row.problem("unknown-provider", message, at_key=True))
            continue
        _check_protocols(row, provider, problems)
        quirks = _quirks(row.get("quirks"), provider.quirks)
        values = _plain_fields(row, _MODEL_FIELDS)
        for key in ("claude_code_safe", "codex_safe"):
            values[key] = _SAFE[values.get(key, False)]
        probed = row.get("probe")
        for agent, probe in (probed.map if probed is not None else {}).items():
            if (score := probe.get("score")) is not None:
                values[_SCORES[agent]] = float(score.plain())
        values["local"] = values.get("local", provider.local)
        cache = _cache(row.get("cache"), provider.cache)
        found[ref] = Model(provider=provider_name, name=name, quirks=quirks, cache=cache, **values)
    return found


def wildcard_model(provider: Provider, name: str) -> Model:
    """A row for a name that `provider` serves without our knowing it: no capability is claimed."""
    return Model(
        provider=provider.name,
        name=name,
        local=provider.local,
        quirks=provider.quirks,
        cache=provider.cache,
        known=False,
    )


def _check_protocols(row: Node, provider: Provider, problems: list[Problem]) -> None:
    protocols = row.get("protocols")
    for node in protocols.items if protocols is not None else ():
        if node.value not in provider.endpoints:
            hint = f"it speaks {listing(provider.endpoints)}"
            problems.append(
                node.problem("unknown-protocol", f"'{provider.name}' does not speak {node.value}", hint=hint)
            )


def _plain_fields(row: Node, names: frozenset[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in names & row.map.keys():
        value = row.map[key].plain()
        if key in _TUPLES:
            value = tuple(value) if isinstance(value, list) else (value,)
        values[key] = value
    return values


def _quirks(node: Node | None, under: Quirks | None = None) -> Quirks:
    """The row's quirks over `under`, field by field; headers are put together."""
    base = under or Quirks()
    if node is None:
        return base
    values = _plain_fields(node, frozenset(f.name for f in fields(Quirks)))
    if "headers" in values:
        values["headers"] = {**base.headers, **values["headers"]}
    return Quirks(**{**{f.name: getattr(base, f.name) for f in fields(Quirks)}, **values})


def _cache(node: Node | None, under: PromptCache | None = None) -> PromptCache:
    """The row's cache rules over `under`, field by field."""
    base = under or PromptCache()
    return replace(base, **_plain_fields(node, _CACHE_FIELDS)) if node is not None else base


def _timeouts(node: Node | None) -> Timeouts:
    return Timeouts(**{key: float(value) for key, value in node.plain().items()}) if node is not None else Timeouts()


def _retries(node: Node | None) -> Retries:
    return Retries(**node.plain()) if node is not None else Retries()


def _limits(node: Node | None) -> RateLimits:
    return RateLimits(**node.plain()) if node is not None else UNLIMITED
