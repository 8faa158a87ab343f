"""What a sound policy may still have wrong: rules and routes that can't do anything, or do the same thing twice.

All findings are warnings. They are made of the compiled policy and its merged tree, so a policy with errors is not linted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date

from engine.llm.catalogue import Model
from engine.policy.candidates import model_facts
from engine.policy.cel import ExprError
from engine.policy.conditions import conditions
from engine.policy.endings import endings
from engine.policy.entries import ASKED_FOR
from engine.policy.expression import Expression
from engine.policy.model import CLASSES, DEFAULT_CLASS, Entry, Policy, RequireRule, Rule
from engine.policy.nodes import Node
from engine.policy.problems import Problem

OLD_SHADOW_DAYS = 30

_STATIC = ("model.", "settings.", "provider.local", "provider.name")
"""Facts that are the same for every request."""


def lint(policy: Policy, *, today: date | None = None, sound: bool = True) -> list[Problem]:
    """Warnings about `policy`; without `today` nothing is said about age.

    A policy that is not `sound` has errors: then only what is true of its rules as they stand is said.
    """
    root = policy.resolved.root
    found = [
        *_unreachable_rules(root),
        *_unreachable_entries(root),
        *_duplicates(root),
        *(_old_shadows(policy, root, today) if today is not None else ()),
        *(_ending_models(policy, root, today) if today is not None and sound else ()),
    ]
    if sound:
        found += [*_classes(policy, root), *_emptied_routes(policy, root), *_unused(policy, root)]
        found += _idle_hedges(policy, root)
        found += _unknown_first(policy, root)
    return found


def _sections(root: Node) -> Iterator[tuple[str, Sequence[Node]]]:
    for path in (("overrides",), ("classify",), ("gate", "require"), ("gate", "deny"), ("trace",), ("cache", "rules")):
        section = root.get(*path)
        yield ".".join(path), section.items if section is not None else ()


def _word(node: Node, key: str) -> str:
    below = node.get(key)
    return str(below.value) if below is not None else ""


def _enforced(rule: Node) -> bool:
    return _word(rule, "mode") in {"", "enforce"}


def _always(rule: Node) -> bool:
    when = rule.get("when")
    return not rule.flawed and (when is None or when.value is True or when.value == "true")


def _unreachable_rules(root: Node) -> Iterator[Problem]:
    """Rules behind one that always decides."""
    for section, rules in _sections(root):
        if section not in {"overrides", "classify"}:
            continue
        final: Node | None = None
        for rule in rules:
            if final is not None and _enforced(rule):
                at = rule.get("id") or rule
                message = f"never reached: '{_word(final, 'id')}' (line {final.span.line}) always decides before it"
                yield at.problem("rule-unreachable", message, level="warning")
            elif _enforced(rule) and _always(rule):
                final = rule


def _unreachable_entries(root: Node) -> Iterator[Problem]:
    """Entries that name once more what an earlier one without a condition has named."""
    for route in _routes(root):
        seen: dict[str, Node] = {}
        for entry in route.items:
            use = entry.get("use") if entry.map else entry
            if use is None:
                continue
            first = seen.get(str(use.value))
            if first is not None:
                message = f"never reached: '{use.value}' stands in this route already (line {first.span.line})"
                yield use.problem("route-unreachable", message, level="warning")
            elif entry.get("when") is None and not entry.flawed:
                seen[str(use.value)] = use


def _ending_models(policy: Policy, root: Node, today: date) -> Iterator[Problem]:
    """Routes that lead to models their vendors retire."""
    told = {model.ref: words for model, words in endings(policy, today)}
    for route in _routes(root):
        for entry in route.items:
            use = entry.get("use") if entry.map else entry
            if use is None or (words := told.pop(str(use.value), None)) is None:
                continue
            hint = "name another model; `sbgw models --live` asks the vendor"
            yield use.problem("route-ends", f"'{use.value}' {words}, its vendor says", hint=hint, level="warning")
    models = root.get("models")
    for ref, words in told.items():
        row = models.map.get(ref) if models is not None else None
        if row is not None:
            message = f"'{ref}', chosen for its class, {words}, its vendor says"
            yield row.problem("route-ends", message, level="warning", at_key=True)


def _routes(root: Node) -> Iterator[Node]:
    """Lists of entries: each route's, and each canary's by itself."""
    section = root.get("routes")
    for route in (section.map if section is not None else {}).values():
        for listed in (route.get("use") if route.map else route, route.get("canary", "use")):
            if listed is not None:
                yield listed


def _classes(policy: Policy, root: Node) -> Iterator[Problem]:
    """Classes without a route, and routes of classes that no rule gives."""
    given = {rule.route_class for rule in policy.classify} | {rule.route_class for rule in policy.overrides}
    for rule in _sections_of(root, "classify"):
        node = rule.get("class")
        if node is not None and node.value not in policy.routes:
            message = f"there is no route for the class '{node.value}'; it takes that of {DEFAULT_CLASS}"
            yield node.problem("class-unrouted", message, level="warning")
    section = root.get("routes")
    for name, route in (section.map if section is not None else {}).items():
        if name != DEFAULT_CLASS and name not in given and "pinned" not in given:
            hint = "" if name in CLASSES else "add a rule to classify, or take the route out"
            message = f"no rule gives the class '{name}', so this route is never taken"
            yield route.problem("class-unused", message, hint=hint, level="warning", at_key=True)


def _sections_of(root: Node, wanted: str) -> Sequence[Node]:
    return next(rules for section, rules in _sections(root) if section == wanted)


def _duplicates(root: Node) -> Iterator[Problem]:
    """Enforced rules of one section with the same conditions."""
    for _, rules in _sections(root):
        seen: dict[tuple[str, ...], Node] = {}
        for rule in rules:
            texts = tuple(" ".join(_word(rule, key).split()) for key in ("when", "require"))
            if not any(texts) or not _enforced(rule) or rule.flawed:
                continue
            first = seen.setdefault(texts, rule)
            if first is not rule:
                at = rule.get("require") or rule.get("when") or rule
                message = f"the same condition as '{_word(first, 'id')}' (line {first.span.line})"
                yield at.problem("cond-duplicate", message, level="warning")


def _emptied_routes(policy: Policy, root: Node) -> Iterator[Problem]:
    """Routes whose models all fail a rule that no request can change."""
    rules = [r for r in policy.require if not r.shadow and r.when is None and _is_static(r)]
    section = root.get("routes")
    for name, route in policy.routes.items():
        node = section.get(name) if section is not None else None
        trial = len(route.canary.places) if route.canary is not None else 0
        parts = ((route.entries[trial:], node, "route"), (route.entries[:trial], node and node.get("canary"), "canary"))
        for entries, at, word in parts:
            models = _fixed_models(policy, entries, name)
            failed = [next((rule.id for rule in rules if not _passes(policy, rule, model)), "") for model in models]
            if models and all(failed) and at is not None:
                message = f"no model of this {word} ever passes gate.require ({', '.join(dict.fromkeys(failed))})"
                yield at.problem("compat-empties-route", message, level="warning", at_key=True)


def _idle_hedges(policy: Policy, root: Node) -> Iterator[Problem]:
    """Hedges that never ask anybody a second time."""
    section = root.get("routes")
    for name, route in policy.routes.items():
        hedge = section.get(name, "hedge") if section is not None else None
        if hedge is None or not route.hedge_ms:
            continue
        uses = {entry.use for entry in route.entries}
        if len(uses) == 1 and not uses & set(ASKED_FOR):
            why = "the route has one candidate"
        elif policy.fallback.attempts == 1:
            why = "fallback.attempts is 1"
        elif route.hedge_ms >= policy.fallback.total_seconds * 1000:
            why = f"fallback.total_seconds is {policy.fallback.total_seconds:g}"
        else:
            continue
        yield hedge.problem(
            "route-hedge", f"this hedge never asks a second candidate: {why}", level="warning", at_key=True
        )


_UNKNOWN_COSTS = frozenset({"cost_usd", "cold_cost_usd", "turn_cost_usd", "switch_cost_usd"})


def _unknown_first(policy: Policy, root: Node) -> Iterator[Problem]:
    """Orders in which an unknown cost, which is -1.0, comes before every known one."""
    section = root.get("routes")
    for name, route in policy.routes.items():
        order = section.get(name, "order") if section is not None else None
        if order is None or route.order is None:
            continue
        costs = {ref for ref in route.order.refs if ref.removeprefix("estimate.") in _UNKNOWN_COSTS}
        # Any comparison will do: what a policy asks of one cost, it knows of the price.
        if costs and not any(re.search(rf"{re.escape(ref)}\s*[<>=!]=?", route.order.source) for ref in costs):
            message = f"{min(costs)} is -1.0 where a price is unknown, so that model is tried first"
            yield order.problem("route-order", message, level="warning")


def _is_static(rule: RequireRule) -> bool:
    return all(ref.startswith(_STATIC) and ref != "model.requested" for ref in rule.require.refs)


def _fixed_models(policy: Policy, entries: Sequence[Entry], route_class: str) -> list[Model]:
    """The models of a route's entries; empty when a client may bring in others."""
    if any(_is_open(policy, entry) for entry in entries):
        return []
    catalogue = policy.catalogue
    found = [
        catalogue.model(entry.use)
        if "/" in entry.use
        else catalogue.for_class(policy.providers[entry.use], route_class)
        for entry in entries
    ]
    return [model for model in found if model is not None]


def _is_open(policy: Policy, entry: Entry) -> bool:
    """A provider alone may be asked for any model that passes under its name."""
    if entry.use in ASKED_FOR:
        return True
    if "/" in entry.use:
        return False
    provider = policy.providers[entry.use]
    rows = [model for model in policy.models.values() if model.provider == provider.name]
    return bool(provider.match) or provider.wildcard or len(rows) > 1


def _passes(policy: Policy, rule: RequireRule, model: Model) -> bool:
    provider = policy.providers[model.provider]
    known = {
        "model": model_facts(model, policy.rates.get(model.ref), requested=False),
        "settings": {"experimental": policy.settings.experimental},
        "provider": {"name": provider.name, "local": provider.local},
    }
    try:
        return rule.require.eval(known) is True
    except ExprError:
        return rule.on_error == "next"


def _unused(policy: Policy, root: Node) -> Iterator[Problem]:
    """Variables and signals of the policy's own file that nothing reads; those of others are there for whom they may concern."""
    read = {use for expression in _expressions(policy) for use in expression.refs}
    idle = " ".join(_texts_of_idle_rules(root))
    for section, rule, word in (("vars", "var-unused", "variable"), ("signals", "signal-unused", "signal")):
        node = root.get(section)
        if section in read:  # by a name that is made up while it runs
            continue
        own = {
            n: below
            for n, below in (node.map if node is not None else {}).items()
            if below.span.file == policy.sources[-1]
        }
        for name, below in own.items():
            if f"{section}.{name}" not in read and not re.search(rf"\b{section}\.{name}\b", idle):
                message = f"nothing reads the {word} '{name}'"
                yield below.problem(rule, message, hint="take it out", level="warning", at_key=True)


def _expressions(policy: Policy) -> Iterator[Expression]:
    yield from (expression for _, expression in conditions(policy))
    for rule in policy.deny:
        parts = rule.message.parts if rule.message is not None else ()
        yield from (part for part in parts if isinstance(part, Expression))


def _texts_of_idle_rules(root: Node) -> Iterator[str]:
    """Of rules that are switched off: they may be switched on again."""
    for _, rules in _sections(root):
        for rule in rules:
            if _word(rule, "mode") == "off":
                yield from (node.text for node in rule.map.values())


def _old_shadows(policy: Policy, root: Node, today: date) -> Iterator[Problem]:
    rules: list[Rule] = [*policy.overrides, *policy.classify, *policy.require, *policy.deny]
    old = {rule.span: _age(rule, today) for rule in rules if rule.shadow}
    for _, nodes in _sections(root):
        for node in nodes:
            at = node.get("id") or node
            age = old.get(at.span, 0)
            if age > OLD_SHADOW_DAYS:
                message = f"in shadow for {age} days: enforce it, or take it out"
                yield at.problem("shadow-old", message, level="warning")


def _age(rule: Rule, today: date) -> int:
    try:
        return (today - date.fromisoformat(rule.since)).days
    except ValueError:
        return 0
