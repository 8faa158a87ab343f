"""Every condition of a policy with its place, and a copy of the policy with some of them exchanged.

A copy decides exactly as the policy does, so that coverage can listen to a real decision and a mutation check can bend it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from engine.policy.expression import Expression
from engine.policy.model import ClassRule, DenyRule, Entry, KeepRule, OverrideRule, Policy, RequireRule, Route
from engine.policy.nodes import Node
from engine.policy.problems import Span

Section = Literal["var", "override", "classify", "route", "order", "require", "deny", "cache", "trace", "step"]
Key = Literal["value", "when", "require", "order"]

_SECTIONS = ("vars", "overrides", "classify", "routes", "gate", "cache", "trace", "pipeline")


@dataclass(slots=True, frozen=True)
class Condition:
    """One expression of a policy and whose it is. Equal when section, rule, key and place are."""

    section: Section
    id: str
    """The rule's id; of a route's line its own id or what it names, of an order the route's class."""
    key: Key
    span: Span
    """Where the rule (or the line, or the variable) begins."""

    @property
    def label(self) -> str:
        """The rule in a few words, as lists show it."""
        match self.section:
            case "var":
                return f"vars.{self.id}"
            case "order":
                return f"{self.id} order"
        return self.id


Change = Callable[[Condition, Expression], Expression]

_Ruled = TypeVar("_Ruled", ClassRule, OverrideRule, DenyRule, KeepRule)


def rewrite(policy: Policy, change: Change) -> Policy:
    """The policy with each expression exchanged for what `change` gives for it. The floor's own stay."""
    return _Rewriter(change).policy(policy)


def conditions(policy: Policy) -> list[tuple[Condition, Expression]]:
    """All of them, in the order of the sections."""
    found: list[tuple[Condition, Expression]] = []

    def note(condition: Condition, expression: Expression) -> Expression:
        found.append((condition, expression))
        return expression

    rewrite(policy, note)
    return found


def nodes(policy: Policy) -> Mapping[Span, Node]:
    """The texts of the policy's rules by their places, to find a character of an expression in its file."""
    roots = [node for name in _SECTIONS if (node := policy.resolved.root.get(name)) is not None]
    return {node.span: node for root in roots for node in _scalars(root)}


def _scalars(node: Node) -> Iterator[Node]:
    below = [*node.map.values(), *node.items]
    if not below:
        yield node
    for child in below:
        yield from _scalars(child)


@dataclass(slots=True, frozen=True)
class _Rewriter:
    change: Change

    def policy(self, policy: Policy) -> Policy:
        return replace(
            policy,
            vars=tuple((name, self._one("var", name, "value", _span(e), e)) for name, e in policy.vars),
            overrides=tuple(self._override(rule) for rule in policy.overrides),
            classify=tuple(self._when("classify", rule) for rule in policy.classify),
            routes={name: self._route(route) for name, route in policy.routes.items()},
            require=tuple(self._require(rule) for rule in policy.require),
            deny=tuple(self._when("deny", rule) for rule in policy.deny),
            cache=replace(policy.cache, rules=tuple(self._when("cache", rule) for rule in policy.cache.rules)),
            trace=tuple(self._when("trace", rule) for rule in policy.trace),
            steps=tuple(
                replace(s, when=self._one("step", s.id, "when", s.span, s.when)) if s.when else s for s in policy.steps
            ),
        )

    def _one(self, section: Section, name: str, key: Key, span: Span, expression: Expression) -> Expression:
        return self.change(Condition(section, name, key, span), expression)

    def _when(self, section: Section, rule: _Ruled) -> _Ruled:
        if rule.when is None:
            return rule
        return replace(rule, when=self._one(section, rule.id, "when", rule.span, rule.when))

    def _override(self, rule: OverrideRule) -> OverrideRule:
        changed = self._when("override", rule)
        return changed if rule.route is None else replace(changed, route=self._route(rule.route))

    def _require(self, rule: RequireRule) -> RequireRule:
        when = self._one("require", rule.id, "when", rule.span, rule.when) if rule.when is not None else None
        return replace(rule, when=when, require=self._one("require", rule.id, "require", rule.span, rule.require))

    def _route(self, route: Route) -> Route:
        order = route.order
        if order is not None:
            order = self._one("order", route.name, "order", _span(order), order)
        return replace(route, entries=tuple(self._entry(entry) for entry in route.entries), order=order)

    def _entry(self, entry: Entry) -> Entry:
        if entry.when is None:
            return entry
        span = entry.span or _span(entry.when)
        return replace(entry, when=self._one("route", entry.id or entry.use, "when", span, entry.when))


def _span(expression: Expression) -> Span:
    """Its place; only the gateway's own expressions have none, and none of them comes here."""
    assert expression.span is not None
    return expression.span
