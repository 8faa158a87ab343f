"""Names in a file of tests: every rule, class, model, provider, signal, variable and code must be one that exists."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import get_args

from engine.llm.losses import LOSSES
from engine.policy.clients import CLIENTS
from engine.policy.decision import Reason
from engine.policy.floor import DISABLED
from engine.policy.model import CLASSES, Policy, Route, Rule
from engine.policy.nodes import Node
from engine.policy.problems import Problem
from engine.policy.suggest import did_you_mean, listing

REASONS: frozenset[str] = frozenset(get_args(Reason))


def check_names(root: Node, policy: Policy, problems: list[Problem]) -> None:
    """Tell every name below `root` (a file of tests) that `policy` does not know."""
    names = _Names(policy, problems)
    shared = root.get("given")
    tests = root.get("tests")
    names.given(shared, _asked(shared))
    for test in tests.items if tests is not None else ():
        given = test.get("given")
        asked = _asked(given) | _asked(shared)
        names.given(given, asked)
        names.expected(test.get("expect"), asked)


def _asked(given: Node | None) -> set[str]:
    """Models that a request names itself; they need no row."""
    nodes = [given.get("request", key) for key in ("model", "pinned_model")] if given is not None else []
    return {str(node.value) for node in nodes if node is not None and node.value}


def _ids(rules: Iterable[Rule]) -> list[str]:
    return [rule.id for rule in rules]


def _texts(node: Node | None) -> Iterator[Node]:
    """The text items of a list."""
    for item in node.items if node is not None else ():
        if isinstance(item.value, str):
            yield item


class _Names:
    def __init__(self, policy: Policy, problems: list[Problem]) -> None:
        self._policy = policy
        self._problems = problems
        deciding = _ids([*policy.overrides, *policy.classify])
        gating = _ids([*policy.require, *policy.deny])
        floor = [DISABLED, *(rule.id for rule in policy.floor.rules)]
        shadows = [r for r in (*policy.overrides, *policy.classify, *policy.require, *policy.deny) if r.shadow]
        ruled = [*(rule.route_class for rule in policy.classify), *(rule.route_class for rule in policy.overrides)]
        self._classes = dict.fromkeys(
            [*CLASSES, *policy.routes, *(name for name in ruled if name not in {"", "pinned"})]
        )
        self._deciding = dict.fromkeys(deciding)
        self._overrides = dict.fromkeys(_ids(policy.overrides))
        self._dropping = dict.fromkeys([*gating, *floor])
        self._denying = dict.fromkeys([*_ids(policy.deny), *deciding])
        self._shadows = dict.fromkeys(_ids(shadows))
        self._vars = dict.fromkeys(name for name, _ in policy.vars)
        self._routed = {entry.use for route in _routes(policy) for entry in route.entries}

    def given(self, given: Node | None, asked: set[str]) -> None:
        """`asked`: the models that the test's request names."""
        if given is None:
            return
        self._keys("signal", given.get("signals"), self._policy.signals)
        states = given.get("providers")
        for name, node in (states.map if states is not None else {}).items():
            if "/" in name:
                self._ref(name, node, asked, at_key=True)
            elif name not in self._policy.providers:
                self._unknown("provider", name, node, list(self._policy.providers), at_key=True)
        for node in _texts(given.get("keys")):
            self._one("provider", node, self._policy.providers)
        for node in _texts(given.get("request", "requires")):
            self._one("loss", node, LOSSES)
        self._one("client", given.get("client", "name"), CLIENTS)
        prices = given.get("prices")
        for ref, node in (prices.map if prices is not None else {}).items():
            self._ref(ref, node, asked, at_key=True)

    def expected(self, expect: Node | None, asked: set[str]) -> None:
        if expect is None:
            return
        self._one("class", expect.get("class"), self._classes)
        self._one("rule", expect.get("rule"), self._deciding)
        self._one("rule", expect.get("override"), self._overrides)
        self._one("rule", expect.get("kept"), _ids(self._policy.cache.rules))
        self._one("rule", expect.get("traced"), _ids(self._policy.trace))
        self._one("provider", expect.get("provider"), self._policy.providers)
        for node in _texts(expect.get("losses")):
            self._one("loss", node, LOSSES)
        self._keys("variable", expect.get("vars"), self._vars)
        self._keys("signal", expect.get("signals"), self._policy.signals)
        self._keys("rule in shadow mode", expect.get("shadow"), self._shadows)
        self._models(expect, asked)
        self._denial(expect.get("denied"))

    def _models(self, expect: Node, asked: set[str]) -> None:
        model = expect.get("model")
        if model is not None and isinstance(model.value, str):
            self._ref(model.value, model, asked)
        for node in _texts(expect.get("candidates")):
            self._candidate(str(node.value), node, asked)
        dropped = expect.get("dropped")
        for ref, node in (dropped.map if dropped is not None else {}).items():
            self._candidate(ref, node, asked, at_key=True)
            self._one("rule", node, self._dropping, REASONS)

    def _denial(self, denied: Node | None) -> None:
        if denied is None:
            return
        self._one("rule", denied.get("rule"), self._denying)
        self._one("reason", denied.get("reason"), REASONS)
        if isinstance(denied.value, str):
            self._one("rule", denied, self._denying, REASONS)

    def _one(self, kind: str, node: Node | None, known: Collection[str], more: Collection[str] = ()) -> None:
        """Tell if `node` is a text that is in neither `known` nor `more`."""
        if node is not None and isinstance(node.value, str) and node.value not in known and node.value not in more:
            self._unknown(kind, node.value, node, [*known, *sorted(more)])

    def _keys(self, kind: str, node: Node | None, known: Collection[str]) -> None:
        for name, below in (node.map if node is not None else {}).items():
            if name not in known:
                self._unknown(kind, name, below, list(known), at_key=True)

    def _unknown(self, kind: str, name: str, node: Node, known: list[str], *, at_key: bool = False) -> None:
        guess = did_you_mean(name, known)
        hint = "" if guess else f"known here: {listing(known)}" if known else f"the policy has no {kind}"
        rule = f"unknown-{kind.split(maxsplit=1)[0]}"
        self._problems.append(node.problem(rule, f"there is no {kind} '{name}'{guess}", hint=hint, at_key=at_key))

    def _candidate(self, name: str, node: Node, asked: set[str], *, at_key: bool = False) -> None:
        """A provider's name, or `provider/name`."""
        if name not in self._policy.providers:
            self._ref(name, node, asked, at_key=at_key)

    def _ref(self, ref: str, node: Node, asked: set[str], *, at_key: bool = False) -> None:
        """`provider/name` of a row, of a line of a route, or of a model that the test's request names."""
        provider, slash, name = ref.partition("/")
        models, providers = self._policy.models, self._policy.providers
        kind, hint = "unknown-model", ""
        if slash and provider not in providers:
            kind, message = "unknown-provider", f"there is no provider '{provider}'{did_you_mean(provider, providers)}"
        elif not slash:
            owners = [model.ref for model in models.values() if model.name == ref]
            guess = f"; did you mean '{owners[0]}'?" if owners else did_you_mean(ref, [*providers, *models])
            message, hint = f"there is no model '{ref}'{guess}", "" if guess else "a model is written provider/name"
        elif ref in models or ref in self._routed or {ref, name} & asked:
            return
        else:
            rows = [model.ref for model in models.values() if model.provider == provider]
            guess = did_you_mean(ref, rows)
            message = f"no row and no route names the model '{ref}'{guess}"
            hint = f"known here: {listing(rows)}" if rows and not guess else ""
        self._problems.append(node.problem(kind, message, hint=hint, at_key=at_key))


def _routes(policy: Policy) -> Iterator[Route]:
    yield from policy.routes.values()
    yield from (rule.route for rule in policy.overrides if rule.route is not None)
