"""Compiles a merged policy: checks what a schema can't say (names, expressions, phases) and makes the frozen `Policy`.

Goes on after a problem, so that a user sees all of them at once; what it then makes is not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from engine.policy import budgets as money
from engine.policy.budgets import BY, THRESHOLDS, Budget
from engine.policy.candidates import own_rates
from engine.policy.cel.patterns import swallowed_escape
from engine.policy.compose import Resolved
from engine.policy.entries import EntryReader
from engine.policy.expression import Expression, Scope
from engine.policy.floor import floor
from engine.policy.model import (
    CLASSES,
    DEFAULT_CLASS,
    AnswerSettings,
    CacheSettings,
    ClassRule,
    DenyRule,
    Fallback,
    KeepRule,
    OverrideRule,
    Policy,
    RequireRule,
    Route,
    Settings,
    Step,
)
from engine.policy.nodes import Node
from engine.policy.problems import Problem
from engine.policy.resolve import Catalogue
from engine.policy.rows import read_models, read_providers
from engine.policy.suggest import did_you_mean

DEFAULT_PIPELINE = ("decode", "classify", "gate", "cache", "dispatch", "encode", "record")


def compile_policy(
    resolved: Resolved, facts_schema: Mapping[str, Any], *, partial: bool = False
) -> tuple[Policy, list[Problem]]:
    """The policy, and everything that is wrong with it; with an error among that, the policy must not be used.

    `partial`: some of it could not be read. Then variables and signals that it does not have may exist.
    """
    problems: list[Problem] = []
    root = resolved.root
    providers = read_providers(root.get("providers"), problems)
    catalogue = Catalogue(providers, read_models(root.get("models"), providers, problems))
    signals = _signals(root.get("signals"), problems)
    scope = Scope.of(facts_schema, signals, problems, partial=partial)
    compiler = _Compiler(root, scope, catalogue)
    limits = compiler.budgets(partial=partial)
    variables = compiler.variables()
    compiler.obey(limits)
    settings = _settings(root.get("settings"), problems)
    allowed = [str(node.value) for node in _items(root.get("gate", "allow_losses"))]
    policy = Policy(
        name=resolved.name,
        resolved=resolved,
        settings=settings,
        catalogue=catalogue,
        signals=signals,
        vars=variables,
        overrides=(*limits.overrides, *compiler.overrides()),
        classify=compiler.class_rules(),
        routes=compiler.routes(),
        require=compiler.require_rules(),
        deny=(*compiler.deny_rules(), *limits.deny),
        floor=floor(scope, allowed),
        fallback=_fallback(root.get("fallback")),
        cache=_cache(root.get("cache"), compiler.keep_rules("cache", "rules"), problems),
        answers=AnswerSettings(**_plain(root.get("answers"))),
        steps=compiler.steps(),
        budgets=tuple(limits.budgets.values()),
        trace=compiler.keep_rules("trace"),
        rates=own_rates(catalogue.models),
        read=frozenset(scope.read),
    )
    compiler.check_classes()
    return policy, problems


@dataclass(slots=True)
class _Limits:
    """The budgets, and the rules that obey them."""

    budgets: dict[str, Budget] = field(default_factory=dict)
    overrides: list[OverrideRule] = field(default_factory=list)
    deny: list[DenyRule] = field(default_factory=list)


class _Compiler:
    """Compiles the rules of one policy."""

    def __init__(self, root: Node, scope: Scope, catalogue: Catalogue) -> None:
        self._root = root
        self._scope = scope
        self._problems = scope.problems
        self._entries = EntryReader(scope, catalogue)

    def variables(self) -> tuple[tuple[str, Expression], ...]:
        """Variables in their order; each sees those before it."""
        found: list[tuple[str, Expression]] = []
        section = self._root.get("vars")
        self._scope.later = set(section.map if section is not None else {})
        for name, node in (section.map if section is not None else {}).items():
            expression = self._scope.expression(node, expect="any", phase="request")
            if expression is not None:
                found.append((name, expression))
                self._scope.define(name, expression.checked.type)
            else:
                self._scope.define_unknown(name)
        return tuple(found)

    def budgets(self, *, partial: bool) -> _Limits:
        """The budgets that are not switched off. What they are about is known before variables and before each other."""
        section = self._root.get("budgets")
        rows = section.map if section is not None else {}
        nodes = {name: node for name, node in rows.items() if _text(node, "mode") != "off"}
        self._scope.budgets(())
        limits = _Limits()
        for name, node in nodes.items():
            values, when = node.plain(), self._condition(node, "when", request=True)
            if "usd" not in values and not node.flawed:
                self._problems.append(node.problem("schema-missing", "`usd` is missing", at_key=True))
            if node.flawed or "usd" not in values or (when is None and node.get("when") is not None):
                continue
            by, per = _words(values.get("by", [])), values.get("per", "")
            thresholds = tuple(sorted(float(share) for share in values.get("thresholds", THRESHOLDS)))
            limits.budgets[name] = Budget(
                name,
                float(values["usd"]),
                tuple(by),
                per,
                when,
                thresholds,
                node.key_span,
                _text(node, "mode") == "shadow",
            )
        self._scope.budgets(nodes, partial=partial)
        return limits

    def obey(self, limits: _Limits) -> None:
        """Make the rule of each budget."""
        for name, budget in limits.budgets.items():
            node = self._root.get("budgets", name)
            assert node is not None
            condition = money.about(budget.by, budget.when.source if budget.when is not None else "")
            instead = node.get("on_exceed")
            if instead is not None and instead.map:
                limits.overrides.append(self._way_down(budget, node, instead, condition))
            else:
                limits.deny.append(self._limit(budget, node, condition))

    def _limit(self, budget: Budget, node: Node, condition: str) -> DenyRule:
        said, status = node.get("message"), node.get("status")
        message = self._scope.template(said) if said is not None else self._scope.own_template(_refusal(budget))
        return DenyRule(
            **{**_shared(node, "deny"), "id": budget.rule, "span": budget.span},
            when=self._scope.own(money.refuses(budget.id, condition), span=budget.span),
            status=int(status.plain()) if status is not None else 402,
            message=message,
            candidate=True,
            reason="BUDGET",
        )

    def _way_down(self, budget: Budget, node: Node, instead: Node, condition: str) -> OverrideRule:
        use, name = instead.get("use"), instead.get("class")
        if name is not None and name.value not in (known := self._known_classes()):
            message = f"there is no class '{name.value}'{did_you_mean(str(name.value), known)}"
            self._problems.append(name.problem("unknown-class", message))
        return OverrideRule(
            **{**_shared(node, "next"), "id": budget.rule, "span": budget.span},
            when=self._scope.own(money.leads_down(budget.id, condition), span=budget.span),
            route=self._entries.route(budget.rule, use, by=budget.rule) if use is not None else None,
            route_class=str(name.value) if name is not None else "",
            reason="BUDGET",
        )

    def class_rules(self) -> tuple[ClassRule, ...]:
        rules: list[ClassRule] = []
        for node in _rules(self._root.get("classify")):
            when = self._condition(node, "when", request=True)
            name = _text(node, "class")
            if name:
                rules.append(ClassRule(**_shared(node, "next"), when=when, route_class=name))
        return tuple(rules)

    def overrides(self) -> tuple[OverrideRule, ...]:
        rules: list[OverrideRule] = []
        for node in _rules(self._root.get("overrides")):
            when = self._condition(node, "when", request=True)
            use = node.get("use")
            name = _text(node, "class")
            if use is None and not name:
                self._problems.append(node.problem("schema-missing", "`use` or `class` is missing", at_key=True))
            own = _text(node, "id")
            route = self._entries.route(own, use, by=own) if use is not None else None
            rules.append(OverrideRule(**_shared(node, "next"), when=when, route=route, route_class=name))
        return tuple(rules)

    def routes(self) -> dict[str, Route]:
        """Routes by class."""
        section = self._root.get("routes")
        found = {
            name: self._entries.route(name, node) for name, node in (section.map if section is not None else {}).items()
        }
        if DEFAULT_CLASS not in found:
            found[DEFAULT_CLASS] = Route(DEFAULT_CLASS, ())
            at = section or self._root
            if not (at.flawed or self._root.flawed):
                message = f"there is no route for {DEFAULT_CLASS}, the class of what no rule knows"
                hint = "add it, or extend a shipped policy: extends: [default]"
                self._problems.append(at.problem("route-no-default", message, hint=hint, at_key=True))
        return found

    def require_rules(self) -> tuple[RequireRule, ...]:
        rules: list[RequireRule] = []
        for node in _rules(self._root.get("gate", "require")):
            require, when = self._condition(node, "require"), self._condition(node, "when")
            if require is not None:
                rules.append(RequireRule(**_shared(node, "deny"), require=require, when=when))
        return tuple(rules)

    def deny_rules(self) -> tuple[DenyRule, ...]:
        rules: list[DenyRule] = []
        for node in _rules(self._root.get("gate", "deny")):
            when = self._condition(node, "when")
            late = when is not None and when.candidate
            said = node.get("message")
            message = self._scope.template(said, phase="candidate" if late else "request") if said is not None else None
            status = node.get("status")
            number = int(status.plain()) if status is not None else 403
            rules.append(DenyRule(**_shared(node, "deny"), when=when, status=number, message=message, candidate=late))
        return tuple(rules)

    def keep_rules(self, *path: str) -> tuple[KeepRule, ...]:
        rules: list[KeepRule] = []
        for node in _rules(self._root.get(*path)):
            when = self._condition(node, "when", request=True)
            if when is not None:
                rules.append(KeepRule(**_shared(node, "next"), when=when))
        return tuple(rules)

    def steps(self) -> tuple[Step, ...]:
        section = self._root.get("pipeline")
        if section is None:
            span = self._root.source.span(0, 1)
            return tuple(Step(name, name, span) for name in DEFAULT_PIPELINE)
        steps: list[Step] = []
        for node in section.items:
            if not node.map:
                steps.append(Step(str(node.value), str(node.value), node.span))
                continue
            use, settings, exits = _text(node, "use"), node.get("with"), node.get("on")
            if use:
                at = node.get("id") or node.get("use") or node
                leads = {
                    name: (str(to.value), to.span) for name, to in (exits.map if exits is not None else {}).items()
                }
                plain = settings.plain() if settings is not None else {}
                when = self._condition(node, "when", request=True)
                steps.append(Step(_text(node, "id") or use, use, at.span, plain, when, leads))
        return tuple(steps)

    def check_classes(self) -> None:
        """Names of classes that nothing else knows."""
        known = self._known_classes()
        models = self._root.get("models")
        for row in (models.map if models is not None else {}).values():
            for node in _items(row.get("classes")):
                if node.value not in known:
                    message = (
                        f"no rule and no route knows the class '{node.value}'{did_you_mean(str(node.value), known)}"
                    )
                    self._problems.append(node.problem("unknown-class", message, level="warning"))
        for rule in _items(self._root.get("overrides")):
            named = rule.get("class")
            if named is not None and named.value not in {*known, "pinned"}:
                message = f"there is no class '{named.value}'{did_you_mean(str(named.value), known)}"
                self._problems.append(named.problem("unknown-class", message))

    def _known_classes(self) -> list[str]:
        routes = self._root.get("routes")
        ruled = [_text(rule, "class") for rule in _items(self._root.get("classify"))]
        return list(dict.fromkeys([*CLASSES, *(routes.map if routes is not None else {}), *filter(None, ruled)]))

    def _condition(self, rule: Node, key: str, *, request: bool = False) -> Expression | None:
        node = rule.get(key)
        if node is None:
            return None
        return self._scope.expression(node, phase="request" if request else "candidate")


def _rules(section: Node | None) -> list[Node]:
    """Rules that are not switched off."""
    return [rule for rule in _items(section) if _text(rule, "mode") != "off"]


def _items(section: Node | None) -> tuple[Node, ...]:
    return section.items if section is not None else ()


def _text(node: Node, key: str) -> str:
    below = node.get(key)
    return str(below.value) if below is not None else ""


def _shared(node: Node, on_error: str) -> dict[str, Any]:
    at = node.get("id") or node
    return {
        "id": _text(node, "id"),
        "span": at.span,
        "shadow": _text(node, "mode") == "shadow",
        "on_error": _text(node, "on_error") or on_error,
        "since": _text(node, "since"),
        "tags": tuple(str(tag.value) for tag in _items(node.get("tags"))),
    }


def _signals(section: Node | None, problems: list[Problem]) -> dict[str, Any]:
    import re2  # noqa: PLC0415 - policies without signals do not need it

    options = re2.Options()
    options.log_errors = False
    found: dict[str, Any] = {}
    for name, node in (section.map if section is not None else {}).items():
        if lost := swallowed_escape(str(node.value)):
            message = f"YAML reads {lost} in double quotes as a control character"
            problems.append(node.problem("signal-regex", message, hint="use single quotes, or double the backslash"))
        try:
            found[name] = re2.compile(str(node.value), options)
        except re2.error as error:
            said = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
            hint = "RE2 has no look-around and no back-references" if "perl" in said or "escape" in said else ""
            problems.append(node.problem("signal-regex", f"not a regular expression: {said}", hint=hint))
            found[name] = None
    return found


def _refusal(budget: Budget) -> str:
    return money.refusal(budget.id, budget.by, budget.per)


def _words(value: Any) -> list[str]:
    return [word for word in ([value] if isinstance(value, str) else value) if word in BY]


def _settings(section: Node | None, problems: list[Problem]) -> Settings:
    values: dict[str, Any] = section.plain() if section is not None else {}
    zone = section.get("timezone") if section is not None else None
    if zone is not None:
        try:
            ZoneInfo(str(zone.value))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            message = f"no time zone '{zone.value}' is known here"
            hint = "write a name of the IANA list, like Europe/Berlin or UTC"
            problems.append(zone.problem("settings-timezone", message, hint=hint))
    telemetry, limits = values.pop("telemetry", {}), values.pop("limits", {})
    auth = values.pop("auth", {}).get("mode", "local-key")
    for name, keys in (("otlp", ("endpoint",)), ("governance", ("file", "url"))):
        below = telemetry.pop(name, {})
        telemetry |= {f"{name}_{key}": below[key] for key in keys if key in below}
    if "enabled" in telemetry:
        telemetry["telemetry_enabled"] = telemetry.pop("enabled")
    if "keepalive_seconds" in values:
        values["keepalive_seconds"] = float(values["keepalive_seconds"])
    return Settings(auth=auth, **values, **telemetry, **limits)


def _plain(section: Node | None) -> dict[str, Any]:
    values: dict[str, Any] = section.plain() if section is not None else {}
    return values


def _fallback(section: Node | None) -> Fallback:
    values = _plain(section)
    if "total_seconds" in values:
        values["total_seconds"] = float(values["total_seconds"])
    if "on" in values:
        values["on"] = frozenset(values["on"])
    return Fallback(**values)


def _cache(section: Node | None, rules: tuple[KeepRule, ...], problems: list[Problem]) -> CacheSettings:
    values: dict[str, Any] = section.plain() if section is not None else {}
    on = {name: values.get(name, default) in {"on", True} for name, default in (("prefix", True), ("response", False))}
    asked = section.get("response") if section is not None else None
    if asked is not None and on["response"] and not rules:
        message = "no rule says which answers may be kept, so none is"
        hint = "cache: {rules: [{id: titles, when: ...}]}"
        problems.append(asked.problem("cache-response", message, hint=hint, level="warning", at_key=True))
    more = {name: values[name] for name in ("ttl_seconds", "max_mib", "memory_mib") if name in values}
    return CacheSettings(**on, rules=rules, **more)
